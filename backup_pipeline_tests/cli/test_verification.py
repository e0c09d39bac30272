"""`verify` as people and scripts use it: levels, samples, time, JSON, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from backup_pipeline.cli.verification import parse_level
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.verification import Level
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import Installation

REFERENCES = "sold(good_id) → goods(id)"


@pytest.fixture
def ledger(installation: Installation) -> Iterator[SqlLedger]:
    """The installation's ledger, its good row afterwards as it was."""
    ledger = SqlLedger(installation.environment["BACKUP_LEDGER_URL"])
    yield ledger
    _set(ledger, installation.good.backup_id, "created_at", installation.good.created_at)
    ledger.close()


def _set(ledger: SqlLedger, backup_id: str, column: str, value: object) -> None:
    from sqlalchemy import update

    from backup_pipeline.ledger.tables import backup_logs

    with ledger._engine.begin() as connection:
        connection.execute(update(backup_logs).where(backup_logs.c.backup_id == backup_id).values({column: value}))


@pytest.mark.parametrize(("text", "level"), [("0", 0), ("bytes", 1), ("CONTENTS", 2), (" 3 ", 3), ("references", 3)])
def test_a_level_is_a_number_or_a_name(text: str, level: int) -> None:
    assert parse_level(text) is Level(level)


@pytest.mark.parametrize("text", ["", "4", "restored", "-1", "two"])
def test_what_is_no_level_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_level(text)
    assert "3 or references" in refused.value.do


def test_each_level_says_what_it_proves(run: Run) -> None:
    ended = run("verify", "latest", "--level", "references")
    assert ended.code == 0
    assert "reached level 3 (references)" in ended.out
    for level in (Level.PRESENT, Level.BYTES, Level.CONTENTS, Level.REFERENCES):
        assert level.proves in " ".join(ended.out.split())
    assert f"Nothing is wrong. {Level.REFERENCES.leaves_open}" in ended.out


def test_what_was_reached_is_in_the_list_and_shown(run: Run, installation: Installation) -> None:
    assert run("verify", "latest", "--level", "3").code == 0
    assert "3, just now" in run("list").out
    shown = run("show", "latest").out
    assert "Verified" in shown
    assert "3, just now" in shown
    row = json.loads(run("show", installation.good.backup_id, "--json").out)["backup"]
    assert (row["verification_level"], row["verified_at"] is not None) == ("3", True)


def test_json_has_every_level_with_what_was_looked_at(run: Run) -> None:
    report = json.loads(run("verify", "latest", "--level", "3", "--json").out)
    assert (report["passed"], report["level"], report["reached"]) == (True, 3, "level 3 (references)")
    assert [level["name"] for level in report["levels"]] == ["present", "bytes", "contents", "references"]
    assert report["levels"][3]["looked_at"] == [REFERENCES]
    assert report["levels"][0]["proves"] == Level.PRESENT.proves
    assert (report["findings"], report["remarks"], report["stale"]) == ([], [], None)


def test_a_sample_is_told_as_one(run: Run) -> None:
    ended = run("verify", "latest", "--level", "1", "--sample", "50%", "--seed", "a")
    assert ended.code == 0
    assert "reached level 1 (sample 50%)" in ended.out
    assert "Nothing wrong was seen, but level 1 (bytes) was not reached in full." in ended.out
    assert (
        run("verify", "latest", "--level", "1", "--sample", "50%", "--seed", "a").out.splitlines()[-2]
        == (ended.out.splitlines()[-2])
    )


def test_time_that_is_over_is_no_failure_but_told(run: Run) -> None:
    ended = run("verify", "latest", "--level", "2", "--max-duration", "0s")
    assert ended.code == 0
    assert "a part of level 2 (contents) (stopped after 0:00:00" in ended.out
    assert "left out parquet/goods/part-00000.parquet" in ended.out


@pytest.mark.parametrize("options", [("--level", "9"), ("--sample", "a lot"), ("--max-duration", "soon")])
def test_a_wrong_request_ends_with_2(run: Run, options: tuple[str, str]) -> None:
    assert run("verify", "latest", *options).code == 2


def test_a_newest_backup_that_is_too_old_is_verified_and_ends_with_22(
    run: Run, installation: Installation, ledger: SqlLedger
) -> None:
    old = installation.good.created_at - timedelta(days=3)
    _set(ledger, installation.good.backup_id, "created_at", old)
    ended = run("verify", "latest")
    assert ended.code == 22
    assert "Nothing is wrong." in ended.out
    assert "The newest good backup of catalog shop began" in ended.err
    assert run("verify", installation.good.backup_id).code == 0
    report = run("verify", "latest", "--json")
    assert (report.code, json.loads(report.out)["stale"][:15]) == (22, "The newest good")


def test_damage_comes_before_age(run: Run, installation: Installation, ledger: SqlLedger) -> None:
    _set(ledger, installation.good.backup_id, "created_at", installation.good.created_at - timedelta(days=3))
    good = installation.bundle.read_bytes()
    try:
        installation.bundle.write_bytes(good[:-1])
        assert run("verify", "latest").code == 20
        assert "FAILED" in run("list").out
    finally:
        installation.bundle.write_bytes(good)
    assert run("verify", installation.good.backup_id).code == 0
    assert "FAILED" not in run("list").out


def test_a_catalog_that_is_gone_promises_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installation: Installation, ledger: SqlLedger
) -> None:
    _set(ledger, installation.good.backup_id, "created_at", installation.good.created_at - timedelta(days=3))
    monkeypatch.setenv("BACKUP_CATALOGS", str(tmp_path))
    ended = run("verify", "latest")
    assert ended.code == 0
    assert "Whether it is new enough is not known" in ended.err


def test_without_any_backup_there_is_nothing_to_verify(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "another.yaml").write_text("catalog: another\ntimezone: UTC\ntables: {goods: }\n")
    monkeypatch.setenv("BACKUP_CATALOGS", str(tmp_path))
    ended = run("verify", "latest", "--catalog", "another")
    assert ended.code == 10
    assert "There is no good full backup yet of catalog another." in ended.err


def test_nothing_is_left_in_the_work_folder(run: Run, installation: Installation) -> None:
    assert run("verify", "latest").code == 0
    assert list((Path(installation.environment["BACKUP_HOME"]) / "work" / "verifications").iterdir()) == []
