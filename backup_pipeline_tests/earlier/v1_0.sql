--
-- PostgreSQL database dump
--


-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: api_usage_months(interval); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.api_usage_months(kept interval) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    first timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
    month timestamp;
    partition text;
BEGIN
    -- Of two consoles that begin at once, one waits, and finds them made.
    PERFORM pg_advisory_xact_lock(504446936933);
    FOR ahead IN -1..2 LOOP
        month := first + make_interval(months => ahead);
        partition := 'api_usage_logs_' || to_char(month, 'YYYY_MM');
        CONTINUE WHEN to_regclass('public.' || partition) IS NOT NULL;
        EXECUTE format('CREATE TABLE public.%I PARTITION OF public.api_usage_logs FOR VALUES FROM (%L) TO (%L)',
            partition, month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', partition);
        EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC', partition);
    END LOOP;
    FOR partition IN
        SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid
        WHERE inhparent = 'public.api_usage_logs'::regclass
          AND to_date(right(relname, 7), 'YYYY_MM') + interval '1 month' < now() AT TIME ZONE 'UTC' - kept
    LOOP
        EXECUTE format('DROP TABLE public.%I', partition);
    END LOOP;
END $$;


--
-- Name: backup_audit_chain(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.backup_audit_chain() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    NEW.previous := coalesce((SELECT sha256 FROM public.backup_audit ORDER BY id DESC LIMIT 1), '');
    NEW.address := coalesce(NEW.address, nullif(current_setting('backup.address', true), ''));
    NEW.session := coalesce(NEW.session, nullif(current_setting('backup.session', true), '')::bigint);
    NEW.request_id := coalesce(NEW.request_id, nullif(current_setting('backup.request', true), ''));
    NEW.sha256 := public.backup_audit_sha256(NEW);
    RETURN NEW;
END $$;


--
-- Name: backup_audit_in_turn(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.backup_audit_in_turn() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE 'backup_audit is written in read committed transactions only: others do not see the row before theirs';
    END IF;
    PERFORM pg_advisory_xact_lock(418581342580);
    RETURN NULL;
END $$;


--
-- Name: backup_audit_is_append_only(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.backup_audit_is_append_only() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'backup_audit is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege'; END $$;


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: backup_audit; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.backup_audit (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    backup_id text,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    address text,
    session bigint,
    request_id text,
    previous text NOT NULL,
    sha256 text NOT NULL
);

ALTER TABLE ONLY public.backup_audit FORCE ROW LEVEL SECURITY;


--
-- Name: backup_audit_sha256(public.backup_audit); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.backup_audit_sha256(entry public.backup_audit) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    content text := '';
    value text;
BEGIN
    FOREACH value IN ARRAY ARRAY[
        entry.previous, entry.id::text, to_char(entry.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
        entry.actor, entry.action, entry.backup_id, entry.detail::text, entry.address, entry.session::text,
        entry.request_id
    ] LOOP
        content := content || coalesce(length(value) || ':' || value, '-');
    END LOOP;
    RETURN encode(sha256(convert_to(content, 'UTF8')), 'hex');
END $$;


--
-- Name: backup_tally(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.backup_tally() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO backup_tallies AS tally (scope, ended_as, attempts) VALUES (NEW.catalog || CASE NEW.purpose WHEN 'safety' THEN '_before_restore' ELSE '' END || coalesce('/businesses/' || NEW.business, ''), NEW.status, 1)
    ON CONFLICT (scope, ended_as) DO UPDATE SET attempts = tally.attempts + 1;
    RETURN NULL;
END $$;


--
-- Name: business_history_row(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.business_history_row() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO public.business_history
        (catalog, business, at, status, plan, price, currency, period, next_payment_date)
    VALUES (
        NEW.catalog, NEW.business,
        CASE WHEN TG_OP = 'INSERT' OR NEW.updated_at IS DISTINCT FROM OLD.updated_at
             THEN NEW.updated_at ELSE clock_timestamp() END,
        NEW.status, NEW.plan, NEW.price, NEW.currency, NEW.period, NEW.next_payment_date);
    RETURN NULL;
END $$;


--
-- Name: payment_reopens_day(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.payment_reopens_day() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    -- Who keeps days (SqlAnalytics.alone) waits for this payment, or this payment for what was kept.
    PERFORM pg_advisory_xact_lock(hashtextextended('analytics' || chr(31) || 'day' || chr(31) || chr(31), 0));
    DELETE FROM public.analytics_cache
    WHERE type = 'day' AND range = to_char(NEW.paid_at AT TIME ZONE 'Asia/Dhaka', 'YYYY-MM-DD');
    RETURN NULL;
END $$;


--
-- Name: realtime_drill(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.realtime_drill() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    number bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(111559182283891);
    INSERT INTO public.realtime_events (kind, catalog, business, subject, detail)
    SELECT 'drill', logs.catalog, logs.business, NEW.backup_id, jsonb_build_object('action', NEW.action)
    FROM public.backup_logs AS logs WHERE logs.backup_id = NEW.backup_id
    RETURNING id INTO number;
    IF number IS NOT NULL THEN
        PERFORM pg_notify('backup_events', number::text);
    END IF;
    RETURN NULL;
END $$;


--
-- Name: realtime_event(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.realtime_event() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    entry jsonb := to_jsonb(NEW);
    key text := coalesce(entry ->> 'scope', '');
    number bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(111559182283891);
    INSERT INTO public.realtime_events (kind, catalog, business, subject, detail) VALUES (
        TG_ARGV[0],
        coalesce(entry ->> 'catalog', nullif(split_part(key, '/', 1), '')),
        coalesce(entry ->> 'business', nullif(split_part(key, '/businesses/', 2), '')),
        coalesce(entry ->> TG_ARGV[1], ''),
        (SELECT coalesce(jsonb_object_agg(name, entry -> name), '{}'::jsonb)
         FROM unnest(string_to_array(TG_ARGV[2], ' ')) AS name WHERE entry ->> name IS NOT NULL)
    ) RETURNING id INTO number;
    PERFORM pg_notify('backup_events', number::text);
    RETURN NULL;
END $$;


--
-- Name: alert_outbox; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.alert_outbox (
    id bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    alert jsonb NOT NULL,
    channel text NOT NULL,
    attempts integer NOT NULL,
    next_try_at timestamp with time zone NOT NULL,
    claimed_until timestamp with time zone,
    delivered_at timestamp with time zone,
    last_error text,
    given_up_at timestamp with time zone
);

ALTER TABLE ONLY public.alert_outbox FORCE ROW LEVEL SECURITY;


--
-- Name: alert_outbox_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.alert_outbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.alert_outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: alert_threads; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.alert_threads (
    scope text CONSTRAINT alert_threads_catalog_not_null NOT NULL,
    topic text NOT NULL,
    opened_at timestamp with time zone,
    failures integer NOT NULL,
    notified integer CONSTRAINT alert_threads_told_not_null NOT NULL,
    notified_at timestamp with time zone,
    reached boolean DEFAULT true CONSTRAINT alert_threads_heard_not_null NOT NULL
);

ALTER TABLE ONLY public.alert_threads FORCE ROW LEVEL SECURITY;


--
-- Name: analytics_cache; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.analytics_cache (
    type text NOT NULL,
    business text NOT NULL,
    range text NOT NULL,
    version bigint NOT NULL,
    computed_at timestamp with time zone NOT NULL,
    document jsonb NOT NULL
);

ALTER TABLE ONLY public.analytics_cache FORCE ROW LEVEL SECURITY;


--
-- Name: api_answers; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.api_answers (
    key_id bigint NOT NULL,
    idempotency_key text NOT NULL,
    fingerprint text NOT NULL,
    at timestamp with time zone NOT NULL,
    status integer,
    body text DEFAULT ''::text NOT NULL
);

ALTER TABLE ONLY public.api_answers FORCE ROW LEVEL SECURITY;


--
-- Name: api_keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.api_keys (
    id bigint NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    shown text NOT NULL,
    business text,
    permissions jsonb NOT NULL,
    hourly_limit integer DEFAULT 1000 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    last_used_at timestamp with time zone,
    last_address text,
    CONSTRAINT api_keys_digest_check CHECK (((sha256 ~ '^[0-9a-f]{64}$'::text) AND (length(shown) <= 8))),
    CONSTRAINT api_keys_limit_check CHECK (((hourly_limit >= 1) AND (hourly_limit <= 100000)))
);

ALTER TABLE ONLY public.api_keys FORCE ROW LEVEL SECURITY;


--
-- Name: api_keys_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.api_keys ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.api_keys_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: api_usage_hours; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.api_usage_hours (
    hour timestamp with time zone NOT NULL,
    key_id bigint NOT NULL,
    route text NOT NULL,
    allowed bigint NOT NULL,
    refused bigint NOT NULL,
    failed bigint NOT NULL,
    bytes bigint NOT NULL,
    slowest integer NOT NULL,
    addresses jsonb NOT NULL
);

ALTER TABLE ONLY public.api_usage_hours FORCE ROW LEVEL SECURITY;


--
-- Name: api_usage_logs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.api_usage_logs (
    at timestamp with time zone NOT NULL,
    request_id text NOT NULL,
    key_id bigint NOT NULL,
    business text,
    route text NOT NULL,
    allowed boolean NOT NULL,
    calls integer DEFAULT 1 NOT NULL,
    status integer,
    ms integer,
    bytes bigint,
    address text DEFAULT ''::text NOT NULL
)
PARTITION BY RANGE (at);

ALTER TABLE ONLY public.api_usage_logs FORCE ROW LEVEL SECURITY;


--
-- Name: api_usage_logs_2026_10; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.api_usage_logs_2026_10 (
    at timestamp with time zone CONSTRAINT api_usage_logs_at_not_null NOT NULL,
    request_id text CONSTRAINT api_usage_logs_request_id_not_null NOT NULL,
    key_id bigint CONSTRAINT api_usage_logs_key_id_not_null NOT NULL,
    business text,
    route text CONSTRAINT api_usage_logs_route_not_null NOT NULL,
    allowed boolean CONSTRAINT api_usage_logs_allowed_not_null NOT NULL,
    calls integer DEFAULT 1 CONSTRAINT api_usage_logs_calls_not_null NOT NULL,
    status integer,
    ms integer,
    bytes bigint,
    address text DEFAULT ''::text CONSTRAINT api_usage_logs_address_not_null NOT NULL
);

ALTER TABLE ONLY public.api_usage_logs_2026_10 FORCE ROW LEVEL SECURITY;


--
-- Name: api_usage_logs_2026_11; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.api_usage_logs_2026_11 (
    at timestamp with time zone CONSTRAINT api_usage_logs_at_not_null NOT NULL,
    request_id text CONSTRAINT api_usage_logs_request_id_not_null NOT NULL,
    key_id bigint CONSTRAINT api_usage_logs_key_id_not_null NOT NULL,
    business text,
    route text CONSTRAINT api_usage_logs_route_not_null NOT NULL,
    allowed boolean CONSTRAINT api_usage_logs_allowed_not_null NOT NULL,
    calls integer DEFAULT 1 CONSTRAINT api_usage_logs_calls_not_null NOT NULL,
    status integer,
    ms integer,
    bytes bigint,
    address text DEFAULT ''::text CONSTRAINT api_usage_logs_address_not_null NOT NULL
);

ALTER TABLE ONLY public.api_usage_logs_2026_11 FORCE ROW LEVEL SECURITY;


--
-- Name: api_usage_logs_2026_12; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.api_usage_logs_2026_12 (
    at timestamp with time zone CONSTRAINT api_usage_logs_at_not_null NOT NULL,
    request_id text CONSTRAINT api_usage_logs_request_id_not_null NOT NULL,
    key_id bigint CONSTRAINT api_usage_logs_key_id_not_null NOT NULL,
    business text,
    route text CONSTRAINT api_usage_logs_route_not_null NOT NULL,
    allowed boolean CONSTRAINT api_usage_logs_allowed_not_null NOT NULL,
    calls integer DEFAULT 1 CONSTRAINT api_usage_logs_calls_not_null NOT NULL,
    status integer,
    ms integer,
    bytes bigint,
    address text DEFAULT ''::text CONSTRAINT api_usage_logs_address_not_null NOT NULL
);

ALTER TABLE ONLY public.api_usage_logs_2026_12 FORCE ROW LEVEL SECURITY;


--
-- Name: api_usage_logs_2027_01; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.api_usage_logs_2027_01 (
    at timestamp with time zone CONSTRAINT api_usage_logs_at_not_null NOT NULL,
    request_id text CONSTRAINT api_usage_logs_request_id_not_null NOT NULL,
    key_id bigint CONSTRAINT api_usage_logs_key_id_not_null NOT NULL,
    business text,
    route text CONSTRAINT api_usage_logs_route_not_null NOT NULL,
    allowed boolean CONSTRAINT api_usage_logs_allowed_not_null NOT NULL,
    calls integer DEFAULT 1 CONSTRAINT api_usage_logs_calls_not_null NOT NULL,
    status integer,
    ms integer,
    bytes bigint,
    address text DEFAULT ''::text CONSTRAINT api_usage_logs_address_not_null NOT NULL
);

ALTER TABLE ONLY public.api_usage_logs_2027_01 FORCE ROW LEVEL SECURITY;


--
-- Name: backup_audit_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.backup_audit ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.backup_audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: backup_copies; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.backup_copies (
    backup_id text NOT NULL,
    store text NOT NULL,
    catalog text NOT NULL,
    status text NOT NULL,
    at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    bytes bigint,
    sha256 text,
    verification_level integer,
    verified_at timestamp with time zone,
    error_message text,
    owner_host text,
    owner_pid integer,
    owner_started double precision,
    business text,
    purpose text DEFAULT 'backup'::text NOT NULL,
    verification_passed boolean,
    CONSTRAINT backup_copies_status_check CHECK ((status = ANY (ARRAY['copying'::text, 'good'::text, 'failed'::text, 'deleted'::text])))
);

ALTER TABLE ONLY public.backup_copies FORCE ROW LEVEL SECURITY;


--
-- Name: backup_ledger_version; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.backup_ledger_version (
    version_num character varying(32) NOT NULL
);


--
-- Name: backup_logs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.backup_logs (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    file_name text,
    file_path text,
    file_size_bytes bigint,
    record_count bigint,
    status text NOT NULL,
    error_message text,
    created_at timestamp with time zone NOT NULL,
    backup_id text NOT NULL,
    catalog text NOT NULL,
    business text,
    kind text NOT NULL,
    type text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    actor text CONSTRAINT backup_logs_created_by_not_null NOT NULL,
    late boolean DEFAULT false NOT NULL,
    partition_date date NOT NULL,
    tables_wanted jsonb DEFAULT '[]'::jsonb NOT NULL,
    run_id text,
    owner_host text,
    owner_pid integer,
    owner_started double precision,
    heartbeat_at timestamp with time zone,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    snapshot_at timestamp with time zone,
    table_counts jsonb DEFAULT '{}'::jsonb NOT NULL,
    sha256 text,
    consistent boolean,
    warnings jsonb DEFAULT '[]'::jsonb NOT NULL,
    verification_level integer,
    verified_at timestamp with time zone,
    held_until timestamp with time zone,
    held_reason text,
    held_actor text,
    expires_at timestamp with time zone,
    table_bytes jsonb DEFAULT '{}'::jsonb NOT NULL,
    due_at timestamp with time zone,
    manifest_sha256 text,
    seal_key text,
    purpose text DEFAULT 'backup'::text NOT NULL,
    verification_passed boolean,
    goes_on_from text,
    CONSTRAINT backup_logs_status_check CHECK ((status = ANY (ARRAY['expected'::text, 'running'::text, 'success'::text, 'success_with_warnings'::text, 'failed'::text, 'missed'::text, 'canceled'::text, 'expired'::text, 'deleted'::text])))
);

ALTER TABLE ONLY public.backup_logs FORCE ROW LEVEL SECURITY;


--
-- Name: backup_readings; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.backup_readings (
    id bigint NOT NULL,
    backup_id text NOT NULL,
    work text NOT NULL,
    actor text CONSTRAINT backup_readings_reader_not_null NOT NULL,
    owner_host text NOT NULL,
    owner_pid integer NOT NULL,
    owner_started double precision NOT NULL,
    began_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.backup_readings FORCE ROW LEVEL SECURITY;


--
-- Name: backup_readings_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.backup_readings ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.backup_readings_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: business_misses; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.business_misses (
    tick_id bigint NOT NULL,
    business text NOT NULL,
    catalog text NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL,
    CONSTRAINT business_misses_outcome_check CHECK ((outcome = ANY (ARRAY['failed'::text, 'skipped'::text])))
);

ALTER TABLE ONLY public.business_misses FORCE ROW LEVEL SECURITY;


--
-- Name: business_ticks; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.business_ticks (
    id bigint NOT NULL,
    catalog text NOT NULL,
    scheduled_at timestamp with time zone NOT NULL,
    status text NOT NULL,
    by_hand boolean DEFAULT false NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    snapshot_at timestamp with time zone,
    missed_until timestamp with time zone,
    run_id text,
    due integer DEFAULT 0 NOT NULL,
    changed integer DEFAULT 0 NOT NULL,
    unchanged integer DEFAULT 0 NOT NULL,
    failed integer DEFAULT 0 NOT NULL,
    skipped integer DEFAULT 0 NOT NULL,
    fulls integer DEFAULT 0 NOT NULL,
    missed_count integer DEFAULT 0 NOT NULL,
    rows bigint DEFAULT 0 NOT NULL,
    bytes bigint DEFAULT 0 NOT NULL,
    lag_s double precision,
    left_out jsonb DEFAULT '[]'::jsonb NOT NULL,
    message text DEFAULT ''::text NOT NULL,
    CONSTRAINT business_ticks_status_check CHECK ((status = ANY (ARRAY['running'::text, 'success'::text, 'partial'::text, 'failed'::text, 'skipped'::text, 'missed'::text])))
);

ALTER TABLE ONLY public.business_ticks FORCE ROW LEVEL SECURITY;


--
-- Name: businesses; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.businesses (
    id bigint NOT NULL,
    catalog text NOT NULL,
    business text NOT NULL,
    name text NOT NULL,
    status text NOT NULL,
    registered_at timestamp with time zone NOT NULL,
    plan text,
    price numeric(14,2),
    currency text,
    period text,
    payment_status text DEFAULT 'none'::text NOT NULL,
    next_payment_date date,
    billing_day smallint,
    credit numeric(14,2) DEFAULT 0 NOT NULL,
    quota_bytes bigint,
    updated_at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    CONSTRAINT businesses_amounts_check CHECK (((price > (0)::numeric) AND (credit >= (0)::numeric) AND (quota_bytes > 0))),
    CONSTRAINT businesses_payment_status_check CHECK ((payment_status = ANY (ARRAY['none'::text, 'unpaid'::text, 'paid'::text]))),
    CONSTRAINT businesses_plan_check CHECK ((num_nonnulls(plan, price, currency, period, next_payment_date, billing_day) = ANY (ARRAY[0, 6]))),
    CONSTRAINT businesses_status_check CHECK ((status = ANY (ARRAY['active'::text, 'inactive'::text, 'gone'::text])))
);

ALTER TABLE ONLY public.businesses FORCE ROW LEVEL SECURITY;


--
-- Name: own_business_ticks; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.own_business_ticks WITH (security_barrier='true') AS
 SELECT id,
    catalog,
    scheduled_at,
        CASE status
            WHEN 'partial'::text THEN 'success'::text
            ELSE status
        END AS status,
    false AS by_hand,
    started_at,
    finished_at,
    snapshot_at,
    missed_until,
    NULL::text AS run_id,
    0 AS due,
    0 AS changed,
    0 AS unchanged,
    0 AS failed,
    0 AS skipped,
    0 AS fulls,
    missed_count,
    (0)::bigint AS rows,
    (0)::bigint AS bytes,
    lag_s,
    ( SELECT COALESCE(jsonb_agg(each.value), '[]'::jsonb) AS "coalesce"
           FROM jsonb_array_elements_text(t.left_out) each(value)
          WHERE (each.value = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text)))) AS left_out,
        CASE
            WHEN (status = 'missed'::text) THEN message
            WHEN (status = ANY (ARRAY['failed'::text, 'skipped'::text])) THEN 'The whole tick was not done.'::text
            ELSE ''::text
        END AS message
   FROM public.business_ticks t
  WHERE ((COALESCE(current_setting('backup.businesses'::text, true), ''::text) <> ''::text) AND (NOT by_hand) AND (EXISTS ( SELECT
           FROM public.businesses b
          WHERE ((b.catalog = t.catalog) AND (b.business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text)))))));


--
-- Name: backup_records; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.backup_records WITH (security_invoker='true') AS
 SELECT id,
    backup_id,
    catalog,
    business AS business_id,
        CASE
            WHEN (type = 'manual'::text) THEN 'manual'::text
            ELSE kind
        END AS backup_type,
    status,
    file_path,
    file_size_bytes,
    record_count,
    snapshot_at,
    created_at,
    finished_at,
    error_message,
    COALESCE(( SELECT t.snapshot_at
           FROM public.business_ticks t
          WHERE ((l.type = 'automatic'::text) AND (t.catalog = l.catalog) AND (NOT t.by_hand) AND (t.status = ANY (ARRAY['success'::text, 'partial'::text])) AND (t.snapshot_at > l.snapshot_at) AND (t.snapshot_at < COALESCE(( SELECT min(n.snapshot_at) AS min
                   FROM public.backup_logs n
                  WHERE ((n.catalog = l.catalog) AND (n.business = l.business) AND (n.purpose = 'backup'::text) AND (n.type = 'automatic'::text) AND (n.snapshot_at > l.snapshot_at))), 'infinity'::timestamp with time zone)) AND (NOT (t.left_out @> to_jsonb(l.business))) AND (NOT (EXISTS ( SELECT
                   FROM public.business_misses m
                  WHERE ((m.tick_id = t.id) AND (m.business = l.business))))))
          ORDER BY t.snapshot_at DESC
         LIMIT 1), ( SELECT t.snapshot_at
           FROM public.own_business_ticks t
          WHERE ((l.type = 'automatic'::text) AND (t.catalog = l.catalog) AND (NOT t.by_hand) AND (t.status = ANY (ARRAY['success'::text, 'partial'::text])) AND (t.snapshot_at > l.snapshot_at) AND (t.snapshot_at < COALESCE(( SELECT min(n.snapshot_at) AS min
                   FROM public.backup_logs n
                  WHERE ((n.catalog = l.catalog) AND (n.business = l.business) AND (n.purpose = 'backup'::text) AND (n.type = 'automatic'::text) AND (n.snapshot_at > l.snapshot_at))), 'infinity'::timestamp with time zone)) AND (NOT (t.left_out @> to_jsonb(l.business))) AND (NOT (EXISTS ( SELECT
                   FROM public.business_misses m
                  WHERE ((m.tick_id = t.id) AND (m.business = l.business))))))
          ORDER BY t.snapshot_at DESC
         LIMIT 1), snapshot_at) AS confirmed_until
   FROM public.backup_logs l
  WHERE ((business IS NOT NULL) AND (purpose = 'backup'::text));


--
-- Name: backup_shapes; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.backup_shapes (
    backup_id text NOT NULL,
    shape jsonb NOT NULL
);

ALTER TABLE ONLY public.backup_shapes FORCE ROW LEVEL SECURITY;


--
-- Name: backup_tallies; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.backup_tallies (
    scope text CONSTRAINT backup_tallies_catalog_not_null NOT NULL,
    ended_as text NOT NULL,
    attempts bigint NOT NULL
);

ALTER TABLE ONLY public.backup_tallies FORCE ROW LEVEL SECURITY;


--
-- Name: business_features; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.business_features (
    catalog text NOT NULL,
    business text NOT NULL,
    feature text NOT NULL,
    enabled boolean NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    actor text NOT NULL
);

ALTER TABLE ONLY public.business_features FORCE ROW LEVEL SECURITY;


--
-- Name: business_history; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.business_history (
    id bigint NOT NULL,
    catalog text NOT NULL,
    business text NOT NULL,
    at timestamp with time zone NOT NULL,
    status text NOT NULL,
    plan text,
    price numeric(14,2),
    currency text,
    period text,
    next_payment_date date
);

ALTER TABLE ONLY public.business_history FORCE ROW LEVEL SECURITY;


--
-- Name: business_history_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.business_history ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.business_history_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: business_ticks_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.business_ticks ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.business_ticks_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: businesses_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.businesses ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.businesses_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: console_sessions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.console_sessions (
    id bigint NOT NULL,
    token_sha256 text NOT NULL,
    user_id bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    password_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    address text DEFAULT ''::text NOT NULL,
    agent text DEFAULT ''::text NOT NULL,
    factors text DEFAULT 'password'::text NOT NULL,
    ended_at timestamp with time zone,
    ended_why text
);

ALTER TABLE ONLY public.console_sessions FORCE ROW LEVEL SECURITY;


--
-- Name: console_sessions_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.console_sessions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.console_sessions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: dagster_outbox; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.dagster_outbox (
    id bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    catalog text NOT NULL,
    asset text NOT NULL,
    message text NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    sent_at timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    last_error text
);

ALTER TABLE ONLY public.dagster_outbox FORCE ROW LEVEL SECURITY;


--
-- Name: dagster_outbox_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.dagster_outbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.dagster_outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: download_links; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.download_links (
    id bigint NOT NULL,
    token_sha256 text NOT NULL,
    backup_id text NOT NULL,
    catalog text NOT NULL,
    business text,
    purpose text DEFAULT 'backup'::text NOT NULL,
    rendering text NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    user_id bigint NOT NULL,
    actor text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    used_at timestamp with time zone,
    uses integer DEFAULT 0 NOT NULL
);

ALTER TABLE ONLY public.download_links FORCE ROW LEVEL SECURITY;


--
-- Name: download_links_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.download_links ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.download_links_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: due_accounts; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.due_accounts (
    catalog text NOT NULL,
    accounted_until timestamp with time zone
);

ALTER TABLE ONLY public.due_accounts FORCE ROW LEVEL SECURITY;


--
-- Name: leases; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.leases (
    name text NOT NULL,
    token bigint NOT NULL,
    holder text NOT NULL,
    actor text CONSTRAINT leases_held_by_not_null NOT NULL,
    run_id text,
    owner_host text NOT NULL,
    owner_pid integer NOT NULL,
    owner_started double precision NOT NULL,
    acquired_at timestamp with time zone NOT NULL,
    heartbeat_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    released_at timestamp with time zone
);

ALTER TABLE ONLY public.leases FORCE ROW LEVEL SECURITY;


--
-- Name: login_failures; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.login_failures (
    key text NOT NULL,
    failures integer NOT NULL,
    last_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.login_failures FORCE ROW LEVEL SECURITY;


--
-- Name: one_time_links; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.one_time_links (
    id bigint NOT NULL,
    token_sha256 text NOT NULL,
    purpose text NOT NULL,
    user_id bigint,
    actor text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    CONSTRAINT one_time_links_purpose_check CHECK ((purpose = ANY (ARRAY['first_admin'::text, 'invite'::text])))
);

ALTER TABLE ONLY public.one_time_links FORCE ROW LEVEL SECURITY;


--
-- Name: one_time_links_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.one_time_links ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.one_time_links_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: payment_records; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.payment_records (
    id bigint NOT NULL,
    catalog text NOT NULL,
    business text NOT NULL,
    plan text NOT NULL,
    price numeric(14,2) NOT NULL,
    currency text NOT NULL,
    period text NOT NULL,
    amount numeric(14,2) NOT NULL,
    method text NOT NULL,
    reference text NOT NULL,
    status text NOT NULL,
    periods integer NOT NULL,
    credit_before numeric(14,2) NOT NULL,
    credit_after numeric(14,2) NOT NULL,
    paid_at timestamp with time zone NOT NULL,
    verified_at timestamp with time zone NOT NULL,
    verified_by text NOT NULL,
    next_payment_date date NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    actor text NOT NULL,
    CONSTRAINT payment_records_amounts_check CHECK (((amount > (0)::numeric) AND (price > (0)::numeric) AND (periods > 0))),
    CONSTRAINT payment_records_status_check CHECK ((status = ANY (ARRAY['verified'::text, 'accepted'::text])))
);

ALTER TABLE ONLY public.payment_records FORCE ROW LEVEL SECURITY;


--
-- Name: payment_records_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.payment_records ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.payment_records_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: plans; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.plans (
    name text NOT NULL,
    title text NOT NULL,
    price numeric(14,2) NOT NULL,
    currency text NOT NULL,
    period text NOT NULL,
    offered boolean DEFAULT true NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    CONSTRAINT plans_period_check CHECK ((period = ANY (ARRAY['month'::text, 'quarter'::text, 'half_year'::text, 'year'::text]))),
    CONSTRAINT plans_price_check CHECK ((price > (0)::numeric))
);

ALTER TABLE ONLY public.plans FORCE ROW LEVEL SECURITY;


--
-- Name: realtime_events; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.realtime_events (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    kind text NOT NULL,
    catalog text,
    business text,
    subject text DEFAULT ''::text NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL
);

ALTER TABLE ONLY public.realtime_events FORCE ROW LEVEL SECURITY;


--
-- Name: realtime_events_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.realtime_events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.realtime_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: restore_requests; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.restore_requests (
    id integer NOT NULL,
    backup_id text NOT NULL,
    catalog text NOT NULL,
    tables jsonb DEFAULT '[]'::jsonb NOT NULL,
    mode text NOT NULL,
    into_schema text,
    rename jsonb DEFAULT '{}'::jsonb NOT NULL,
    fill jsonb DEFAULT '{}'::jsonb NOT NULL,
    safety_backup boolean DEFAULT true NOT NULL,
    target text NOT NULL,
    database text NOT NULL,
    actor text CONSTRAINT restore_requests_requested_by_not_null NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    status text NOT NULL,
    decided_actor text,
    decided_at timestamp with time zone,
    decision_reason text,
    run_id text,
    owner_host text,
    owner_pid integer,
    owner_started double precision,
    heartbeat_at timestamp with time zone,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    plan jsonb,
    report jsonb,
    error_message text,
    store text DEFAULT 'first'::text NOT NULL,
    business text,
    purpose text DEFAULT 'backup'::text NOT NULL,
    selection jsonb,
    CONSTRAINT restore_requests_status_check CHECK ((status = ANY (ARRAY['requested'::text, 'approved'::text, 'rejected'::text, 'running'::text, 'done'::text, 'failed'::text, 'canceled'::text])))
);

ALTER TABLE ONLY public.restore_requests FORCE ROW LEVEL SECURITY;


--
-- Name: restore_requests_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.restore_requests ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.restore_requests_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: run_progress; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.run_progress (
    run_id text NOT NULL,
    catalog text NOT NULL,
    business text,
    purpose text DEFAULT 'backup'::text NOT NULL,
    stage text DEFAULT ''::text NOT NULL,
    table_name text DEFAULT ''::text NOT NULL,
    tables_done integer DEFAULT 0 NOT NULL,
    tables_total integer,
    rows bigint DEFAULT 0 NOT NULL,
    estimated_rows bigint,
    bytes bigint DEFAULT 0 NOT NULL,
    total_bytes bigint,
    message text DEFAULT ''::text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone
);

ALTER TABLE ONLY public.run_progress FORCE ROW LEVEL SECURITY;


--
-- Name: run_requests; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.run_requests (
    id uuid NOT NULL,
    catalog text NOT NULL,
    business text,
    purpose text DEFAULT 'backup'::text NOT NULL,
    verb text NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    actor text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    status text NOT NULL,
    run_id text,
    launched_at timestamp with time zone,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    alerted_at timestamp with time zone,
    error_message text,
    command text DEFAULT ''::text NOT NULL,
    result jsonb,
    CONSTRAINT run_requests_status_check CHECK ((status = ANY (ARRAY['requested'::text, 'launched'::text, 'running'::text, 'done'::text, 'failed'::text, 'canceled'::text, 'refused'::text])))
);

ALTER TABLE ONLY public.run_requests FORCE ROW LEVEL SECURITY;


--
-- Name: shards; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.shards (
    work text NOT NULL,
    number integer NOT NULL,
    detail jsonb NOT NULL,
    status text DEFAULT 'waiting'::text NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    owner_host text,
    owner_pid integer,
    owner_started double precision,
    run_id text,
    heartbeat_at timestamp with time zone,
    result jsonb,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT shards_status_check CHECK ((status = ANY (ARRAY['waiting'::text, 'running'::text, 'done'::text])))
);

ALTER TABLE ONLY public.shards FORCE ROW LEVEL SECURITY;


--
-- Name: users; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.users (
    id bigint NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    may_run boolean DEFAULT false NOT NULL,
    may_download boolean DEFAULT false NOT NULL,
    businesses jsonb DEFAULT '[]'::jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    disabled_at timestamp with time zone,
    last_login_at timestamp with time zone,
    password_hash text,
    password_at timestamp with time zone,
    totp_secret text,
    totp_at timestamp with time zone,
    totp_step bigint,
    recovery_codes jsonb DEFAULT '[]'::jsonb NOT NULL,
    oidc_subject text,
    CONSTRAINT users_role_check CHECK ((role = ANY (ARRAY['viewer'::text, 'business_admin'::text, 'admin'::text, 'super_admin'::text])))
);

ALTER TABLE ONLY public.users FORCE ROW LEVEL SECURITY;


--
-- Name: super_admins; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.super_admins WITH (security_invoker='true') AS
 SELECT id,
    name,
    created_at,
    last_login_at,
    disabled_at
   FROM public.users
  WHERE (role = 'super_admin'::text);


--
-- Name: system_settings; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.system_settings (
    key text NOT NULL,
    value jsonb NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    actor text NOT NULL
);

ALTER TABLE ONLY public.system_settings FORCE ROW LEVEL SECURITY;


--
-- Name: users_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.users ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.users_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: webhook_deliveries; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.webhook_deliveries (
    id bigint NOT NULL,
    webhook_id bigint NOT NULL,
    event_id bigint NOT NULL,
    event jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_try_at timestamp with time zone,
    delivered_at timestamp with time zone,
    given_up_at timestamp with time zone,
    status integer,
    last_error text
);

ALTER TABLE ONLY public.webhook_deliveries FORCE ROW LEVEL SECURITY;


--
-- Name: webhook_deliveries_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.webhook_deliveries ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.webhook_deliveries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: webhooks; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.webhooks (
    id bigint NOT NULL,
    name text NOT NULL,
    url text NOT NULL,
    secret text NOT NULL,
    kinds jsonb DEFAULT '[]'::jsonb NOT NULL,
    business text,
    created_at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    last_event bigint DEFAULT '0'::bigint NOT NULL,
    disabled_at timestamp with time zone
);

ALTER TABLE ONLY public.webhooks FORCE ROW LEVEL SECURITY;


--
-- Name: webhooks_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.webhooks ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.webhooks_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: api_usage_logs_2026_10; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_usage_logs ATTACH PARTITION public.api_usage_logs_2026_10 FOR VALUES FROM ('2026-10-01 00:00:00+00') TO ('2026-11-01 00:00:00+00');


--
-- Name: api_usage_logs_2026_11; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_usage_logs ATTACH PARTITION public.api_usage_logs_2026_11 FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-12-01 00:00:00+00');


--
-- Name: api_usage_logs_2026_12; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_usage_logs ATTACH PARTITION public.api_usage_logs_2026_12 FOR VALUES FROM ('2026-12-01 00:00:00+00') TO ('2027-01-01 00:00:00+00');


--
-- Name: api_usage_logs_2027_01; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_usage_logs ATTACH PARTITION public.api_usage_logs_2027_01 FOR VALUES FROM ('2027-01-01 00:00:00+00') TO ('2027-02-01 00:00:00+00');


--
-- Data for Name: alert_outbox; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.alert_outbox OVERRIDING SYSTEM VALUE VALUES (1, '2026-11-30 22:46:09.997333+00', '{"at": "2026-11-30T22:46:09.712856+00:00", "do": "Check host and port, that the server runs and accepts connections, and the network.", "what": "Can not connect to shop at 127.0.0.1:9 as nobody: connection failed: connection to server at \"127.0.0.1\", port 9 failed: Connection refused Is the server running on that host and accepting TCP/IP connections?", "title": "Backup failed: shop for 2026-12-01", "topic": "full", "run_id": "c11f4f26-6b2b-4fb8-a118-f0b72fca83f0", "tables": {}, "catalog": "shop", "run_url": "http://127.0.0.1:3000/runs/c11f4f26-6b2b-4fb8-a118-f0b72fca83f0", "failures": 1, "severity": "failure", "backup_id": "20261130T224609Z-full-4208112f"}', 'json://127.0.0.1:9', 1, '2026-11-30 22:47:10.007208+00', NULL, NULL, 'A Connection error occurred sending JSON notification to 127.0.0.1. Socket Exception: HTTPConnectionPool(host=''127.0.0.1'', port=9): Max retries exceeded with url: /*** (Caused by NewConnectionError("HTTPConnection(host=''127.0.0.1'', port=9): Failed to establish a new connection: [Errno 111] Connection refused"))', NULL);
INSERT INTO public.alert_outbox OVERRIDING SYSTEM VALUE VALUES (2, '2026-11-30 22:46:16.780205+00', '{"at": "2026-11-30T22:46:16.686111+00:00", "do": "Look at its plan, and approve or reject it: `backup-pipeline restores show 3`.", "what": "root asks to restore orders of backup 20261130T224552Z-full-4b533f25 into shop (replace). Reason: asked. Nothing was touched.", "title": "A restore waits for approval: shop into shop (request 3)", "topic": "", "run_id": null, "tables": {}, "catalog": "shop", "run_url": null, "failures": 1, "severity": "warning", "backup_id": "20261130T224552Z-full-4b533f25"}', 'log', 1, '2026-11-30 22:46:16.780205+00', NULL, '2026-11-30 22:46:16.785357+00', NULL, NULL);


--
-- Data for Name: alert_threads; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.alert_threads VALUES ('shop', 'selective', NULL, 0, 0, NULL, true);
INSERT INTO public.alert_threads VALUES ('shop', 'copy', NULL, 0, 0, NULL, true);
INSERT INTO public.alert_threads VALUES ('vault', 'copy', NULL, 0, 0, NULL, true);
INSERT INTO public.alert_threads VALUES ('vault', 'full', NULL, 0, 0, NULL, true);
INSERT INTO public.alert_threads VALUES ('shop', 'full', '2026-11-30 22:46:09.988886+00', 1, 1, '2026-11-30 22:46:09.988886+00', true);
INSERT INTO public.alert_threads VALUES ('shop_before_restore', 'copy', NULL, 0, 0, NULL, true);
INSERT INTO public.alert_threads VALUES ('shop_before_restore', 'selective', NULL, 0, 0, NULL, true);
INSERT INTO public.alert_threads VALUES ('retail', 'businesses', NULL, 0, 0, NULL, true);


--
-- Data for Name: analytics_cache; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: api_answers; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: api_keys; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: api_usage_hours; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: api_usage_logs_2026_10; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: api_usage_logs_2026_11; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: api_usage_logs_2026_12; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: api_usage_logs_2027_01; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: backup_audit; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (1, '2026-11-30 22:45:19.571594+00', 'root', 'backup', '20261130T224519Z-full-d8109ee1', '{"reason": "plain"}', NULL, NULL, NULL, '', 'c9b3013a9b96787440409bbe83aa72f29b669f6619b016e694c8d6d0e5fdc4b3');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (2, '2026-11-30 22:45:21.811614+00', 'root', 'backup ended', '20261130T224519Z-full-d8109ee1', '{"rows": 163, "status": "success"}', NULL, NULL, NULL, 'c9b3013a9b96787440409bbe83aa72f29b669f6619b016e694c8d6d0e5fdc4b3', '69ec7fbac069c35e45a5eddbb039f5ecfa9c7b605588967f6a7208ed24d3c1aa');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (3, '2026-11-30 22:45:28.185126+00', 'root', 'verify', '20261130T224519Z-full-d8109ee1', '{"level": 3, "reached": "level 3 (references)", "findings": []}', NULL, NULL, NULL, '69ec7fbac069c35e45a5eddbb039f5ecfa9c7b605588967f6a7208ed24d3c1aa', '39dad11b8e135f9c7148481393e433c5b9acef5c1f8f5c1235f479d23d1258b2');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (4, '2026-11-30 22:45:36.677988+00', 'root', 'backup', '20261130T224536Z-selective-b3bb8a12', '{"reason": "of two tables"}', NULL, NULL, NULL, '39dad11b8e135f9c7148481393e433c5b9acef5c1f8f5c1235f479d23d1258b2', '743486f2fb8eb1cfcc008ae09b86d551fbcec662d03c626b7b19b76c14dcf1ed');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (5, '2026-11-30 22:45:39.190402+00', 'root', 'copy', '20261130T224536Z-selective-b3bb8a12', '{"bytes": 25130, "store": "file:///var/lib/earlier/second", "status": "good"}', NULL, NULL, NULL, '743486f2fb8eb1cfcc008ae09b86d551fbcec662d03c626b7b19b76c14dcf1ed', '8f72320c9e74fbd27c3c2f4ce4f5eaec6229b6e76c89e93fda5c7f88e5d5af65');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (6, '2026-11-30 22:45:39.259131+00', 'root', 'backup ended', '20261130T224536Z-selective-b3bb8a12', '{"rows": 42, "status": "success"}', NULL, NULL, NULL, '8f72320c9e74fbd27c3c2f4ce4f5eaec6229b6e76c89e93fda5c7f88e5d5af65', '14c26f38a0141dbae5d8ccd4ab076a34fad05d752b7522e0cc934d02ec0da804');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (7, '2026-11-30 22:45:43.942013+00', 'root', 'hold', '20261130T224536Z-selective-b3bb8a12', '{"until": "2099-01-01T18:00:00+00:00", "reason": "kept for the audit"}', NULL, NULL, NULL, '14c26f38a0141dbae5d8ccd4ab076a34fad05d752b7522e0cc934d02ec0da804', 'bb64356da24514e3af9d25879df5606c8c3370fa23c9358fa07d65b27074cdd2');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (8, '2026-11-30 22:45:52.525888+00', 'root', 'backup', '20261130T224552Z-full-4b533f25', '{"reason": "sealed and copied"}', NULL, NULL, NULL, 'bb64356da24514e3af9d25879df5606c8c3370fa23c9358fa07d65b27074cdd2', '0d6b17c6d008fd6d6107080e03c22a000cc4275ee294fe104c4a96bc762df14f');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (9, '2026-11-30 22:45:54.594534+00', 'root', 'copy', '20261130T224552Z-full-4b533f25', '{"bytes": 33867, "store": "file:///var/lib/earlier/second", "status": "good"}', NULL, NULL, NULL, '0d6b17c6d008fd6d6107080e03c22a000cc4275ee294fe104c4a96bc762df14f', '1d58673e963c848d84c7708e60ae892a51417005e1779ff737c67b5bb18d6ee3');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (10, '2026-11-30 22:45:54.61415+00', 'root', 'backup ended', '20261130T224552Z-full-4b533f25', '{"rows": 163, "status": "success"}', NULL, NULL, NULL, '1d58673e963c848d84c7708e60ae892a51417005e1779ff737c67b5bb18d6ee3', '30ff412566306cf905502cec6c4b26c8b6a6bf696cb36f95f0e5a326c9c46a19');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (11, '2026-11-30 22:45:58.505784+00', 'root', 'drill', '20261130T224552Z-full-4b533f25', '{"rows": 163, "passed": true, "report": {"rows": 163, "bytes": 19542, "stale": null, "passed": true, "server": "PostgreSQL 18 in /usr/lib/postgresql/18/bin, as this user, all other files and the network closed to it", "stages": {"fetch": 0.013, "export": 0.235, "server": 0.793, "verify": 0.135, "compare": 0.029, "inspect": 0.046, "restore": 0.32}, "tables": [{"name": "areas", "rows": 2, "sheet": "bytes", "parquet": "bytes", "remarks": [], "seconds": {"fetch": 0.001, "export": 0.014, "compare": 0.0, "restore": 0.005}, "findings": [], "restored": true, "rows_again": 2}, {"name": "customers", "rows": 40, "sheet": "bytes", "parquet": "fingerprint", "remarks": [{"about": "customers", "message": "its Parquet files were compared in any order: national_id is masked in the backup."}, {"about": "customers", "message": "not compared, because the backup does not have their values: national_id."}], "seconds": {"fetch": 0.004, "export": 0.023, "compare": 0.021, "restore": 0.176}, "findings": [], "restored": true, "rows_again": 40}, {"name": "orders", "rows": 121, "sheet": "bytes", "parquet": "bytes", "remarks": [], "seconds": {"fetch": 0.002, "export": 0.024, "compare": 0.0, "restore": 0.002}, "findings": [], "restored": true, "rows_again": 121}], "catalog": "shop", "inserts": [{"drawn": ["3"], "table": "public.areas", "columns": ["id"], "not_tried": ""}, {"drawn": ["41"], "table": "public.customers", "columns": ["id"], "not_tried": ""}], "objects": [{"kind": "tables", "valid": 4, "wanted": 4}, {"kind": "sequences", "valid": 2, "wanted": 2}, {"kind": "keys and other constraints", "valid": 3, "wanted": 3}, {"kind": "foreign keys", "valid": 2, "wanted": 2}], "remarks": [{"about": "the whole", "message": "What is made belongs to role drill: owners and privileges (GRANT) are not in a backup."}, {"about": "customers", "message": "its Parquet files were compared in any order: national_id is masked in the backup."}, {"about": "customers", "message": "not compared, because the backup does not have their values: national_id."}], "seconds": 1.63, "findings": [], "injected": null, "verified": "level 3 (references)", "backup_id": "20261130T224552Z-full-4b533f25", "snapshot_at": "2026-11-30T22:45:52.652651+00:00", "bytes_to_fetch": 10032, "server_version": "18.4", "predicted_restore_seconds": 0.3}, "seconds": 1.6, "findings": [], "verified": "level 3 (references)", "predicted_restore_seconds": 0.3}', NULL, NULL, NULL, '30ff412566306cf905502cec6c4b26c8b6a6bf696cb36f95f0e5a326c9c46a19', '880abcf427c5caf70062a2b988f4e3eee26890986f639c1eabf782f12a2864db');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (12, '2026-11-30 22:46:02.670159+00', 'root', 'backup', '20261130T224602Z-full-3d66e78e', '{"reason": "encrypted and sealed"}', NULL, NULL, NULL, '880abcf427c5caf70062a2b988f4e3eee26890986f639c1eabf782f12a2864db', 'ded5d394deb0dc251e31a57159b769799e482063adc3d5f8f6ec4af97d7781e9');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (13, '2026-11-30 22:46:03.498402+00', 'root', 'key used', '20261130T224602Z-full-3d66e78e', '{"identity": "age1qlcns28wuj87dnvextuajpn84mr03cyh5ugs43h2lkyx2sek84xqfuekd0"}', NULL, NULL, NULL, 'ded5d394deb0dc251e31a57159b769799e482063adc3d5f8f6ec4af97d7781e9', 'a0eb62a05b28547ceec1d775746aaa23ef165cc2e0c271b14724dc527d8d1743');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (14, '2026-11-30 22:46:03.51657+00', 'root', 'copy', '20261130T224602Z-full-3d66e78e', '{"bytes": 75919, "store": "file:///var/lib/earlier/second", "status": "good"}', NULL, NULL, NULL, 'a0eb62a05b28547ceec1d775746aaa23ef165cc2e0c271b14724dc527d8d1743', '1df9d919231ed5337c49574746d62079875652552b0f910cd427983474d5d091');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (15, '2026-11-30 22:46:03.55011+00', 'root', 'backup ended', '20261130T224602Z-full-3d66e78e', '{"rows": 165, "status": "success"}', NULL, NULL, NULL, '1df9d919231ed5337c49574746d62079875652552b0f910cd427983474d5d091', 'cb86f04df7dd32694b81d0beca421aff5c3e572eb188adcb5429abfd2978f51e');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (16, '2026-11-30 22:46:03.682624+00', 'root', 'key used', '20261130T224602Z-full-3d66e78e', '{"identity": "age1qlcns28wuj87dnvextuajpn84mr03cyh5ugs43h2lkyx2sek84xqfuekd0"}', NULL, NULL, NULL, 'cb86f04df7dd32694b81d0beca421aff5c3e572eb188adcb5429abfd2978f51e', '1c5ca4432e02b90e4946b9ca7a7e55283abd6407b8c8366c72925599f92a7f22');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (17, '2026-11-30 22:46:05.726769+00', 'root', 'key used', '20261130T224602Z-full-3d66e78e', '{"identity": "age1qlcns28wuj87dnvextuajpn84mr03cyh5ugs43h2lkyx2sek84xqfuekd0"}', NULL, NULL, NULL, '1c5ca4432e02b90e4946b9ca7a7e55283abd6407b8c8366c72925599f92a7f22', '9ede4dec84b9d4432b2590ef40a62ebf07ed6a9a8454e2f59c32ca43eab44094');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (18, '2026-11-30 22:46:05.893206+00', 'root', 'verify', '20261130T224602Z-full-3d66e78e', '{"level": 3, "reached": "level 3 (references)", "findings": []}', NULL, NULL, NULL, '9ede4dec84b9d4432b2590ef40a62ebf07ed6a9a8454e2f59c32ca43eab44094', '5030e4c3460a2721e08e850f2a16f2323584df363b8a9d45698393644d9a075b');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (19, '2026-11-30 22:46:09.712856+00', 'root', 'backup', '20261130T224609Z-full-4208112f', '{"reason": ""}', NULL, NULL, NULL, '5030e4c3460a2721e08e850f2a16f2323584df363b8a9d45698393644d9a075b', '3e2604e8863b41bfbd71e7ec5d7a53bca58d2a9047a76152b7068e5dad8b7cd9');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (20, '2026-11-30 22:46:09.766744+00', 'root', 'backup ended', '20261130T224609Z-full-4208112f', '{"error": "Can not connect to shop at 127.0.0.1:9 as nobody: connection failed: connection to server at \"127.0.0.1\", port 9 failed: Connection refused Is the server running on that host and accepting TCP/IP connections?", "status": "failed"}', NULL, NULL, NULL, '3e2604e8863b41bfbd71e7ec5d7a53bca58d2a9047a76152b7068e5dad8b7cd9', '4f45fefff570b0cbd0b6374abea0c33799b2dc5ca0791d6302077369f8c96e03');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (21, '2026-11-30 22:46:10.011186+00', 'backup_pipeline', 'alert', '20261130T224609Z-full-4208112f', '{"error": "A Connection error occurred sending JSON notification to 127.0.0.1. Socket Exception: HTTPConnectionPool(host=''127.0.0.1'', port=9): Max retries exceeded with url: /*** (Caused by NewConnectionError(\"HTTPConnection(host=''127.0.0.1'', port=9): Failed to establish a new connection: [Errno 111] Connection refused\"))", "title": "Backup failed: shop for 2026-12-01", "channel": "json://127.0.0.1:9"}', NULL, NULL, NULL, '4f45fefff570b0cbd0b6374abea0c33799b2dc5ca0791d6302077369f8c96e03', '720c9d3a436134d0810bcfc23b2c9851c7d2411512b7fe9111ad73cc66313d9a');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (22, '2026-11-30 22:46:12.332435+00', 'root', 'restore requested', '20261130T224552Z-full-4b533f25', '{"mode": "new", "store": "first", "reason": "a rehearsal", "target": "postgresql://postgres@127.0.0.1:34195/scratch", "request": 1}', NULL, NULL, NULL, '720c9d3a436134d0810bcfc23b2c9851c7d2411512b7fe9111ad73cc66313d9a', '9391bb459d010a009e51678a6731f71eec60d079d8d852ceba4bef39c112f0e2');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (23, '2026-11-30 22:46:12.408071+00', 'root', 'restore started', '20261130T224552Z-full-4b533f25', '{"target": "postgresql://postgres@127.0.0.1:34195/scratch", "request": 1}', NULL, NULL, NULL, '9391bb459d010a009e51678a6731f71eec60d079d8d852ceba4bef39c112f0e2', '8e39e8ee5fbdf666b3e238db8502fe74f24a9e31cf6b0d089f8ddbc9d24d7143');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (24, '2026-11-30 22:46:12.683485+00', 'root', 'restore done', '20261130T224552Z-full-4b533f25', '{"target": "postgresql://postgres@127.0.0.1:34195/scratch", "request": 1, "seconds": 0.3}', NULL, NULL, NULL, '8e39e8ee5fbdf666b3e238db8502fe74f24a9e31cf6b0d089f8ddbc9d24d7143', '938d153027367c1891919030405938c58629114bfff8ef11e78a6e2296289dad');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (25, '2026-11-30 22:46:14.219458+00', 'root', 'restore requested', '20261130T224552Z-full-4b533f25', '{"mode": "upsert", "store": "first", "reason": "a wrong UPDATE", "tables": ["customers"], "target": "postgresql://postgres@127.0.0.1:34195/shop", "request": 2}', NULL, NULL, NULL, '938d153027367c1891919030405938c58629114bfff8ef11e78a6e2296289dad', '8f47c6b38a2380a0c4a89b1ab9b4593e3f5ce388d679582ac8678a9b64492cd6');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (26, '2026-11-30 22:46:14.285145+00', 'root', 'restore started', '20261130T224552Z-full-4b533f25', '{"target": "postgresql://postgres@127.0.0.1:34195/shop", "request": 2}', NULL, NULL, NULL, '8f47c6b38a2380a0c4a89b1ab9b4593e3f5ce388d679582ac8678a9b64492cd6', 'db6e6975dcd9b015e537d7cfc19f1be573e463f3568e9c6d3955eb39221d6485');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (27, '2026-11-30 22:46:14.545968+00', 'root', 'backup', '20261130T224614Z-selective-d3c9045a', '{"reason": "before restore 2"}', NULL, NULL, NULL, 'db6e6975dcd9b015e537d7cfc19f1be573e463f3568e9c6d3955eb39221d6485', '8255430c5cbfcb6102b80695e060ffd64039f0a1baa977ccc4e7d4e40dd77cb8');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (28, '2026-11-30 22:46:14.846224+00', 'root', 'copy', '20261130T224614Z-selective-d3c9045a', '{"bytes": 22936, "store": "file:///var/lib/earlier/second", "status": "good"}', NULL, NULL, NULL, '8255430c5cbfcb6102b80695e060ffd64039f0a1baa977ccc4e7d4e40dd77cb8', '1ee597ec77859fe94cc7f9748accbe643a8cbbf55ad08b45f321559eab949e83');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (29, '2026-11-30 22:46:14.862073+00', 'root', 'backup ended', '20261130T224614Z-selective-d3c9045a', '{"rows": 40, "status": "success"}', NULL, NULL, NULL, '1ee597ec77859fe94cc7f9748accbe643a8cbbf55ad08b45f321559eab949e83', '8833854ea825432903fe7f647762d3fe62577c8b7a483cb1ba457529b1f3a895');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (30, '2026-11-30 22:46:14.900041+00', 'root', 'restore done', '20261130T224552Z-full-4b533f25', '{"target": "postgresql://postgres@127.0.0.1:34195/shop", "request": 2, "seconds": 0.6, "safety_backup": "20261130T224614Z-selective-d3c9045a"}', NULL, NULL, NULL, '8833854ea825432903fe7f647762d3fe62577c8b7a483cb1ba457529b1f3a895', '8dbbddcefbb354e99d74fce98f8f6e56ab11397a4bd5c18d8fce64eafc44a10d');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (31, '2026-11-30 22:46:16.696724+00', 'root', 'restore requested', '20261130T224552Z-full-4b533f25', '{"mode": "replace", "store": "first", "reason": "asked", "tables": ["orders"], "target": "postgresql://postgres@127.0.0.1:34195/shop", "request": 3}', NULL, NULL, NULL, '8dbbddcefbb354e99d74fce98f8f6e56ab11397a4bd5c18d8fce64eafc44a10d', '873a5ab05f6758e0ea12e8fa3d92a1c958a2c940a15c2dcd462cd04c2ffc9a8a');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (32, '2026-11-30 22:46:16.790239+00', 'backup_pipeline', 'alert', '20261130T224552Z-full-4b533f25', '{"error": null, "title": "A restore waits for approval: shop into shop (request 3)", "channel": "log"}', NULL, NULL, NULL, '873a5ab05f6758e0ea12e8fa3d92a1c958a2c940a15c2dcd462cd04c2ffc9a8a', '7dd11bd39d791ef8bc7664e001cbed8afcf1eee8be7fc830df2bfd24fb0d4ee4');


--
-- Data for Name: backup_copies; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_copies VALUES ('20261130T224536Z-selective-b3bb8a12', 'file:///var/lib/earlier/second', 'shop', 'good', '2026-11-30 22:45:39.094828+00', '2026-11-30 22:45:39.166512+00', 25130, 'f0c0146b903f2b383f10c020dc7d13304596b80cb4475694f1103b7f359eccae', 1, '2026-11-30 22:45:39.166512+00', NULL, 'earlier', 18508, 1796078731.48, NULL, 'backup', true);
INSERT INTO public.backup_copies VALUES ('20261130T224552Z-full-4b533f25', 'file:///var/lib/earlier/second', 'shop', 'good', '2026-11-30 22:45:54.579817+00', '2026-11-30 22:45:54.59182+00', 33867, 'fd2311d5eb786144867dce32d47842b1662172277be0d406e0e11097fd96cbd0', 1, '2026-11-30 22:45:54.59182+00', NULL, 'earlier', 19304, 1796078744, NULL, 'backup', true);
INSERT INTO public.backup_copies VALUES ('20261130T224602Z-full-3d66e78e', 'file:///var/lib/earlier/second', 'vault', 'good', '2026-11-30 22:46:03.497824+00', '2026-11-30 22:46:03.51424+00', 75919, '5b52292be952a4731b120ed42ccd05a135414edc01fac9e4535f3433ef9547e4', 1, '2026-11-30 22:46:03.51424+00', NULL, 'earlier', 20172, 1796078759.48, NULL, 'backup', true);
INSERT INTO public.backup_copies VALUES ('20261130T224614Z-selective-d3c9045a', 'file:///var/lib/earlier/second', 'shop', 'good', '2026-11-30 22:46:14.832681+00', '2026-11-30 22:46:14.843355+00', 22936, 'a9272c682f0ddd42395b678e11b24859df539edb911b6a152df37dd8637df1e4', 1, '2026-11-30 22:46:14.843355+00', NULL, 'earlier', 20696, 1796078772.37, NULL, 'safety', true);


--
-- Data for Name: backup_ledger_version; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_ledger_version VALUES ('r0023');


--
-- Data for Name: backup_logs; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_logs VALUES ('04e9782b-4781-5267-b90b-0503e1033323', 'full_backup_2026-12-01_04-46.zip', 'vault/backups/backup_date=2026-12-01/20261130T224602Z-full-3d66e78e/full_backup_2026-12-01_04-46.zip', 48881, 165, 'success', NULL, '2026-11-30 22:46:02.670159+00', '20261130T224602Z-full-3d66e78e', 'vault', NULL, 'full', 'manual', 'encrypted and sealed', 'root', false, '2026-12-01', '["areas", "customers", "orders", "events"]', '5f9bdbb8-9b35-4f50-a68b-73082c4f98fa', 'earlier', 20172, 1796078759.48, '2026-11-30 22:46:03.364367+00', '2026-11-30 22:46:02.670159+00', '2026-11-30 22:46:03.529959+00', '2026-11-30 22:46:02.71675+00', '{"areas": 2, "events": 2, "orders": 121, "customers": 40}', '5b52292be952a4731b120ed42ccd05a135414edc01fac9e4535f3433ef9547e4', true, '[]', 3, '2026-11-30 22:46:05.893206+00', NULL, NULL, NULL, NULL, '{"areas": 1096, "events": 1240, "orders": 6518, "customers": 12119}', NULL, '6d2028bc4823d5f8285fd4c675f464ca10e16d102e9dd39559b9e312bafebef6', '44da7a3a293edde8', 'backup', true, NULL);
INSERT INTO public.backup_logs VALUES ('65ca6193-87bf-5ffa-bca2-859dd28eeca6', 'full_backup_2026-12-01_04-45.zip', 'shop/backups/backup_date=2026-12-01/20261130T224519Z-full-d8109ee1/full_backup_2026-12-01_04-45.zip', 19449, 163, 'success', NULL, '2026-11-30 22:45:19.571594+00', '20261130T224519Z-full-d8109ee1', 'shop', NULL, 'full', 'manual', 'plain', 'root', false, '2026-12-01', '["areas", "customers", "orders"]', '45fa23d0-c9c9-4e88-92f1-77e80e49372c', 'earlier', 9229, 1796078712.78, '2026-11-30 22:45:21.237017+00', '2026-11-30 22:45:19.571594+00', '2026-11-30 22:45:21.718886+00', '2026-11-30 22:45:19.686447+00', '{"areas": 2, "orders": 121, "customers": 40}', '88621449c70773ef2ae1772f1b28eb6b676fa455287064048817a46f063a8ca5', true, '[]', 3, '2026-11-30 22:45:28.185126+00', NULL, NULL, NULL, NULL, '{"areas": 1096, "orders": 6518, "customers": 8664}', NULL, '6b79f9915c0c60a673d4d9f669699d62a257d94202719ba8fb0dc3db177986e1', NULL, 'backup', true, NULL);
INSERT INTO public.backup_logs VALUES ('a2d166df-9c65-5336-bd30-c2e2cb726541', 'selective_backup_2026-12-01_04-45.zip', 'shop/backups/backup_date=2026-12-01/20261130T224536Z-selective-b3bb8a12/selective_backup_2026-12-01_04-45.zip', 14837, 42, 'success', NULL, '2026-11-30 22:45:36.677988+00', '20261130T224536Z-selective-b3bb8a12', 'shop', NULL, 'selective', 'manual', 'of two tables', 'root', false, '2026-12-01', '["areas", "customers"]', 'b2e82ac7-072d-4e69-a293-294040bf74db', 'earlier', 18508, 1796078731.48, '2026-11-30 22:45:36.793337+00', '2026-11-30 22:45:36.677988+00', '2026-11-30 22:45:39.210256+00', '2026-11-30 22:45:36.872642+00', '{"areas": 2, "customers": 40}', 'f0c0146b903f2b383f10c020dc7d13304596b80cb4475694f1103b7f359eccae', true, '[]', 1, '2026-11-30 22:45:39.094277+00', '2099-01-01 18:00:00+00', 'kept for the audit', 'root', NULL, '{"areas": 1096, "customers": 8664}', NULL, '56261f8f88bfa0aed261e0de2d728f465acc8725c3e96f0a1600f55b5df4c6f2', '44da7a3a293edde8', 'backup', true, NULL);
INSERT INTO public.backup_logs VALUES ('7b47543f-d84e-5a15-9f61-6c6327c9e798', 'incremental_backup_2026-12-01_04-46.zip', 'retail/businesses/b/backups/backup_date=2026-12-01/20261130T224620Z-incremental-ff9a7c34/incremental_backup_2026-12-01_04-46.zip', 6654, 1, 'success', NULL, '2026-11-30 22:46:20.780132+00', '20261130T224620Z-incremental-ff9a7c34', 'retail', 'b', 'incremental', 'automatic', '', 'root', false, '2026-12-01', '["sales"]', NULL, NULL, NULL, NULL, NULL, '2026-11-30 22:46:20.780132+00', '2026-11-30 22:46:20.804867+00', '2026-11-30 22:46:20.478864+00', '{"sales": 1}', 'a1a10d1a95499a00e5147c44e3411f965fcebc01e01b169291479a9a0637d278', true, '[]', 1, '2026-11-30 22:46:20.804867+00', NULL, NULL, NULL, '2026-12-02 22:46:20.478864+00', '{"sales": 1663}', NULL, 'b7e727720e13d4c43c68b2055051e1684032897f1e4300769c1228f676a268d2', NULL, 'backup', true, '20261130T224618Z-full-003d6973');
INSERT INTO public.backup_logs VALUES ('b11ac2f2-f31a-55bf-a5a2-38a7e362c128', NULL, NULL, NULL, NULL, 'failed', 'Can not connect to shop at 127.0.0.1:9 as nobody: connection failed: connection to server at "127.0.0.1", port 9 failed: Connection refused Is the server running on that host and accepting TCP/IP connections?
What to do: Check host and port, that the server runs and accepts connections, and the network.', '2026-11-30 22:46:09.712856+00', '20261130T224609Z-full-4208112f', 'shop', NULL, 'full', 'manual', '', 'root', false, '2026-12-01', '["areas", "customers", "orders"]', 'c11f4f26-6b2b-4fb8-a118-f0b72fca83f0', 'earlier', 20538, 1796078766.81, '2026-11-30 22:46:09.732469+00', '2026-11-30 22:46:09.712856+00', '2026-11-30 22:46:09.754387+00', NULL, '{}', NULL, NULL, '[]', NULL, NULL, NULL, NULL, NULL, NULL, '{}', NULL, NULL, NULL, 'backup', NULL, NULL);
INSERT INTO public.backup_logs VALUES ('242c13e5-5fc9-5e52-98fc-1a448add8570', 'full_backup_2026-12-01_04-45.zip', 'shop/backups/backup_date=2026-12-01/20261130T224552Z-full-4b533f25/full_backup_2026-12-01_04-45.zip', 19542, 163, 'success', NULL, '2026-11-30 22:45:52.525888+00', '20261130T224552Z-full-4b533f25', 'shop', NULL, 'full', 'manual', 'sealed and copied', 'root', false, '2026-12-01', '["areas", "customers", "orders"]', 'ccdc27b2-be69-40d0-953e-3b3a1e422a44', 'earlier', 19304, 1796078744, '2026-11-30 22:45:54.440846+00', '2026-11-30 22:45:52.525888+00', '2026-11-30 22:45:54.603617+00', '2026-11-30 22:45:52.652651+00', '{"areas": 2, "orders": 121, "customers": 40}', 'fd2311d5eb786144867dce32d47842b1662172277be0d406e0e11097fd96cbd0', true, '[]', 4, '2026-11-30 22:45:58.520409+00', NULL, NULL, NULL, NULL, '{"areas": 1096, "orders": 6518, "customers": 8664}', NULL, 'c50538e56559d828603227d182a52306873d39f0654d7e80dba7b04eedd0644b', '44da7a3a293edde8', 'backup', true, NULL);
INSERT INTO public.backup_logs VALUES ('d25548e1-33de-592a-ba70-70a1d5df204c', 'full_backup_2026-12-01_04-46.zip', 'retail/businesses/a/backups/backup_date=2026-12-01/20261130T224622Z-full-846e638a/full_backup_2026-12-01_04-46.zip', 8877, 21, 'success', NULL, '2026-11-30 22:46:22.684926+00', '20261130T224622Z-full-846e638a', 'retail', 'a', 'full', 'manual', 'by hand', 'root', false, '2026-12-01', '["sellers", "sales"]', NULL, NULL, NULL, NULL, NULL, '2026-11-30 22:46:22.684926+00', '2026-11-30 22:46:22.70874+00', '2026-11-30 22:46:22.336387+00', '{"sales": 20, "sellers": 1}', '6a5fece0a950c588cc4e3363d6ed8bfe0e94d42b41cc46d332028fef25c2087d', true, '[]', 1, '2026-11-30 22:46:22.70874+00', NULL, NULL, NULL, NULL, '{"sales": 2369, "sellers": 1003}', NULL, '9c16df4db275589f5e5ec0d9dfe49c65ad36e3b7f2c6a23b58b470469169e776', NULL, 'backup', true, NULL);
INSERT INTO public.backup_logs VALUES ('e91fba21-9167-5fbb-8971-d6d7091d8c9f', NULL, NULL, NULL, NULL, 'expected', NULL, '2026-12-01 18:00:00+00', '20261201T180000Z-full-98010851', 'shop', NULL, 'full', 'automatic', 'due by the schedule 0 0 * * *', 'schedule', false, '2026-12-02', '[]', NULL, NULL, NULL, NULL, NULL, '2026-12-01 18:00:00+00', NULL, NULL, '{}', NULL, NULL, '[]', NULL, NULL, NULL, NULL, NULL, NULL, '{}', '2026-12-01 18:00:00+00', NULL, NULL, 'backup', NULL, NULL);
INSERT INTO public.backup_logs VALUES ('d762e954-56a6-5e75-b359-1a383f7038c5', 'selective_backup_2026-12-01_04-46.zip', 'shop_before_restore/backups/backup_date=2026-12-01/20261130T224614Z-selective-d3c9045a/selective_backup_2026-12-01_04-46.zip', 14669, 40, 'success', NULL, '2026-11-30 22:46:14.545968+00', '20261130T224614Z-selective-d3c9045a', 'shop', NULL, 'selective', 'manual', 'before restore 2', 'root', false, '2026-12-01', '["customers"]', NULL, 'earlier', 20696, 1796078772.37, '2026-11-30 22:46:14.57026+00', '2026-11-30 22:46:14.545968+00', '2026-11-30 22:46:14.853076+00', '2026-11-30 22:46:14.596935+00', '{"customers": 40}', 'a9272c682f0ddd42395b678e11b24859df539edb911b6a152df37dd8637df1e4', true, '[]', 1, '2026-11-30 22:46:14.832201+00', NULL, NULL, NULL, NULL, '{"customers": 13045}', NULL, '7493e4c80cb7adb1387ace94c82b26b3af1ada3dca58187b92dd9a598c07e4f4', '44da7a3a293edde8', 'safety', true, NULL);
INSERT INTO public.backup_logs VALUES ('9be0268d-1f3e-5e9b-bb54-4fa7103961f1', 'full_backup_2026-12-01_04-46.zip', 'retail/businesses/a/backups/backup_date=2026-12-01/20261130T224618Z-full-63237e30/full_backup_2026-12-01_04-46.zip', 8871, 21, 'success', NULL, '2026-11-30 22:46:18.872928+00', '20261130T224618Z-full-63237e30', 'retail', 'a', 'full', 'automatic', '', 'root', false, '2026-12-01', '["sellers", "sales"]', NULL, NULL, NULL, NULL, NULL, '2026-11-30 22:46:18.872928+00', '2026-11-30 22:46:18.914126+00', '2026-11-30 22:46:18.498324+00', '{"sales": 20, "sellers": 1}', '5832164d93edfef19fee94e717d8b1efffc319104fe407712fa40a0d8bc9400c', true, '[]', 1, '2026-11-30 22:46:18.914126+00', NULL, NULL, NULL, '2026-12-02 22:46:18.498324+00', '{"sales": 2369, "sellers": 1003}', NULL, 'ee6a1b3599a7becbf919fe450cdb7e36521c3b203440ea1026be04fb034ef865', NULL, 'backup', true, NULL);
INSERT INTO public.backup_logs VALUES ('04cbddda-17be-536d-ada9-45d4e542dc08', 'full_backup_2026-12-01_04-46.zip', 'retail/businesses/b/backups/backup_date=2026-12-01/20261130T224618Z-full-003d6973/full_backup_2026-12-01_04-46.zip', 8767, 11, 'success', NULL, '2026-11-30 22:46:18.873299+00', '20261130T224618Z-full-003d6973', 'retail', 'b', 'full', 'automatic', '', 'root', false, '2026-12-01', '["sellers", "sales"]', NULL, NULL, NULL, NULL, NULL, '2026-11-30 22:46:18.873299+00', '2026-11-30 22:46:18.912686+00', '2026-11-30 22:46:18.498324+00', '{"sales": 10, "sellers": 1}', 'b63520663957c0aa42ceddc7516e70d7c261c5e5909ee8467cd5801204386804', true, '[]', 1, '2026-11-30 22:46:18.912686+00', NULL, NULL, NULL, '2026-12-02 22:46:18.498324+00', '{"sales": 2092, "sellers": 1003}', NULL, 'e176e718adc2141d7299747a2e46f16791a86d64d97ef85e5a84f80dd60aee4b', NULL, 'backup', true, NULL);


--
-- Data for Name: backup_readings; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: backup_shapes; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_shapes VALUES ('20261130T224519Z-full-d8109ee1', '{"tables": {"areas": {"rows": 2, "unique": true, "columns": {"id": "integer", "name": "text"}, "excluded": [], "relation": "public.areas", "anomalies": [], "validation": null, "communication": []}, "orders": {"rows": 121, "unique": true, "columns": {"shop": "text", "tags": "text[]", "total": "numeric", "number": "integer", "customer_id": "integer"}, "excluded": [], "relation": "public.orders", "anomalies": [], "validation": null, "communication": []}, "customers": {"rows": 40, "unique": true, "columns": {"id": "integer", "born": "date", "code": "uuid", "name": "text", "note": "jsonb", "seen": "timestamp with time zone", "size": "public.size", "photo": "bytea", "area_id": "integer", "balance": "numeric(10,2)", "national_id": "text"}, "excluded": [], "relation": "public.customers", "anomalies": [], "validation": null, "communication": []}}, "orphans": {}, "excluded": ["public.events"], "unlisted": [], "anomalies": [], "backup_id": "20261130T224519Z-full-d8109ee1", "bundle_sha256": "88621449c70773ef2ae1772f1b28eb6b676fa455287064048817a46f063a8ca5"}');
INSERT INTO public.backup_shapes VALUES ('20261130T224536Z-selective-b3bb8a12', '{"tables": {"areas": {"rows": 2, "unique": true, "columns": {"id": "integer", "name": "text"}, "excluded": [], "relation": "public.areas", "anomalies": [], "validation": null, "communication": []}, "customers": {"rows": 40, "unique": true, "columns": {"id": "integer", "born": "date", "code": "uuid", "name": "text", "note": "jsonb", "seen": "timestamp with time zone", "size": "public.size", "photo": "bytea", "area_id": "integer", "balance": "numeric(10,2)", "national_id": "text"}, "excluded": [], "relation": "public.customers", "anomalies": [], "validation": null, "communication": []}}, "orphans": {}, "excluded": ["public.events"], "unlisted": [], "anomalies": [], "backup_id": "20261130T224536Z-selective-b3bb8a12", "bundle_sha256": "f0c0146b903f2b383f10c020dc7d13304596b80cb4475694f1103b7f359eccae"}');
INSERT INTO public.backup_shapes VALUES ('20261130T224552Z-full-4b533f25', '{"tables": {"areas": {"rows": 2, "unique": true, "columns": {"id": "integer", "name": "text"}, "excluded": [], "relation": "public.areas", "anomalies": [], "validation": null, "communication": []}, "orders": {"rows": 121, "unique": true, "columns": {"shop": "text", "tags": "text[]", "total": "numeric", "number": "integer", "customer_id": "integer"}, "excluded": [], "relation": "public.orders", "anomalies": [], "validation": null, "communication": []}, "customers": {"rows": 40, "unique": true, "columns": {"id": "integer", "born": "date", "code": "uuid", "name": "text", "note": "jsonb", "seen": "timestamp with time zone", "size": "public.size", "photo": "bytea", "area_id": "integer", "balance": "numeric(10,2)", "national_id": "text"}, "excluded": [], "relation": "public.customers", "anomalies": [], "validation": null, "communication": []}}, "orphans": {}, "excluded": ["public.events"], "unlisted": [], "anomalies": [], "backup_id": "20261130T224552Z-full-4b533f25", "bundle_sha256": "fd2311d5eb786144867dce32d47842b1662172277be0d406e0e11097fd96cbd0"}');
INSERT INTO public.backup_shapes VALUES ('20261130T224602Z-full-3d66e78e', '{"tables": {"areas": {"rows": 2, "unique": true, "columns": {"id": "integer", "name": "text"}, "excluded": [], "relation": "public.areas", "anomalies": [], "validation": null, "communication": []}, "events": {"rows": 2, "unique": true, "columns": {"what": "text", "happened": "timestamp with time zone"}, "excluded": [], "relation": "public.events", "anomalies": [], "validation": null, "communication": []}, "orders": {"rows": 121, "unique": true, "columns": {"shop": "text", "tags": "text[]", "total": "numeric", "number": "integer", "customer_id": "integer"}, "excluded": [], "relation": "public.orders", "anomalies": [], "validation": null, "communication": []}, "customers": {"rows": 40, "unique": true, "columns": {"id": "integer", "born": "date", "code": "uuid", "name": "text", "note": "jsonb", "seen": "timestamp with time zone", "size": "public.size", "photo": "bytea", "area_id": "integer", "balance": "numeric(10,2)"}, "excluded": ["national_id"], "relation": "public.customers", "anomalies": [], "validation": null, "communication": []}}, "orphans": {}, "excluded": [], "unlisted": [], "anomalies": [], "backup_id": "20261130T224602Z-full-3d66e78e", "bundle_sha256": "5b52292be952a4731b120ed42ccd05a135414edc01fac9e4535f3433ef9547e4"}');
INSERT INTO public.backup_shapes VALUES ('20261130T224614Z-selective-d3c9045a', '{"tables": {"customers": {"rows": 40, "unique": true, "columns": {"id": "integer", "born": "date", "code": "uuid", "name": "text", "note": "jsonb", "seen": "timestamp with time zone", "size": "public.size", "photo": "bytea", "area_id": "integer", "balance": "numeric(10,2)", "national_id": "text"}, "excluded": [], "relation": "public.customers", "anomalies": [], "validation": null, "communication": []}}, "orphans": {}, "excluded": ["public.areas", "public.orders", "public.events"], "unlisted": [], "anomalies": [], "backup_id": "20261130T224614Z-selective-d3c9045a", "bundle_sha256": "a9272c682f0ddd42395b678e11b24859df539edb911b6a152df37dd8637df1e4"}');


--
-- Data for Name: backup_tallies; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_tallies VALUES ('shop', 'success', 3);
INSERT INTO public.backup_tallies VALUES ('vault', 'success', 1);
INSERT INTO public.backup_tallies VALUES ('shop', 'failed', 1);
INSERT INTO public.backup_tallies VALUES ('shop_before_restore', 'success', 1);
INSERT INTO public.backup_tallies VALUES ('retail/businesses/b', 'success', 2);
INSERT INTO public.backup_tallies VALUES ('retail/businesses/a', 'success', 2);


--
-- Data for Name: business_features; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: business_history; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.business_history OVERRIDING SYSTEM VALUE VALUES (1, 'retail', 'a', '2026-11-30 22:46:18.766247+00', 'active', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.business_history OVERRIDING SYSTEM VALUE VALUES (2, 'retail', 'b', '2026-11-30 22:46:18.766247+00', 'active', NULL, NULL, NULL, NULL, NULL);


--
-- Data for Name: business_misses; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: business_ticks; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.business_ticks OVERRIDING SYSTEM VALUE VALUES (1, 'retail', '2026-11-30 22:45:00+00', 'success', false, '2026-11-30 22:46:18.389817+00', '2026-11-30 22:46:18.955774+00', '2026-11-30 22:46:18.498324+00', NULL, NULL, 2, 2, 0, 0, 0, 2, 0, 32, 17638, 78.498324, '[]', '');
INSERT INTO public.business_ticks OVERRIDING SYSTEM VALUE VALUES (2, 'retail', '2026-11-30 22:45:00+00', 'success', false, '2026-11-30 22:46:20.400326+00', '2026-11-30 22:46:20.844725+00', '2026-11-30 22:46:20.478864+00', NULL, NULL, 2, 1, 1, 0, 0, 0, 0, 1, 6654, 80.478864, '[]', '');
INSERT INTO public.business_ticks OVERRIDING SYSTEM VALUE VALUES (3, 'retail', '2026-11-30 22:46:22.254972+00', 'success', true, '2026-11-30 22:46:22.254972+00', '2026-11-30 22:46:22.740445+00', '2026-11-30 22:46:22.336387+00', NULL, NULL, 1, 1, 0, 0, 0, 1, 0, 21, 8877, 0.081415, '["b"]', '');


--
-- Data for Name: businesses; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.businesses OVERRIDING SYSTEM VALUE VALUES (1, 'retail', 'a', 'Anika', 'active', '2026-11-30 22:46:18.766247+00', NULL, NULL, NULL, NULL, 'none', NULL, NULL, 0.00, NULL, '2026-11-30 22:46:18.766247+00', 'root');
INSERT INTO public.businesses OVERRIDING SYSTEM VALUE VALUES (2, 'retail', 'b', 'Babul', 'active', '2026-11-30 22:46:18.766247+00', NULL, NULL, NULL, NULL, 'none', NULL, NULL, 0.00, NULL, '2026-11-30 22:46:18.766247+00', 'root');


--
-- Data for Name: console_sessions; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: dagster_outbox; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.dagster_outbox OVERRIDING SYSTEM VALUE VALUES (1, '2026-11-30 22:45:43.949251+00', 'shop', 'shop/bundle', 'Backup 20261130T224536Z-selective-b3bb8a12 is held by root until 2099-01-01 18:00 UTC: kept for the audit.', '{"path": ["shop", "bundle"], "partition": "2026-12-01"}', NULL, 0, NULL);


--
-- Data for Name: download_links; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: due_accounts; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.due_accounts VALUES ('retail', '2026-11-30 22:46:24.184674+00');
INSERT INTO public.due_accounts VALUES ('shop', '2026-11-30 22:46:24.208856+00');
INSERT INTO public.due_accounts VALUES ('vault', '2026-11-30 22:46:24.237779+00');


--
-- Data for Name: leases; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.leases VALUES ('shop_before_restore', 1, '20261130T224614Z-selective-d3c9045a', 'root', NULL, 'earlier', 20696, 1796078772.37, '2026-11-30 22:46:14.560648+00', '2026-11-30 22:46:14.82604+00', '2026-11-30 22:47:44.826041+00', '2026-11-30 22:46:14.858044+00');
INSERT INTO public.leases VALUES ('retail/businesses', 3, 'tick 3', 'root', NULL, 'earlier', 21147, 1796078780.42, '2026-11-30 22:46:22.24524+00', '2026-11-30 22:46:22.248692+00', '2026-11-30 22:47:52.248692+00', '2026-11-30 22:46:22.728673+00');
INSERT INTO public.leases VALUES ('vault', 1, '20261130T224602Z-full-3d66e78e', 'root', '5f9bdbb8-9b35-4f50-a68b-73082c4f98fa', 'earlier', 20172, 1796078759.48, '2026-11-30 22:46:02.672999+00', '2026-11-30 22:46:03.484952+00', '2026-11-30 22:47:33.484952+00', '2026-11-30 22:46:03.530971+00');
INSERT INTO public.leases VALUES ('shop', 4, '20261130T224609Z-full-4208112f', 'root', 'c11f4f26-6b2b-4fb8-a118-f0b72fca83f0', 'earlier', 20538, 1796078766.81, '2026-11-30 22:46:09.720258+00', '2026-11-30 22:46:09.725949+00', '2026-11-30 22:47:39.725949+00', '2026-11-30 22:46:09.759268+00');


--
-- Data for Name: login_failures; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: one_time_links; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: payment_records; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: plans; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: realtime_events; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (1, '2026-11-30 22:45:19.569762+00', 'backup', 'shop', NULL, '20261130T224519Z-full-d8109ee1', '{"kind": "full", "type": "manual", "status": "running"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (2, '2026-11-30 22:45:21.746261+00', 'backup', 'shop', NULL, '20261130T224519Z-full-d8109ee1', '{"kind": "full", "type": "manual", "status": "success", "record_count": 163}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (3, '2026-11-30 22:45:21.74675+00', 'verification', 'shop', NULL, '20261130T224519Z-full-d8109ee1', '{"verification_level": 1, "verification_passed": true}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (4, '2026-11-30 22:45:28.207585+00', 'verification', 'shop', NULL, '20261130T224519Z-full-d8109ee1', '{"verification_level": 3, "verification_passed": true}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (5, '2026-11-30 22:45:36.678106+00', 'backup', 'shop', NULL, '20261130T224536Z-selective-b3bb8a12', '{"kind": "selective", "type": "manual", "status": "running"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (6, '2026-11-30 22:45:39.196999+00', 'backup', 'shop', NULL, '20261130T224536Z-selective-b3bb8a12', '{"kind": "selective", "type": "manual", "status": "success", "record_count": 42}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (7, '2026-11-30 22:45:39.197297+00', 'verification', 'shop', NULL, '20261130T224536Z-selective-b3bb8a12', '{"verification_level": 1, "verification_passed": true}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (8, '2026-11-30 22:45:43.939745+00', 'hold', 'shop', NULL, '20261130T224536Z-selective-b3bb8a12', '{"held_until": "2099-01-01T18:00:00+00:00"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (9, '2026-11-30 22:45:52.521111+00', 'backup', 'shop', NULL, '20261130T224552Z-full-4b533f25', '{"kind": "full", "type": "manual", "status": "running"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (10, '2026-11-30 22:45:54.60484+00', 'backup', 'shop', NULL, '20261130T224552Z-full-4b533f25', '{"kind": "full", "type": "manual", "status": "success", "record_count": 163}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (11, '2026-11-30 22:45:54.605273+00', 'verification', 'shop', NULL, '20261130T224552Z-full-4b533f25', '{"verification_level": 1, "verification_passed": true}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (12, '2026-11-30 22:45:58.515861+00', 'drill', 'shop', NULL, '20261130T224552Z-full-4b533f25', '{"action": "drill"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (13, '2026-11-30 22:45:58.519724+00', 'verification', 'shop', NULL, '20261130T224552Z-full-4b533f25', '{"verification_level": 4, "verification_passed": true}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (14, '2026-11-30 22:46:02.665629+00', 'backup', 'vault', NULL, '20261130T224602Z-full-3d66e78e', '{"kind": "full", "type": "manual", "status": "running"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (15, '2026-11-30 22:46:03.53175+00', 'backup', 'vault', NULL, '20261130T224602Z-full-3d66e78e', '{"kind": "full", "type": "manual", "status": "success", "record_count": 165}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (16, '2026-11-30 22:46:03.53212+00', 'verification', 'vault', NULL, '20261130T224602Z-full-3d66e78e', '{"verification_level": 1, "verification_passed": true}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (17, '2026-11-30 22:46:05.893856+00', 'verification', 'vault', NULL, '20261130T224602Z-full-3d66e78e', '{"verification_level": 3, "verification_passed": true}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (18, '2026-11-30 22:46:09.712695+00', 'backup', 'shop', NULL, '20261130T224609Z-full-4208112f', '{"kind": "full", "type": "manual", "status": "running"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (19, '2026-11-30 22:46:09.759677+00', 'backup', 'shop', NULL, '20261130T224609Z-full-4208112f', '{"kind": "full", "type": "manual", "status": "failed"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (20, '2026-11-30 22:46:09.99107+00', 'alert', 'shop', NULL, 'full', '{"failures": 1, "opened_at": "2026-11-30T22:46:09.988886+00:00"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (21, '2026-11-30 22:46:12.331459+00', 'restore', 'shop', NULL, '1', '{"status": "requested", "target": "postgresql://postgres@127.0.0.1:34195/scratch", "backup_id": "20261130T224552Z-full-4b533f25"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (22, '2026-11-30 22:46:12.407252+00', 'restore', 'shop', NULL, '1', '{"status": "running", "target": "postgresql://postgres@127.0.0.1:34195/scratch", "backup_id": "20261130T224552Z-full-4b533f25"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (23, '2026-11-30 22:46:12.682462+00', 'restore', 'shop', NULL, '1', '{"status": "done", "target": "postgresql://postgres@127.0.0.1:34195/scratch", "backup_id": "20261130T224552Z-full-4b533f25"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (24, '2026-11-30 22:46:14.218366+00', 'restore', 'shop', NULL, '2', '{"status": "requested", "target": "postgresql://postgres@127.0.0.1:34195/shop", "backup_id": "20261130T224552Z-full-4b533f25"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (25, '2026-11-30 22:46:14.284254+00', 'restore', 'shop', NULL, '2', '{"status": "running", "target": "postgresql://postgres@127.0.0.1:34195/shop", "backup_id": "20261130T224552Z-full-4b533f25"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (26, '2026-11-30 22:46:14.551962+00', 'backup', 'shop', NULL, '20261130T224614Z-selective-d3c9045a', '{"kind": "selective", "type": "manual", "status": "running"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (27, '2026-11-30 22:46:14.858536+00', 'backup', 'shop', NULL, '20261130T224614Z-selective-d3c9045a', '{"kind": "selective", "type": "manual", "status": "success", "record_count": 40}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (28, '2026-11-30 22:46:14.858835+00', 'verification', 'shop', NULL, '20261130T224614Z-selective-d3c9045a', '{"verification_level": 1, "verification_passed": true}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (29, '2026-11-30 22:46:14.899098+00', 'restore', 'shop', NULL, '2', '{"status": "done", "target": "postgresql://postgres@127.0.0.1:34195/shop", "backup_id": "20261130T224552Z-full-4b533f25"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (30, '2026-11-30 22:46:16.694812+00', 'restore', 'shop', NULL, '3', '{"status": "requested", "target": "postgresql://postgres@127.0.0.1:34195/shop", "backup_id": "20261130T224552Z-full-4b533f25"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (31, '2026-11-30 22:46:18.758217+00', 'business.registered', 'retail', 'a', 'Anika', '{"status": "active"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (32, '2026-11-30 22:46:18.758438+00', 'business.registered', 'retail', 'b', 'Babul', '{"status": "active"}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (33, '2026-11-30 22:46:18.946585+00', 'tick', 'retail', NULL, '1', '{"due": 2, "failed": 0, "status": "success", "changed": 2, "skipped": 0, "unchanged": 0}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (34, '2026-11-30 22:46:20.8295+00', 'tick', 'retail', NULL, '2', '{"due": 2, "failed": 0, "status": "success", "changed": 1, "skipped": 0, "unchanged": 1}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (35, '2026-11-30 22:46:22.713159+00', 'backup', 'retail', 'a', '20261130T224622Z-full-846e638a', '{"kind": "full", "type": "manual", "status": "success", "record_count": 21}');
INSERT INTO public.realtime_events OVERRIDING SYSTEM VALUE VALUES (36, '2026-11-30 22:46:22.726701+00', 'tick', 'retail', NULL, '3', '{"due": 1, "failed": 0, "status": "success", "changed": 1, "skipped": 0, "unchanged": 0}');


--
-- Data for Name: restore_requests; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.restore_requests OVERRIDING SYSTEM VALUE VALUES (1, '20261130T224552Z-full-4b533f25', 'shop', '[]', 'new', NULL, '{}', '{}', true, 'postgresql://postgres@127.0.0.1:34195/scratch', 'scratch', 'root', 'a rehearsal', '2026-11-30 22:46:12.325883+00', 'done', NULL, NULL, NULL, NULL, 'earlier', 20623, 1796078770.48, '2026-11-30 22:46:12.40997+00', '2026-11-30 22:46:12.404379+00', '2026-11-30 22:46:12.677458+00', '{"bytes": 10032, "broken": [], "digest": "f4561fbc95e0cdc388f0e4bdb30b9d1105eff0d60c89efe1d41255538f2e9348", "tables": [{"key": ["id"], "kept": {}, "name": "areas", "files": [{"path": "parquet/areas/part-00000.parquet", "rows": 2, "bytes": 1055, "sha256": "1cc75dd27f5e5b551d35d01264f38b9743b0ee61693051ca45ee24194157f965"}], "action": "create", "filled": {}, "source": ["public", "areas"], "target": ["public", "areas"], "columns": [{"name": "id", "binary": true, "target": "id", "pg_type": "integer"}, {"name": "name", "binary": true, "target": "name", "pg_type": "text"}], "ignored": {}, "rows_now": null, "triggers": [], "extension": false, "sequences": [{"column": "id", "sequence": ["public", "areas_id_seq"], "is_called": true, "last_value": 2}], "rows_in_backup": 2}, {"key": ["id"], "kept": {"national_id": "masked in the backup; rows that are there keep their value, new rows get NULL"}, "name": "customers", "files": [{"path": "parquet/customers/part-00000.parquet", "rows": 40, "bytes": 6252, "sha256": "58efae20a0dac7a3f57d199adf0b5e2eac7497a28d1b389816e04e39d6176fa9"}], "action": "create", "filled": {}, "source": ["public", "customers"], "target": ["public", "customers"], "columns": [{"name": "id", "binary": true, "target": "id", "pg_type": "integer"}, {"name": "area_id", "binary": true, "target": "area_id", "pg_type": "integer"}, {"name": "name", "binary": true, "target": "name", "pg_type": "text"}, {"name": "balance", "binary": true, "target": "balance", "pg_type": "numeric(10,2)"}, {"name": "size", "binary": false, "target": "size", "pg_type": "public.size"}, {"name": "note", "binary": true, "target": "note", "pg_type": "jsonb"}, {"name": "code", "binary": true, "target": "code", "pg_type": "uuid"}, {"name": "born", "binary": true, "target": "born", "pg_type": "date"}, {"name": "seen", "binary": true, "target": "seen", "pg_type": "timestamp with time zone"}, {"name": "photo", "binary": true, "target": "photo", "pg_type": "bytea"}], "ignored": {"national_id": "masked in the backup: its values are not there"}, "rows_now": null, "triggers": [], "extension": false, "sequences": [{"column": "id", "sequence": ["public", "customers_id_seq"], "is_called": true, "last_value": 40}], "rows_in_backup": 40}, {"key": ["shop", "number"], "kept": {}, "name": "orders", "files": [{"path": "parquet/orders/part-00000.parquet", "rows": 121, "bytes": 2725, "sha256": "7f52a02fb954b8f7d7c913d2f5ab4c7d3d36b68e2485732978c2e3f53dbc6426"}], "action": "create", "filled": {}, "source": ["public", "orders"], "target": ["public", "orders"], "columns": [{"name": "shop", "binary": true, "target": "shop", "pg_type": "text"}, {"name": "number", "binary": true, "target": "number", "pg_type": "integer"}, {"name": "customer_id", "binary": true, "target": "customer_id", "pg_type": "integer"}, {"name": "tags", "binary": false, "target": "tags", "pg_type": "text[]"}, {"name": "total", "binary": false, "target": "total", "pg_type": "numeric"}], "ignored": {}, "rows_now": null, "triggers": [], "extension": false, "sequences": [], "rows_in_backup": 121}], "target": "postgresql://postgres:***@127.0.0.1:34195/scratch", "catalog": "shop", "refused": false, "remarks": [{"do": "Connect as the role that owns the tables, or name it in BACKUP_RESTORE_ROLE.", "table": null, "message": "Role postgres is a superuser: functions of the backup and of the target, in defaults, checks, triggers and indexes, run with all its rights, over the server''s files and programs too.", "severity": "warning"}, {"do": "Make them again, as your application''s set-up does.", "table": null, "message": "What is made belongs to role postgres: owners and privileges (GRANT) are not in a backup.", "severity": "warning"}, {"do": "", "table": null, "message": "PostgreSQL does not tell how much disk is free there; 163 rows come, 10,032 bytes of Parquet.", "severity": "info"}, {"do": "", "table": null, "message": "public.events is made empty: it is excluded from the backup (a log of its own).", "severity": "info"}], "request": {"fill": {}, "mode": "new", "reason": "a rehearsal", "rename": {}, "tables": [], "confirm": null, "backup_id": "20261130T224552Z-full-4b533f25", "into_schema": null, "requested_by": "root"}, "database": "scratch", "left_out": [], "backup_id": "20261130T224552Z-full-4b533f25", "sequences": [], "search_path": "", "snapshot_at": "2026-11-30T22:45:52.652651+00:00", "confirm_name": null, "safety_backup": false, "statements_after": 5, "statements_before": 11}', '{"mode": "new", "notes": [], "tables": [{"name": "areas", "loaded": 2, "target": ["public", "areas"], "deleted": 0, "seconds": 0.005, "updated": 0, "inserted": 2, "unchanged": 0}, {"name": "customers", "loaded": 40, "target": ["public", "customers"], "deleted": 0, "seconds": 0.185, "updated": 0, "inserted": 40, "unchanged": 0}, {"name": "orders", "loaded": 121, "target": ["public", "orders"], "deleted": 0, "seconds": 0.003, "updated": 0, "inserted": 121, "unchanged": 0}], "target": "postgresql://postgres:***@127.0.0.1:34195/scratch", "catalog": "shop", "seconds": 0.267, "database": "scratch", "backup_id": "20261130T224552Z-full-4b533f25", "snapshot_at": "2026-11-30T22:45:52.652651+00:00", "bytes_fetched": 14725, "safety_backup_id": null}', NULL, 'first', NULL, 'backup', NULL);
INSERT INTO public.restore_requests OVERRIDING SYSTEM VALUE VALUES (2, '20261130T224552Z-full-4b533f25', 'shop', '["customers"]', 'upsert', NULL, '{}', '{}', true, 'postgresql://postgres@127.0.0.1:34195/shop', 'shop', 'root', 'a wrong UPDATE', '2026-11-30 22:46:14.213636+00', 'done', NULL, NULL, NULL, NULL, 'earlier', 20696, 1796078772.37, '2026-11-30 22:46:14.287282+00', '2026-11-30 22:46:14.281102+00', '2026-11-30 22:46:14.890663+00', '{"bytes": 6252, "broken": [], "digest": "c15458713b27a701505639dd6b65af824a33502a884a07095f05374510c0e05b", "tables": [{"key": ["id"], "kept": {"national_id": "masked in the backup; rows that are there keep their value, new rows get NULL"}, "name": "customers", "files": [{"path": "parquet/customers/part-00000.parquet", "rows": 40, "bytes": 6252, "sha256": "58efae20a0dac7a3f57d199adf0b5e2eac7497a28d1b389816e04e39d6176fa9"}], "action": "upsert", "filled": {}, "source": ["public", "customers"], "target": ["public", "customers"], "columns": [{"name": "id", "binary": true, "target": "id", "pg_type": "integer"}, {"name": "area_id", "binary": true, "target": "area_id", "pg_type": "integer"}, {"name": "name", "binary": true, "target": "name", "pg_type": "text"}, {"name": "balance", "binary": true, "target": "balance", "pg_type": "numeric(10,2)"}, {"name": "size", "binary": false, "target": "size", "pg_type": "public.size"}, {"name": "note", "binary": true, "target": "note", "pg_type": "jsonb"}, {"name": "code", "binary": true, "target": "code", "pg_type": "uuid"}, {"name": "born", "binary": true, "target": "born", "pg_type": "date"}, {"name": "seen", "binary": true, "target": "seen", "pg_type": "timestamp with time zone"}, {"name": "photo", "binary": true, "target": "photo", "pg_type": "bytea"}], "ignored": {"national_id": "masked in the backup: its values are not there"}, "rows_now": 40, "triggers": [], "extension": false, "sequences": [{"column": "id", "sequence": ["public", "customers_id_seq"], "is_called": true, "last_value": 40}], "rows_in_backup": 40}], "target": "postgresql://postgres:***@127.0.0.1:34195/shop", "catalog": "shop", "refused": false, "remarks": [{"do": "Connect as the role that owns the tables, or name it in BACKUP_RESTORE_ROLE.", "table": null, "message": "Role postgres is a superuser: functions of the backup and of the target, in defaults, checks, triggers and indexes, run with all its rights, over the server''s files and programs too.", "severity": "warning"}, {"do": "", "table": null, "message": "PostgreSQL does not tell how much disk is free there; 40 rows come, 6,252 bytes of Parquet.", "severity": "info"}, {"do": "A row that refers to a missing one stops the restore; add --table for public.areas then.", "table": "customers", "message": "public.customers refers to public.areas, which is not restored: its rows must be there.", "severity": "info"}, {"do": "If one of its rows would lose what it refers to, the restore stops and changes nothing.", "table": "customers", "message": "public.orders refers to public.customers (ON DELETE NO ACTION), and is not restored.", "severity": "info"}], "request": {"fill": {}, "mode": "upsert", "reason": "a wrong UPDATE", "rename": {}, "tables": ["customers"], "confirm": null, "backup_id": "20261130T224552Z-full-4b533f25", "into_schema": null, "requested_by": "root"}, "database": "shop", "left_out": [], "backup_id": "20261130T224552Z-full-4b533f25", "sequences": [], "search_path": "", "snapshot_at": "2026-11-30T22:45:52.652651+00:00", "confirm_name": "shop", "safety_backup": true, "statements_after": 0, "statements_before": 0}', '{"mode": "upsert", "notes": [], "tables": [{"name": "customers", "loaded": 40, "target": ["public", "customers"], "deleted": 0, "seconds": 0.174, "updated": 1, "inserted": 0, "unchanged": 39}], "target": "postgresql://postgres:***@127.0.0.1:34195/shop", "catalog": "shop", "seconds": 0.603, "database": "shop", "backup_id": "20261130T224552Z-full-4b533f25", "snapshot_at": "2026-11-30T22:45:52.652651+00:00", "bytes_fetched": 14725, "safety_backup_id": "20261130T224614Z-selective-d3c9045a"}', NULL, 'first', NULL, 'backup', NULL);
INSERT INTO public.restore_requests OVERRIDING SYSTEM VALUE VALUES (3, '20261130T224552Z-full-4b533f25', 'shop', '["orders"]', 'replace', NULL, '{}', '{}', true, 'postgresql://postgres@127.0.0.1:34195/shop', 'shop', 'root', 'asked', '2026-11-30 22:46:16.686111+00', 'requested', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{"bytes": 2725, "broken": [], "digest": "b7e26808a6661d532b14168fbc2b579beb4d3f48ac673845ae0b57fc84850871", "tables": [{"key": ["shop", "number"], "kept": {}, "name": "orders", "files": [{"path": "parquet/orders/part-00000.parquet", "rows": 121, "bytes": 2725, "sha256": "7f52a02fb954b8f7d7c913d2f5ab4c7d3d36b68e2485732978c2e3f53dbc6426"}], "action": "replace", "filled": {}, "source": ["public", "orders"], "target": ["public", "orders"], "columns": [{"name": "shop", "binary": true, "target": "shop", "pg_type": "text"}, {"name": "number", "binary": true, "target": "number", "pg_type": "integer"}, {"name": "customer_id", "binary": true, "target": "customer_id", "pg_type": "integer"}, {"name": "tags", "binary": false, "target": "tags", "pg_type": "text[]"}, {"name": "total", "binary": false, "target": "total", "pg_type": "numeric"}], "ignored": {}, "rows_now": 121, "triggers": [], "extension": false, "sequences": [], "rows_in_backup": 121}], "target": "postgresql://postgres:***@127.0.0.1:34195/shop", "catalog": "shop", "refused": false, "remarks": [{"do": "Connect as the role that owns the tables, or name it in BACKUP_RESTORE_ROLE.", "table": null, "message": "Role postgres is a superuser: functions of the backup and of the target, in defaults, checks, triggers and indexes, run with all its rights, over the server''s files and programs too.", "severity": "warning"}, {"do": "", "table": null, "message": "PostgreSQL does not tell how much disk is free there; 121 rows come, 2,725 bytes of Parquet.", "severity": "info"}, {"do": "A row that refers to a missing one stops the restore; add --table for public.customers then.", "table": "orders", "message": "public.orders refers to public.customers, which is not restored: its rows must be there.", "severity": "info"}], "request": {"fill": {}, "mode": "replace", "reason": "asked", "rename": {}, "tables": ["orders"], "confirm": null, "backup_id": "20261130T224552Z-full-4b533f25", "into_schema": null, "requested_by": "root"}, "database": "shop", "left_out": [], "backup_id": "20261130T224552Z-full-4b533f25", "sequences": [], "search_path": "", "snapshot_at": "2026-11-30T22:45:52.652651+00:00", "confirm_name": "shop", "safety_backup": true, "statements_after": 0, "statements_before": 0}', NULL, NULL, 'first', NULL, 'backup', NULL);


--
-- Data for Name: run_progress; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.run_progress VALUES ('45fa23d0-c9c9-4e88-92f1-77e80e49372c', 'shop', NULL, 'backup', 'check', '', 0, NULL, 0, NULL, 19449, 19449, '', '2026-11-30 22:45:21.627246+00', '2026-11-30 22:45:22.059831+00', '2026-11-30 22:45:22.059831+00');
INSERT INTO public.run_progress VALUES ('b2e82ac7-072d-4e69-a293-294040bf74db', 'shop', NULL, 'backup', 'copy', '', 0, NULL, 0, NULL, 50260, 14837, '', '2026-11-30 22:45:39.118362+00', '2026-11-30 22:45:39.322255+00', '2026-11-30 22:45:39.322255+00');
INSERT INTO public.run_progress VALUES ('ccdc27b2-be69-40d0-953e-3b3a1e422a44', 'shop', NULL, 'backup', 'copy', '', 0, NULL, 0, NULL, 67734, 19542, '', '2026-11-30 22:45:54.589089+00', '2026-11-30 22:45:54.684561+00', '2026-11-30 22:45:54.684561+00');
INSERT INTO public.run_progress VALUES ('5f9bdbb8-9b35-4f50-a68b-73082c4f98fa', 'vault', NULL, 'backup', 'copy', '', 0, NULL, 0, NULL, 151838, 48881, '', '2026-11-30 22:46:03.509261+00', '2026-11-30 22:46:03.601908+00', '2026-11-30 22:46:03.601908+00');
INSERT INTO public.run_progress VALUES ('c11f4f26-6b2b-4fb8-a118-f0b72fca83f0', 'shop', NULL, 'backup', 'snapshot', '', 0, NULL, 0, NULL, 0, NULL, '', '2026-11-30 22:46:09.751716+00', '2026-11-30 22:46:10.018252+00', '2026-11-30 22:46:10.018252+00');


--
-- Data for Name: run_requests; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: shards; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: system_settings; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: users; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: webhook_deliveries; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: webhooks; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Name: alert_outbox_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.alert_outbox_id_seq', 2, true);


--
-- Name: api_keys_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.api_keys_id_seq', 1, false);


--
-- Name: backup_audit_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.backup_audit_id_seq', 32, true);


--
-- Name: backup_readings_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.backup_readings_id_seq', 3, true);


--
-- Name: business_history_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.business_history_id_seq', 2, true);


--
-- Name: business_ticks_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.business_ticks_id_seq', 3, true);


--
-- Name: businesses_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.businesses_id_seq', 2, true);


--
-- Name: console_sessions_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.console_sessions_id_seq', 1, false);


--
-- Name: dagster_outbox_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.dagster_outbox_id_seq', 1, true);


--
-- Name: download_links_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.download_links_id_seq', 1, false);


--
-- Name: one_time_links_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.one_time_links_id_seq', 1, false);


--
-- Name: payment_records_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.payment_records_id_seq', 1, false);


--
-- Name: realtime_events_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.realtime_events_id_seq', 36, true);


--
-- Name: restore_requests_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.restore_requests_id_seq', 3, true);


--
-- Name: users_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.users_id_seq', 1, false);


--
-- Name: webhook_deliveries_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.webhook_deliveries_id_seq', 1, false);


--
-- Name: webhooks_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.webhooks_id_seq', 1, false);


--
-- Name: alert_outbox alert_outbox_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.alert_outbox
    ADD CONSTRAINT alert_outbox_pkey PRIMARY KEY (id);


--
-- Name: alert_threads alert_threads_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.alert_threads
    ADD CONSTRAINT alert_threads_pkey PRIMARY KEY (scope, topic);


--
-- Name: analytics_cache analytics_cache_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.analytics_cache
    ADD CONSTRAINT analytics_cache_pkey PRIMARY KEY (type, business, range);


--
-- Name: api_answers api_answers_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_answers
    ADD CONSTRAINT api_answers_pkey PRIMARY KEY (key_id, idempotency_key);


--
-- Name: api_keys api_keys_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);


--
-- Name: api_keys api_keys_sha256_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_sha256_key UNIQUE (sha256);


--
-- Name: api_usage_hours api_usage_hours_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_usage_hours
    ADD CONSTRAINT api_usage_hours_pkey PRIMARY KEY (hour, key_id, route);


--
-- Name: backup_audit backup_audit_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup_audit
    ADD CONSTRAINT backup_audit_pkey PRIMARY KEY (id);


--
-- Name: backup_copies backup_copies_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup_copies
    ADD CONSTRAINT backup_copies_pkey PRIMARY KEY (backup_id, store);


--
-- Name: backup_ledger_version backup_ledger_version_pkc; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup_ledger_version
    ADD CONSTRAINT backup_ledger_version_pkc PRIMARY KEY (version_num);


--
-- Name: backup_logs backup_logs_backup_id_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup_logs
    ADD CONSTRAINT backup_logs_backup_id_key UNIQUE (backup_id);


--
-- Name: backup_logs backup_logs_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup_logs
    ADD CONSTRAINT backup_logs_pkey PRIMARY KEY (id);


--
-- Name: backup_readings backup_readings_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup_readings
    ADD CONSTRAINT backup_readings_pkey PRIMARY KEY (id);


--
-- Name: backup_shapes backup_shapes_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup_shapes
    ADD CONSTRAINT backup_shapes_pkey PRIMARY KEY (backup_id);


--
-- Name: backup_tallies backup_tallies_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.backup_tallies
    ADD CONSTRAINT backup_tallies_pkey PRIMARY KEY (scope, ended_as);


--
-- Name: business_features business_features_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.business_features
    ADD CONSTRAINT business_features_pkey PRIMARY KEY (catalog, business, feature);


--
-- Name: business_history business_history_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.business_history
    ADD CONSTRAINT business_history_pkey PRIMARY KEY (id);


--
-- Name: business_misses business_misses_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.business_misses
    ADD CONSTRAINT business_misses_pkey PRIMARY KEY (tick_id, business);


--
-- Name: business_ticks business_ticks_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.business_ticks
    ADD CONSTRAINT business_ticks_pkey PRIMARY KEY (id);


--
-- Name: businesses businesses_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.businesses
    ADD CONSTRAINT businesses_key UNIQUE (catalog, business);


--
-- Name: businesses businesses_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.businesses
    ADD CONSTRAINT businesses_pkey PRIMARY KEY (id);


--
-- Name: console_sessions console_sessions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.console_sessions
    ADD CONSTRAINT console_sessions_pkey PRIMARY KEY (id);


--
-- Name: console_sessions console_sessions_token_sha256_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.console_sessions
    ADD CONSTRAINT console_sessions_token_sha256_key UNIQUE (token_sha256);


--
-- Name: dagster_outbox dagster_outbox_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.dagster_outbox
    ADD CONSTRAINT dagster_outbox_pkey PRIMARY KEY (id);


--
-- Name: download_links download_links_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.download_links
    ADD CONSTRAINT download_links_pkey PRIMARY KEY (id);


--
-- Name: download_links download_links_token_sha256_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.download_links
    ADD CONSTRAINT download_links_token_sha256_key UNIQUE (token_sha256);


--
-- Name: due_accounts due_accounts_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.due_accounts
    ADD CONSTRAINT due_accounts_pkey PRIMARY KEY (catalog);


--
-- Name: leases leases_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (name);


--
-- Name: login_failures login_failures_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.login_failures
    ADD CONSTRAINT login_failures_pkey PRIMARY KEY (key);


--
-- Name: one_time_links one_time_links_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.one_time_links
    ADD CONSTRAINT one_time_links_pkey PRIMARY KEY (id);


--
-- Name: one_time_links one_time_links_token_sha256_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.one_time_links
    ADD CONSTRAINT one_time_links_token_sha256_key UNIQUE (token_sha256);


--
-- Name: payment_records payment_records_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.payment_records
    ADD CONSTRAINT payment_records_pkey PRIMARY KEY (id);


--
-- Name: payment_records payment_records_reference; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.payment_records
    ADD CONSTRAINT payment_records_reference UNIQUE (method, reference);


--
-- Name: plans plans_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.plans
    ADD CONSTRAINT plans_pkey PRIMARY KEY (name);


--
-- Name: realtime_events realtime_events_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.realtime_events
    ADD CONSTRAINT realtime_events_pkey PRIMARY KEY (id);


--
-- Name: restore_requests restore_requests_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.restore_requests
    ADD CONSTRAINT restore_requests_pkey PRIMARY KEY (id);


--
-- Name: run_progress run_progress_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.run_progress
    ADD CONSTRAINT run_progress_pkey PRIMARY KEY (run_id);


--
-- Name: run_requests run_requests_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.run_requests
    ADD CONSTRAINT run_requests_pkey PRIMARY KEY (id);


--
-- Name: shards shards_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shards
    ADD CONSTRAINT shards_pkey PRIMARY KEY (work, number);


--
-- Name: system_settings system_settings_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.system_settings
    ADD CONSTRAINT system_settings_pkey PRIMARY KEY (key);


--
-- Name: users users_oidc_subject_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_oidc_subject_key UNIQUE (oidc_subject);


--
-- Name: users users_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);


--
-- Name: webhook_deliveries webhook_deliveries_once; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhook_deliveries
    ADD CONSTRAINT webhook_deliveries_once UNIQUE (webhook_id, event_id);


--
-- Name: webhook_deliveries webhook_deliveries_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhook_deliveries
    ADD CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id);


--
-- Name: webhooks webhooks_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhooks
    ADD CONSTRAINT webhooks_pkey PRIMARY KEY (id);


--
-- Name: alert_outbox_undelivered; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX alert_outbox_undelivered ON public.alert_outbox USING btree (id) WHERE (delivered_at IS NULL);


--
-- Name: api_answers_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_answers_at ON public.api_answers USING btree (at);


--
-- Name: api_keys_name; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX api_keys_name ON public.api_keys USING btree (lower(name));


--
-- Name: api_usage_logs_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_usage_logs_at ON ONLY public.api_usage_logs USING btree (at, request_id);


--
-- Name: api_usage_logs_2026_10_at_request_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_usage_logs_2026_10_at_request_id_idx ON public.api_usage_logs_2026_10 USING btree (at, request_id);


--
-- Name: api_usage_logs_counted; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_usage_logs_counted ON ONLY public.api_usage_logs USING btree (key_id, at) WHERE allowed;


--
-- Name: api_usage_logs_2026_10_key_id_at_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_usage_logs_2026_10_key_id_at_idx ON public.api_usage_logs_2026_10 USING btree (key_id, at) WHERE allowed;


--
-- Name: api_usage_logs_key; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_usage_logs_key ON ONLY public.api_usage_logs USING btree (key_id, at, request_id);


--
-- Name: api_usage_logs_2026_10_key_id_at_request_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_usage_logs_2026_10_key_id_at_request_id_idx ON public.api_usage_logs_2026_10 USING btree (key_id, at, request_id);


--
-- Name: api_usage_logs_2026_11_at_request_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_usage_logs_2026_11_at_request_id_idx ON public.api_usage_logs_2026_11 USING btree (at, request_id);


--
-- Name: api_usage_logs_2026_11_key_id_at_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_usage_logs_2026_11_key_id_at_idx ON public.api_usage_logs_2026_11 USING btree (key_id, at) WHERE allowed;


--
-- Name: api_usage_logs_2026_11_key_id_at_request_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_usage_logs_2026_11_key_id_at_request_id_idx ON public.api_usage_logs_2026_11 USING btree (key_id, at, request_id);


--
-- Name: api_usage_logs_2026_12_at_request_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_usage_logs_2026_12_at_request_id_idx ON public.api_usage_logs_2026_12 USING btree (at, request_id);


--
-- Name: api_usage_logs_2026_12_key_id_at_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_usage_logs_2026_12_key_id_at_idx ON public.api_usage_logs_2026_12 USING btree (key_id, at) WHERE allowed;


--
-- Name: api_usage_logs_2026_12_key_id_at_request_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_usage_logs_2026_12_key_id_at_request_id_idx ON public.api_usage_logs_2026_12 USING btree (key_id, at, request_id);


--
-- Name: api_usage_logs_2027_01_at_request_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_usage_logs_2027_01_at_request_id_idx ON public.api_usage_logs_2027_01 USING btree (at, request_id);


--
-- Name: api_usage_logs_2027_01_key_id_at_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_usage_logs_2027_01_key_id_at_idx ON public.api_usage_logs_2027_01 USING btree (key_id, at) WHERE allowed;


--
-- Name: api_usage_logs_2027_01_key_id_at_request_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX api_usage_logs_2027_01_key_id_at_request_id_idx ON public.api_usage_logs_2027_01 USING btree (key_id, at, request_id);


--
-- Name: backup_audit_action; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_audit_action ON public.backup_audit USING btree (action, id);


--
-- Name: backup_audit_of_backup; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_audit_of_backup ON public.backup_audit USING btree (backup_id, id);


--
-- Name: backup_copies_catalog; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_copies_catalog ON public.backup_copies USING btree (catalog, backup_id);


--
-- Name: backup_copies_good; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_copies_good ON public.backup_copies USING btree (catalog) WHERE (status = 'good'::text);


--
-- Name: backup_logs_business; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_logs_business ON public.backup_logs USING btree (catalog, business, snapshot_at) WHERE (business IS NOT NULL);


--
-- Name: backup_logs_catalog_newest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_logs_catalog_newest ON public.backup_logs USING btree (catalog, created_at DESC, backup_id DESC);


--
-- Name: backup_logs_day; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_logs_day ON public.backup_logs USING btree (catalog, partition_date);


--
-- Name: backup_logs_drilled; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_logs_drilled ON public.backup_logs USING btree (catalog, verified_at DESC) WHERE (verification_passed AND (verification_level >= 4));


--
-- Name: backup_logs_due; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX backup_logs_due ON public.backup_logs USING btree (catalog, due_at) WHERE (due_at IS NOT NULL);


--
-- Name: backup_logs_expected; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_logs_expected ON public.backup_logs USING btree (catalog) WHERE (status = 'expected'::text);


--
-- Name: backup_logs_good; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_logs_good ON public.backup_logs USING btree (catalog, created_at DESC, backup_id DESC) WHERE (status = ANY (ARRAY['success'::text, 'success_with_warnings'::text]));


--
-- Name: backup_logs_newest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_logs_newest ON public.backup_logs USING btree (created_at DESC, backup_id DESC);


--
-- Name: backup_logs_run; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_logs_run ON public.backup_logs USING btree (run_id);


--
-- Name: backup_logs_running; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_logs_running ON public.backup_logs USING btree (catalog) WHERE (status = 'running'::text);


--
-- Name: backup_readings_of_backup; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_readings_of_backup ON public.backup_readings USING btree (backup_id);


--
-- Name: business_history_of_business; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX business_history_of_business ON public.business_history USING btree (catalog, business, at);


--
-- Name: business_misses_of_business; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX business_misses_of_business ON public.business_misses USING btree (catalog, business, tick_id);


--
-- Name: business_ticks_newest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX business_ticks_newest ON public.business_ticks USING btree (catalog, scheduled_at, id);


--
-- Name: business_ticks_snapshot; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX business_ticks_snapshot ON public.business_ticks USING btree (catalog, snapshot_at);


--
-- Name: console_sessions_of_user; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX console_sessions_of_user ON public.console_sessions USING btree (user_id, id);


--
-- Name: download_links_of_backup; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX download_links_of_backup ON public.download_links USING btree (backup_id, id);


--
-- Name: leases_holder; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX leases_holder ON public.leases USING btree (holder);


--
-- Name: payment_records_of_business; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX payment_records_of_business ON public.payment_records USING btree (catalog, business, id);


--
-- Name: payment_records_paid_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX payment_records_paid_at ON public.payment_records USING btree (paid_at);


--
-- Name: realtime_events_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX realtime_events_at ON public.realtime_events USING btree (at);


--
-- Name: realtime_events_kind; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX realtime_events_kind ON public.realtime_events USING btree (kind, id);


--
-- Name: restore_requests_catalog; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX restore_requests_catalog ON public.restore_requests USING btree (catalog, id);


--
-- Name: restore_requests_of_backup; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX restore_requests_of_backup ON public.restore_requests USING btree (backup_id, id);


--
-- Name: restore_requests_run; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX restore_requests_run ON public.restore_requests USING btree (run_id);


--
-- Name: restore_requests_running; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX restore_requests_running ON public.restore_requests USING btree (id) WHERE (status = 'running'::text);


--
-- Name: run_requests_catalog; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX run_requests_catalog ON public.run_requests USING btree (catalog, created_at DESC);


--
-- Name: run_requests_open; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX run_requests_open ON public.run_requests USING btree (created_at) WHERE (status = ANY (ARRAY['requested'::text, 'launched'::text, 'running'::text]));


--
-- Name: run_requests_run; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX run_requests_run ON public.run_requests USING btree (run_id);


--
-- Name: users_name; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX users_name ON public.users USING btree (lower(name));


--
-- Name: webhook_deliveries_due; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX webhook_deliveries_due ON public.webhook_deliveries USING btree (next_try_at) WHERE (next_try_at IS NOT NULL);


--
-- Name: webhooks_name; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX webhooks_name ON public.webhooks USING btree (lower(name));


--
-- Name: api_usage_logs_2026_10_at_request_id_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.api_usage_logs_at ATTACH PARTITION public.api_usage_logs_2026_10_at_request_id_idx;


--
-- Name: api_usage_logs_2026_10_key_id_at_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.api_usage_logs_counted ATTACH PARTITION public.api_usage_logs_2026_10_key_id_at_idx;


--
-- Name: api_usage_logs_2026_10_key_id_at_request_id_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.api_usage_logs_key ATTACH PARTITION public.api_usage_logs_2026_10_key_id_at_request_id_idx;


--
-- Name: api_usage_logs_2026_11_at_request_id_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.api_usage_logs_at ATTACH PARTITION public.api_usage_logs_2026_11_at_request_id_idx;


--
-- Name: api_usage_logs_2026_11_key_id_at_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.api_usage_logs_counted ATTACH PARTITION public.api_usage_logs_2026_11_key_id_at_idx;


--
-- Name: api_usage_logs_2026_11_key_id_at_request_id_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.api_usage_logs_key ATTACH PARTITION public.api_usage_logs_2026_11_key_id_at_request_id_idx;


--
-- Name: api_usage_logs_2026_12_at_request_id_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.api_usage_logs_at ATTACH PARTITION public.api_usage_logs_2026_12_at_request_id_idx;


--
-- Name: api_usage_logs_2026_12_key_id_at_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.api_usage_logs_counted ATTACH PARTITION public.api_usage_logs_2026_12_key_id_at_idx;


--
-- Name: api_usage_logs_2026_12_key_id_at_request_id_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.api_usage_logs_key ATTACH PARTITION public.api_usage_logs_2026_12_key_id_at_request_id_idx;


--
-- Name: api_usage_logs_2027_01_at_request_id_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.api_usage_logs_at ATTACH PARTITION public.api_usage_logs_2027_01_at_request_id_idx;


--
-- Name: api_usage_logs_2027_01_key_id_at_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.api_usage_logs_counted ATTACH PARTITION public.api_usage_logs_2027_01_key_id_at_idx;


--
-- Name: api_usage_logs_2027_01_key_id_at_request_id_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.api_usage_logs_key ATTACH PARTITION public.api_usage_logs_2027_01_key_id_at_request_id_idx;


--
-- Name: alert_threads alert_threads_alert_event_8; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER alert_threads_alert_event_8 AFTER INSERT ON public.alert_threads DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.opened_at IS NOT NULL)) EXECUTE FUNCTION public.realtime_event('alert', 'topic', 'failures opened_at');


--
-- Name: alert_threads alert_threads_alert_event_9; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER alert_threads_alert_event_9 AFTER UPDATE ON public.alert_threads DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((old.opened_at IS DISTINCT FROM new.opened_at) OR (old.failures IS DISTINCT FROM new.failures))) EXECUTE FUNCTION public.realtime_event('alert', 'topic', 'failures opened_at');


--
-- Name: backup_audit backup_audit_append_only; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER backup_audit_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.backup_audit FOR EACH STATEMENT EXECUTE FUNCTION public.backup_audit_is_append_only();

ALTER TABLE public.backup_audit ENABLE ALWAYS TRIGGER backup_audit_append_only;


--
-- Name: backup_audit backup_audit_chain; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER backup_audit_chain BEFORE INSERT ON public.backup_audit FOR EACH ROW EXECUTE FUNCTION public.backup_audit_chain();

ALTER TABLE public.backup_audit ENABLE ALWAYS TRIGGER backup_audit_chain;


--
-- Name: backup_audit backup_audit_drill_event; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER backup_audit_drill_event AFTER INSERT ON public.backup_audit DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.action ~~ 'drill%'::text)) EXECUTE FUNCTION public.realtime_drill();


--
-- Name: backup_audit backup_audit_in_turn; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER backup_audit_in_turn BEFORE INSERT ON public.backup_audit FOR EACH STATEMENT EXECUTE FUNCTION public.backup_audit_in_turn();

ALTER TABLE public.backup_audit ENABLE ALWAYS TRIGGER backup_audit_in_turn;


--
-- Name: backup_audit backup_audit_money_event_7; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER backup_audit_money_event_7 AFTER INSERT ON public.backup_audit DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.action = ANY (ARRAY['schedule started'::text, 'schedule stopped'::text]))) EXECUTE FUNCTION public.realtime_event('system.status', 'action', 'action detail');


--
-- Name: backup_logs backup_logs_backup_event_0; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER backup_logs_backup_event_0 AFTER INSERT ON public.backup_logs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((new.status <> 'expected'::text) AND (COALESCE(new.finished_at, now()) > (now() - '1 day'::interval)) AND ((new.business IS NULL) OR (new.type = 'manual'::text)))) EXECUTE FUNCTION public.realtime_event('backup', 'backup_id', 'status kind type record_count');


--
-- Name: backup_logs backup_logs_backup_event_1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER backup_logs_backup_event_1 AFTER UPDATE ON public.backup_logs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((old.status IS DISTINCT FROM new.status) AND (new.status <> 'expected'::text) AND ((old.status <> 'expected'::text) OR (COALESCE(new.finished_at, now()) > (now() - '1 day'::interval))) AND ((new.business IS NULL) OR (new.type = 'manual'::text)))) EXECUTE FUNCTION public.realtime_event('backup', 'backup_id', 'status kind type record_count');


--
-- Name: backup_logs backup_logs_hold_event_3; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER backup_logs_hold_event_3 AFTER UPDATE ON public.backup_logs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.held_actor IS DISTINCT FROM old.held_actor)) EXECUTE FUNCTION public.realtime_event('hold', 'backup_id', 'held_until');


--
-- Name: backup_logs backup_logs_tally_insert; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER backup_logs_tally_insert AFTER INSERT ON public.backup_logs FOR EACH ROW WHEN ((new.status <> ALL (ARRAY['expected'::text, 'running'::text, 'expired'::text, 'deleted'::text]))) EXECUTE FUNCTION public.backup_tally();


--
-- Name: backup_logs backup_logs_tally_update; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER backup_logs_tally_update AFTER UPDATE OF status ON public.backup_logs FOR EACH ROW WHEN (((old.status = ANY (ARRAY['expected'::text, 'running'::text])) AND (new.status <> ALL (ARRAY['expected'::text, 'running'::text, 'expired'::text, 'deleted'::text])))) EXECUTE FUNCTION public.backup_tally();


--
-- Name: backup_logs backup_logs_verification_event_2; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER backup_logs_verification_event_2 AFTER UPDATE ON public.backup_logs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((new.verified_at IS DISTINCT FROM old.verified_at) AND (new.verified_at IS NOT NULL))) EXECUTE FUNCTION public.realtime_event('verification', 'backup_id', 'verification_level verification_passed');


--
-- Name: business_features business_features_money_event_2; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER business_features_money_event_2 AFTER INSERT ON public.business_features DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (true) EXECUTE FUNCTION public.realtime_event('business.changed', 'feature', 'feature enabled');


--
-- Name: business_features business_features_money_event_3; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER business_features_money_event_3 AFTER UPDATE ON public.business_features DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((old.enabled <> new.enabled)) EXECUTE FUNCTION public.realtime_event('business.changed', 'feature', 'feature enabled');


--
-- Name: business_ticks business_ticks_event; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER business_ticks_event AFTER UPDATE ON public.business_ticks DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((old.status IS DISTINCT FROM new.status)) EXECUTE FUNCTION public.realtime_event('tick', 'id', 'status due changed unchanged failed skipped');


--
-- Name: businesses businesses_added; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER businesses_added AFTER INSERT ON public.businesses FOR EACH ROW EXECUTE FUNCTION public.business_history_row();


--
-- Name: businesses businesses_changed; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER businesses_changed AFTER UPDATE ON public.businesses FOR EACH ROW WHEN (((((((old.status IS DISTINCT FROM new.status) OR (old.plan IS DISTINCT FROM new.plan)) OR (old.price IS DISTINCT FROM new.price)) OR (old.currency IS DISTINCT FROM new.currency)) OR (old.period IS DISTINCT FROM new.period)) OR (old.next_payment_date IS DISTINCT FROM new.next_payment_date))) EXECUTE FUNCTION public.business_history_row();


--
-- Name: businesses businesses_money_event_0; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER businesses_money_event_0 AFTER INSERT ON public.businesses DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (true) EXECUTE FUNCTION public.realtime_event('business.registered', 'name', 'status');


--
-- Name: businesses businesses_money_event_1; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER businesses_money_event_1 AFTER UPDATE ON public.businesses DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((((((((old.name IS DISTINCT FROM new.name) OR (old.status IS DISTINCT FROM new.status)) OR (old.plan IS DISTINCT FROM new.plan)) OR (old.price IS DISTINCT FROM new.price)) OR (old.next_payment_date IS DISTINCT FROM new.next_payment_date)) OR (old.quota_bytes IS DISTINCT FROM new.quota_bytes)) OR (old.credit IS DISTINCT FROM new.credit))) EXECUTE FUNCTION public.realtime_event('business.changed', 'name', 'status');


--
-- Name: payment_records payment_records_money_event_4; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER payment_records_money_event_4 AFTER INSERT ON public.payment_records DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (true) EXECUTE FUNCTION public.realtime_event('payment.verified', 'id', 'status');


--
-- Name: payment_records payment_records_reopen; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER payment_records_reopen AFTER INSERT ON public.payment_records FOR EACH ROW EXECUTE FUNCTION public.payment_reopens_day();


--
-- Name: restore_requests restore_requests_restore_event_4; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER restore_requests_restore_event_4 AFTER INSERT ON public.restore_requests DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (true) EXECUTE FUNCTION public.realtime_event('restore', 'id', 'status backup_id target');


--
-- Name: restore_requests restore_requests_restore_event_5; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER restore_requests_restore_event_5 AFTER UPDATE ON public.restore_requests DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((old.status IS DISTINCT FROM new.status)) EXECUTE FUNCTION public.realtime_event('restore', 'id', 'status backup_id target');


--
-- Name: run_requests run_requests_run_request_event_6; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER run_requests_run_request_event_6 AFTER INSERT ON public.run_requests DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (true) EXECUTE FUNCTION public.realtime_event('run_request', 'id', 'status verb run_id');


--
-- Name: run_requests run_requests_run_request_event_7; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER run_requests_run_request_event_7 AFTER UPDATE ON public.run_requests DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((old.status IS DISTINCT FROM new.status)) EXECUTE FUNCTION public.realtime_event('run_request', 'id', 'status verb run_id');


--
-- Name: system_settings system_settings_money_event_5; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER system_settings_money_event_5 AFTER INSERT ON public.system_settings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (true) EXECUTE FUNCTION public.realtime_event('system.status', 'key', 'key');


--
-- Name: system_settings system_settings_money_event_6; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER system_settings_money_event_6 AFTER UPDATE ON public.system_settings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((old.value IS DISTINCT FROM new.value)) EXECUTE FUNCTION public.realtime_event('system.status', 'key', 'key');


--
-- Name: alert_outbox; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.alert_outbox ENABLE ROW LEVEL SECURITY;

--
-- Name: alert_outbox alert_outbox_delete; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY alert_outbox_delete ON public.alert_outbox FOR DELETE TO backup_pipeline_writer USING ((delivered_at IS NOT NULL));


--
-- Name: alert_outbox alert_outbox_insert; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY alert_outbox_insert ON public.alert_outbox FOR INSERT TO admin, super_admin, backup_pipeline_writer WITH CHECK (true);


--
-- Name: alert_outbox alert_outbox_select; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY alert_outbox_select ON public.alert_outbox FOR SELECT TO admin, super_admin, backup_pipeline_writer USING (true);


--
-- Name: alert_outbox alert_outbox_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY alert_outbox_select_backup_business_admin ON public.alert_outbox FOR SELECT TO backup_business_admin USING (false);


--
-- Name: alert_outbox alert_outbox_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY alert_outbox_select_backup_viewer ON public.alert_outbox FOR SELECT TO backup_viewer USING (true);


--
-- Name: alert_outbox alert_outbox_update; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY alert_outbox_update ON public.alert_outbox FOR UPDATE TO admin, super_admin, backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: alert_threads; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.alert_threads ENABLE ROW LEVEL SECURITY;

--
-- Name: alert_threads alert_threads_insert; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY alert_threads_insert ON public.alert_threads FOR INSERT TO admin, super_admin, backup_pipeline_writer WITH CHECK (true);


--
-- Name: alert_threads alert_threads_select; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY alert_threads_select ON public.alert_threads FOR SELECT TO admin, super_admin, backup_pipeline_writer USING (true);


--
-- Name: alert_threads alert_threads_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY alert_threads_select_backup_business_admin ON public.alert_threads FOR SELECT TO backup_business_admin USING ((split_part(scope, '/businesses/'::text, 2) = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))));


--
-- Name: alert_threads alert_threads_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY alert_threads_select_backup_viewer ON public.alert_threads FOR SELECT TO backup_viewer USING (true);


--
-- Name: alert_threads alert_threads_update; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY alert_threads_update ON public.alert_threads FOR UPDATE TO admin, super_admin, backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: analytics_cache; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.analytics_cache ENABLE ROW LEVEL SECURITY;

--
-- Name: analytics_cache analytics_cache_delete_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY analytics_cache_delete_backup_pipeline_writer ON public.analytics_cache FOR DELETE TO backup_pipeline_writer USING (true);


--
-- Name: analytics_cache analytics_cache_insert_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY analytics_cache_insert_backup_pipeline_writer ON public.analytics_cache FOR INSERT TO backup_pipeline_writer WITH CHECK (true);


--
-- Name: analytics_cache analytics_cache_insert_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY analytics_cache_insert_super_admin ON public.analytics_cache FOR INSERT TO super_admin WITH CHECK (true);


--
-- Name: analytics_cache analytics_cache_select_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY analytics_cache_select_backup_pipeline_writer ON public.analytics_cache FOR SELECT TO backup_pipeline_writer USING (true);


--
-- Name: analytics_cache analytics_cache_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY analytics_cache_select_super_admin ON public.analytics_cache FOR SELECT TO super_admin USING (true);


--
-- Name: analytics_cache analytics_cache_update_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY analytics_cache_update_backup_pipeline_writer ON public.analytics_cache FOR UPDATE TO backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: analytics_cache analytics_cache_update_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY analytics_cache_update_super_admin ON public.analytics_cache FOR UPDATE TO super_admin USING (true) WITH CHECK (true);


--
-- Name: api_answers; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.api_answers ENABLE ROW LEVEL SECURITY;

--
-- Name: api_answers api_answers_delete_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_answers_delete_backup_pipeline_console ON public.api_answers FOR DELETE TO backup_pipeline_console USING (true);


--
-- Name: api_answers api_answers_insert_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_answers_insert_backup_pipeline_console ON public.api_answers FOR INSERT TO backup_pipeline_console WITH CHECK (true);


--
-- Name: api_answers api_answers_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_answers_select_backup_pipeline_console ON public.api_answers FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: api_answers api_answers_update_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_answers_update_backup_pipeline_console ON public.api_answers FOR UPDATE TO backup_pipeline_console USING (true) WITH CHECK (true);


--
-- Name: api_keys; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.api_keys ENABLE ROW LEVEL SECURITY;

--
-- Name: api_keys api_keys_insert_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_keys_insert_backup_pipeline_console ON public.api_keys FOR INSERT TO backup_pipeline_console WITH CHECK (true);


--
-- Name: api_keys api_keys_insert_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_keys_insert_super_admin ON public.api_keys FOR INSERT TO super_admin WITH CHECK (true);


--
-- Name: api_keys api_keys_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_keys_select_backup_pipeline_console ON public.api_keys FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: api_keys api_keys_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_keys_select_super_admin ON public.api_keys FOR SELECT TO super_admin USING (true);


--
-- Name: api_keys api_keys_update_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_keys_update_backup_pipeline_console ON public.api_keys FOR UPDATE TO backup_pipeline_console USING (true) WITH CHECK (true);


--
-- Name: api_keys api_keys_update_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_keys_update_super_admin ON public.api_keys FOR UPDATE TO super_admin USING (true) WITH CHECK (true);


--
-- Name: api_usage_hours; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.api_usage_hours ENABLE ROW LEVEL SECURITY;

--
-- Name: api_usage_hours api_usage_hours_delete_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_usage_hours_delete_backup_pipeline_console ON public.api_usage_hours FOR DELETE TO backup_pipeline_console USING (true);


--
-- Name: api_usage_hours api_usage_hours_insert_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_usage_hours_insert_backup_pipeline_console ON public.api_usage_hours FOR INSERT TO backup_pipeline_console WITH CHECK (true);


--
-- Name: api_usage_hours api_usage_hours_select_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_usage_hours_select_admin ON public.api_usage_hours FOR SELECT TO admin USING (true);


--
-- Name: api_usage_hours api_usage_hours_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_usage_hours_select_backup_business_admin ON public.api_usage_hours FOR SELECT TO backup_business_admin USING ((key_id = (NULLIF(current_setting('backup.key'::text, true), ''::text))::bigint));


--
-- Name: api_usage_hours api_usage_hours_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_usage_hours_select_backup_pipeline_console ON public.api_usage_hours FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: api_usage_hours api_usage_hours_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_usage_hours_select_backup_viewer ON public.api_usage_hours FOR SELECT TO backup_viewer USING ((key_id = (NULLIF(current_setting('backup.key'::text, true), ''::text))::bigint));


--
-- Name: api_usage_hours api_usage_hours_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_usage_hours_select_super_admin ON public.api_usage_hours FOR SELECT TO super_admin USING (true);


--
-- Name: api_usage_hours api_usage_hours_update_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_usage_hours_update_backup_pipeline_console ON public.api_usage_hours FOR UPDATE TO backup_pipeline_console USING (true) WITH CHECK (true);


--
-- Name: api_usage_logs; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.api_usage_logs ENABLE ROW LEVEL SECURITY;

--
-- Name: api_usage_logs_2026_10; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.api_usage_logs_2026_10 ENABLE ROW LEVEL SECURITY;

--
-- Name: api_usage_logs_2026_11; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.api_usage_logs_2026_11 ENABLE ROW LEVEL SECURITY;

--
-- Name: api_usage_logs_2026_12; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.api_usage_logs_2026_12 ENABLE ROW LEVEL SECURITY;

--
-- Name: api_usage_logs_2027_01; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.api_usage_logs_2027_01 ENABLE ROW LEVEL SECURITY;

--
-- Name: api_usage_logs api_usage_logs_insert_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_usage_logs_insert_backup_pipeline_console ON public.api_usage_logs FOR INSERT TO backup_pipeline_console WITH CHECK (true);


--
-- Name: api_usage_logs api_usage_logs_select_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_usage_logs_select_admin ON public.api_usage_logs FOR SELECT TO admin USING (true);


--
-- Name: api_usage_logs api_usage_logs_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_usage_logs_select_backup_business_admin ON public.api_usage_logs FOR SELECT TO backup_business_admin USING ((key_id = (NULLIF(current_setting('backup.key'::text, true), ''::text))::bigint));


--
-- Name: api_usage_logs api_usage_logs_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_usage_logs_select_backup_pipeline_console ON public.api_usage_logs FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: api_usage_logs api_usage_logs_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_usage_logs_select_backup_viewer ON public.api_usage_logs FOR SELECT TO backup_viewer USING ((key_id = (NULLIF(current_setting('backup.key'::text, true), ''::text))::bigint));


--
-- Name: api_usage_logs api_usage_logs_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_usage_logs_select_super_admin ON public.api_usage_logs FOR SELECT TO super_admin USING (true);


--
-- Name: api_usage_logs api_usage_logs_update_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY api_usage_logs_update_backup_pipeline_console ON public.api_usage_logs FOR UPDATE TO backup_pipeline_console USING (true) WITH CHECK (true);


--
-- Name: backup_audit; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.backup_audit ENABLE ROW LEVEL SECURITY;

--
-- Name: backup_audit backup_audit_drills_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_audit_drills_backup_viewer ON public.backup_audit FOR SELECT TO backup_viewer USING ((action = ANY (ARRAY['drill'::text, 'drill with injected fault'::text])));


--
-- Name: backup_audit backup_audit_insert; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_audit_insert ON public.backup_audit FOR INSERT TO admin, super_admin, backup_pipeline_writer WITH CHECK (true);


--
-- Name: backup_audit backup_audit_insert_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_audit_insert_backup_business_admin ON public.backup_audit FOR INSERT TO backup_business_admin WITH CHECK ((actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)));


--
-- Name: backup_audit backup_audit_insert_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_audit_insert_backup_pipeline_console ON public.backup_audit FOR INSERT TO backup_pipeline_console WITH CHECK (true);


--
-- Name: backup_audit backup_audit_insert_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_audit_insert_backup_viewer ON public.backup_audit FOR INSERT TO backup_viewer WITH CHECK ((actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)));


--
-- Name: backup_audit backup_audit_select; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_audit_select ON public.backup_audit FOR SELECT TO admin, super_admin, backup_pipeline_writer USING (true);


--
-- Name: backup_audit backup_audit_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_audit_select_backup_business_admin ON public.backup_audit FOR SELECT TO backup_business_admin USING ((actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)));


--
-- Name: backup_audit backup_audit_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_audit_select_backup_pipeline_console ON public.backup_audit FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: backup_audit backup_audit_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_audit_select_backup_viewer ON public.backup_audit FOR SELECT TO backup_viewer USING ((actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)));


--
-- Name: backup_copies; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.backup_copies ENABLE ROW LEVEL SECURITY;

--
-- Name: backup_copies backup_copies_insert; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_copies_insert ON public.backup_copies FOR INSERT TO admin, super_admin, backup_pipeline_writer WITH CHECK (true);


--
-- Name: backup_copies backup_copies_select; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_copies_select ON public.backup_copies FOR SELECT TO admin, super_admin, backup_pipeline_writer USING (true);


--
-- Name: backup_copies backup_copies_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_copies_select_backup_business_admin ON public.backup_copies FOR SELECT TO backup_business_admin USING ((business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))));


--
-- Name: backup_copies backup_copies_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_copies_select_backup_viewer ON public.backup_copies FOR SELECT TO backup_viewer USING (true);


--
-- Name: backup_copies backup_copies_update; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_copies_update ON public.backup_copies FOR UPDATE TO admin, super_admin, backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: backup_logs; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.backup_logs ENABLE ROW LEVEL SECURITY;

--
-- Name: backup_logs backup_logs_insert; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_logs_insert ON public.backup_logs FOR INSERT TO admin, super_admin, backup_pipeline_writer WITH CHECK (true);


--
-- Name: backup_logs backup_logs_select; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_logs_select ON public.backup_logs FOR SELECT TO admin, super_admin, backup_pipeline_writer USING (true);


--
-- Name: backup_logs backup_logs_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_logs_select_backup_business_admin ON public.backup_logs FOR SELECT TO backup_business_admin USING ((business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))));


--
-- Name: backup_logs backup_logs_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_logs_select_backup_viewer ON public.backup_logs FOR SELECT TO backup_viewer USING (true);


--
-- Name: backup_logs backup_logs_update; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_logs_update ON public.backup_logs FOR UPDATE TO admin, super_admin, backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: backup_readings; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.backup_readings ENABLE ROW LEVEL SECURITY;

--
-- Name: backup_readings backup_readings_delete; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_readings_delete ON public.backup_readings FOR DELETE TO admin, super_admin, backup_pipeline_writer USING (true);


--
-- Name: backup_readings backup_readings_delete_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_readings_delete_backup_business_admin ON public.backup_readings FOR DELETE TO backup_business_admin USING ((EXISTS ( SELECT
   FROM public.backup_logs visible
  WHERE (visible.backup_id = backup_readings.backup_id))));


--
-- Name: backup_readings backup_readings_delete_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_readings_delete_backup_viewer ON public.backup_readings FOR DELETE TO backup_viewer USING (('download'::text = ANY (string_to_array(current_setting('backup.switches'::text, true), ','::text))));


--
-- Name: backup_readings backup_readings_insert; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_readings_insert ON public.backup_readings FOR INSERT TO admin, super_admin, backup_pipeline_writer WITH CHECK (true);


--
-- Name: backup_readings backup_readings_insert_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_readings_insert_backup_business_admin ON public.backup_readings FOR INSERT TO backup_business_admin WITH CHECK ((EXISTS ( SELECT
   FROM public.backup_logs visible
  WHERE (visible.backup_id = backup_readings.backup_id))));


--
-- Name: backup_readings backup_readings_insert_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_readings_insert_backup_viewer ON public.backup_readings FOR INSERT TO backup_viewer WITH CHECK (('download'::text = ANY (string_to_array(current_setting('backup.switches'::text, true), ','::text))));


--
-- Name: backup_readings backup_readings_select; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_readings_select ON public.backup_readings FOR SELECT TO admin, super_admin, backup_pipeline_writer USING (true);


--
-- Name: backup_readings backup_readings_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_readings_select_backup_business_admin ON public.backup_readings FOR SELECT TO backup_business_admin USING ((EXISTS ( SELECT
   FROM public.backup_logs visible
  WHERE (visible.backup_id = backup_readings.backup_id))));


--
-- Name: backup_readings backup_readings_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_readings_select_backup_viewer ON public.backup_readings FOR SELECT TO backup_viewer USING (true);


--
-- Name: backup_readings backup_readings_update; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_readings_update ON public.backup_readings FOR UPDATE TO admin, super_admin, backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: backup_readings backup_readings_update_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_readings_update_backup_business_admin ON public.backup_readings FOR UPDATE TO backup_business_admin USING ((EXISTS ( SELECT
   FROM public.backup_logs visible
  WHERE (visible.backup_id = backup_readings.backup_id)))) WITH CHECK ((EXISTS ( SELECT
   FROM public.backup_logs visible
  WHERE (visible.backup_id = backup_readings.backup_id))));


--
-- Name: backup_readings backup_readings_update_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_readings_update_backup_viewer ON public.backup_readings FOR UPDATE TO backup_viewer USING (('download'::text = ANY (string_to_array(current_setting('backup.switches'::text, true), ','::text)))) WITH CHECK (('download'::text = ANY (string_to_array(current_setting('backup.switches'::text, true), ','::text))));


--
-- Name: backup_shapes; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.backup_shapes ENABLE ROW LEVEL SECURITY;

--
-- Name: backup_shapes backup_shapes_insert; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_shapes_insert ON public.backup_shapes FOR INSERT TO admin, super_admin, backup_pipeline_writer WITH CHECK (true);


--
-- Name: backup_shapes backup_shapes_select; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_shapes_select ON public.backup_shapes FOR SELECT TO admin, super_admin, backup_pipeline_writer USING (true);


--
-- Name: backup_shapes backup_shapes_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_shapes_select_backup_business_admin ON public.backup_shapes FOR SELECT TO backup_business_admin USING ((EXISTS ( SELECT
   FROM public.backup_logs visible
  WHERE (visible.backup_id = backup_shapes.backup_id))));


--
-- Name: backup_shapes backup_shapes_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_shapes_select_backup_viewer ON public.backup_shapes FOR SELECT TO backup_viewer USING (true);


--
-- Name: backup_shapes backup_shapes_update; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_shapes_update ON public.backup_shapes FOR UPDATE TO admin, super_admin, backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: backup_tallies; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.backup_tallies ENABLE ROW LEVEL SECURITY;

--
-- Name: backup_tallies backup_tallies_insert; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_tallies_insert ON public.backup_tallies FOR INSERT TO admin, super_admin, backup_pipeline_writer WITH CHECK (true);


--
-- Name: backup_tallies backup_tallies_select; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_tallies_select ON public.backup_tallies FOR SELECT TO admin, super_admin, backup_pipeline_writer USING (true);


--
-- Name: backup_tallies backup_tallies_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_tallies_select_backup_business_admin ON public.backup_tallies FOR SELECT TO backup_business_admin USING ((split_part(scope, '/businesses/'::text, 2) = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))));


--
-- Name: backup_tallies backup_tallies_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_tallies_select_backup_viewer ON public.backup_tallies FOR SELECT TO backup_viewer USING (true);


--
-- Name: backup_tallies backup_tallies_update; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_tallies_update ON public.backup_tallies FOR UPDATE TO admin, super_admin, backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: business_features; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.business_features ENABLE ROW LEVEL SECURITY;

--
-- Name: business_features business_features_insert_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_features_insert_backup_pipeline_writer ON public.business_features FOR INSERT TO backup_pipeline_writer WITH CHECK (true);


--
-- Name: business_features business_features_insert_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_features_insert_super_admin ON public.business_features FOR INSERT TO super_admin WITH CHECK (true);


--
-- Name: business_features business_features_select_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_features_select_admin ON public.business_features FOR SELECT TO admin USING (true);


--
-- Name: business_features business_features_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_features_select_backup_business_admin ON public.business_features FOR SELECT TO backup_business_admin USING ((business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))));


--
-- Name: business_features business_features_select_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_features_select_backup_pipeline_writer ON public.business_features FOR SELECT TO backup_pipeline_writer USING (true);


--
-- Name: business_features business_features_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_features_select_backup_viewer ON public.business_features FOR SELECT TO backup_viewer USING (true);


--
-- Name: business_features business_features_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_features_select_super_admin ON public.business_features FOR SELECT TO super_admin USING (true);


--
-- Name: business_features business_features_update_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_features_update_backup_pipeline_writer ON public.business_features FOR UPDATE TO backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: business_features business_features_update_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_features_update_super_admin ON public.business_features FOR UPDATE TO super_admin USING (true) WITH CHECK (true);


--
-- Name: business_history; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.business_history ENABLE ROW LEVEL SECURITY;

--
-- Name: business_history business_history_insert_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_history_insert_backup_pipeline_writer ON public.business_history FOR INSERT TO backup_pipeline_writer WITH CHECK (true);


--
-- Name: business_history business_history_select_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_history_select_backup_pipeline_writer ON public.business_history FOR SELECT TO backup_pipeline_writer USING (true);


--
-- Name: business_history business_history_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_history_select_super_admin ON public.business_history FOR SELECT TO super_admin USING (true);


--
-- Name: business_misses; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.business_misses ENABLE ROW LEVEL SECURITY;

--
-- Name: business_misses business_misses_delete_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_misses_delete_backup_pipeline_writer ON public.business_misses FOR DELETE TO backup_pipeline_writer USING (true);


--
-- Name: business_misses business_misses_insert_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_misses_insert_backup_pipeline_writer ON public.business_misses FOR INSERT TO backup_pipeline_writer WITH CHECK (true);


--
-- Name: business_misses business_misses_select_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_misses_select_admin ON public.business_misses FOR SELECT TO admin USING (true);


--
-- Name: business_misses business_misses_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_misses_select_backup_business_admin ON public.business_misses FOR SELECT TO backup_business_admin USING ((business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))));


--
-- Name: business_misses business_misses_select_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_misses_select_backup_pipeline_writer ON public.business_misses FOR SELECT TO backup_pipeline_writer USING (true);


--
-- Name: business_misses business_misses_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_misses_select_backup_viewer ON public.business_misses FOR SELECT TO backup_viewer USING (true);


--
-- Name: business_misses business_misses_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_misses_select_super_admin ON public.business_misses FOR SELECT TO super_admin USING (true);


--
-- Name: business_ticks; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.business_ticks ENABLE ROW LEVEL SECURITY;

--
-- Name: business_ticks business_ticks_delete_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_ticks_delete_backup_pipeline_writer ON public.business_ticks FOR DELETE TO backup_pipeline_writer USING (true);


--
-- Name: business_ticks business_ticks_insert_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_ticks_insert_backup_pipeline_writer ON public.business_ticks FOR INSERT TO backup_pipeline_writer WITH CHECK (true);


--
-- Name: business_ticks business_ticks_select_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_ticks_select_admin ON public.business_ticks FOR SELECT TO admin USING (true);


--
-- Name: business_ticks business_ticks_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_ticks_select_backup_business_admin ON public.business_ticks FOR SELECT TO backup_business_admin USING (false);


--
-- Name: business_ticks business_ticks_select_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_ticks_select_backup_pipeline_writer ON public.business_ticks FOR SELECT TO backup_pipeline_writer USING (true);


--
-- Name: business_ticks business_ticks_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_ticks_select_backup_viewer ON public.business_ticks FOR SELECT TO backup_viewer USING (true);


--
-- Name: business_ticks business_ticks_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_ticks_select_super_admin ON public.business_ticks FOR SELECT TO super_admin USING (true);


--
-- Name: business_ticks business_ticks_update_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY business_ticks_update_backup_pipeline_writer ON public.business_ticks FOR UPDATE TO backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: businesses; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.businesses ENABLE ROW LEVEL SECURITY;

--
-- Name: businesses businesses_insert_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY businesses_insert_backup_pipeline_writer ON public.businesses FOR INSERT TO backup_pipeline_writer WITH CHECK (true);


--
-- Name: businesses businesses_insert_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY businesses_insert_super_admin ON public.businesses FOR INSERT TO super_admin WITH CHECK (true);


--
-- Name: businesses businesses_select_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY businesses_select_admin ON public.businesses FOR SELECT TO admin USING (true);


--
-- Name: businesses businesses_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY businesses_select_backup_business_admin ON public.businesses FOR SELECT TO backup_business_admin USING ((business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))));


--
-- Name: businesses businesses_select_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY businesses_select_backup_pipeline_writer ON public.businesses FOR SELECT TO backup_pipeline_writer USING (true);


--
-- Name: businesses businesses_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY businesses_select_backup_viewer ON public.businesses FOR SELECT TO backup_viewer USING (true);


--
-- Name: businesses businesses_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY businesses_select_super_admin ON public.businesses FOR SELECT TO super_admin USING (true);


--
-- Name: businesses businesses_update_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY businesses_update_backup_pipeline_writer ON public.businesses FOR UPDATE TO backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: businesses businesses_update_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY businesses_update_super_admin ON public.businesses FOR UPDATE TO super_admin USING (true) WITH CHECK (true);


--
-- Name: console_sessions; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.console_sessions ENABLE ROW LEVEL SECURITY;

--
-- Name: console_sessions console_sessions_delete_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY console_sessions_delete_backup_pipeline_console ON public.console_sessions FOR DELETE TO backup_pipeline_console USING (true);


--
-- Name: console_sessions console_sessions_insert_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY console_sessions_insert_backup_pipeline_console ON public.console_sessions FOR INSERT TO backup_pipeline_console WITH CHECK (true);


--
-- Name: console_sessions console_sessions_select_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY console_sessions_select_admin ON public.console_sessions FOR SELECT TO admin USING ((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint));


--
-- Name: console_sessions console_sessions_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY console_sessions_select_backup_business_admin ON public.console_sessions FOR SELECT TO backup_business_admin USING ((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint));


--
-- Name: console_sessions console_sessions_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY console_sessions_select_backup_pipeline_console ON public.console_sessions FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: console_sessions console_sessions_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY console_sessions_select_backup_viewer ON public.console_sessions FOR SELECT TO backup_viewer USING ((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint));


--
-- Name: console_sessions console_sessions_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY console_sessions_select_super_admin ON public.console_sessions FOR SELECT TO super_admin USING (true);


--
-- Name: console_sessions console_sessions_update_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY console_sessions_update_admin ON public.console_sessions FOR UPDATE TO admin USING ((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint)) WITH CHECK ((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint));


--
-- Name: console_sessions console_sessions_update_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY console_sessions_update_backup_business_admin ON public.console_sessions FOR UPDATE TO backup_business_admin USING ((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint)) WITH CHECK ((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint));


--
-- Name: console_sessions console_sessions_update_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY console_sessions_update_backup_pipeline_console ON public.console_sessions FOR UPDATE TO backup_pipeline_console USING (true) WITH CHECK (true);


--
-- Name: console_sessions console_sessions_update_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY console_sessions_update_backup_viewer ON public.console_sessions FOR UPDATE TO backup_viewer USING ((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint)) WITH CHECK ((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint));


--
-- Name: console_sessions console_sessions_update_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY console_sessions_update_super_admin ON public.console_sessions FOR UPDATE TO super_admin USING (true) WITH CHECK (true);


--
-- Name: dagster_outbox; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.dagster_outbox ENABLE ROW LEVEL SECURITY;

--
-- Name: dagster_outbox dagster_outbox_delete_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY dagster_outbox_delete_backup_pipeline_writer ON public.dagster_outbox FOR DELETE TO backup_pipeline_writer USING (true);


--
-- Name: dagster_outbox dagster_outbox_insert_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY dagster_outbox_insert_admin ON public.dagster_outbox FOR INSERT TO admin WITH CHECK (true);


--
-- Name: dagster_outbox dagster_outbox_insert_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY dagster_outbox_insert_backup_pipeline_console ON public.dagster_outbox FOR INSERT TO backup_pipeline_console WITH CHECK (true);


--
-- Name: dagster_outbox dagster_outbox_insert_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY dagster_outbox_insert_backup_pipeline_writer ON public.dagster_outbox FOR INSERT TO backup_pipeline_writer WITH CHECK (true);


--
-- Name: dagster_outbox dagster_outbox_insert_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY dagster_outbox_insert_super_admin ON public.dagster_outbox FOR INSERT TO super_admin WITH CHECK (true);


--
-- Name: dagster_outbox dagster_outbox_select_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY dagster_outbox_select_admin ON public.dagster_outbox FOR SELECT TO admin USING (true);


--
-- Name: dagster_outbox dagster_outbox_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY dagster_outbox_select_backup_pipeline_console ON public.dagster_outbox FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: dagster_outbox dagster_outbox_select_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY dagster_outbox_select_backup_pipeline_writer ON public.dagster_outbox FOR SELECT TO backup_pipeline_writer USING (true);


--
-- Name: dagster_outbox dagster_outbox_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY dagster_outbox_select_super_admin ON public.dagster_outbox FOR SELECT TO super_admin USING (true);


--
-- Name: dagster_outbox dagster_outbox_update_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY dagster_outbox_update_admin ON public.dagster_outbox FOR UPDATE TO admin USING (true) WITH CHECK (true);


--
-- Name: dagster_outbox dagster_outbox_update_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY dagster_outbox_update_backup_pipeline_console ON public.dagster_outbox FOR UPDATE TO backup_pipeline_console USING (true) WITH CHECK (true);


--
-- Name: dagster_outbox dagster_outbox_update_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY dagster_outbox_update_backup_pipeline_writer ON public.dagster_outbox FOR UPDATE TO backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: dagster_outbox dagster_outbox_update_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY dagster_outbox_update_super_admin ON public.dagster_outbox FOR UPDATE TO super_admin USING (true) WITH CHECK (true);


--
-- Name: download_links; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.download_links ENABLE ROW LEVEL SECURITY;

--
-- Name: download_links download_links_insert_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY download_links_insert_admin ON public.download_links FOR INSERT TO admin WITH CHECK (true);


--
-- Name: download_links download_links_insert_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY download_links_insert_backup_business_admin ON public.download_links FOR INSERT TO backup_business_admin WITH CHECK (((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint) AND (actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)) AND (business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text)))));


--
-- Name: download_links download_links_insert_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY download_links_insert_backup_pipeline_console ON public.download_links FOR INSERT TO backup_pipeline_console WITH CHECK (true);


--
-- Name: download_links download_links_insert_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY download_links_insert_backup_viewer ON public.download_links FOR INSERT TO backup_viewer WITH CHECK (((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint) AND (actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)) AND ('download'::text = ANY (string_to_array(current_setting('backup.switches'::text, true), ','::text)))));


