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
-- Name: backup_audit_is_append_only(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.backup_audit_is_append_only() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'backup_audit is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege'; END $$;


--
-- Name: backup_tally(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.backup_tally() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO backup_tallies AS told (catalog, ended_as, attempts) VALUES (NEW.catalog, NEW.status, 1)
    ON CONFLICT (catalog, ended_as) DO UPDATE SET attempts = told.attempts + 1;
    RETURN NULL;
END $$;


SET default_tablespace = '';

SET default_table_access_method = heap;

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
    catalog text NOT NULL,
    topic text NOT NULL,
    opened_at timestamp with time zone,
    failures integer NOT NULL,
    told integer NOT NULL,
    told_at timestamp with time zone,
    heard boolean DEFAULT true NOT NULL
);

ALTER TABLE ONLY public.alert_threads FORCE ROW LEVEL SECURITY;


--
-- Name: backup_audit; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.backup_audit (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    backup_id text,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL
);

ALTER TABLE ONLY public.backup_audit FORCE ROW LEVEL SECURITY;


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
    verification_level text,
    verified_at timestamp with time zone,
    error_message text,
    owner_host text,
    owner_pid integer,
    owner_started double precision,
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
    created_by text NOT NULL,
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
    verification_level text,
    verified_at timestamp with time zone,
    held_until timestamp with time zone,
    held_reason text,
    held_by text,
    expires_at timestamp with time zone,
    table_bytes jsonb DEFAULT '{}'::jsonb NOT NULL,
    due_at timestamp with time zone,
    manifest_sha256 text,
    seal_key text,
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
    reader text NOT NULL,
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
    catalog text NOT NULL,
    ended_as text NOT NULL,
    attempts bigint NOT NULL
);

ALTER TABLE ONLY public.backup_tallies FORCE ROW LEVEL SECURITY;


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
    held_by text NOT NULL,
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
    requested_by text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    status text NOT NULL,
    decided_by text,
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
-- Data for Name: alert_outbox; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.alert_outbox OVERRIDING SYSTEM VALUE VALUES (1, '2026-11-30 07:39:34.77699+00', '{"at": "2026-11-30T07:39:33.816084+00:00", "do": "Check host and port, that the server runs and accepts connections, and the network.", "what": "Can not connect to shop at 127.0.0.1:9 as nobody: connection failed: connection to server at \"127.0.0.1\", port 9 failed: Connection refused Is the server running on that host and accepting TCP/IP connections?", "title": "Backup failed: shop for 2026-11-30", "topic": "full", "run_id": "bc3f465a-5f0e-4fe1-8868-8d0181662587", "tables": {}, "catalog": "shop", "run_url": "http://127.0.0.1:3000/runs/bc3f465a-5f0e-4fe1-8868-8d0181662587", "failures": 1, "severity": "failure", "backup_id": "20261130T073933Z-full-64a7a1df"}', 'json://127.0.0.1:9', 1, '2026-11-30 07:40:34.820492+00', NULL, NULL, 'A Connection error occurred sending JSON notification to 127.0.0.1. Socket Exception: HTTPConnectionPool(host=''127.0.0.1'', port=9): Max retries exceeded with url: /*** (Caused by NewConnectionError("HTTPConnection(host=''127.0.0.1'', port=9): Failed to establish a new connection: [Errno 111] Connection refused"))', NULL);


--
-- Data for Name: alert_threads; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.alert_threads VALUES ('shop', 'selective', NULL, 0, 0, NULL, true);
INSERT INTO public.alert_threads VALUES ('shop', 'copy', NULL, 0, 0, NULL, true);
INSERT INTO public.alert_threads VALUES ('vault', 'copy', NULL, 0, 0, NULL, true);
INSERT INTO public.alert_threads VALUES ('vault', 'full', NULL, 0, 0, NULL, true);
INSERT INTO public.alert_threads VALUES ('shop', 'full', '2026-11-30 07:39:34.732304+00', 1, 1, '2026-11-30 07:39:34.732304+00', true);
INSERT INTO public.alert_threads VALUES ('shop_before_restore', 'copy', NULL, 0, 0, NULL, true);
INSERT INTO public.alert_threads VALUES ('shop_before_restore', 'selective', NULL, 0, 0, NULL, true);


