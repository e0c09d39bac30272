"""`list` and `show` say what the ledger, the manifest and the audit say."""

from __future__ import annotations

import json
import re

import pytest

from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import Installation


def test_list_shows_the_newest_first_with_its_numbers(run: Run, installation: Installation) -> None:
    ended = run("list")
    assert ended.code == 0
    header, first, second = ended.out.splitlines()
    titles = [
        "ID (UTC)",
        "Catalog",
        "Kind",
        "Date",
        "Status",
        "Rows",
        "Size",
        "Verified",
        "By",
        "Marks",
        "Reason / error",
    ]
    assert re.split(r"\s{2,}", header.strip()) == titles
    assert first.split()[:3] == [installation.good.backup_id, "shop", "full"]
    assert "2,500" in first
    assert "tester" in first
    assert "failed" in second
    assert "The table goods is on fire." in second
    assert "What to do" not in ended.out


def test_list_as_json_gives_the_rows(run: Run, installation: Installation) -> None:
    good, failed = json.loads(run("list", "--json").out)
    assert good["backup_id"] == installation.good.backup_id
    assert good["table_counts"] == {"goods": 500, "sold": 2000}
    assert failed["status"] == "failed"
    assert failed["created_at"].endswith("+00:00")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--status", "failed"), ["failed"]),
        (("--status", "failed", "--status", "success"), ["success", "failed"]),
        (("--catalog", "shop", "--status", "canceled"), []),
        (("--limit", "1"), ["success"]),
    ],
)
def test_list_keeps_to_what_is_asked_for(run: Run, options: tuple[str, ...], wanted: list[str]) -> None:
    assert [row["status"] for row in json.loads(run("list", "--json", *options).out)] == wanted


def test_a_list_of_nothing_says_so(run: Run) -> None:
    ended = run("list", "--status", "canceled")
    assert (ended.code, ended.out.strip()) == (0, "There are no backups to list.")


def test_a_status_that_is_none_is_a_wrong_request_with_those_that_are(run: Run) -> None:
    ended = run("list", "--status", "good")
    assert ended.code == 2
    assert "success_with_warnings" in ended.err


def test_show_tells_everything_about_a_good_backup(run: Run, installation: Installation) -> None:
    out = run("show", "latest").out
    for told in (installation.good.backup_id, installation.good.sha256 or "-", "goods", "2,000", "4 checks passed"):
        assert told in out


@pytest.mark.acceptance("0.8")
def test_show_tells_why_one_failed_and_that_nobody_could_be_told(run: Run, installation: Installation) -> None:
    ended = run("show", installation.failed.backup_id)
    assert ended.code == 0
    assert "The table goods is on fire." in ended.out
    assert "NOT delivered: connection refused" in ended.out


def test_show_as_json_has_row_manifest_and_audit(run: Run, installation: Installation) -> None:
    told = json.loads(run("show", installation.good.backup_id, "--json").out)
    assert told["backup"]["sha256"] == told["manifest"]["bundle"]["sha256"]
    assert told["manifest_error"] is None
    assert told["audit"][0]["action"] == "backup"


def test_show_goes_on_when_the_manifest_is_not_to_be_had(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_STORE", "file:///nowhere/at/all")
    ended = run("show", installation.good.backup_id)
    assert ended.code == 0
    assert installation.good.backup_id in ended.out
    assert "Manifest: " in ended.out


def test_show_of_an_unknown_backup_ends_with_10_and_what_to_do(run: Run) -> None:
    ended = run("show", "20261120T180000Z-full-00000000")
    assert ended.code == 10
    assert ended.out == ""
    assert "Error: There is no backup" in ended.err
    assert "What to do: `backup-pipeline list`" in ended.err