--
-- Name: download_links download_links_insert_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY download_links_insert_super_admin ON public.download_links FOR INSERT TO super_admin WITH CHECK (true);


--
-- Name: download_links download_links_select_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY download_links_select_admin ON public.download_links FOR SELECT TO admin USING (true);


--
-- Name: download_links download_links_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY download_links_select_backup_business_admin ON public.download_links FOR SELECT TO backup_business_admin USING ((business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))));


--
-- Name: download_links download_links_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY download_links_select_backup_pipeline_console ON public.download_links FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: download_links download_links_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY download_links_select_backup_viewer ON public.download_links FOR SELECT TO backup_viewer USING ((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint));


--
-- Name: download_links download_links_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY download_links_select_super_admin ON public.download_links FOR SELECT TO super_admin USING (true);


--
-- Name: download_links download_links_update_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY download_links_update_admin ON public.download_links FOR UPDATE TO admin USING (true) WITH CHECK (true);


--
-- Name: download_links download_links_update_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY download_links_update_backup_business_admin ON public.download_links FOR UPDATE TO backup_business_admin USING (((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint) AND (actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)) AND (business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))))) WITH CHECK (((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint) AND (actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)) AND (business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text)))));


--
-- Name: download_links download_links_update_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY download_links_update_backup_pipeline_console ON public.download_links FOR UPDATE TO backup_pipeline_console USING (true) WITH CHECK (true);