--
-- Data for Name: backup_audit; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (1, '2026-11-30 07:37:47.355982+00', 'root', 'backup', '20261130T073747Z-full-3dd6ec33', '{"reason": "plain"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (2, '2026-11-30 07:37:50.265667+00', 'root', 'backup ended', '20261130T073747Z-full-3dd6ec33', '{"rows": 163, "status": "success"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (3, '2026-11-30 07:38:01.01199+00', 'root', 'verify', '20261130T073747Z-full-3dd6ec33', '{"level": 3, "reached": "level 3 (references)", "findings": []}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (4, '2026-11-30 07:38:11.842813+00', 'root', 'backup', '20261130T073811Z-selective-e339b749', '{"reason": "of two tables"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (5, '2026-11-30 07:38:15.327078+00', 'root', 'copy', '20261130T073811Z-selective-e339b749', '{"bytes": 24674, "store": "file:///var/lib/earlier/second", "status": "good"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (6, '2026-11-30 07:38:15.39647+00', 'root', 'backup ended', '20261130T073811Z-selective-e339b749', '{"rows": 42, "status": "success"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (7, '2026-11-30 07:38:29.061813+00', 'root', 'hold', '20261130T073811Z-selective-e339b749', '{"until": "2099-01-01T18:00:00+00:00", "reason": "kept for the audit"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (8, '2026-11-30 07:38:37.063333+00', 'root', 'backup', '20261130T073837Z-full-f3d16b9d', '{"reason": "sealed and copied"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (9, '2026-11-30 07:38:39.348762+00', 'root', 'copy', '20261130T073837Z-full-f3d16b9d', '{"bytes": 33242, "store": "file:///var/lib/earlier/second", "status": "good"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (10, '2026-11-30 07:38:39.384121+00', 'root', 'backup ended', '20261130T073837Z-full-f3d16b9d', '{"rows": 163, "status": "success"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (11, '2026-11-30 07:38:51.906498+00', 'root', 'drill', '20261130T073837Z-full-f3d16b9d', '{"rows": 163, "passed": true, "report": {"rows": 163, "bytes": 19447, "stale": null, "passed": true, "server": "PostgreSQL 18 in /usr/lib/postgresql/18/bin, as this user, all other files and the network closed to it", "stages": {"fetch": 0.031, "export": 0.474, "server": 1.995, "verify": 1.354, "compare": 0.141, "inspect": 0.125, "restore": 0.452}, "tables": [{"name": "areas", "rows": 2, "sheet": "bytes", "parquet": "bytes", "remarks": [], "seconds": {"fetch": 0.002, "export": 0.01, "compare": 0.0, "restore": 0.007}, "findings": [], "restored": true, "rows_again": 2}, {"name": "customers", "rows": 40, "sheet": "bytes", "parquet": "fingerprint", "remarks": [{"about": "customers", "message": "its Parquet files were compared in any order: national_id is masked in the backup."}, {"about": "customers", "message": "not compared, because the backup does not have their values: national_id."}], "seconds": {"fetch": 0.01, "export": 0.01, "compare": 0.133, "restore": 0.003}, "findings": [], "restored": true, "rows_again": 40}, {"name": "orders", "rows": 121, "sheet": "bytes", "parquet": "bytes", "remarks": [], "seconds": {"fetch": 0.004, "export": 0.064, "compare": 0.0, "restore": 0.002}, "findings": [], "restored": true, "rows_again": 121}], "catalog": "shop", "inserts": [{"drawn": ["3"], "table": "public.areas", "columns": ["id"], "not_tried": ""}, {"drawn": ["41"], "table": "public.customers", "columns": ["id"], "not_tried": ""}], "objects": [{"kind": "tables", "valid": 4, "wanted": 4}, {"kind": "sequences", "valid": 2, "wanted": 2}, {"kind": "keys and other constraints", "valid": 3, "wanted": 3}, {"kind": "foreign keys", "valid": 2, "wanted": 2}], "remarks": [{"about": "the whole", "message": "What is made belongs to role drill: owners and privileges (GRANT) are not in a backup."}, {"about": "customers", "message": "its Parquet files were compared in any order: national_id is masked in the backup."}, {"about": "customers", "message": "not compared, because the backup does not have their values: national_id."}], "seconds": 4.783, "findings": [], "injected": null, "verified": "level 3 (references)", "backup_id": "20261130T073837Z-full-f3d16b9d", "snapshot_at": "2026-11-30T07:38:37.278673+00:00", "bytes_to_fetch": 10032, "server_version": "18.4", "predicted_restore_seconds": 0.5}, "seconds": 4.8, "findings": [], "verified": "level 3 (references)", "predicted_restore_seconds": 0.5}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (12, '2026-11-30 07:39:04.263526+00', 'root', 'backup', '20261130T073904Z-full-9fa661a3', '{"reason": "encrypted and sealed"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (13, '2026-11-30 07:39:09.7448+00', 'root', 'key used', '20261130T073904Z-full-9fa661a3', '{"identity": "age1e8nsacuaumuwkpaahlwwhwxuvj0wfj8r77w9l0jg3zumf9r5qp0q5cp9an"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (14, '2026-11-30 07:39:09.805418+00', 'root', 'copy', '20261130T073904Z-full-9fa661a3', '{"bytes": 74262, "store": "file:///var/lib/earlier/second", "status": "good"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (15, '2026-11-30 07:39:09.855213+00', 'root', 'backup ended', '20261130T073904Z-full-9fa661a3', '{"rows": 165, "status": "success"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (16, '2026-11-30 07:39:10.375891+00', 'root', 'key used', '20261130T073904Z-full-9fa661a3', '{"identity": "age1e8nsacuaumuwkpaahlwwhwxuvj0wfj8r77w9l0jg3zumf9r5qp0q5cp9an"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (17, '2026-11-30 07:39:19.12974+00', 'root', 'key used', '20261130T073904Z-full-9fa661a3', '{"identity": "age1e8nsacuaumuwkpaahlwwhwxuvj0wfj8r77w9l0jg3zumf9r5qp0q5cp9an"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (18, '2026-11-30 07:39:20.610551+00', 'root', 'verify', '20261130T073904Z-full-9fa661a3', '{"level": 3, "reached": "level 3 (references)", "findings": []}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (19, '2026-11-30 07:39:33.816084+00', 'root', 'backup', '20261130T073933Z-full-64a7a1df', '{"reason": ""}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (20, '2026-11-30 07:39:34.069492+00', 'root', 'backup ended', '20261130T073933Z-full-64a7a1df', '{"error": "Can not connect to shop at 127.0.0.1:9 as nobody: connection failed: connection to server at \"127.0.0.1\", port 9 failed: Connection refused Is the server running on that host and accepting TCP/IP connections?", "status": "failed"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (21, '2026-11-30 07:39:34.843144+00', 'backup_pipeline', 'alert', '20261130T073933Z-full-64a7a1df', '{"error": "A Connection error occurred sending JSON notification to 127.0.0.1. Socket Exception: HTTPConnectionPool(host=''127.0.0.1'', port=9): Max retries exceeded with url: /*** (Caused by NewConnectionError(\"HTTPConnection(host=''127.0.0.1'', port=9): Failed to establish a new connection: [Errno 111] Connection refused\"))", "title": "Backup failed: shop for 2026-11-30", "channel": "json://127.0.0.1:9"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (22, '2026-11-30 07:39:45.744095+00', 'root', 'restore requested', '20261130T073837Z-full-f3d16b9d', '{"mode": "new", "store": "first", "reason": "a rehearsal", "target": "postgresql://postgres@127.0.0.1:46593/scratch", "request": 1}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (23, '2026-11-30 07:39:46.157109+00', 'root', 'restore started', '20261130T073837Z-full-f3d16b9d', '{"target": "postgresql://postgres@127.0.0.1:46593/scratch", "request": 1}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (24, '2026-11-30 07:39:47.543432+00', 'root', 'restore done', '20261130T073837Z-full-f3d16b9d', '{"target": "postgresql://postgres@127.0.0.1:46593/scratch", "request": 1, "seconds": 1.3}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (25, '2026-11-30 07:39:54.920242+00', 'root', 'restore requested', '20261130T073837Z-full-f3d16b9d', '{"mode": "upsert", "store": "first", "reason": "a wrong UPDATE", "tables": ["customers"], "target": "postgresql://postgres@127.0.0.1:46593/shop", "request": 2}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (26, '2026-11-30 07:39:55.261542+00', 'root', 'restore started', '20261130T073837Z-full-f3d16b9d', '{"target": "postgresql://postgres@127.0.0.1:46593/shop", "request": 2}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (27, '2026-11-30 07:39:56.570507+00', 'root', 'backup', '20261130T073956Z-selective-c40e4428', '{"reason": "before restore 2"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (28, '2026-11-30 07:39:57.277786+00', 'root', 'copy', '20261130T073956Z-selective-c40e4428', '{"bytes": 22670, "store": "file:///var/lib/earlier/second", "status": "good"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (29, '2026-11-30 07:39:57.338612+00', 'root', 'backup ended', '20261130T073956Z-selective-c40e4428', '{"rows": 40, "status": "success"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (30, '2026-11-30 07:39:57.413426+00', 'root', 'restore done', '20261130T073837Z-full-f3d16b9d', '{"target": "postgresql://postgres@127.0.0.1:46593/shop", "request": 2, "seconds": 2.1, "safety_backup": "20261130T073956Z-selective-c40e4428"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (31, '2026-11-30 07:40:04.990309+00', 'root', 'restore requested', '20261130T073837Z-full-f3d16b9d', '{"mode": "replace", "store": "first", "reason": "asked", "tables": ["orders"], "target": "postgresql://postgres@127.0.0.1:46593/shop", "request": 3}');


--
-- Data for Name: backup_copies; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_copies VALUES ('20261130T073811Z-selective-e339b749', 'file:///var/lib/earlier/second', 'shop', 'good', '2026-11-30 07:38:15.243661+00', '2026-11-30 07:38:15.306765+00', 24674, '617a603c7a5ddf2292aea7ab56467a6516d0b0732f3ab0d51dcebfdf06d0b061', '1', '2026-11-30 07:38:15.306765+00', NULL, 'earlier', 20299, 1796024282.15);
INSERT INTO public.backup_copies VALUES ('20261130T073837Z-full-f3d16b9d', 'file:///var/lib/earlier/second', 'shop', 'good', '2026-11-30 07:38:39.30924+00', '2026-11-30 07:38:39.345572+00', 33242, '07ea5d84234dab3093720536065e0e55f711386a6fd525b7f150e97571bca80c', '1', '2026-11-30 07:38:39.345572+00', NULL, 'earlier', 23401, 1796024309.38);
INSERT INTO public.backup_copies VALUES ('20261130T073904Z-full-9fa661a3', 'file:///var/lib/earlier/second', 'vault', 'good', '2026-11-30 07:39:09.718337+00', '2026-11-30 07:39:09.792905+00', 74262, 'ade760e292c406a6ce540a96491b41835bbff87906f4e7191269665af5e6da13', '1', '2026-11-30 07:39:09.792905+00', NULL, 'earlier', 27197, 1796024332.68);
INSERT INTO public.backup_copies VALUES ('20261130T073956Z-selective-c40e4428', 'file:///var/lib/earlier/second', 'shop_before_restore', 'good', '2026-11-30 07:39:57.205274+00', '2026-11-30 07:39:57.25462+00', 22670, 'aec874369ecce4adcf800414665f03fdf039dce52b5d4a5d2a64c5f55f843935', '1', '2026-11-30 07:39:57.25462+00', NULL, 'earlier', 2286, 1796024388.7);


--
-- Data for Name: backup_ledger_version; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_ledger_version VALUES ('r0008');


--
-- Data for Name: backup_logs; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_logs VALUES ('40c58122-0f61-440b-9371-95d7086a780c', 'full_backup_2026-11-30_13-39.zip', 'vault/backups/backup_date=2026-11-30/20261130T073904Z-full-9fa661a3/full_backup_2026-11-30_13-39.zip', 48177, 165, 'success', NULL, '2026-11-30 07:39:04.263526+00', '20261130T073904Z-full-9fa661a3', 'vault', NULL, 'full', 'manual', 'encrypted and sealed', 'root', false, '2026-11-30', '["areas", "customers", "orders", "events"]', 'def4a5e0-483c-4373-83b0-4e8e9a7a2bbc', 'earlier', 27197, 1796024332.68, '2026-11-30 07:39:09.085536+00', '2026-11-30 07:39:04.263526+00', '2026-11-30 07:39:09.838063+00', '2026-11-30 07:39:04.470937+00', '{"areas": 2, "events": 2, "orders": 121, "customers": 40}', 'ade760e292c406a6ce540a96491b41835bbff87906f4e7191269665af5e6da13', true, '[]', '3', '2026-11-30 07:39:20.610551+00', NULL, NULL, NULL, NULL, '{"areas": 1096, "events": 1240, "orders": 6518, "customers": 12119}', NULL, '479e5e418b9ddabbf5d960f6075c130f32800a082e77fa36ee1f409be04c4920', 'fb22783e49a5c318');
INSERT INTO public.backup_logs VALUES ('04259770-cfdc-43a4-b0ea-498cc3eef0b7', 'full_backup_2026-11-30_13-37.zip', 'shop/backups/backup_date=2026-11-30/20261130T073747Z-full-3dd6ec33/full_backup_2026-11-30_13-37.zip', 19362, 163, 'success', NULL, '2026-11-30 07:37:47.355982+00', '20261130T073747Z-full-3dd6ec33', 'shop', NULL, 'full', 'manual', 'plain', 'root', false, '2026-11-30', '["areas", "customers", "orders"]', '128a8c87-d3d2-45e0-8674-1be109d48146', 'earlier', 17655, 1796024259.55, '2026-11-30 07:37:49.784437+00', '2026-11-30 07:37:47.355982+00', '2026-11-30 07:37:50.246842+00', '2026-11-30 07:37:47.554288+00', '{"areas": 2, "orders": 121, "customers": 40}', 'cfa475c8c2802aa932e450cd4e71db8cbd42adb8efd8bc9f39a86bbc18d544e8', true, '[]', '3', '2026-11-30 07:38:01.01199+00', NULL, NULL, NULL, NULL, '{"areas": 1096, "orders": 6518, "customers": 8664}', NULL, '08fee71ec8a0434903c7a1590cf04e7a90a210bd1aa7ccd0c52ffd6b12c756ef', NULL);
INSERT INTO public.backup_logs VALUES ('f1ef5476-a0fd-47bd-a837-e8c2f5e057c0', 'selective_backup_2026-11-30_13-38.zip', 'shop/backups/backup_date=2026-11-30/20261130T073811Z-selective-e339b749/selective_backup_2026-11-30_13-38.zip', 14750, 42, 'success', NULL, '2026-11-30 07:38:11.842813+00', '20261130T073811Z-selective-e339b749', 'shop', NULL, 'selective', 'manual', 'of two tables', 'root', false, '2026-11-30', '["areas", "customers"]', '8db1b480-5eda-426b-96a7-698f0dea4131', 'earlier', 20299, 1796024282.15, '2026-11-30 07:38:14.694358+00', '2026-11-30 07:38:11.842813+00', '2026-11-30 07:38:15.355635+00', '2026-11-30 07:38:12.100606+00', '{"areas": 2, "customers": 40}', '617a603c7a5ddf2292aea7ab56467a6516d0b0732f3ab0d51dcebfdf06d0b061', true, '[]', '1', '2026-11-30 07:38:15.242574+00', '2099-01-01 18:00:00+00', 'kept for the audit', 'root', NULL, '{"areas": 1096, "customers": 8664}', NULL, 'c98604b9ec27501be7c0e985e9ceafcab84e260ceb3f192a4a2d7512f2b75b95', 'fb22783e49a5c318');
INSERT INTO public.backup_logs VALUES ('5d3f7b74-0f66-4563-9cdf-bb084814f27c', NULL, NULL, NULL, NULL, 'failed', 'Can not connect to shop at 127.0.0.1:9 as nobody: connection failed: connection to server at "127.0.0.1", port 9 failed: Connection refused Is the server running on that host and accepting TCP/IP connections?
What to do: Check host and port, that the server runs and accepts connections, and the network.', '2026-11-30 07:39:33.816084+00', '20261130T073933Z-full-64a7a1df', 'shop', NULL, 'full', 'manual', '', 'root', false, '2026-11-30', '["areas", "customers", "orders"]', 'bc3f465a-5f0e-4fe1-8868-8d0181662587', 'earlier', 31380, 1796024361.69, '2026-11-30 07:39:33.889693+00', '2026-11-30 07:39:33.816084+00', '2026-11-30 07:39:34.035062+00', NULL, '{}', NULL, NULL, '[]', NULL, NULL, NULL, NULL, NULL, NULL, '{}', NULL, NULL, NULL);
INSERT INTO public.backup_logs VALUES ('cbf2ab76-5b2c-4377-a96b-979e04df237f', 'full_backup_2026-11-30_13-38.zip', 'shop/backups/backup_date=2026-11-30/20261130T073837Z-full-f3d16b9d/full_backup_2026-11-30_13-38.zip', 19447, 163, 'success', NULL, '2026-11-30 07:38:37.063333+00', '20261130T073837Z-full-f3d16b9d', 'shop', NULL, 'full', 'manual', 'sealed and copied', 'root', false, '2026-11-30', '["areas", "customers", "orders"]', '0f62a075-e2ec-42db-905b-fca960bc5909', 'earlier', 23401, 1796024309.38, '2026-11-30 07:38:38.868643+00', '2026-11-30 07:38:37.063333+00', '2026-11-30 07:38:39.364093+00', '2026-11-30 07:38:37.278673+00', '{"areas": 2, "orders": 121, "customers": 40}', '07ea5d84234dab3093720536065e0e55f711386a6fd525b7f150e97571bca80c', true, '[]', '4', '2026-11-30 07:38:51.922756+00', NULL, NULL, NULL, NULL, '{"areas": 1096, "orders": 6518, "customers": 8664}', NULL, '660d87d82095d4bd62d9b4ff3014c3349308c0a1f94048c9d39a83ed25eae00d', 'fb22783e49a5c318');
INSERT INTO public.backup_logs VALUES ('a25b4b2c-c924-4ffd-9408-4e8c7e04be69', 'selective_backup_2026-11-30_13-39.zip', 'shop_before_restore/backups/backup_date=2026-11-30/20261130T073956Z-selective-c40e4428/selective_backup_2026-11-30_13-39.zip', 14602, 40, 'success', NULL, '2026-11-30 07:39:56.570507+00', '20261130T073956Z-selective-c40e4428', 'shop_before_restore', NULL, 'selective', 'manual', 'before restore 2', 'root', false, '2026-11-30', '["customers"]', NULL, 'earlier', 2286, 1796024388.7, '2026-11-30 07:39:56.65672+00', '2026-11-30 07:39:56.570507+00', '2026-11-30 07:39:57.308785+00', '2026-11-30 07:39:56.693561+00', '{"customers": 40}', 'aec874369ecce4adcf800414665f03fdf039dce52b5d4a5d2a64c5f55f843935', true, '[]', '1', '2026-11-30 07:39:57.200173+00', NULL, NULL, NULL, NULL, '{"customers": 13045}', NULL, '469c2dcdc5b74826f5cfd521f2da5faf0cb04c250448919a8ce522de4bf73166', 'fb22783e49a5c318');
INSERT INTO public.backup_logs VALUES ('c045164b-91bf-4344-bac7-eb711fae3882', NULL, NULL, NULL, NULL, 'expected', NULL, '2026-11-30 18:00:00+00', '20261130T180000Z-full-c6a544ed', 'shop', NULL, 'full', 'automatic', 'due by the schedule 0 0 * * *', 'schedule', false, '2026-12-01', '[]', NULL, NULL, NULL, NULL, NULL, '2026-11-30 18:00:00+00', NULL, NULL, '{}', NULL, NULL, '[]', NULL, NULL, NULL, NULL, NULL, NULL, '{}', '2026-11-30 18:00:00+00', NULL, NULL);


--
-- Data for Name: backup_readings; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: backup_shapes; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_shapes VALUES ('20261130T073747Z-full-3dd6ec33', '{"tables": {"areas": {"rows": 2, "unique": true, "columns": {"id": "integer", "name": "text"}, "excluded": [], "relation": "public.areas", "anomalies": []}, "orders": {"rows": 121, "unique": true, "columns": {"shop": "text", "tags": "text[]", "total": "numeric", "number": "integer", "customer_id": "integer"}, "excluded": [], "relation": "public.orders", "anomalies": []}, "customers": {"rows": 40, "unique": true, "columns": {"id": "integer", "born": "date", "code": "uuid", "name": "text", "note": "jsonb", "seen": "timestamp with time zone", "size": "public.size", "photo": "bytea", "area_id": "integer", "balance": "numeric(10,2)", "national_id": "text"}, "excluded": [], "relation": "public.customers", "anomalies": []}}, "orphans": {}, "excluded": ["public.events"], "unlisted": [], "anomalies": [], "backup_id": "20261130T073747Z-full-3dd6ec33", "bundle_sha256": "cfa475c8c2802aa932e450cd4e71db8cbd42adb8efd8bc9f39a86bbc18d544e8"}');
INSERT INTO public.backup_shapes VALUES ('20261130T073811Z-selective-e339b749', '{"tables": {"areas": {"rows": 2, "unique": true, "columns": {"id": "integer", "name": "text"}, "excluded": [], "relation": "public.areas", "anomalies": []}, "customers": {"rows": 40, "unique": true, "columns": {"id": "integer", "born": "date", "code": "uuid", "name": "text", "note": "jsonb", "seen": "timestamp with time zone", "size": "public.size", "photo": "bytea", "area_id": "integer", "balance": "numeric(10,2)", "national_id": "text"}, "excluded": [], "relation": "public.customers", "anomalies": []}}, "orphans": {}, "excluded": ["public.events"], "unlisted": [], "anomalies": [], "backup_id": "20261130T073811Z-selective-e339b749", "bundle_sha256": "617a603c7a5ddf2292aea7ab56467a6516d0b0732f3ab0d51dcebfdf06d0b061"}');
INSERT INTO public.backup_shapes VALUES ('20261130T073837Z-full-f3d16b9d', '{"tables": {"areas": {"rows": 2, "unique": true, "columns": {"id": "integer", "name": "text"}, "excluded": [], "relation": "public.areas", "anomalies": []}, "orders": {"rows": 121, "unique": true, "columns": {"shop": "text", "tags": "text[]", "total": "numeric", "number": "integer", "customer_id": "integer"}, "excluded": [], "relation": "public.orders", "anomalies": []}, "customers": {"rows": 40, "unique": true, "columns": {"id": "integer", "born": "date", "code": "uuid", "name": "text", "note": "jsonb", "seen": "timestamp with time zone", "size": "public.size", "photo": "bytea", "area_id": "integer", "balance": "numeric(10,2)", "national_id": "text"}, "excluded": [], "relation": "public.customers", "anomalies": []}}, "orphans": {}, "excluded": ["public.events"], "unlisted": [], "anomalies": [], "backup_id": "20261130T073837Z-full-f3d16b9d", "bundle_sha256": "07ea5d84234dab3093720536065e0e55f711386a6fd525b7f150e97571bca80c"}');
INSERT INTO public.backup_shapes VALUES ('20261130T073904Z-full-9fa661a3', '{"tables": {"areas": {"rows": 2, "unique": true, "columns": {"id": "integer", "name": "text"}, "excluded": [], "relation": "public.areas", "anomalies": []}, "events": {"rows": 2, "unique": true, "columns": {"what": "text", "happened": "timestamp with time zone"}, "excluded": [], "relation": "public.events", "anomalies": []}, "orders": {"rows": 121, "unique": true, "columns": {"shop": "text", "tags": "text[]", "total": "numeric", "number": "integer", "customer_id": "integer"}, "excluded": [], "relation": "public.orders", "anomalies": []}, "customers": {"rows": 40, "unique": true, "columns": {"id": "integer", "born": "date", "code": "uuid", "name": "text", "note": "jsonb", "seen": "timestamp with time zone", "size": "public.size", "photo": "bytea", "area_id": "integer", "balance": "numeric(10,2)"}, "excluded": ["national_id"], "relation": "public.customers", "anomalies": []}}, "orphans": {}, "excluded": [], "unlisted": [], "anomalies": [], "backup_id": "20261130T073904Z-full-9fa661a3", "bundle_sha256": "ade760e292c406a6ce540a96491b41835bbff87906f4e7191269665af5e6da13"}');
INSERT INTO public.backup_shapes VALUES ('20261130T073956Z-selective-c40e4428', '{"tables": {"customers": {"rows": 40, "unique": true, "columns": {"id": "integer", "born": "date", "code": "uuid", "name": "text", "note": "jsonb", "seen": "timestamp with time zone", "size": "public.size", "photo": "bytea", "area_id": "integer", "balance": "numeric(10,2)", "national_id": "text"}, "excluded": [], "relation": "public.customers", "anomalies": []}}, "orphans": {}, "excluded": ["public.areas", "public.orders", "public.events"], "unlisted": [], "anomalies": [], "backup_id": "20261130T073956Z-selective-c40e4428", "bundle_sha256": "aec874369ecce4adcf800414665f03fdf039dce52b5d4a5d2a64c5f55f843935"}');


--
-- Data for Name: backup_tallies; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_tallies VALUES ('shop', 'success', 3);
INSERT INTO public.backup_tallies VALUES ('vault', 'success', 1);
INSERT INTO public.backup_tallies VALUES ('shop', 'failed', 1);
INSERT INTO public.backup_tallies VALUES ('shop_before_restore', 'success', 1);


--
-- Data for Name: due_accounts; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.due_accounts VALUES ('shop', '2026-11-30 07:40:12.325724+00');
INSERT INTO public.due_accounts VALUES ('vault', '2026-11-30 07:40:12.383928+00');


--
-- Data for Name: leases; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.leases VALUES ('shop_before_restore', 1, '20261130T073956Z-selective-c40e4428', 'root', NULL, 'earlier', 2286, 1796024388.7, '2026-11-30 07:39:56.626286+00', '2026-11-30 07:39:57.15547+00', '2026-11-30 07:41:27.15547+00', '2026-11-30 07:39:57.30005+00');
INSERT INTO public.leases VALUES ('vault', 1, '20261130T073904Z-full-9fa661a3', 'root', 'def4a5e0-483c-4373-83b0-4e8e9a7a2bbc', 'earlier', 27197, 1796024332.68, '2026-11-30 07:39:04.307853+00', '2026-11-30 07:39:09.657812+00', '2026-11-30 07:40:39.657812+00', '2026-11-30 07:39:09.837995+00');
INSERT INTO public.leases VALUES ('shop', 4, '20261130T073933Z-full-64a7a1df', 'root', 'bc3f465a-5f0e-4fe1-8868-8d0181662587', 'earlier', 31380, 1796024361.69, '2026-11-30 07:39:33.864744+00', '2026-11-30 07:39:33.934542+00', '2026-11-30 07:41:03.934542+00', '2026-11-30 07:39:34.056386+00');


--
-- Data for Name: restore_requests; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.restore_requests OVERRIDING SYSTEM VALUE VALUES (1, '20261130T073837Z-full-f3d16b9d', 'shop', '[]', 'new', NULL, '{}', '{}', true, 'postgresql://postgres@127.0.0.1:46593/scratch', 'scratch', 'root', 'a rehearsal', '2026-11-30 07:39:45.71815+00', 'done', NULL, NULL, NULL, NULL, 'earlier', 1099, 1796024379.56, '2026-11-30 07:39:46.109114+00', '2026-11-30 07:39:46.109114+00', '2026-11-30 07:39:47.517947+00', '{"bytes": 10032, "broken": [], "digest": "e59ae13e2d6a1a26623356ae59e3379f1e1f356583dfaa2c87b134a0e5c4339b", "tables": [{"key": ["id"], "kept": {}, "name": "areas", "files": [{"path": "parquet/areas/part-00000.parquet", "rows": 2, "bytes": 1055, "sha256": "e2862a46eca3919c1a335eab810015abc1b8b56c56d882f61117e554b3ce4244"}], "action": "create", "filled": {}, "source": ["public", "areas"], "target": ["public", "areas"], "columns": [{"name": "id", "binary": true, "target": "id", "pg_type": "integer"}, {"name": "name", "binary": true, "target": "name", "pg_type": "text"}], "ignored": {}, "rows_now": null, "triggers": [], "extension": false, "sequences": [{"column": "id", "sequence": ["public", "areas_id_seq"], "is_called": true, "last_value": 2}], "rows_in_backup": 2}, {"key": ["id"], "kept": {"national_id": "masked in the backup; rows that are there keep their value, new rows get NULL"}, "name": "customers", "files": [{"path": "parquet/customers/part-00000.parquet", "rows": 40, "bytes": 6252, "sha256": "d3a8a2218423de315f7f3c640bfaa3b454824e71aba1a0768434b9dc3d833526"}], "action": "create", "filled": {}, "source": ["public", "customers"], "target": ["public", "customers"], "columns": [{"name": "id", "binary": true, "target": "id", "pg_type": "integer"}, {"name": "area_id", "binary": true, "target": "area_id", "pg_type": "integer"}, {"name": "name", "binary": true, "target": "name", "pg_type": "text"}, {"name": "balance", "binary": true, "target": "balance", "pg_type": "numeric(10,2)"}, {"name": "size", "binary": false, "target": "size", "pg_type": "public.size"}, {"name": "note", "binary": true, "target": "note", "pg_type": "jsonb"}, {"name": "code", "binary": true, "target": "code", "pg_type": "uuid"}, {"name": "born", "binary": true, "target": "born", "pg_type": "date"}, {"name": "seen", "binary": true, "target": "seen", "pg_type": "timestamp with time zone"}, {"name": "photo", "binary": true, "target": "photo", "pg_type": "bytea"}], "ignored": {"national_id": "masked in the backup: its values are not there"}, "rows_now": null, "triggers": [], "extension": false, "sequences": [{"column": "id", "sequence": ["public", "customers_id_seq"], "is_called": true, "last_value": 40}], "rows_in_backup": 40}, {"key": ["shop", "number"], "kept": {}, "name": "orders", "files": [{"path": "parquet/orders/part-00000.parquet", "rows": 121, "bytes": 2725, "sha256": "b42ca0c7c568a00324e2a40b41c51efb717bfe2dee391534f295dfb0bcf6a1ab"}], "action": "create", "filled": {}, "source": ["public", "orders"], "target": ["public", "orders"], "columns": [{"name": "shop", "binary": true, "target": "shop", "pg_type": "text"}, {"name": "number", "binary": true, "target": "number", "pg_type": "integer"}, {"name": "customer_id", "binary": true, "target": "customer_id", "pg_type": "integer"}, {"name": "tags", "binary": false, "target": "tags", "pg_type": "text[]"}, {"name": "total", "binary": false, "target": "total", "pg_type": "numeric"}], "ignored": {}, "rows_now": null, "triggers": [], "extension": false, "sequences": [], "rows_in_backup": 121}], "target": "postgresql://postgres:***@127.0.0.1:46593/scratch", "catalog": "shop", "refused": false, "remarks": [{"do": "Connect as the role that owns the tables, or name it in BACKUP_RESTORE_ROLE.", "table": null, "message": "Role postgres is a superuser: functions of the backup and of the target, in defaults, checks, triggers and indexes, run with all its rights, over the server''s files and programs too.", "severity": "warning"}, {"do": "Make them again, as your application''s set-up does.", "table": null, "message": "What is made belongs to role postgres: owners and privileges (GRANT) are not in a backup.", "severity": "warning"}, {"do": "", "table": null, "message": "PostgreSQL does not tell how much disk is free there; 163 rows come, 10,032 bytes of Parquet.", "severity": "info"}, {"do": "", "table": null, "message": "public.events is made empty: it is excluded from the backup (a log of its own).", "severity": "info"}], "request": {"fill": {}, "mode": "new", "reason": "a rehearsal", "rename": {}, "tables": [], "confirm": null, "backup_id": "20261130T073837Z-full-f3d16b9d", "into_schema": null, "requested_by": "root"}, "database": "scratch", "left_out": [], "backup_id": "20261130T073837Z-full-f3d16b9d", "sequences": [], "search_path": "", "snapshot_at": "2026-11-30T07:38:37.278673+00:00", "confirm_name": null, "safety_backup": false, "statements_after": 5, "statements_before": 11}', '{"mode": "new", "notes": [], "tables": [{"name": "areas", "loaded": 2, "target": ["public", "areas"], "deleted": 0, "seconds": 0.017, "updated": 0, "inserted": 2, "unchanged": 0}, {"name": "customers", "loaded": 40, "target": ["public", "customers"], "deleted": 0, "seconds": 0.896, "updated": 0, "inserted": 40, "unchanged": 0}, {"name": "orders", "loaded": 121, "target": ["public", "orders"], "deleted": 0, "seconds": 0.009, "updated": 0, "inserted": 121, "unchanged": 0}], "target": "postgresql://postgres:***@127.0.0.1:46593/scratch", "catalog": "shop", "seconds": 1.341, "database": "scratch", "backup_id": "20261130T073837Z-full-f3d16b9d", "snapshot_at": "2026-11-30T07:38:37.278673+00:00", "bytes_fetched": 14725, "safety_backup_id": null}', NULL, 'first');
INSERT INTO public.restore_requests OVERRIDING SYSTEM VALUE VALUES (2, '20261130T073837Z-full-f3d16b9d', 'shop', '["customers"]', 'upsert', NULL, '{}', '{}', true, 'postgresql://postgres@127.0.0.1:46593/shop', 'shop', 'root', 'a wrong UPDATE', '2026-11-30 07:39:54.910398+00', 'done', NULL, NULL, NULL, NULL, 'earlier', 2286, 1796024388.7, '2026-11-30 07:39:55.251795+00', '2026-11-30 07:39:55.251795+00', '2026-11-30 07:39:57.401925+00', '{"bytes": 6252, "broken": [], "digest": "76005fa01040b8528daa2145d39bca3d2e7c3cf673b51c6ca0180af70fb4bed7", "tables": [{"key": ["id"], "kept": {"national_id": "masked in the backup; rows that are there keep their value, new rows get NULL"}, "name": "customers", "files": [{"path": "parquet/customers/part-00000.parquet", "rows": 40, "bytes": 6252, "sha256": "d3a8a2218423de315f7f3c640bfaa3b454824e71aba1a0768434b9dc3d833526"}], "action": "upsert", "filled": {}, "source": ["public", "customers"], "target": ["public", "customers"], "columns": [{"name": "id", "binary": true, "target": "id", "pg_type": "integer"}, {"name": "area_id", "binary": true, "target": "area_id", "pg_type": "integer"}, {"name": "name", "binary": true, "target": "name", "pg_type": "text"}, {"name": "balance", "binary": true, "target": "balance", "pg_type": "numeric(10,2)"}, {"name": "size", "binary": false, "target": "size", "pg_type": "public.size"}, {"name": "note", "binary": true, "target": "note", "pg_type": "jsonb"}, {"name": "code", "binary": true, "target": "code", "pg_type": "uuid"}, {"name": "born", "binary": true, "target": "born", "pg_type": "date"}, {"name": "seen", "binary": true, "target": "seen", "pg_type": "timestamp with time zone"}, {"name": "photo", "binary": true, "target": "photo", "pg_type": "bytea"}], "ignored": {"national_id": "masked in the backup: its values are not there"}, "rows_now": 40, "triggers": [], "extension": false, "sequences": [{"column": "id", "sequence": ["public", "customers_id_seq"], "is_called": true, "last_value": 40}], "rows_in_backup": 40}], "target": "postgresql://postgres:***@127.0.0.1:46593/shop", "catalog": "shop", "refused": false, "remarks": [{"do": "Connect as the role that owns the tables, or name it in BACKUP_RESTORE_ROLE.", "table": null, "message": "Role postgres is a superuser: functions of the backup and of the target, in defaults, checks, triggers and indexes, run with all its rights, over the server''s files and programs too.", "severity": "warning"}, {"do": "", "table": null, "message": "PostgreSQL does not tell how much disk is free there; 40 rows come, 6,252 bytes of Parquet.", "severity": "info"}, {"do": "A row that refers to a missing one stops the restore; add --table for public.areas then.", "table": "customers", "message": "public.customers refers to public.areas, which is not restored: its rows must be there.", "severity": "info"}, {"do": "If one of its rows would lose what it refers to, the restore stops and changes nothing.", "table": "customers", "message": "public.orders refers to public.customers (ON DELETE NO ACTION), and is not restored.", "severity": "info"}], "request": {"fill": {}, "mode": "upsert", "reason": "a wrong UPDATE", "rename": {}, "tables": ["customers"], "confirm": null, "backup_id": "20261130T073837Z-full-f3d16b9d", "into_schema": null, "requested_by": "root"}, "database": "shop", "left_out": [], "backup_id": "20261130T073837Z-full-f3d16b9d", "sequences": [], "search_path": "", "snapshot_at": "2026-11-30T07:38:37.278673+00:00", "confirm_name": "shop", "safety_backup": true, "statements_after": 0, "statements_before": 0}', '{"mode": "upsert", "notes": [], "tables": [{"name": "customers", "loaded": 40, "target": ["public", "customers"], "deleted": 0, "seconds": 0.895, "updated": 1, "inserted": 0, "unchanged": 39}], "target": "postgresql://postgres:***@127.0.0.1:46593/shop", "catalog": "shop", "seconds": 2.128, "database": "shop", "backup_id": "20261130T073837Z-full-f3d16b9d", "snapshot_at": "2026-11-30T07:38:37.278673+00:00", "bytes_fetched": 14725, "safety_backup_id": "20261130T073956Z-selective-c40e4428"}', NULL, 'first');
INSERT INTO public.restore_requests OVERRIDING SYSTEM VALUE VALUES (3, '20261130T073837Z-full-f3d16b9d', 'shop', '["orders"]', 'replace', NULL, '{}', '{}', true, 'postgresql://postgres@127.0.0.1:46593/shop', 'shop', 'root', 'asked', '2026-11-30 07:40:04.969186+00', 'requested', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{"bytes": 2725, "broken": [], "digest": "62b091cf9a42f45a160427f07e64be2b4466af5377914ec236b26c8eb1e929d4", "tables": [{"key": ["shop", "number"], "kept": {}, "name": "orders", "files": [{"path": "parquet/orders/part-00000.parquet", "rows": 121, "bytes": 2725, "sha256": "b42ca0c7c568a00324e2a40b41c51efb717bfe2dee391534f295dfb0bcf6a1ab"}], "action": "replace", "filled": {}, "source": ["public", "orders"], "target": ["public", "orders"], "columns": [{"name": "shop", "binary": true, "target": "shop", "pg_type": "text"}, {"name": "number", "binary": true, "target": "number", "pg_type": "integer"}, {"name": "customer_id", "binary": true, "target": "customer_id", "pg_type": "integer"}, {"name": "tags", "binary": false, "target": "tags", "pg_type": "text[]"}, {"name": "total", "binary": false, "target": "total", "pg_type": "numeric"}], "ignored": {}, "rows_now": 121, "triggers": [], "extension": false, "sequences": [], "rows_in_backup": 121}], "target": "postgresql://postgres:***@127.0.0.1:46593/shop", "catalog": "shop", "refused": false, "remarks": [{"do": "Connect as the role that owns the tables, or name it in BACKUP_RESTORE_ROLE.", "table": null, "message": "Role postgres is a superuser: functions of the backup and of the target, in defaults, checks, triggers and indexes, run with all its rights, over the server''s files and programs too.", "severity": "warning"}, {"do": "", "table": null, "message": "PostgreSQL does not tell how much disk is free there; 121 rows come, 2,725 bytes of Parquet.", "severity": "info"}, {"do": "A row that refers to a missing one stops the restore; add --table for public.customers then.", "table": "orders", "message": "public.orders refers to public.customers, which is not restored: its rows must be there.", "severity": "info"}], "request": {"fill": {}, "mode": "replace", "reason": "asked", "rename": {}, "tables": ["orders"], "confirm": null, "backup_id": "20261130T073837Z-full-f3d16b9d", "into_schema": null, "requested_by": "root"}, "database": "shop", "left_out": [], "backup_id": "20261130T073837Z-full-f3d16b9d", "sequences": [], "search_path": "", "snapshot_at": "2026-11-30T07:38:37.278673+00:00", "confirm_name": "shop", "safety_backup": true, "statements_after": 0, "statements_before": 0}', NULL, NULL, 'first');


--
-- Name: alert_outbox_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.alert_outbox_id_seq', 1, true);


--
-- Name: backup_audit_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.backup_audit_id_seq', 31, true);


--
-- Name: backup_readings_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.backup_readings_id_seq', 3, true);


--
-- Name: restore_requests_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.restore_requests_id_seq', 3, true);


--
-- Name: alert_outbox alert_outbox_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.alert_outbox
    ADD CONSTRAINT alert_outbox_pkey PRIMARY KEY (id);


--
-- Name: alert_threads alert_threads_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.alert_threads
    ADD CONSTRAINT alert_threads_pkey PRIMARY KEY (catalog, topic);


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
    ADD CONSTRAINT backup_tallies_pkey PRIMARY KEY (catalog, ended_as);


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
-- Name: restore_requests restore_requests_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.restore_requests
    ADD CONSTRAINT restore_requests_pkey PRIMARY KEY (id);


--
-- Name: alert_outbox_undelivered; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX alert_outbox_undelivered ON public.alert_outbox USING btree (id) WHERE (delivered_at IS NULL);


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
-- Name: backup_logs_catalog_newest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_logs_catalog_newest ON public.backup_logs USING btree (catalog, created_at DESC, backup_id DESC);


--
-- Name: backup_logs_day; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX backup_logs_day ON public.backup_logs USING btree (catalog, partition_date);


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
-- Name: leases_holder; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX leases_holder ON public.leases USING btree (holder);


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
-- Name: backup_audit backup_audit_append_only; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER backup_audit_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.backup_audit FOR EACH STATEMENT EXECUTE FUNCTION public.backup_audit_is_append_only();

ALTER TABLE public.backup_audit ENABLE ALWAYS TRIGGER backup_audit_append_only;


--
-- Name: backup_logs backup_logs_tally_insert; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER backup_logs_tally_insert AFTER INSERT ON public.backup_logs FOR EACH ROW WHEN ((new.status <> ALL (ARRAY['expected'::text, 'running'::text, 'expired'::text, 'deleted'::text]))) EXECUTE FUNCTION public.backup_tally();


--
-- Name: backup_logs backup_logs_tally_update; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER backup_logs_tally_update AFTER UPDATE OF status ON public.backup_logs FOR EACH ROW WHEN (((old.status = ANY (ARRAY['expected'::text, 'running'::text])) AND (new.status <> ALL (ARRAY['expected'::text, 'running'::text, 'expired'::text, 'deleted'::text])))) EXECUTE FUNCTION public.backup_tally();


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
-- Name: alert_threads alert_threads_update; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY alert_threads_update ON public.alert_threads FOR UPDATE TO admin, super_admin, backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: backup_audit; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.backup_audit ENABLE ROW LEVEL SECURITY;

--
-- Name: backup_audit backup_audit_insert; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_audit_insert ON public.backup_audit FOR INSERT TO admin, super_admin, backup_pipeline_writer WITH CHECK (true);


--
-- Name: backup_audit backup_audit_select; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_audit_select ON public.backup_audit FOR SELECT TO admin, super_admin, backup_pipeline_writer USING (true);


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
-- Name: backup_readings backup_readings_insert; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_readings_insert ON public.backup_readings FOR INSERT TO admin, super_admin, backup_pipeline_writer WITH CHECK (true);


--
-- Name: backup_readings backup_readings_select; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_readings_select ON public.backup_readings FOR SELECT TO admin, super_admin, backup_pipeline_writer USING (true);


--
-- Name: backup_readings backup_readings_update; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_readings_update ON public.backup_readings FOR UPDATE TO admin, super_admin, backup_pipeline_writer USING (true) WITH CHECK (true);


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
-- Name: backup_tallies backup_tallies_update; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY backup_tallies_update ON public.backup_tallies FOR UPDATE TO admin, super_admin, backup_pipeline_writer USING (true) WITH CHECK (true);


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
-- Name: leases leases_update; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY leases_update ON public.leases FOR UPDATE TO admin, super_admin, backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: restore_requests; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.restore_requests ENABLE ROW LEVEL SECURITY;

--
-- Name: restore_requests restore_requests_insert; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY restore_requests_insert ON public.restore_requests FOR INSERT TO admin, super_admin, backup_pipeline_writer WITH CHECK (true);


--
-- Name: restore_requests restore_requests_select; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY restore_requests_select ON public.restore_requests FOR SELECT TO admin, super_admin, backup_pipeline_writer USING (true);


--
-- Name: restore_requests restore_requests_update; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY restore_requests_update ON public.restore_requests FOR UPDATE TO admin, super_admin, backup_pipeline_writer USING (true) WITH CHECK (true);


--
-- Name: TABLE alert_outbox; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.alert_outbox FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.alert_outbox TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.alert_outbox TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.alert_outbox TO super_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_outbox TO backup_pipeline_writer;


--
-- Name: TABLE alert_threads; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.alert_threads FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.alert_threads TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.alert_threads TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.alert_threads TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.alert_threads TO backup_pipeline_writer;


--
-- Name: TABLE backup_audit; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.backup_audit FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.backup_audit TO postgres;
GRANT SELECT,INSERT ON TABLE public.backup_audit TO admin;
GRANT SELECT,INSERT ON TABLE public.backup_audit TO super_admin;
GRANT SELECT,INSERT ON TABLE public.backup_audit TO backup_pipeline_writer;


--
-- Name: TABLE backup_copies; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.backup_copies FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.backup_copies TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_copies TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_copies TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_copies TO backup_pipeline_writer;


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


--
-- Name: TABLE backup_readings; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.backup_readings FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.backup_readings TO postgres;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.backup_readings TO admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.backup_readings TO super_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.backup_readings TO backup_pipeline_writer;


--
-- Name: TABLE backup_shapes; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.backup_shapes FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.backup_shapes TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_shapes TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_shapes TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_shapes TO backup_pipeline_writer;


--
-- Name: TABLE backup_tallies; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.backup_tallies FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.backup_tallies TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_tallies TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_tallies TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.backup_tallies TO backup_pipeline_writer;


--
-- Name: TABLE due_accounts; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.due_accounts FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.due_accounts TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.due_accounts TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.due_accounts TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.due_accounts TO backup_pipeline_writer;


--
-- Name: TABLE leases; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.leases FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.leases TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.leases TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.leases TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.leases TO backup_pipeline_writer;


--
-- Name: TABLE restore_requests; Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON TABLE public.restore_requests FROM postgres;
GRANT REFERENCES,TRIGGER,MAINTAIN ON TABLE public.restore_requests TO postgres;
GRANT SELECT,INSERT,UPDATE ON TABLE public.restore_requests TO admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.restore_requests TO super_admin;
GRANT SELECT,INSERT,UPDATE ON TABLE public.restore_requests TO backup_pipeline_writer;


--
-- PostgreSQL database dump complete
--


