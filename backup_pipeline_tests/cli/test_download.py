"""`verify`, `download` and `url`, and the exit codes that scripts go by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import openpyxl
import pytest

from backup_pipeline.cli.download import download
from backup_pipeline.cli.options import parse_duration
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.layout import Rendering
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import Installation


@pytest.fixture
def damaged(installation: Installation) -> Iterator[Path]:
    """The bundle with one bit turned over, for as long as the test takes."""
    good = installation.bundle.read_bytes()
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 1
    installation.bundle.write_bytes(bytes(bad))
    yield installation.bundle
    installation.bundle.write_bytes(good)
    ledger = SqlLedger(installation.environment["BACKUP_LEDGER_URL"])
    ledger.adopt([installation.good], [])  # as it was before somebody found it damaged
    ledger.close()


def test_a_good_backup_verifies(run: Run, installation: Installation) -> None:
    ended = run("verify", "latest")
    assert ended.code == 0
    assert f"Backup {installation.good.backup_id}: reached level 2" in ended.out


@pytest.mark.usefixtures("damaged")
def test_a_damaged_one_ends_with_20_and_names_what_is_damaged(run: Run, installation: Installation) -> None:
    ended = run("verify", installation.good.backup_id)
    assert ended.code == 20
    assert f"Level 1: {installation.place.bundle(installation.manifest.bundle.name)}" in ended.out
    assert "Error: " in ended.err
    assert "What to do: " in ended.err


@pytest.mark.usefixtures("damaged")
def test_as_json_the_report_is_on_stdout_and_the_error_on_stderr(run: Run) -> None:
    ended = run("verify", "latest", "--json")
    report = json.loads(ended.out)
    assert report["level"] == 0
    assert report["findings"]
    error = json.loads(ended.err.splitlines()[-1])
    assert (error["message_type"], error["code"]) == ("exit_error", 20)
    assert error["what_to_do"]


def test_verifying_what_has_no_bundle_ends_with_10(run: Run, installation: Installation) -> None:
    assert run("verify", installation.failed.backup_id).code == 10


def test_download_prints_the_path_of_a_whole_file(run: Run, installation: Installation, tmp_path: Path) -> None:
    ended = run("download", "latest")
    assert ended.code == 0
    assert (tmp_path / ended.out.strip()).read_bytes() == installation.bundle.read_bytes()


def test_download_makes_the_folder_it_is_told(run: Run, installation: Installation, tmp_path: Path) -> None:
    ended = run("download", "latest", "--to", str(tmp_path / "backups"))
    assert ended.code == 0
    assert ended.out.strip() == str(tmp_path / "backups" / installation.manifest.bundle.name)
    assert run("download", "latest", "--as", "csv", "--to", "tables").code == 0
    assert [path.suffix for path in (tmp_path / "tables").iterdir()] == [".csv"]


def test_download_overwrites_only_when_forced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.zip").write_text("precious")
    assert run("download", "latest", "--to", "mine.zip").code == 21
    assert (tmp_path / "mine.zip").read_text() == "precious"
    assert run("download", "latest", "--to", "mine.zip", "--force").code == 0


@pytest.mark.usefixtures("damaged")
def test_a_damaged_download_ends_with_20_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    assert run("download", "latest").code == 20
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["zip", "xlsx", "csv", "json"])
def test_download_as_a_form_prints_the_path_of_a_file_with_its_ending(
    run: Run, installation: Installation, tmp_path: Path, form: str
) -> None:
    ended = run("download", "latest", "--as", form)
    assert ended.code == 0
    assert ended.out.strip() == installation.manifest.bundle.name.replace(".zip", f".{form}")
    assert (tmp_path / ended.out.strip()).stat().st_size > 0
    assert run("download", "latest", "--as", form).code == 21
    assert run("download", "latest", "--as", form, "--force").code == 0


@pytest.mark.acceptance("1.8")
def test_the_workbook_opens_with_every_row(run: Run, tmp_path: Path) -> None:
    book = openpyxl.load_workbook(tmp_path / run("download", "latest", "--as", "xlsx").out.strip())
    assert {page.title: page.max_row for page in book.worksheets} == {"goods": 501, "sold": 2001}


@pytest.mark.parametrize("arguments", [("--as", "xls"), ("--as", ""), ("--as", "XLSX.exe")])
def test_an_unknown_form_is_a_wrong_request_that_names_the_forms(
    run: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    ended = run("download", "latest", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert all(form in ended.err for form in ("zip", "xlsx", "csv", "json"))
    assert list(tmp_path.iterdir()) == []


def test_the_forms_of_the_command_are_those_that_can_be_made() -> None:
    said = {"zip", *(str(kind) for kind in Rendering)}
    assert set(get_args(get_args(get_type_hints(download, include_extras=True)["form"])[0])) == said


def test_who_took_it_stands_in_show(run: Run) -> None:
    run("download", "latest", "--to", "taken.zip")
    audit = json.loads(run("show", "latest", "--json").out)["audit"]
    assert ("rahim", "download") in [(event["actor"], event["action"]) for event in audit]


def test_a_directory_has_no_urls(run: Run) -> None:
    ended = run("url", "latest")
    assert (ended.code, ended.out) == (21, "")


@pytest.mark.parametrize("text", ["1y", "h", "", "-1h", "1.5h", "8d"])
def test_a_time_that_can_not_be_is_a_wrong_request(run: Run, text: str) -> None:
    assert run("url", "latest", f"--expires={text}").code == 2


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h", 3600), ("7d", 604800)])
def test_times_are_written_as_people_do(text: str, seconds: int) -> None:
    assert parse_duration(text).total_seconds() == seconds


def test_a_wrong_time_says_how_to_write_one() -> None:
    with pytest.raises(UsageError) as caught:
        parse_duration("soon")
    assert "30m" in caught.value.do