--
-- Name: download_links download_links_update_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY download_links_update_backup_viewer ON public.download_links FOR UPDATE TO backup_viewer USING (((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint) AND (actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)) AND ('download'::text = ANY (string_to_array(current_setting('backup.switches'::text, true), ','::text))))) WITH CHECK (((user_id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint) AND (actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)) AND ('download'::text = ANY (string_to_array(current_setting('backup.switches'::text, true), ','::text)))));


--
-- Name: download_links download_links_update_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY download_links_update_super_admin ON public.download_links FOR UPDATE TO super_admin USING (true) WITH CHECK (true);


--
-- Name: due_accounts; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.due_accounts ENABLE ROW LEVEL SECURITY;

--
-- Name: due_accounts due_accounts_insert; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY due_accounts_insert ON public.due_accounts FOR INSERT TO admin, super_admin, backup_pipeline_writer WITH CHECK (true);


--
-- Name: due_accounts due_accounts_select; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY due_accounts_select ON public.due_accounts FOR SELECT TO admin, super_admin, backup_pipeline_writer USING (true);


--
-- Name: due_accounts due_accounts_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY due_accounts_select_backup_business_admin ON public.due_accounts FOR SELECT TO backup_business_admin USING (false);


--
-- Name: due_accounts due_accounts_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY due_accounts_select_backup_viewer ON public.due_accounts FOR SELECT TO backup_viewer USING (true);


