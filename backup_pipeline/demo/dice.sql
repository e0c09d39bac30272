-- The demo's dice and words: every value is a hash of a label and a row number, so the same row is the same everywhere.
-- Lives in the schema demo, which is dropped before the transaction commits. All functions inline, and word
-- lists fold to constants.

-- A whole number in 0 … sides-1, the same for the same label and n.
CREATE FUNCTION demo.pick(label text, n bigint, sides integer) RETURNS integer IMMUTABLE LANGUAGE sql
RETURN ((hashtextextended(label, n) & 9223372036854775807) % sides)::integer;

-- True for `percent` of a hundred rows.
CREATE FUNCTION demo.chance(label text, n bigint, percent integer) RETURNS boolean IMMUTABLE LANGUAGE sql
RETURN pick(label, n, 100) < percent;

-- One of the words.
CREATE FUNCTION demo.one(words text[], label text, n bigint) RETURNS text IMMUTABLE LANGUAGE sql
RETURN words[1 + pick(label, n, cardinality(words))];

-- The uuid of a table's n-th row; foreign keys call it too, so nothing has to be joined to be linked.
CREATE FUNCTION demo.row_id(relation text, n bigint) RETURNS uuid IMMUTABLE LANGUAGE sql
RETURN md5(relation || ':' || n::text)::uuid;

-- A value no backup may ever contain: all secrets of the demo start with the same mark.
CREATE FUNCTION demo.secret(label text, n bigint, length integer) RETURNS text IMMUTABLE LANGUAGE sql
RETURN 's3cr3t-' || left(md5(label || n::text), length);

-- `digits` digits, leading zeros kept (at most 18).
CREATE FUNCTION demo.digits(label text, n bigint, digits integer) RETURNS text IMMUTABLE LANGUAGE sql
RETURN right('00000000000000000' || (hashtextextended(label, n) & 9223372036854775807)::text, digits);

-- The date of the anchor in Dhaka.
CREATE FUNCTION demo.today() RETURNS date IMMUTABLE LANGUAGE sql
RETURN (anchor() AT TIME ZONE INTERVAL '+06:00')::date;

-- A moment between 9 and 19 o'clock in Dhaka on that day, never after the anchor.
CREATE FUNCTION demo.moment(label text, n bigint, day date) RETURNS timestamptz IMMUTABLE LANGUAGE sql
RETURN least(
    anchor(),
    (day + make_interval(secs => 32400 + pick(label, n, 36000))) AT TIME ZONE INTERVAL '+06:00'
);

-- A moment at most `days` days before the anchor, never after it.
CREATE FUNCTION demo.ago(label text, n bigint, days integer) RETURNS timestamptz IMMUTABLE LANGUAGE sql
RETURN anchor() - make_interval(secs => pick(label, n, days * 86400));
