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



--
-- Data for Name: alert_threads; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.alert_threads VALUES ('shop', 'full', NULL, 0, 0, NULL, true);
INSERT INTO public.alert_threads VALUES ('shop', 'selective', NULL, 0, 0, NULL, true);


--
-- Data for Name: backup_audit; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (1, '2026-11-30 04:40:53.945873+00', 'command line', 'backup', '20261130T044053Z-full-44cf21ea', '{"reason": "the first"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (2, '2026-11-30 04:40:57.672879+00', 'command line', 'backup ended', '20261130T044053Z-full-44cf21ea', '{"rows": 162, "status": "success"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (3, '2026-11-30 04:41:11.241469+00', 'command line', 'backup', '20261130T044111Z-full-eb6485d9', '{"reason": "the second"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (4, '2026-11-30 04:41:14.598378+00', 'command line', 'backup ended', '20261130T044111Z-full-eb6485d9', '{"rows": 163, "status": "success"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (5, '2026-11-30 04:41:26.729926+00', 'command line', 'backup', '20261130T044126Z-selective-22745d5e', '{"reason": "selective"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (6, '2026-11-30 04:41:29.557003+00', 'command line', 'backup ended', '20261130T044126Z-selective-22745d5e', '{"rows": 40, "status": "success"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (7, '2026-11-30 04:41:39.89127+00', 'command line', 'verify', '20261130T044111Z-full-eb6485d9', '{"level": 3, "reached": "level 3 (references)", "findings": []}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (8, '2026-11-30 04:41:48.26851+00', 'command line', 'hold', '20261130T044126Z-selective-22745d5e', '{"until": "released", "reason": "kept for the test"}');
INSERT INTO public.backup_audit OVERRIDING SYSTEM VALUE VALUES (9, '2026-11-30 04:41:57.979801+00', 'command line', 'drill', '20261130T044111Z-full-eb6485d9', '{"rows": 163, "passed": true, "report": {"rows": 163, "bytes": 21300, "stale": null, "passed": true, "stages": {"fetch": 0.044, "export": 0.443, "server": 2.012, "verify": 1.64, "compare": 0.002, "inspect": 0.113, "restore": 0.323}, "tables": [{"name": "areas", "rows": 2, "sheet": "bytes", "parquet": "bytes", "remarks": [], "seconds": {"fetch": 0.002, "export": 0.065, "compare": 0.0, "restore": 0.029}, "findings": [], "restored": true, "rows_again": 2}, {"name": "customers", "rows": 40, "sheet": "bytes", "parquet": "bytes", "remarks": [], "seconds": {"fetch": 0.012, "export": 0.025, "compare": 0.0, "restore": 0.005}, "findings": [], "restored": true, "rows_again": 40}, {"name": "orders", "rows": 121, "sheet": "bytes", "parquet": "bytes", "remarks": [], "seconds": {"fetch": 0.007, "export": 0.019, "compare": 0.0, "restore": 0.003}, "findings": [], "restored": true, "rows_again": 121}], "catalog": "shop", "inserts": [{"drawn": ["41"], "table": "public.customers", "columns": ["id"], "not_tried": ""}], "objects": [{"kind": "tables", "valid": 3, "wanted": 3}, {"kind": "sequences", "valid": 1, "wanted": 1}, {"kind": "keys and other constraints", "valid": 4, "wanted": 4}, {"kind": "foreign keys", "valid": 2, "wanted": 2}], "remarks": [{"about": "the whole", "message": "What is made belongs to role postgres: owners and privileges (GRANT) are not in a backup."}], "seconds": 4.727, "findings": [], "injected": null, "verified": "level 3 (references)", "backup_id": "20261130T044111Z-full-eb6485d9", "snapshot_at": "2026-11-30T04:41:11.461172+00:00", "bytes_to_fetch": 10668, "server_version": "18.4", "predicted_restore_seconds": 0.3}, "seconds": 4.7, "findings": [], "verified": "level 3 (references)", "predicted_restore_seconds": 0.3}');


--
-- Data for Name: backup_copies; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: backup_ledger_version; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_ledger_version VALUES ('r0007');


--
-- Data for Name: backup_logs; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_logs VALUES ('0ccd35d1-6b25-4008-8cd7-cd391a621de4', 'full_backup_2026-11-30_10-40.zip', 'shop/backups/backup_date=2026-11-30/20261130T044053Z-full-44cf21ea/full_backup_2026-11-30_10-40.zip', 21218, 162, 'success', NULL, '2026-11-30 04:40:53.945873+00', '20261130T044053Z-full-44cf21ea', 'shop', NULL, 'full', 'manual', 'the first', 'command line', false, '2026-11-30', '["areas", "customers", "orders"]', '8671bf39-6bb6-4989-ab42-f4ba57d6f41e', 'vm', 17336, 1796013642.41, '2026-11-30 04:40:57.526941+00', '2026-11-30 04:40:53.945873+00', '2026-11-30 04:40:57.638881+00', '2026-11-30 04:40:54.207034+00', '{"areas": 2, "orders": 120, "customers": 40}', '323c43fdccf5b3e64aeca0df4636d5deea655a12639762b45ef9fdaf26d5adc3', true, '[]', '1', '2026-11-30 04:40:57.638808+00', NULL, NULL, NULL, NULL, '{"areas": 1152, "orders": 11061, "customers": 12164}', NULL);
INSERT INTO public.backup_logs VALUES ('0021239e-6a0e-4a06-9bfd-7304aeb568c4', 'selective_backup_2026-11-30_10-41.zip', 'shop/backups/backup_date=2026-11-30/20261130T044126Z-selective-22745d5e/selective_backup_2026-11-30_10-41.zip', 13503, 40, 'success', NULL, '2026-11-30 04:41:26.729926+00', '20261130T044126Z-selective-22745d5e', 'shop', NULL, 'selective', 'manual', 'selective', 'command line', false, '2026-11-30', '["customers"]', '7a9ebdeb-ba9f-4b45-9220-0a2edb537333', 'vm', 22252, 1796013677.13, '2026-11-30 04:41:29.318628+00', '2026-11-30 04:41:26.729926+00', '2026-11-30 04:41:29.482914+00', '2026-11-30 04:41:26.9786+00', '{"customers": 40}', 'd0591b2194e2b1446e4204c19307cec2f24437c99b65a9a5e773cb7366e90712', true, '[]', '1', '2026-11-30 04:41:29.482842+00', NULL, 'kept for the test', 'command line', NULL, '{"customers": 12164}', NULL);
INSERT INTO public.backup_logs VALUES ('4e9e2d96-726a-4224-8010-36bed7b0de72', 'full_backup_2026-11-30_10-41.zip', 'shop/backups/backup_date=2026-11-30/20261130T044111Z-full-eb6485d9/full_backup_2026-11-30_10-41.zip', 21300, 163, 'success', NULL, '2026-11-30 04:41:11.241469+00', '20261130T044111Z-full-eb6485d9', 'shop', NULL, 'full', 'manual', 'the second', 'command line', false, '2026-11-30', '["areas", "customers", "orders"]', '57ce3f18-76e4-4d1d-8c80-3a816cef0b8d', 'vm', 19803, 1796013661.9, '2026-11-30 04:41:14.37092+00', '2026-11-30 04:41:11.241469+00', '2026-11-30 04:41:14.563774+00', '2026-11-30 04:41:11.461172+00', '{"areas": 2, "orders": 121, "customers": 40}', '86185a43130fabbc1d036540f0f6fb6fd174af154a3b4c763adc4b4e52d8f9d5', true, '[]', '4', '2026-11-30 04:41:57.998045+00', NULL, NULL, NULL, NULL, '{"areas": 1152, "orders": 11131, "customers": 12164}', NULL);


--
-- Data for Name: backup_readings; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: backup_shapes; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_shapes VALUES ('20261130T044053Z-full-44cf21ea', '{"tables": {"areas": {"rows": 2, "unique": true, "columns": {"id": "integer", "name": "text"}, "excluded": [], "relation": "public.areas", "anomalies": []}, "orders": {"rows": 120, "unique": true, "columns": {"tags": "text[]", "total": "numeric", "number": "integer", "placed": "timestamp without time zone", "customer_id": "bigint"}, "excluded": [], "relation": "public.orders", "anomalies": []}, "customers": {"rows": 40, "unique": true, "columns": {"id": "bigint", "born": "date", "code": "uuid", "name": "text", "note": "jsonb", "size": "public.size", "photo": "bytea", "joined": "timestamp with time zone", "area_id": "integer", "balance": "numeric(12,2)"}, "excluded": [], "relation": "public.customers", "anomalies": []}}, "orphans": {}, "excluded": [], "unlisted": [], "anomalies": [], "backup_id": "20261130T044053Z-full-44cf21ea"}');
INSERT INTO public.backup_shapes VALUES ('20261130T044111Z-full-eb6485d9', '{"tables": {"areas": {"rows": 2, "unique": true, "columns": {"id": "integer", "name": "text"}, "excluded": [], "relation": "public.areas", "anomalies": []}, "orders": {"rows": 121, "unique": true, "columns": {"tags": "text[]", "total": "numeric", "number": "integer", "placed": "timestamp without time zone", "customer_id": "bigint"}, "excluded": [], "relation": "public.orders", "anomalies": []}, "customers": {"rows": 40, "unique": true, "columns": {"id": "bigint", "born": "date", "code": "uuid", "name": "text", "note": "jsonb", "size": "public.size", "photo": "bytea", "joined": "timestamp with time zone", "area_id": "integer", "balance": "numeric(12,2)"}, "excluded": [], "relation": "public.customers", "anomalies": []}}, "orphans": {}, "excluded": [], "unlisted": [], "anomalies": [], "backup_id": "20261130T044111Z-full-eb6485d9"}');
INSERT INTO public.backup_shapes VALUES ('20261130T044126Z-selective-22745d5e', '{"tables": {"customers": {"rows": 40, "unique": true, "columns": {"id": "bigint", "born": "date", "code": "uuid", "name": "text", "note": "jsonb", "size": "public.size", "photo": "bytea", "joined": "timestamp with time zone", "area_id": "integer", "balance": "numeric(12,2)"}, "excluded": [], "relation": "public.customers", "anomalies": []}}, "orphans": {}, "excluded": [], "unlisted": [], "anomalies": [], "backup_id": "20261130T044126Z-selective-22745d5e"}');


--
-- Data for Name: backup_tallies; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.backup_tallies VALUES ('shop', 'success', 3);


--
-- Data for Name: due_accounts; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: leases; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.leases VALUES ('shop', 3, '20261130T044126Z-selective-22745d5e', 'command line', '7a9ebdeb-ba9f-4b45-9220-0a2edb537333', 'vm', 22252, 1796013677.13, '2026-11-30 04:41:26.820249+00', '2026-11-30 04:41:29.48163+00', '2026-11-30 04:42:59.48163+00', '2026-11-30 04:41:29.522536+00');


--
-- Data for Name: restore_requests; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Name: alert_outbox_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.alert_outbox_id_seq', 1, false);


--
-- Name: backup_audit_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.backup_audit_id_seq', 9, true);


--
-- Name: backup_readings_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.backup_readings_id_seq', 2, true);


--
-- Name: restore_requests_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.restore_requests_id_seq', 1, false);


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


