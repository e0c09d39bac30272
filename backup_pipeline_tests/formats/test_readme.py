"""The README of a bundle: it says what is true, and what it tells people to type works."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.core.manifest import (
    ColumnEntry,
    ExcludedEntry,
    FileEntry,
    Manifest,
    SnapshotEntry,
    TableEntry,
    Totals,
)
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.formats.parquet import ParquetWriter
from backup_pipeline.formats.readme import readme_text
from backup_pipeline.postgres.binaries import find_binaries
from backup_pipeline_tests.formats.tables import many_rows

NOON = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)
SNAPSHOT = SnapshotEntry(id="1", taken_at=NOON, lsn="0/1", server_version="18.0", database="isp")


def manifest(plan: TablePlan, files: tuple[FileEntry, ...] = (), **changes: object) -> Manifest:
    table = TableEntry(
        name=plan.name,
        relation=plan.relation.full_name,
        sheet=plan.sheet.name,
        key=plan.key,
        order="key",
        row_count=500,
        snapshot=SNAPSHOT,
        exported_by="b",
        columns=tuple(
            ColumnEntry(name=c.name, pg_type=c.column.pg_type, arrow_type=c.arrow_type, nullable=True)
            for c in plan.columns
        ),
        sheet_columns=(),
        files=files,
        seconds=1.0,
    )
    return Manifest(
        backup_id="20261120T180000Z-full-1f3a9c2e",
        catalog="isp",
        title="ISP",
        kind="full",
        type="automatic",
        created_by="schedule",
        status="success",
        consistent=True,
        partition_date=date(2026, 11, 21),
        timezone="Asia/Dhaka",
        started_at=NOON,
        finished_at=NOON,
        snapshot=SNAPSHOT,
        tables=(table,),
        totals=Totals(tables=1, rows=500, files=1, bytes=1),
        bundle_name="b.zip",
        entries={},
        pipeline_version="0.1.0",
    ).model_copy(update=changes)


def a_plan() -> TablePlan:
    return many_rows(1)[1]


def test_it_says_what_the_backup_is_in_local_time() -> None:
    text = readme_text(manifest(a_plan()))
    assert "20261120T180000Z-full-1f3a9c2e" in text
    assert "2026-11-21 00:00:00 Asia/Dhaka" in text
    assert re.search(r"Things +500 rows  public\.things", text)
    assert "CAUTION" not in text
    assert "LATE" not in text
    assert "{" not in text


def test_it_hides_nothing() -> None:
    text = readme_text(
        manifest(
            a_plan(),
            consistent=False,
            late=True,
            warnings=("table x shrank",),
            excluded=(ExcludedEntry(table="public.sessions", reason="short-lived"),),
            unlisted=("public.new",),
        )
    )
    for said in ("different instants", "LATE", "table x shrank", "public.sessions: short-lived", "public.new"):
        assert said in text


def commands(text: str, start: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith(start)]


def test_a_backup_without_tables_has_a_readme() -> None:
    assert "IS IT WHOLE?" in readme_text(manifest(a_plan(), tables=()))


@pytest.fixture
def tools(tmp_path: Path) -> dict[str, str]:
    """An environment in which `duckdb` and `psql` are what the README means by them."""
    shim = tmp_path / "bin" / "duckdb"
    shim.parent.mkdir()
    shim.write_text(f"#!{sys.executable}\nimport sys, duckdb\nprint(duckdb.sql(sys.argv[2]) or '')\n")
    shim.chmod(0o755)
    python = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{shim.parent}:{find_binaries().bindir}:{python}:{os.environ['PATH']}"}


def test_what_it_tells_to_type_reads_checks_and_recovers(
    tmp_path: Path, tools: dict[str, str], fresh_database: str
) -> None:
    unpacked = tmp_path / "unpacked"
    folder = unpacked / "parquet" / "things"
    folder.mkdir(parents=True)
    table, plan = many_rows(500)
    with ParquetWriter(folder, plan) as writer:
        writer.write(table)
        files = writer.close()
    path = f"parquet/things/{files[0].name}"
    stated = hashlib.sha256((unpacked / path).read_bytes()).hexdigest()
    (unpacked / "manifest.json").write_text(json.dumps({"entries": {path: stated}}))
    (unpacked / "schema.sql").write_text(
        "CREATE TABLE things (id bigint PRIMARY KEY, uid uuid, amount numeric(12,2), status text, note text, "
        "made timestamptz, photo bytea, born time);"
    )
    text = readme_text(manifest(plan, files)).replace("-d recovered", f'-d "{fresh_database}"')

    def type_in(command: str) -> str:
        done = subprocess.run(
            ["sh", "-c", command], cwd=unpacked, env=tools, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, command + done.stdout + done.stderr
        return done.stdout

    assert "10 rows" in type_in(commands(text, 'duckdb -c "SELECT')[0])
    assert "uid" in type_in(commands(text, "python -c")[0])
    check = re.search(r"python3 - <<'END'\n.*?\n    END", text, re.DOTALL)
    assert check
    assert type_in(re.sub(r"^    ", "", check[0], flags=re.MULTILINE)) == f"ok {path}\n"
    for command in (*commands(text, "psql")[:1], *commands(text, 'duckdb -c "COPY'), *commands(text, "psql")[1:]):
        type_in(command)
    with psycopg.connect(fresh_database) as session:
        session.execute("SET timezone = 'UTC'")
        found = session.execute(
            "SELECT id, uid, amount, status, note, made, photo, born FROM things ORDER BY id"
        ).fetchall()
    assert found == [tuple(row.values()) for row in table.to_pylist()]
