"""Settings of a database change nothing: the same values, sheets, definitions and rows, whatever it sets."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from backup_pipeline.core.errors import PreflightRefusedError, SourceError
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.postgres.restore import PostgresTarget
from backup_pipeline.postgres.session import DUMPING, READING, WRITING, startup_options
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline_tests.exactness.exporting import Exporter, catalog_of
from backup_pipeline_tests.servers.postgres import temporary_database

AWKWARD = r"""
CREATE TYPE pair AS (at timestamptz, took interval);
CREATE TABLE p (
    code text PRIMARY KEY, u uuid, "Mixed Case" int CHECK ("Mixed Case" > 0), "select" text DEFAULT E'a\\b',
    at timestamptz DEFAULT '2020-01-01 12:00:00+06', took interval DEFAULT '1 year 2 mons -3 days 04:05:06',
    bytes bytea DEFAULT '\x004141ff', price money DEFAULT 1234.5, f float8 DEFAULT 0.1, f4 real DEFAULT 1e-7,
    words text[] DEFAULT '{NULL,a}', spans tstzrange DEFAULT '["2020-01-01 00:00+06",)', pairs pair,
    day date DEFAULT '2020-02-01', maybe text, written text DEFAULT '2020-01-01 12:00 EST',
    list text DEFAULT '{NULL,b}');
INSERT INTO p (code, u, "Mixed Case", pairs, at) VALUES
    ('x', '11111111-1111-1111-1111-111111111111', 1, ('2020-01-01 00:00+00', '1 mon'), DEFAULT),
    ('Y', NULL, 2, ROW('1999-12-31 23:59+00', '-1 day'), '1999-07-01 00:00+00');
CREATE TABLE q (id int PRIMARY KEY, code text REFERENCES p, at timestamptz NOT NULL CHECK (at > '2000-01-01 00:00+06'));
INSERT INTO q SELECT i, 'x', timestamptz '2026-01-01 00:00+00' + i * interval '1 day' FROM generate_series(1, 300) i;
CREATE TABLE parts (id int, at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01 00:00+06') TO ('2026-02-01 00:00+06');
INSERT INTO parts SELECT i, timestamptz '2026-01-05 00:00+00' + i * interval '1 hour' FROM generate_series(1, 200) i;
CREATE TABLE docs (id int PRIMARY KEY, words tsvector);
INSERT INTO docs SELECT i, CASE WHEN i % 20 = 0 THEN 'cat' ELSE 'dog' END::tsvector FROM generate_series(1, 5000) i;
CREATE INDEX docs_words ON docs USING gin (words); ANALYZE docs;
CREATE VIEW cats AS SELECT id FROM docs WHERE words @@ 'cat'::tsquery;
CREATE VIEW printed AS SELECT code, to_char(at, 'TMMonth TMDay') AS month, to_char(1234.5, '9G999D99L') AS number,
    to_tsvector('the cats ' || code)::text AS stems, list::text[] AS list, written::timestamptz AS at,
    took::text AS took, at::text AS shown, bytes::text AS bytes,
    price::text AS price, f::text AS f, f4::text AS f4, day::text AS day, (p.tableoid)::regclass::text AS of,
    quote_ident(code) AS quoted, maybe IS NULL AS missing FROM p;
CREATE FUNCTION about(t text) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN t || E'\\' || '\n'; END $$;
"""
WITH_XML = """
CREATE TABLE docs_xml (id int PRIMARY KEY, doc xml DEFAULT 'no document');
INSERT INTO docs_xml VALUES (1, '<a>1</a>'), (2, DEFAULT);
CREATE VIEW printed_xml AS SELECT id, xmlelement(name x, 'ab'::bytea)::text AS shown FROM docs_xml;
"""
RELATIONS = {
    name: ("public", name) for name in ("p", "q", "parts", "docs", "cats", "printed", "docs_xml", "printed_xml")
}
VIEWS = {name: {"kind": "view"} for name in ("cats", "printed", "printed_xml")}

STRINGS = {
    "DateStyle": "German, DMY",
    "TimeZone": "Asia/Dhaka",
    "client_encoding": "LATIN1",
    "createrole_self_grant": "set",
    "debug_io_direct": None,
    "default_table_access_method": "heap",
    "default_tablespace": "pg_default",
    "default_text_search_config": "pg_catalog.german",
    "dynamic_library_path": "$libdir:/nowhere",
    "extension_control_path": "/nowhere",
    "lc_messages": "POSIX",
    "lc_monetary": "POSIX",
    "lc_numeric": "POSIX",
    "lc_time": "POSIX",
    "restrict_nonsystem_relation_kind": "view, foreign-table",
    "search_path": "nowhere",
    "temp_tablespaces": "pg_default",
    "timezone_abbreviations": "Australia",
    "wal_consistency_checking": "heap",
}
NUMBERS = {
    "statement_timeout": "80",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "100",
    "idle_session_timeout": "100",
    "transaction_timeout": "100",
    "gin_fuzzy_search_limit": "10",
    "temp_file_limit": "10000",
    "tcp_user_timeout": "20000",
    "max_stack_depth": "200",
    "client_connection_check_interval": "1000",
    "debug_discard_caches": None,
}
NOT_ALTERED = {
    "transaction_deferrable": "of a transaction",
    "transaction_isolation": "of a transaction",
    "transaction_read_only": "of a transaction",
    "local_preload_libraries": "names a file of the server",
    "session_preload_libraries": "names a file of the server",
    "backtrace_functions": "names functions of the server's own code",
    "debug_discard_caches": "is not compiled in",
    "extension_destdir": "Debian's, for building packages",
    "output_plugin_libraries": "is of replication",
}
"""Settings that can not be given to a database, or not on these servers."""


@dataclass(frozen=True)
class Altered:
    """A database whose settings are changed by the test: its URL, the server's, and what is exported without any."""

    url: str
    server: EmbeddedPostgres
    plain: Mapping[str, str]
    spool: Path

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1].partition("?")[0]

    def alter(self, settings: Mapping[str, str]) -> None:
        with psycopg.connect(self.server.url("postgres"), autocommit=True) as session:
            session.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(self.name)))
            for name, value in settings.items():
                words = [sql.Literal(part) for part in (value.split(", ") if name == "search_path" else [value])]
                altered = sql.SQL("ALTER DATABASE {} SET {} = {}")
                session.execute(altered.format(sql.Identifier(self.name), sql.SQL(name), sql.SQL(", ").join(words)))

    def exported(self) -> Mapping[str, str]:
        return exported(self.url, self.spool)


