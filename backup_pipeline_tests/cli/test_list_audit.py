"""`audit`: whatever was done to a backup is told, with who did it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.cli.conftest import Run, made_installation
from backup_pipeline_tests.cli.installation import Installation


@pytest.fixture(scope="module")
def installation(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One of this file's own: what others do would stand in the audit."""
    with made_installation(postgres_server, tmp_path_factory.mktemp("audited")) as made:
        yield made


def _events(run: Run, *arguments: str) -> list[dict[str, object]]:
    ended = run("audit", *arguments, "--json")
    assert ended.code == 0, ended.err
    found: list[dict[str, object]] = json.loads(ended.out)
    return found


@pytest.mark.acceptance("2.33", "3.27")
def test_every_backup_has_its_beginning_and_its_end(run: Run, installation: Installation) -> None:
    good = _events(run, installation.good.backup_id)
    assert [event["action"] for event in good if event["action"] != "protect"] == ["backup ended", "backup"]
    assert (good[0]["actor"], good[0]["detail"]) == ("tester", {"status": "success", "rows": 2500})
    failed = [event for event in _events(run, installation.failed.backup_id) if event["action"] != "alert"]
    assert [event["action"] for event in failed] == ["backup ended", "backup"]
    assert (failed[0]["actor"], failed[0]["detail"]) == (
        "karim",
        {"status": "failed", "error": "The table goods is on fire."},
    )


@pytest.mark.acceptance("2.33", "3.27")
def test_what_people_do_is_told_with_who_and_why(
    run: Run, installation: Installation, tmp_path: Path, fresh_database: str
) -> None:
    good = installation.good.backup_id
    for command in (
        ("download", good, "--to", str(tmp_path / "got.zip")),
        ("hold", good, "--reason", "the audit of 2026"),
        ("release", good),
        ("verify", good),
        ("restore", good, "--target-url", fresh_database),
        ("prune", "--confirm", "--catalog", "shop"),
        ("rebuild", "--confirm"),
    ):
        ended = run(*command)
        assert ended.code == 0, f"{command}: {ended.err}"
    events = _events(run, "--limit", "100")
    actions = {str(event["action"]) for event in events if event["actor"] == "rahim"}
    wanted = {"download", "hold", "release", "verify", "restore requested", "restore started", "restore done"}
    assert actions >= wanted | {"prune", "pruned", "rebuild"}
    [held] = [event for event in events if event["action"] == "hold"]
    assert held["backup_id"] == good
    assert "the audit of 2026" in run("audit", "latest").out
    assert len(_events(run, "--limit", "2")) == 2


def test_a_backup_that_is_nowhere_has_no_rows_and_what_is_no_id_is_refused(run: Run) -> None:
    assert _events(run, "20200101T000000Z-full-00000000") == []
    assert run("audit", "no-id").code == 2