--
-- Name: due_accounts due_accounts_update; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY due_accounts_update ON public.due_accounts FOR UPDATE TO admin, super_admin, backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: leases; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.leases ENABLE ROW LEVEL SECURITY;

--
-- Name: leases leases_insert; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY leases_insert ON public.leases FOR INSERT TO admin, super_admin, backup_pipeline_writer WITH CHECK (true);


--
-- Name: leases leases_select; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY leases_select ON public.leases FOR SELECT TO admin, super_admin, backup_pipeline_writer USING (true);


--
-- Name: leases leases_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY leases_select_backup_business_admin ON public.leases FOR SELECT TO backup_business_admin USING ((split_part(name, '/businesses/'::text, 2) = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))));


--
-- Name: leases leases_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY leases_select_backup_viewer ON public.leases FOR SELECT TO backup_viewer USING (true);


--
-- Name: leases leases_update; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY leases_update ON public.leases FOR UPDATE TO admin, super_admin, backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: login_failures; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.login_failures ENABLE ROW LEVEL SECURITY;

--
-- Name: login_failures login_failures_delete_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY login_failures_delete_backup_pipeline_console ON public.login_failures FOR DELETE TO backup_pipeline_console USING (true);


--
-- Name: login_failures login_failures_insert_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY login_failures_insert_backup_pipeline_console ON public.login_failures FOR INSERT TO backup_pipeline_console WITH CHECK (true);


