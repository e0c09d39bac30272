"""A backup of a hostile source drilled: its code runs, and gets nothing of this machine."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from backup_pipeline.core.drill.definitions import ServerNeeds
from backup_pipeline.core.drill.objects import Insert
from backup_pipeline.embedded.launch import landlock_version
from backup_pipeline.postgres.drill import PostgresScratch
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.drill import open_sandbox
from backup_pipeline_tests.drill.rehearsing import backed_up, drafted, said, table
from backup_pipeline_tests.servers.hostile import ON_INSERT, PLACES, loot, make_hostile, places, ran_on_insert

needs_landlock = pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that only the user who drills may read."""
    path = tmp_path / "backup.key"
    path.write_text("AGE-SECRET-KEY-of-nobody")
    path.chmod(0o600)
    return path


def test_code_of_a_hostile_source_runs_without_any_right(
    fresh_database: str, tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "left"
    make_hostile(fresh_database, secret, marker)
    hostile = backed_up(fresh_database, tmp_path, without_loot(fresh_database))
    noted: list[Mapping[str, object]] = []
    counted: list[int] = []
    objects, insert = PostgresScratch.objects, PostgresScratch.insert

    def look(scratch: PostgresScratch) -> object:
        noted.extend(loot(scratch._admin.conninfo("tests", 10)))
        return objects(scratch)

    def count(scratch: PostgresScratch, wanted: Insert) -> object:
        before = ran_on_insert(scratch._admin.conninfo("tests", 10))
        inserted = insert(scratch, wanted)
        counted.append(ran_on_insert(scratch._admin.conninfo("tests", 10)) - before)
        return inserted

    monkeypatch.setattr(PostgresScratch, "objects", look)
    monkeypatch.setattr(PostgresScratch, "insert", count)
    report = hostile.drill()
    assert report.findings == ()
    assert hostile.level() == (4, True)
    assert table(report, "guarded").rows_again == 2
    assert places(noted) == PLACES, "that no code ran would prove nothing; policies and event triggers never run"
    assert {row["who"] for row in noted} == {"drill"}
    assert not [row for row in noted if row["super"] or row["got"]]
    assert counted == [ON_INSERT]
    assert [*tmp_path.glob("left*")] == []
    assert "event trigger every_event is not made: only a superuser may" in said(report)


def without_loot(url: str) -> Any:
    catalog = drafted(url)
    kept = {name: spec for name, spec in catalog.tables.items() if name != "a_loot"}
    values = catalog.model_dump(by_alias=True, exclude={"tables"})
    excluded = [*values.pop("excluded"), {"table": "a_loot", "reason": "what the code gets"}]
    return type(catalog).model_validate({**values, "tables": kept, "excluded": excluded})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_s_scratch_server_is_nobody_s_and_knows_nothing_of_our_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "only-a-test")
    # Not tmp_path: pytest's directories are closed to other users.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        with open_sandbox(Settings(work_dir=Path(directory))) as shop, shop.server(ServerNeeds(18)) as scratch:
            (server,) = (child for child in psutil.Process().children() if child.cwd().startswith(str(shop.root)))
            assert set(server.environ()) <= {"PATH", "LC_ALL", "TZ"}
            if "as user nobody" not in scratch.server:
                pytest.skip("the binaries lie where nobody but root may read")
            assert set(server.uids()) == {pwd.getpwnam("nobody").pw_uid}
            assert stat.S_IMODE((shop.root / "socket").stat().st_mode) == 0o700


@needs_landlock
def test_not_even_a_superuser_of_the_scratch_server_gets_at_this_machine(tmp_path: Path, secret: Path) -> None:
    marker = tmp_path / "left"
    needs = ServerNeeds(18)
    with open_sandbox(Settings(work_dir=tmp_path / "work")) as shop, shop.server(needs) as scratch:
        assert isinstance(scratch.database, PostgresScratch)
        with psycopg.connect(scratch.database._admin.conninfo("tests", 10), autocommit=True) as session:
            for attempt in (
                f"SELECT pg_read_file('{secret}')",
                "SELECT pg_read_file('/etc/hostname')",
                "SELECT pg_ls_dir('/')",
                f"SELECT lo_import('{secret}')",
                f"COPY (SELECT 1) TO '{marker}'",
                f"COPY (SELECT 1) TO PROGRAM 'touch {marker}'",
                f"COPY (SELECT 1) TO PROGRAM '/usr/bin/touch {marker}'",
            ):
                with pytest.raises(psycopg.Error, match=r"Permission denied|could not execute|command not found|exit"):
                    session.execute(attempt.encode())
        assert "closed to it" in scratch.server
    assert not marker.exists()
