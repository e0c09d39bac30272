"""A database in which everything that PostgreSQL allows in a name is somewhere, and little is as usual."""

from __future__ import annotations

import psycopg

_LONG = "a_name_of_sixty_three_bytes_is_the_longest_that_the_server_keeps"[:61]
ODD_SQL = f'''
CREATE SCHEMA "my schema"; CREATE SCHEMA "dots.in.it"; CREATE SCHEMA sales;
CREATE TABLE bundle (id int PRIMARY KEY, name text);
CREATE TABLE "Bundle" (id int PRIMARY KEY);
CREATE TABLE orders (id int PRIMARY KEY, label text);
CREATE TABLE "Orders" (id int PRIMARY KEY, order_id int REFERENCES orders, "order" text);
CREATE TABLE sales.orders (id int PRIMARY KEY, "Full Name" text);
CREATE TABLE sales_orders (id int PRIMARY KEY);
CREATE TABLE "odd.name" (id int PRIMARY KEY, title text NOT NULL);
CREATE TABLE "my schema"."odd.name" ("the ""key""" int PRIMARY KEY, "my title" text UNIQUE NOT NULL);
CREATE TABLE "dots.in.it"."a.b" ("x.y" int REFERENCES "my schema"."odd.name", z int REFERENCES "odd.name");
CREATE TABLE "2024 report" (" blank " int, "line
break" text, " password " text, x int);
CREATE TABLE "গ্রাহক" (id int PRIMARY KEY, "নাম" text UNIQUE NOT NULL, parent int REFERENCES "গ্রাহক");
CREATE TABLE "!!!" (id int PRIMARY KEY);
CREATE TABLE "???" (id int PRIMARY KEY);
CREATE TABLE "on" ("yes" int PRIMARY KEY, "null" text, "1" text, "a: b # c" text);
CREATE TABLE {_LONG}_1 (id int PRIMARY KEY);
CREATE TABLE {_LONG}_2 (id int PRIMARY KEY);
CREATE TABLE "sheet: with/slash*?" (id int PRIMARY KEY);
CREATE TABLE no_columns ();
CREATE TABLE only_secrets (api_key text, password_hash text);
CREATE TABLE keyless (a int, b text);
CREATE TABLE composite (a int, b int, note text, PRIMARY KEY (a, b));
CREATE TABLE refers (a int, b int, FOREIGN KEY (a, b) REFERENCES composite);
CREATE TABLE country (code text PRIMARY KEY);
CREATE TABLE city (id int PRIMARY KEY, country text REFERENCES country, city text);
CREATE TABLE street (id int PRIMARY KEY, city_id int REFERENCES city, token_id int REFERENCES city, city text);
CREATE TABLE measured (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE measured_2026 PARTITION OF measured FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE parent (id int PRIMARY KEY, name text);
CREATE TABLE child (extra text) INHERITS (parent);
CREATE VIEW seen AS SELECT * FROM orders;
CREATE MATERIALIZED VIEW "seen
twice" AS SELECT * FROM orders;
COMMENT ON TABLE orders IS 'What people buy:
  "everything" # and more';
INSERT INTO bundle VALUES (1, 'one'); INSERT INTO orders VALUES (7, 'seven');
INSERT INTO "Orders" VALUES (1, 7, 'x'); INSERT INTO "my schema"."odd.name" VALUES (3, 'three');
INSERT INTO "odd.name" VALUES (4, 'four'); INSERT INTO "dots.in.it"."a.b" VALUES (3, 4);
INSERT INTO "2024 report" VALUES (1, 'two', 'hidden-value', 3); INSERT INTO measured VALUES (1, '2026-05-05');
INSERT INTO keyless VALUES (1, 'x'), (1, 'x');
'''


def create_odd(url: str) -> None:
    """Make the odd tables, and a few rows, in the empty database at `url` (a superuser's)."""
    with psycopg.connect(url) as session:
        session.execute(ODD_SQL)