--
-- Name: login_failures login_failures_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY login_failures_select_backup_pipeline_console ON public.login_failures FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: login_failures login_failures_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY login_failures_select_super_admin ON public.login_failures FOR SELECT TO super_admin USING (true);


--
-- Name: login_failures login_failures_update_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY login_failures_update_backup_pipeline_console ON public.login_failures FOR UPDATE TO backup_pipeline_console USING (true) WITH CHECK (true);


--
-- Name: one_time_links; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.one_time_links ENABLE ROW LEVEL SECURITY;

--
-- Name: one_time_links one_time_links_delete_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY one_time_links_delete_backup_pipeline_console ON public.one_time_links FOR DELETE TO backup_pipeline_console USING (true);


--
-- Name: one_time_links one_time_links_insert_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY one_time_links_insert_backup_pipeline_console ON public.one_time_links FOR INSERT TO backup_pipeline_console WITH CHECK (true);


--
-- Name: one_time_links one_time_links_insert_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY one_time_links_insert_super_admin ON public.one_time_links FOR INSERT TO super_admin WITH CHECK (true);


--
-- Name: one_time_links one_time_links_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY one_time_links_select_backup_pipeline_console ON public.one_time_links FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: one_time_links one_time_links_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY one_time_links_select_super_admin ON public.one_time_links FOR SELECT TO super_admin USING (true);


