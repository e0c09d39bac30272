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
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.core.text import acts
from backup_pipeline.formats.parquet import ParquetWriter
from backup_pipeline.formats.readme import FENCE, readme_text
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
        kind=Kind.FULL,
        type=Trigger.AUTOMATIC,
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
    text = readme_text(manifest(a_plan()), "")
    assert "20261120T180000Z-full-1f3a9c2e" in text
    assert "2026-11-21 00:00:00 Asia/Dhaka" in text
    assert re.search(r"Things +500 rows  public\.things", text)
    assert "CAUTION" not in text
    assert "LATE" not in text
    assert "{" not in text


def test_it_hides_nothing() -> None:
    found = manifest(
        a_plan(),
        consistent=False,
        late=True,
        warnings=("table x shrank",),
        excluded=(ExcludedEntry(table="public.sessions", reason="short-lived"),),
        unlisted=("public.new",),
    )
    text = readme_text(found, "")
    for said in ("different instants", "LATE", "table x shrank", "public.sessions: short-lived", "public.new"):
        assert said in text


def test_a_backup_without_tables_has_a_readme() -> None:
    text = readme_text(manifest(a_plan(), tables=()), "")
    assert "IS IT WHOLE?" in text
    assert "RECOVERING" not in text


def test_a_schema_that_is_cut_off_costs_the_commands_and_not_the_backup() -> None:
    text = readme_text(manifest(a_plan()), "CREATE TABLE things (note text DEFAULT 'it")
    assert "RECOVERING WITHOUT THE PROGRAM" in text
    assert "schema.sql could not be taken apart: what begins in line 1 has no end" in text
    assert "createdb" not in text


def test_a_schema_with_a_command_of_psql_gets_no_commands() -> None:
    """As a pg_dump of before August 2025 made it of a name with a line break."""
    text = readme_text(manifest(a_plan()), "CREATE TABLE things (id int);\n--\n-- Name: x\n\\! touch owned\n--\n")
    assert "line 4 has a command of psql, not SQL: '\\\\! touch owned" in text
    assert "createdb" not in text


def test_names_can_neither_act_on_a_terminal_nor_begin_lines_of_their_own() -> None:
    evil = f"x\n{FENCE}\nrm -rf ~\n{FENCE}\n\x1b[2J\u202e"
    found = manifest(a_plan(), title=evil, created_by=evil, reason=evil, warnings=(evil,), unlisted=(evil,))
    found = found.model_copy(update={"excluded": (ExcludedEntry(table=evil, reason=evil),)})
    text = readme_text(found, "")
    assert "rm -rf ~" in text
    assert not [line for line in text.splitlines() if line.startswith("rm ") or any(map(acts, line))]
    assert text.count(f"\n{FENCE}\n") == readme_text(manifest(a_plan()), "").count(f"\n{FENCE}\n")


def test_no_line_of_prose_is_too_long_and_commands_begin_their_line() -> None:
    blocks = readme_text(manifest(a_plan()), "").split(f"{FENCE}\n")
    assert max(len(line) for line in "".join(blocks[::2]).splitlines()) <= 118
    assert {block.split(" ")[0] for block in blocks[1::2]} == {"python3", "export", "mkdir", "guard=$(od", "psql"}


@pytest.fixture
def tools() -> dict[str, str]:
    """An environment in which `duckdb` and `python3` are what the README means by them."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_what_it_tells_to_type_reads_and_checks(tmp_path: Path, tools: dict[str, str]) -> None:
    folder = tmp_path / "parquet" / "things"
    folder.mkdir(parents=True)
    table, plan = many_rows(500)
    with ParquetWriter(folder, plan) as writer:
        writer.write(table)
        files = writer.close()
    path = f"parquet/things/{files[0].name}"
    stated = hashlib.sha256((tmp_path / path).read_bytes()).hexdigest()
    (tmp_path / "manifest.json").write_text(json.dumps({"entries": {path: stated}}))
    text = readme_text(manifest(plan, files), "")

    def type_in(commands: str) -> str:
        done = subprocess.run(
            ["sh", "-e"], input=commands, cwd=tmp_path, env=tools, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, commands + done.stdout + done.stderr
        return done.stdout

    lines = [line.strip() for line in text.splitlines()]
    assert "10 rows" in type_in(next(line for line in lines if line.startswith("duckdb -c")))
    assert "uid" in type_in(next(line for line in lines if line.startswith("python3 -c")))
    check = text.split(f"{FENCE}\n")[1]
    assert type_in(check) == f"ok {path}\n"
    (tmp_path / path).write_bytes(b"something else")
    assert type_in(check) == f"DAMAGED {path}\n"