def exported(url: str, spool: Path) -> Mapping[str, str]:
    """The definitions, and the hashes of all files, by what they are of. Pages are small: a table takes several."""
    with PostgresSource(url).snapshot() as snapshot:
        relations = {name: of for name, of in RELATIONS.items() if snapshot.database().get(of)}
    made = Exporter(url, spool, page_rows=100).export(catalog_of(relations, VIEWS))
    hashes = {
        f"{name} {kind}": " ".join(hashlib.sha256(data).hexdigest() for data in made.files(name, kind))
        for name in relations
        for kind in ("parquet", "csv")
    }
    return {"schema.sql": made.schema_sql(), **hashes}


def other_values(url: str) -> dict[str, str]:
    """For every setting that a database can be given, a value that it does not have by itself."""
    with psycopg.connect(url, row_factory=dict_row) as session:
        rows = session.execute("SELECT * FROM pg_settings WHERE context IN ('user', 'superuser')").fetchall()
    found = {row["name"]: _other(row) for row in rows if row["name"] not in NOT_ALTERED}
    assert len(found) > 150
    return {name: value for name, value in found.items() if value is not None}


def _other(row: Mapping[str, str]) -> str | None:
    name, kind, now = row["name"], row["vartype"], row["setting"]
    if name in STRINGS or name in NUMBERS:
        return STRINGS.get(name) or NUMBERS.get(name)
    if kind == "bool":
        return "off" if now == "on" else "on"
    if kind == "enum":
        return next((value for value in reversed(row["enumvals"]) if value != now), None)
    if kind in {"integer", "real"}:
        return next(value for value in (row["min_val"], row["max_val"]) if float(value) != float(now))
    return {"application_name": "another"}[name]


@pytest.fixture(scope="module")
def altered(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Altered]:
    yield from _altered(postgres_server, tmp_path_factory.mktemp("spool"))


@pytest.fixture(scope="module")
def altered_older(system_postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Altered]:
    yield from _altered(system_postgres, tmp_path_factory.mktemp("spool"))


def _altered(server: EmbeddedPostgres, spool: Path) -> Iterator[Altered]:
    with temporary_database(server) as url:
        with psycopg.connect(url) as session:
            session.execute(AWKWARD)
        with suppress(psycopg.errors.FeatureNotSupported), psycopg.connect(url) as session:
            session.execute(WITH_XML)
        plain = exported(url, spool)
        assert "'2020-01-01 06:00:00+00'" in plain["schema.sql"]
        yield Altered(url, server, plain, spool)