--
-- Name: one_time_links one_time_links_update_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY one_time_links_update_backup_pipeline_console ON public.one_time_links FOR UPDATE TO backup_pipeline_console USING (true) WITH CHECK (true);


--
-- Name: one_time_links one_time_links_update_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY one_time_links_update_super_admin ON public.one_time_links FOR UPDATE TO super_admin USING (true) WITH CHECK (true);


--
-- Name: payment_records; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.payment_records ENABLE ROW LEVEL SECURITY;

--
-- Name: payment_records payment_records_insert_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY payment_records_insert_super_admin ON public.payment_records FOR INSERT TO super_admin WITH CHECK (true);


--
-- Name: payment_records payment_records_select_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY payment_records_select_backup_pipeline_writer ON public.payment_records FOR SELECT TO backup_pipeline_writer USING (true);


--
-- Name: payment_records payment_records_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY payment_records_select_super_admin ON public.payment_records FOR SELECT TO super_admin USING (true);


--
-- Name: plans; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.plans ENABLE ROW LEVEL SECURITY;

--
-- Name: plans plans_insert_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY plans_insert_backup_pipeline_writer ON public.plans FOR INSERT TO backup_pipeline_writer WITH CHECK (true);


--
-- Name: plans plans_insert_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY plans_insert_super_admin ON public.plans FOR INSERT TO super_admin WITH CHECK (true);


