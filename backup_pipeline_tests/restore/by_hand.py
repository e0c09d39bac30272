"""Recovering a bundle as its README says: the commands in it, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from backup_pipeline.core.manifest import Manifest
from backup_pipeline.formats.readme import FENCE
from backup_pipeline.operations.browse import place_of
from backup_pipeline.postgres.programs import find_binaries
from backup_pipeline_tests.restore.bench import Bench, rows

DATABASE = "recovered"


@dataclass(frozen=True)
class Unpacked:
    """A bundle in a folder, as a person has it."""

    folder: Path
    manifest: Manifest

    @property
    def readme(self) -> str:
        return (self.folder / "README.txt").read_text(encoding="utf-8")

    @property
    def commands(self) -> str:
        """What stands between the lines of the chapter on recovering, from the top to the bottom."""
        chapter = self.readme.partition("\nRECOVERING WITHOUT")[2]
        return "".join(chapter.split(f"{FENCE}\n")[1::2])

    def type_in(self, url: str) -> str:
        """Type the commands into a shell that knows the server at `url`; what they said."""
        done = self.typed(self.commands, url)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def typed(self, commands: str, url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-e"], input=commands, cwd=self.folder, env=tools(url), capture_output=True, text=True, timeout=120
        )


def unpacked(bench: Bench, folder: Path) -> Unpacked:
    manifest = bench.place.manifest
    bundle = bench.place.store.get(place_of(bench.attempt).bundle(manifest.bundle.name))
    with zipfile.ZipFile(BytesIO(bundle)) as archive:
        archive.extractall(folder)
    return Unpacked(folder, manifest)


def tools(url: str) -> Mapping[str, str]:
    """An environment with psql, DuckDB's program and python3, that knows the server at `url`, and not this program."""
    of = conninfo_to_dict(url)
    server = {"PGHOST": of["host"], "PGPORT": of["port"], "PGUSER": of["user"], "PGPASSWORD": of.get("password")}
    folders = (Path(sys.executable).parent, find_binaries(needs=("psql", "createdb")).bindir)
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
    given = {name: str(value) for name, value in server.items() if value}
    return {"PATH": path, "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C.UTF-8", **given}


def differences(manifest: Manifest, original: str, recovered: str) -> Mapping[str, tuple[int, int]]:
    """Tables whose rows are not the same: how many only the original has, how many only the recovered database.

    The original's rows are copied beside the recovered ones, and PostgreSQL compares them, each way.
    """
    found = {table.name: _compared(table.relation, original, recovered) for table in manifest.tables}
    return {name: counts for name, counts in found.items() if counts != (0, 0)}


def _compared(relation: str, original: str, recovered: str) -> tuple[int, int]:
    schema, _, table = relation.partition(".")
    name = sql.Identifier(schema, table)
    with psycopg.connect(original) as source, psycopg.connect(recovered) as target:
        columns = _columns(target, schema, table)
        target.execute(sql.SQL("CREATE TEMP TABLE original AS SELECT {} FROM {} WITH NO DATA").format(columns, name))
        out = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)").format(columns, name)
        into = sql.SQL("COPY original FROM STDIN (FORMAT binary)")
        with source.cursor().copy(out) as reading, target.cursor().copy(into) as writing:
            for data in reading:
                writing.write(data)
        here = sql.SQL("SELECT ROW({})::text FROM {}").format(columns, name)
        there = sql.SQL("SELECT ROW({})::text FROM original").format(columns)
        count = sql.SQL("SELECT count(*) FROM ({} EXCEPT ALL {}) AS d")
        pairs = (target.execute(count.format(one, other)).fetchone() for one, other in ((there, here), (here, there)))
        lost, more = (int(row[0]) for row in pairs if row)
        target.rollback()
    return lost, more


def _columns(session: psycopg.Connection[tuple[object, ...]], schema: str, table: str) -> sql.Composed:
    query = """SELECT attname FROM pg_attribute WHERE attrelid = format('%%I.%%I', %s::text, %s::text)::regclass
        AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
    return sql.SQL(", ").join(sql.Identifier(str(row[0])) for row in session.execute(query, (schema, table)))


def states(url: str) -> Iterator[tuple[object, ...]]:
    """Where every sequence stands."""
    yield from rows(url, "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2")
