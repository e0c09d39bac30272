"""Which server fits a backup, and which definitions a role without a superuser's rights may make."""

from __future__ import annotations

import pytest

from backup_pipeline.core.drill import permitted
from backup_pipeline.core.drill.definitions import Extension, Installation, ServerNeeds, beside, fitting, needs_of
from backup_pipeline.core.errors import TargetError
from backup_pipeline.core.restore.dump import Dump, DumpEntry

WHEEL = Installation("/wheel", 18, frozenset({"plpgsql", "vector"}))
OLD = Installation("/usr/lib/postgresql/15/bin", 15, frozenset({"plpgsql", "hstore", "citext"}))
MIDDLE = Installation("/usr/lib/postgresql/16/bin", 16, frozenset({"plpgsql", "hstore"}))


@pytest.mark.parametrize(
    ("version", "extensions", "chosen"),
    [
        (18, (), WHEEL),
        (15, (), OLD),
        (14, (), OLD),
        (17, (), WHEEL),
        (19, (), WHEEL),
        (0, (), OLD),
        (18, ("hstore",), MIDDLE),
        (15, ("vector",), WHEEL),
        (16, ("hstore", "citext"), OLD),
    ],
)
def test_the_nearest_version_with_every_extension_fits(
    version: int, extensions: tuple[str, ...], chosen: Installation
) -> None:
    needs = ServerNeeds(version, tuple(Extension(name) for name in extensions))
    assert fitting((WHEEL, OLD, MIDDLE), needs) == chosen


def test_what_is_missing_is_named_for_each_and_with_its_package() -> None:
    needs = ServerNeeds(15, (Extension("hstore"), Extension("pg_partman"), Extension("odd {v}")))
    with pytest.raises(TargetError, match=r"PostgreSQL 18 in /wheel lacks hstore, odd \{v\}, pg_partman") as none:
        fitting((WHEEL, OLD), needs)
    assert "PostgreSQL 15 in /usr/lib/postgresql/15/bin lacks odd {v}, pg_partman" in none.value.what
    assert "postgresql-15-partman" in none.value.do
    assert "the package that has odd {v}" in none.value.do
    with pytest.raises(TargetError, match="there is none"):
        fitting((), needs)


def entry(kind: str, tag: str, sql: str) -> DumpEntry:
    return DumpEntry(tag, kind, "public", sql)


def test_a_dump_says_what_it_wants() -> None:
    dump = Dump((
        entry("EXTENSION", "hstore", "CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA ext;"),
        entry("EXTENSION", "dblink", "CREATE EXTENSION IF NOT EXISTS dblink WITH SCHEMA public;"),
        entry("POLICY", "t p", "CREATE POLICY p ON public.t TO clerk, PUBLIC USING (true);"),
    ))  # fmt: skip
    needs = needs_of(dump, "15.20 (Debian 15.20-0+deb12u1)")
    assert needs == ServerNeeds(15, (Extension("hstore", "ext"),), frozenset({"clerk"}))
    assert list(beside(dump)) == [
        "extension dblink is not made: no table is made of it, and it reaches out of the database."
    ]


@pytest.mark.parametrize(
    ("kind", "sql", "kept"),
    [
        ("FUNCTION", "CREATE FUNCTION public.f() RETURNS int\n    LANGUAGE plpgsql\n    AS $$ BEGIN END $$;", True),
        ("FUNCTION", "CREATE FUNCTION public.f(language text) RETURNS int LANGUAGE sql RETURN 1;", True),
        ("FUNCTION", "CREATE FUNCTION public.f() RETURNS int LANGUAGE c AS '/tmp/x', 'f';", False),
        ("FUNCTION", "CREATE FUNCTION public.f() RETURNS int LANGUAGE internal AS 'int4pl';", False),
        ("FUNCTION", "CREATE FUNCTION public.f() RETURNS int LANGUAGE plpython3u AS $$ 1 $$;", False),
        ("PROCEDURE", "CREATE PROCEDURE public.p() LANGUAGE plperlu AS $$ 1 $$;", False),
        ("EVENT TRIGGER", "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION public.f();", False),
        ("TYPE", "CREATE TYPE public.t AS (a int, b int);", True),
        ("TYPE", "CREATE TYPE public.t AS ENUM ('a');", True),
        ("TYPE", "CREATE TYPE public.t AS RANGE (SUBTYPE = int);", True),
        ("TYPE", "CREATE TYPE public.t (INPUT = public.i, OUTPUT = public.o);", False),
        ("CAST", "CREATE CAST (public.t AS text) WITH FUNCTION public.f(public.t);", True),
        ("CAST", "CREATE CAST (public.t AS text) WITHOUT FUNCTION;", False),
        ("SERVER", "CREATE SERVER s FOREIGN DATA WRAPPER file_fdw;", False),
        ("TABLE", "CREATE TABLE public.t (a int);", True),
    ],
)
def test_what_only_a_superuser_may_make_is_left_out(kind: str, sql: str, *, kept: bool) -> None:
    allowed = permitted(Dump((entry(kind, "it", sql),)), ())
    assert bool(allowed.dump.entries) is kept
    assert bool(allowed.left_out) is not kept


def test_what_needs_it_goes_too_but_not_what_needs_a_table_with_rows() -> None:
    dump = Dump((
        entry("FUNCTION", "f()", "CREATE FUNCTION public.f() RETURNS int LANGUAGE c AS 'x', 'f';"),
        entry("TABLE", "held", "CREATE TABLE public.held (a int DEFAULT public.f());"),
        entry("TABLE", "other", "CREATE TABLE public.other (a int DEFAULT public.f());"),
        entry("VIEW", "v", "CREATE VIEW public.v AS SELECT a FROM public.held;"),
        entry("VIEW", "w", "CREATE VIEW public.w AS SELECT a FROM public.other;"),
    ))  # fmt: skip
    allowed = permitted(dump, {("public", "held")})
    assert [entry.tag for entry in allowed.dump.entries] == ["v"]
    assert [reason.split(" is not made")[0] for reason in allowed.left_out] == [
        "function f()", "table held", "table other", "view w",
    ]  # fmt: skip


def test_a_promise_that_only_a_superuser_gives_is_taken_out() -> None:
    sql = "CREATE FUNCTION public.f(leakproof int) RETURNS bool\n    LANGUAGE sql LEAKPROOF\n    AS $$ leakproof $$;"
    (kept,) = permitted(Dump((entry("FUNCTION", "f()", sql),)), ()).dump.entries
    assert kept.sql == sql.replace(" LEAKPROOF\n", " \n")