--
-- Name: plans plans_select_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY plans_select_admin ON public.plans FOR SELECT TO admin USING (true);


--
-- Name: plans plans_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY plans_select_backup_business_admin ON public.plans FOR SELECT TO backup_business_admin USING (true);


--
-- Name: plans plans_select_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY plans_select_backup_pipeline_writer ON public.plans FOR SELECT TO backup_pipeline_writer USING (true);


--
-- Name: plans plans_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY plans_select_backup_viewer ON public.plans FOR SELECT TO backup_viewer USING (true);


--
-- Name: plans plans_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY plans_select_super_admin ON public.plans FOR SELECT TO super_admin USING (true);


--
-- Name: plans plans_update_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY plans_update_backup_pipeline_writer ON public.plans FOR UPDATE TO backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: plans plans_update_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY plans_update_super_admin ON public.plans FOR UPDATE TO super_admin USING (true) WITH CHECK (true);


--
-- Name: realtime_events; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.realtime_events ENABLE ROW LEVEL SECURITY;

--
-- Name: realtime_events realtime_events_delete_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY realtime_events_delete_backup_pipeline_writer ON public.realtime_events FOR DELETE TO backup_pipeline_writer USING (true);


--
-- Name: realtime_events realtime_events_insert_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY realtime_events_insert_backup_pipeline_writer ON public.realtime_events FOR INSERT TO backup_pipeline_writer WITH CHECK (true);


--
-- Name: realtime_events realtime_events_select_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY realtime_events_select_admin ON public.realtime_events FOR SELECT TO admin USING (true);


--
-- Name: realtime_events realtime_events_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY realtime_events_select_backup_business_admin ON public.realtime_events FOR SELECT TO backup_business_admin USING ((business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))));


--
-- Name: realtime_events realtime_events_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY realtime_events_select_backup_pipeline_console ON public.realtime_events FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: realtime_events realtime_events_select_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY realtime_events_select_backup_pipeline_writer ON public.realtime_events FOR SELECT TO backup_pipeline_writer USING (true);


--
-- Name: realtime_events realtime_events_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY realtime_events_select_backup_viewer ON public.realtime_events FOR SELECT TO backup_viewer USING (true);


--
-- Name: realtime_events realtime_events_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY realtime_events_select_super_admin ON public.realtime_events FOR SELECT TO super_admin USING (true);


--
-- Name: restore_requests; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.restore_requests ENABLE ROW LEVEL SECURITY;

--
-- Name: restore_requests restore_requests_insert; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY restore_requests_insert ON public.restore_requests FOR INSERT TO admin, super_admin, backup_pipeline_writer WITH CHECK (true);


--
-- Name: restore_requests restore_requests_insert_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY restore_requests_insert_backup_business_admin ON public.restore_requests FOR INSERT TO backup_business_admin WITH CHECK (((business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))) AND (actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)) AND (status = 'requested'::text) AND (NOT (EXISTS ( SELECT
   FROM public.business_features f
  WHERE ((f.catalog = restore_requests.catalog) AND (f.business = restore_requests.business) AND (f.feature = 'restore_self_service'::text) AND (NOT f.enabled)))))));


--
-- Name: restore_requests restore_requests_select; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY restore_requests_select ON public.restore_requests FOR SELECT TO admin, super_admin, backup_pipeline_writer USING (true);


--
-- Name: restore_requests restore_requests_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY restore_requests_select_backup_business_admin ON public.restore_requests FOR SELECT TO backup_business_admin USING ((business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))));


--
-- Name: restore_requests restore_requests_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY restore_requests_select_backup_viewer ON public.restore_requests FOR SELECT TO backup_viewer USING (true);


--
-- Name: restore_requests restore_requests_update; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY restore_requests_update ON public.restore_requests FOR UPDATE TO admin, super_admin, backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: restore_requests restore_requests_update_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY restore_requests_update_backup_business_admin ON public.restore_requests FOR UPDATE TO backup_business_admin USING (((business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))) AND (actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)) AND (status = 'requested'::text))) WITH CHECK (((business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))) AND (actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)) AND (status = ANY (ARRAY['requested'::text, 'canceled'::text]))));