def _check(altered: Altered, settings: Mapping[str, str]) -> None:
    altered.alter(settings)
    try:
        assert altered.exported() == altered.plain
    finally:
        altered.alter({})


KNOWN = {name.lower() for name in (*READING, *DUMPING, "statement_timeout", "lock_timeout")}
GROUPS: Mapping[str, Callable[[str], bool]] = {
    "of values, syntax and functions": lambda name: name in KNOWN and not name.endswith("_timeout"),
    "of timeouts": lambda name: name in KNOWN and name.endswith("_timeout"),
    "left as they are": lambda name: name not in KNOWN,
}
SLICES = 12


@pytest.mark.parametrize("group", GROUPS)
def test_settings_of_the_database_change_nothing(altered: Altered, group: str) -> None:
    found = {name: value for name, value in other_values(altered.url).items() if GROUPS[group](name.lower())}
    assert len(found) > 4
    _check(altered, found)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(SLICES))
def test_every_setting_by_itself_changes_nothing(altered: Altered, part: int) -> None:
    for name, value in list(other_values(altered.url).items())[part::SLICES]:
        _check(altered, {name: value})


@pytest.mark.slow
@pytest.mark.parametrize("part", range(SLICES))
def test_every_setting_of_an_older_server_changes_nothing(altered_older: Altered, part: int) -> None:
    for name, value in list(other_values(altered_older.url).items())[part::SLICES]:
        _check(altered_older, {name: value})


def test_settings_of_the_role_change_nothing(altered: Altered) -> None:
    with psycopg.connect(altered.server.url("postgres"), autocommit=True) as session:
        session.execute("CREATE ROLE reader LOGIN PASSWORD 'reader' IN ROLE pg_read_all_data")
        session.execute("ALTER ROLE reader SET quote_all_identifiers = on")
        session.execute("ALTER ROLE reader SET bytea_output = 'escape'")
        try:
            url = as_role(altered.url, "reader")
            assert exported(url, altered.spool) == altered.plain
        finally:
            session.execute("DROP ROLE reader")


def test_a_source_that_hides_damage_is_refused(altered: Altered) -> None:
    """A superuser reads on with the setting off; another role may not turn it off, and says so."""
    with psycopg.connect(altered.server.url("postgres"), autocommit=True) as session:
        session.execute("CREATE ROLE reader LOGIN PASSWORD 'reader' IN ROLE pg_read_all_data")
    altered.alter({"zero_damaged_pages": "on"})
    try:
        assert exported(altered.url, altered.spool) == altered.plain
        with pytest.raises(SourceError, match="zero_damaged_pages = on") as caught:
            exported(as_role(altered.url, "reader"), altered.spool)
        assert "RESET zero_damaged_pages" in caught.value.do
    finally:
        altered.alter({})
        with psycopg.connect(altered.server.url("postgres"), autocommit=True) as session:
            session.execute("DROP ROLE reader")


def test_a_target_that_looks_at_no_foreign_key_is_refused(altered: Altered) -> None:
    with psycopg.connect(altered.server.url("postgres"), autocommit=True) as session:
        session.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'")
    altered.alter({"session_replication_role": "replica"})
    try:
        with PostgresTarget(altered.url).session() as target:
            assert target.look([])
        refused = pytest.raises(PreflightRefusedError, match="session_replication_role")
        with refused as caught, PostgresTarget(as_role(altered.url, "reader")).session():
            pass
        assert caught.value.exit_code == 21
    finally:
        altered.alter({})
        with psycopg.connect(altered.server.url("postgres"), autocommit=True) as session:
            session.execute("DROP ROLE reader")


def test_values_are_escaped_in_the_options_of_libpq() -> None:
    given = {"DateStyle": "ISO, YMD", "search_path": "a\\b", "of_another_version": "x"}
    known = {"datestyle": "ISO, MDY", "search_path": "x"}
    assert startup_options(given, known) == r"-c DateStyle=ISO,\ YMD -c search_path=a\\b"


def test_a_target_has_the_values_of_a_source() -> None:
    """What is written was printed under the same settings."""
    assert all(WRITING[name] == value for name, value in DUMPING.items())


def as_role(url: str, role: str) -> str:
    """The URL for a login whose name is its password."""
    return re.sub(r"//[^@]*@", f"//{role}:{role}@", url)
