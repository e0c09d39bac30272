"""`copy`, and what reads the second store: `verify`, `download`, `restore`, `list`, `show`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.cli.conftest import Run, made_installation
from backup_pipeline_tests.cli.installation import Ended, Installation


@pytest.fixture
def installation(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One of this test's own: what is copied stands in its ledger."""
    with made_installation(postgres_server, tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def second(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the second store; nothing is there yet."""
    folder = tmp_path_factory.mktemp("second") / "store"
    monkeypatch.setenv("BACKUP_SECOND_STORE", folder.as_uri())
    return folder


def _mark(ended: Ended, backup_id: str) -> str:
    (line,) = [line for line in ended.out.splitlines() if line.startswith(backup_id)]
    return line


def test_a_missing_copy_is_told_copied_and_then_missing_no_more(
    run: Run, second: Path, installation: Installation
) -> None:
    good = installation.good.backup_id
    assert "NOT copied" in _mark(run("list"), good)
    plan = run("copy", "--missing", "--dry-run")
    assert (plan.code, plan.out.strip()) == (0, f"copy  {good}: it was never copied")
    assert not second.exists()
    ended = run("copy", "--missing")
    assert ended.code == 0
    assert f"{good}: copied to {second.as_uri()}" in ended.out
    copied = second / installation.bundle.relative_to(installation.store)
    assert copied.read_bytes() == installation.bundle.read_bytes()
    assert "NOT" not in _mark(run("list"), good)
    assert "copied" in _mark(run("list"), good)
    assert run("copy", "--missing").out == "Nothing is missing: 1 good backups, each with its copy.\n"


def test_show_tells_the_copy_and_json_has_its_row(run: Run, second: Path) -> None:
    rows = json.loads(run("copy", "latest", "--json").out)
    assert [row["status"] for row in rows] == ["good"]
    assert f"{second.as_uri()}: good, verified 1" in run("show", "latest").out
    shown = json.loads(run("show", "latest", "--json").out)
    assert shown["copies"] == rows
    listed = json.loads(run("list", "--json").out)
    assert [row["copies"] for row in listed if row["copies"]] == [rows]


def test_the_second_store_is_read_when_the_first_is_gone(
    run: Run, second: Path, installation: Installation, tmp_path: Path
) -> None:
    assert run("copy", "latest").code == 0
    expected = installation.bundle.read_bytes()
    installation.store.rename(tmp_path / "lost")
    assert run("verify", "latest", "--level", "1").code == 20
    verified = run("verify", "latest", "--store", "second")
    assert verified.code == 0
    assert f"From the second store, {second.as_uri()}" in verified.err
    assert run("query", "SELECT count(*) FROM goods", "--as-of", "latest").code != 0
    asked = run("query", "SELECT count(*) AS n FROM goods", "--as-of", "latest", "--store", "second", "--csv")
    assert asked.code == 0, asked.err
    assert asked.out.split()[0].endswith("n")
    partitions = run("query", "FROM goods", "--store", "second")
    assert (partitions.code, "no partitions" in partitions.err) == (2, True)
    assert run("download", "latest", "--store", "second", "--to", "got.zip").code == 0
    assert (tmp_path / "got.zip").read_bytes() == expected
    plan = run("restore", "latest", "--to-source", "--into-schema", "rescued", "--store", "second", "--dry-run")
    assert plan.code == 0, plan.err


def test_a_request_for_the_second_store_is_performed_from_there(
    run: Run, second: Path, installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Approved by another person and performed by a command that does not say `--store`, with the first store lost."""
    assert run("copy", "latest").code == 0
    installation.store.rename(tmp_path / "lost")
    monkeypatch.setenv("BACKUP_RESTORE_APPROVAL", "on")
    asked = run("restore", "latest", "--to-source", "--into-schema", "rescued", "--store", "second")
    assert (asked.code, "not approved yet" in asked.err) == (21, True)
    assert second.exists()
    shown = run("restores", "show", "1").out
    assert re.search(r"^Store +the second", shown, re.MULTILINE)
    assert json.loads(run("restores", "show", "1", "--json").out)["request"]["store"] == "second"
    assert run("restores", "approve", "1", by="karim").code == 0
    beside = run("restore", "--request", "1", "--to-source", "--store", "second")
    assert (beside.code, "--request can not go with --store" in beside.err) == (2, True)
    done = run("restore", "--request", "1", "--to-source")
    assert done.code == 0, done.err
    with psycopg.connect(installation.environment["BACKUP_SOURCE_URL"]) as session:
        assert session.execute("SELECT count(*) FROM rescued.goods").fetchone() == (500,)


def test_a_damaged_copy_is_the_copys_and_is_repaired(run: Run, second: Path, installation: Installation) -> None:
    run("copy", "latest")
    copied = second / installation.bundle.relative_to(installation.store)
    copied.write_bytes(b"x" * copied.stat().st_size)
    assert run("verify", "latest", "--store", "second").code == 20
    assert run("verify", "latest").code == 0
    assert "copy DAMAGED" in _mark(run("list"), installation.good.backup_id)
    assert run("copy", "--missing").code == 0
    assert run("verify", "latest", "--store", "second").code == 0


def test_a_second_store_that_can_not_be_written_is_an_error_and_a_row(
    run: Run, second: Path, installation: Installation
) -> None:
    second.parent.rmdir()
    ended = run("copy", "latest")
    assert ended.code == 1
    assert "NOT copied" in ended.out
    assert "What to do" in ended.err
    assert "NOT copied" in _mark(run("list"), installation.good.backup_id)


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("arguments", [(), ("latest", "--missing")])
def test_what_to_copy_has_to_be_said(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("copy", *arguments).code == 2


def test_without_a_second_store_everything_that_needs_it_says_so(run: Run) -> None:
    for command in (
        ("copy", "--missing"),
        ("verify", "latest", "--store", "second"),
        ("download", "latest", "--store", "second"),
    ):
        ended = run(*command)
        assert ended.code == 2
        assert "BACKUP_SECOND_STORE is not set" in ended.err


@pytest.mark.usefixtures("second")
def test_what_has_no_bundle_is_not_found(run: Run, installation: Installation) -> None:
    assert run("copy", installation.failed.backup_id).code == 10