--
-- Name: run_progress; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.run_progress ENABLE ROW LEVEL SECURITY;

--
-- Name: run_progress run_progress_delete_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_progress_delete_backup_pipeline_writer ON public.run_progress FOR DELETE TO backup_pipeline_writer USING (true);


--
-- Name: run_progress run_progress_insert_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_progress_insert_backup_pipeline_writer ON public.run_progress FOR INSERT TO backup_pipeline_writer WITH CHECK (true);


--
-- Name: run_progress run_progress_select_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_progress_select_admin ON public.run_progress FOR SELECT TO admin USING (true);


--
-- Name: run_progress run_progress_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_progress_select_backup_business_admin ON public.run_progress FOR SELECT TO backup_business_admin USING ((business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))));


--
-- Name: run_progress run_progress_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_progress_select_backup_pipeline_console ON public.run_progress FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: run_progress run_progress_select_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_progress_select_backup_pipeline_writer ON public.run_progress FOR SELECT TO backup_pipeline_writer USING (true);


--
-- Name: run_progress run_progress_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_progress_select_backup_viewer ON public.run_progress FOR SELECT TO backup_viewer USING (true);


--
-- Name: run_progress run_progress_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_progress_select_super_admin ON public.run_progress FOR SELECT TO super_admin USING (true);


--
-- Name: run_progress run_progress_update_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_progress_update_backup_pipeline_writer ON public.run_progress FOR UPDATE TO backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: run_requests; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.run_requests ENABLE ROW LEVEL SECURITY;

--
-- Name: run_requests run_requests_insert_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_insert_admin ON public.run_requests FOR INSERT TO admin WITH CHECK (true);


--
-- Name: run_requests run_requests_insert_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_insert_backup_business_admin ON public.run_requests FOR INSERT TO backup_business_admin WITH CHECK (((actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)) AND (business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text)))));


--
-- Name: run_requests run_requests_insert_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_insert_backup_pipeline_console ON public.run_requests FOR INSERT TO backup_pipeline_console WITH CHECK (true);


--
-- Name: run_requests run_requests_insert_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_insert_backup_pipeline_writer ON public.run_requests FOR INSERT TO backup_pipeline_writer WITH CHECK (true);


--
-- Name: run_requests run_requests_insert_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_insert_backup_viewer ON public.run_requests FOR INSERT TO backup_viewer WITH CHECK (((actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)) AND ('run'::text = ANY (string_to_array(current_setting('backup.switches'::text, true), ','::text)))));


--
-- Name: run_requests run_requests_insert_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_insert_super_admin ON public.run_requests FOR INSERT TO super_admin WITH CHECK (true);


--
-- Name: run_requests run_requests_select_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_select_admin ON public.run_requests FOR SELECT TO admin USING (true);


--
-- Name: run_requests run_requests_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_select_backup_business_admin ON public.run_requests FOR SELECT TO backup_business_admin USING ((business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))));


--
-- Name: run_requests run_requests_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_select_backup_pipeline_console ON public.run_requests FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: run_requests run_requests_select_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_select_backup_pipeline_writer ON public.run_requests FOR SELECT TO backup_pipeline_writer USING (true);


--
-- Name: run_requests run_requests_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_select_backup_viewer ON public.run_requests FOR SELECT TO backup_viewer USING (true);


--
-- Name: run_requests run_requests_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_select_super_admin ON public.run_requests FOR SELECT TO super_admin USING (true);


--
-- Name: run_requests run_requests_update_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_update_admin ON public.run_requests FOR UPDATE TO admin USING (true) WITH CHECK (true);


--
-- Name: run_requests run_requests_update_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_update_backup_business_admin ON public.run_requests FOR UPDATE TO backup_business_admin USING (((actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)) AND (business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text))))) WITH CHECK (((actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)) AND (business = ANY (string_to_array(current_setting('backup.businesses'::text, true), ','::text)))));


--
-- Name: run_requests run_requests_update_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_update_backup_pipeline_console ON public.run_requests FOR UPDATE TO backup_pipeline_console USING (true) WITH CHECK (true);


--
-- Name: run_requests run_requests_update_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_update_backup_pipeline_writer ON public.run_requests FOR UPDATE TO backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: run_requests run_requests_update_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_update_backup_viewer ON public.run_requests FOR UPDATE TO backup_viewer USING (((actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)) AND ('run'::text = ANY (string_to_array(current_setting('backup.switches'::text, true), ','::text))))) WITH CHECK (((actor = NULLIF(current_setting('backup.actor'::text, true), ''::text)) AND ('run'::text = ANY (string_to_array(current_setting('backup.switches'::text, true), ','::text)))));


--
-- Name: run_requests run_requests_update_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY run_requests_update_super_admin ON public.run_requests FOR UPDATE TO super_admin USING (true) WITH CHECK (true);


--
-- Name: shards; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.shards ENABLE ROW LEVEL SECURITY;

--
-- Name: shards shards_select; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY shards_select ON public.shards FOR SELECT TO admin, super_admin USING (true);


--
-- Name: shards shards_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY shards_writer ON public.shards TO backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: system_settings; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.system_settings ENABLE ROW LEVEL SECURITY;

--
-- Name: system_settings system_settings_insert_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY system_settings_insert_backup_pipeline_console ON public.system_settings FOR INSERT TO backup_pipeline_console WITH CHECK (true);


--
-- Name: system_settings system_settings_insert_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY system_settings_insert_super_admin ON public.system_settings FOR INSERT TO super_admin WITH CHECK (true);


--
-- Name: system_settings system_settings_select_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY system_settings_select_admin ON public.system_settings FOR SELECT TO admin USING (true);


--
-- Name: system_settings system_settings_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY system_settings_select_backup_pipeline_console ON public.system_settings FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: system_settings system_settings_select_backup_pipeline_writer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY system_settings_select_backup_pipeline_writer ON public.system_settings FOR SELECT TO backup_pipeline_writer USING (true);


--
-- Name: system_settings system_settings_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY system_settings_select_super_admin ON public.system_settings FOR SELECT TO super_admin USING (true);


--
-- Name: system_settings system_settings_update_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY system_settings_update_backup_pipeline_console ON public.system_settings FOR UPDATE TO backup_pipeline_console USING (true) WITH CHECK (true);


--
-- Name: system_settings system_settings_update_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY system_settings_update_super_admin ON public.system_settings FOR UPDATE TO super_admin USING (true) WITH CHECK (true);


--
-- Name: users; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;

--
-- Name: users users_insert_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY users_insert_backup_pipeline_console ON public.users FOR INSERT TO backup_pipeline_console WITH CHECK (true);


--
-- Name: users users_insert_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY users_insert_super_admin ON public.users FOR INSERT TO super_admin WITH CHECK (true);


--
-- Name: users users_select_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY users_select_admin ON public.users FOR SELECT TO admin USING ((id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint));


--
-- Name: users users_select_backup_business_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY users_select_backup_business_admin ON public.users FOR SELECT TO backup_business_admin USING ((id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint));


--
-- Name: users users_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY users_select_backup_pipeline_console ON public.users FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: users users_select_backup_viewer; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY users_select_backup_viewer ON public.users FOR SELECT TO backup_viewer USING ((id = (NULLIF(current_setting('backup.user'::text, true), ''::text))::bigint));


--
-- Name: users users_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY users_select_super_admin ON public.users FOR SELECT TO super_admin USING (true);


--
-- Name: users users_update_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY users_update_backup_pipeline_console ON public.users FOR UPDATE TO backup_pipeline_console USING (true) WITH CHECK (true);


--
-- Name: users users_update_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY users_update_super_admin ON public.users FOR UPDATE TO super_admin USING (true) WITH CHECK (true);


--
-- Name: webhook_deliveries; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.webhook_deliveries ENABLE ROW LEVEL SECURITY;

--
-- Name: webhook_deliveries webhook_deliveries_delete_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY webhook_deliveries_delete_backup_pipeline_console ON public.webhook_deliveries FOR DELETE TO backup_pipeline_console USING (true);


--
-- Name: webhook_deliveries webhook_deliveries_delete_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY webhook_deliveries_delete_super_admin ON public.webhook_deliveries FOR DELETE TO super_admin USING (true);


--
-- Name: webhook_deliveries webhook_deliveries_insert_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY webhook_deliveries_insert_backup_pipeline_console ON public.webhook_deliveries FOR INSERT TO backup_pipeline_console WITH CHECK (true);


--
-- Name: webhook_deliveries webhook_deliveries_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY webhook_deliveries_select_backup_pipeline_console ON public.webhook_deliveries FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: webhook_deliveries webhook_deliveries_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY webhook_deliveries_select_super_admin ON public.webhook_deliveries FOR SELECT TO super_admin USING (true);


--
-- Name: webhook_deliveries webhook_deliveries_update_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY webhook_deliveries_update_backup_pipeline_console ON public.webhook_deliveries FOR UPDATE TO backup_pipeline_console USING (true) WITH CHECK (true);


--
-- Name: webhook_deliveries webhook_deliveries_update_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY webhook_deliveries_update_super_admin ON public.webhook_deliveries FOR UPDATE TO super_admin USING (true) WITH CHECK (true);


--
-- Name: webhooks; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.webhooks ENABLE ROW LEVEL SECURITY;

--
-- Name: webhooks webhooks_delete_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY webhooks_delete_backup_pipeline_console ON public.webhooks FOR DELETE TO backup_pipeline_console USING (true);


--
-- Name: webhooks webhooks_delete_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY webhooks_delete_super_admin ON public.webhooks FOR DELETE TO super_admin USING (true);


--
-- Name: webhooks webhooks_insert_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY webhooks_insert_backup_pipeline_console ON public.webhooks FOR INSERT TO backup_pipeline_console WITH CHECK (true);


--
-- Name: webhooks webhooks_insert_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY webhooks_insert_super_admin ON public.webhooks FOR INSERT TO super_admin WITH CHECK (true);


--
-- Name: webhooks webhooks_select_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY webhooks_select_backup_pipeline_console ON public.webhooks FOR SELECT TO backup_pipeline_console USING (true);


--
-- Name: webhooks webhooks_select_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY webhooks_select_super_admin ON public.webhooks FOR SELECT TO super_admin USING (true);


--
-- Name: webhooks webhooks_update_backup_pipeline_console; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY webhooks_update_backup_pipeline_console ON public.webhooks FOR UPDATE TO backup_pipeline_console USING (true) WITH CHECK (true);


--
-- Name: webhooks webhooks_update_super_admin; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY webhooks_update_super_admin ON public.webhooks FOR UPDATE TO super_admin USING (true) WITH CHECK (true);


--
-- Name: FUNCTION api_usage_months(kept interval); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.api_usage_months(kept interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.api_usage_months(kept interval) TO backup_pipeline_console;


--
-- Name: TABLE backup_audit; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.backup_audit FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.backup_audit TO postgres;
GRANT SELECT,INSERT ON TABLE public.backup_audit TO admin;
GRANT SELECT,INSERT ON TABLE public.backup_audit TO super_admin;
GRANT SELECT,INSERT ON TABLE public.backup_audit TO backup_pipeline_writer;
GRANT SELECT,INSERT ON TABLE public.backup_audit TO backup_viewer;
GRANT SELECT,INSERT ON TABLE public.backup_audit TO backup_business_admin;
GRANT SELECT,INSERT ON TABLE public.backup_audit TO backup_pipeline_console;


--
-- Name: TABLE alert_outbox; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.alert_outbox FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.alert_outbox TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.alert_outbox TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.alert_outbox TO super_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_outbox TO backup_pipeline_writer;
GRANT SELECT ON TABLE public.alert_outbox TO backup_viewer;
GRANT SELECT ON TABLE public.alert_outbox TO backup_business_admin;


--
-- Name: TABLE alert_threads; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.alert_threads FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.alert_threads TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.alert_threads TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.alert_threads TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.alert_threads TO backup_pipeline_writer;
GRANT SELECT ON TABLE public.alert_threads TO backup_viewer;
GRANT SELECT ON TABLE public.alert_threads TO backup_business_admin;


--
-- Name: TABLE analytics_cache; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.analytics_cache FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.analytics_cache TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.analytics_cache TO super_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.analytics_cache TO backup_pipeline_writer;


--
-- Name: TABLE api_answers; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.api_answers FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.api_answers TO postgres;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.api_answers TO backup_pipeline_console;


--
-- Name: TABLE api_keys; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.api_keys FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.api_keys TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.api_keys TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.api_keys TO backup_pipeline_console;


--
-- Name: TABLE api_usage_hours; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.api_usage_hours FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.api_usage_hours TO postgres;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.api_usage_hours TO backup_pipeline_console;
GRANT SELECT ON TABLE public.api_usage_hours TO admin;
GRANT SELECT ON TABLE public.api_usage_hours TO super_admin;
GRANT SELECT ON TABLE public.api_usage_hours TO backup_viewer;
GRANT SELECT ON TABLE public.api_usage_hours TO backup_business_admin;


--
-- Name: TABLE api_usage_logs; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.api_usage_logs FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.api_usage_logs TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.api_usage_logs TO backup_pipeline_console;
GRANT SELECT ON TABLE public.api_usage_logs TO admin;
GRANT SELECT ON TABLE public.api_usage_logs TO super_admin;
GRANT SELECT ON TABLE public.api_usage_logs TO backup_viewer;
GRANT SELECT ON TABLE public.api_usage_logs TO backup_business_admin;


--
-- Name: TABLE backup_copies; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.backup_copies FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.backup_copies TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_copies TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_copies TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_copies TO backup_pipeline_writer;
GRANT SELECT ON TABLE public.backup_copies TO backup_viewer;
GRANT SELECT ON TABLE public.backup_copies TO backup_business_admin;


--
-- Name: TABLE backup_ledger_version; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT ON TABLE public.backup_ledger_version TO backup_pipeline_writer;


--
-- Name: TABLE backup_logs; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.backup_logs FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.backup_logs TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_logs TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_logs TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_logs TO backup_pipeline_writer;
GRANT SELECT ON TABLE public.backup_logs TO backup_viewer;
GRANT SELECT ON TABLE public.backup_logs TO backup_business_admin;


--
-- Name: TABLE backup_readings; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.backup_readings FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.backup_readings TO postgres;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.backup_readings TO admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.backup_readings TO super_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.backup_readings TO backup_pipeline_writer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.backup_readings TO backup_viewer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.backup_readings TO backup_business_admin;


--
-- Name: TABLE business_misses; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.business_misses FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.business_misses TO postgres;
GRANT SELECT ON TABLE public.business_misses TO backup_viewer;
GRANT SELECT ON TABLE public.business_misses TO admin;
GRANT SELECT ON TABLE public.business_misses TO super_admin;
GRANT SELECT,INSERT,DELETE ON TABLE public.business_misses TO backup_pipeline_writer;
GRANT SELECT ON TABLE public.business_misses TO backup_business_admin;


--
-- Name: TABLE business_ticks; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.business_ticks FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.business_ticks TO postgres;
GRANT SELECT ON TABLE public.business_ticks TO backup_viewer;
GRANT SELECT ON TABLE public.business_ticks TO admin;
GRANT SELECT ON TABLE public.business_ticks TO super_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.business_ticks TO backup_pipeline_writer;
GRANT SELECT ON TABLE public.business_ticks TO backup_business_admin;


--
-- Name: TABLE businesses; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.businesses FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.businesses TO postgres;
GRANT SELECT ON TABLE public.businesses TO backup_viewer;
GRANT SELECT ON TABLE public.businesses TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.businesses TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.businesses TO backup_pipeline_writer;
GRANT SELECT ON TABLE public.businesses TO backup_business_admin;


--
-- Name: TABLE own_business_ticks; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT ON TABLE public.own_business_ticks TO backup_viewer;
GRANT SELECT ON TABLE public.own_business_ticks TO backup_business_admin;
GRANT SELECT ON TABLE public.own_business_ticks TO admin;
GRANT SELECT ON TABLE public.own_business_ticks TO super_admin;
GRANT SELECT ON TABLE public.own_business_ticks TO backup_pipeline_writer;


--
-- Name: TABLE backup_records; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT ON TABLE public.backup_records TO backup_viewer;
GRANT SELECT ON TABLE public.backup_records TO backup_business_admin;
GRANT SELECT ON TABLE public.backup_records TO admin;
GRANT SELECT ON TABLE public.backup_records TO super_admin;
GRANT SELECT ON TABLE public.backup_records TO backup_pipeline_writer;


--
-- Name: TABLE backup_shapes; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.backup_shapes FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.backup_shapes TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_shapes TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_shapes TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_shapes TO backup_pipeline_writer;
GRANT SELECT ON TABLE public.backup_shapes TO backup_viewer;
GRANT SELECT ON TABLE public.backup_shapes TO backup_business_admin;


--
-- Name: TABLE backup_tallies; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.backup_tallies FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.backup_tallies TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_tallies TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_tallies TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_tallies TO backup_pipeline_writer;
GRANT SELECT ON TABLE public.backup_tallies TO backup_viewer;
GRANT SELECT ON TABLE public.backup_tallies TO backup_business_admin;


--
-- Name: TABLE business_features; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.business_features FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.business_features TO postgres;
GRANT SELECT ON TABLE public.business_features TO backup_viewer;
GRANT SELECT ON TABLE public.business_features TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.business_features TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.business_features TO backup_pipeline_writer;
GRANT SELECT ON TABLE public.business_features TO backup_business_admin;


--
-- Name: TABLE business_history; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.business_history FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.business_history TO postgres;
GRANT SELECT ON TABLE public.business_history TO super_admin;
GRANT SELECT,INSERT ON TABLE public.business_history TO backup_pipeline_writer;


--
-- Name: TABLE console_sessions; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.console_sessions FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.console_sessions TO postgres;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.console_sessions TO backup_pipeline_console;
GRANT SELECT ON TABLE public.console_sessions TO backup_viewer;
GRANT SELECT ON TABLE public.console_sessions TO backup_business_admin;
GRANT SELECT ON TABLE public.console_sessions TO admin;
GRANT SELECT ON TABLE public.console_sessions TO super_admin;


--
-- Name: COLUMN console_sessions.ended_at; Type: ACL; Schema: public; Owner: -
--

GRANT UPDATE(ended_at) ON TABLE public.console_sessions TO backup_viewer;
GRANT UPDATE(ended_at) ON TABLE public.console_sessions TO backup_business_admin;
GRANT UPDATE(ended_at) ON TABLE public.console_sessions TO admin;
GRANT UPDATE(ended_at) ON TABLE public.console_sessions TO super_admin;


--
-- Name: COLUMN console_sessions.ended_why; Type: ACL; Schema: public; Owner: -
--

GRANT UPDATE(ended_why) ON TABLE public.console_sessions TO backup_viewer;
GRANT UPDATE(ended_why) ON TABLE public.console_sessions TO backup_business_admin;
GRANT UPDATE(ended_why) ON TABLE public.console_sessions TO admin;
GRANT UPDATE(ended_why) ON TABLE public.console_sessions TO super_admin;


--
-- Name: TABLE dagster_outbox; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.dagster_outbox FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.dagster_outbox TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.dagster_outbox TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.dagster_outbox TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.dagster_outbox TO backup_pipeline_console;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.dagster_outbox TO backup_pipeline_writer;


--
-- Name: TABLE download_links; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.download_links FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.download_links TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.download_links TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.download_links TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.download_links TO backup_pipeline_console;
GRANT SELECT,INSERT,UPDATE ON TABLE public.download_links TO backup_viewer;
GRANT SELECT,INSERT,UPDATE ON TABLE public.download_links TO backup_business_admin;


--
-- Name: TABLE due_accounts; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.due_accounts FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.due_accounts TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.due_accounts TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.due_accounts TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.due_accounts TO backup_pipeline_writer;
GRANT SELECT ON TABLE public.due_accounts TO backup_viewer;
GRANT SELECT ON TABLE public.due_accounts TO backup_business_admin;


--
-- Name: TABLE leases; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.leases FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.leases TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.leases TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.leases TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.leases TO backup_pipeline_writer;
GRANT SELECT ON TABLE public.leases TO backup_viewer;
GRANT SELECT ON TABLE public.leases TO backup_business_admin;


--
-- Name: TABLE login_failures; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.login_failures FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.login_failures TO postgres;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.login_failures TO backup_pipeline_console;
GRANT SELECT ON TABLE public.login_failures TO super_admin;


--
-- Name: TABLE one_time_links; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.one_time_links FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.one_time_links TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.one_time_links TO super_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.one_time_links TO backup_pipeline_console;


--
-- Name: TABLE payment_records; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.payment_records FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.payment_records TO postgres;
GRANT SELECT,INSERT ON TABLE public.payment_records TO super_admin;
GRANT SELECT ON TABLE public.payment_records TO backup_pipeline_writer;


--
-- Name: TABLE plans; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.plans FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.plans TO postgres;
GRANT SELECT ON TABLE public.plans TO backup_viewer;
GRANT SELECT ON TABLE public.plans TO backup_business_admin;
GRANT SELECT ON TABLE public.plans TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.plans TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.plans TO backup_pipeline_writer;


--
-- Name: TABLE realtime_events; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.realtime_events FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.realtime_events TO postgres;
GRANT SELECT ON TABLE public.realtime_events TO backup_viewer;
GRANT SELECT ON TABLE public.realtime_events TO backup_business_admin;
GRANT SELECT ON TABLE public.realtime_events TO admin;
GRANT SELECT ON TABLE public.realtime_events TO super_admin;
GRANT SELECT ON TABLE public.realtime_events TO backup_pipeline_console;
GRANT SELECT,INSERT,DELETE ON TABLE public.realtime_events TO backup_pipeline_writer;


--
-- Name: TABLE restore_requests; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.restore_requests FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.restore_requests TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.restore_requests TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.restore_requests TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.restore_requests TO backup_pipeline_writer;
GRANT SELECT ON TABLE public.restore_requests TO backup_viewer;
GRANT SELECT,INSERT,UPDATE ON TABLE public.restore_requests TO backup_business_admin;


--
-- Name: TABLE run_progress; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.run_progress FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.run_progress TO postgres;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.run_progress TO backup_pipeline_writer;
GRANT SELECT ON TABLE public.run_progress TO backup_viewer;
GRANT SELECT ON TABLE public.run_progress TO backup_business_admin;
GRANT SELECT ON TABLE public.run_progress TO admin;
GRANT SELECT ON TABLE public.run_progress TO super_admin;
GRANT SELECT ON TABLE public.run_progress TO backup_pipeline_console;


--
-- Name: TABLE run_requests; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.run_requests FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.run_requests TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.run_requests TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.run_requests TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.run_requests TO backup_pipeline_console;
GRANT SELECT,INSERT,UPDATE ON TABLE public.run_requests TO backup_pipeline_writer;
GRANT SELECT,INSERT,UPDATE ON TABLE public.run_requests TO backup_viewer;
GRANT SELECT,INSERT,UPDATE ON TABLE public.run_requests TO backup_business_admin;


--
-- Name: TABLE shards; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.shards FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.shards TO postgres;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.shards TO backup_pipeline_writer;
GRANT SELECT ON TABLE public.shards TO admin;
GRANT SELECT ON TABLE public.shards TO super_admin;


--
-- Name: TABLE users; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.users FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.users TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.users TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.users TO backup_pipeline_console;
GRANT SELECT ON TABLE public.users TO backup_viewer;
GRANT SELECT ON TABLE public.users TO backup_business_admin;
GRANT SELECT ON TABLE public.users TO admin;


--
-- Name: TABLE super_admins; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT ON TABLE public.super_admins TO super_admin;
GRANT SELECT ON TABLE public.super_admins TO backup_pipeline_console;


--
-- Name: TABLE system_settings; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.system_settings FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.system_settings TO postgres;
GRANT SELECT ON TABLE public.system_settings TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.system_settings TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.system_settings TO backup_pipeline_console;
GRANT SELECT ON TABLE public.system_settings TO backup_pipeline_writer;


--
-- Name: TABLE webhook_deliveries; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.webhook_deliveries FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.webhook_deliveries TO postgres;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.webhook_deliveries TO backup_pipeline_console;
GRANT SELECT,DELETE,UPDATE ON TABLE public.webhook_deliveries TO super_admin;


--
-- Name: TABLE webhooks; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.webhooks FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.webhooks TO postgres;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.webhooks TO super_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.webhooks TO backup_pipeline_console;


--
-- PostgreSQL database dump complete
--


