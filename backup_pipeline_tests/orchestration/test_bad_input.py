"""Bad input, each through a real run: one clear error, its exit code, a failed row, an alert, no backup."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from backup_pipeline.core.ledger import Status
from backup_pipeline.core.ports import Event, StageStarted
from backup_pipeline.core.text import url_secrets
from backup_pipeline.orchestration.launch import RunResult
from backup_pipeline_tests.alerts.servers import free_port
from backup_pipeline_tests.orchestration.installation import Installation
from backup_pipeline_tests.orchestration.sensing import tell_of_failure
from backup_pipeline_tests.servers.parents import python

Spoil = Callable[[Installation], None]


def _source(**parts: str) -> Spoil:
    """Replaces parts of the source URL: `netloc` and `path`."""

    def spoil(installation: Installation) -> None:
        split = urlsplit(installation.source_url)
        changed = {
            name: value.format(password=split.password, port=split.port, free=free_port())
            for name, value in parts.items()
        }
        installation.configure(BACKUP_SOURCE_URL=urlunsplit(split._replace(**changed)))

    return spoil


def _catalog(before: str, after: str) -> Spoil:
    return lambda installation: installation.edit_catalog(before, after)


def _set(**environment: str) -> Spoil:
    return lambda installation: installation.configure(
        **{k: v.format(home=installation.home) for k, v in environment.items()}
    )


def _file_as_store(installation: Installation) -> None:
    (installation.home / "store").write_text("a file, no folder")


def _file_as_work(installation: Installation) -> None:
    (installation.home / "work").write_text("a file, no folder")


CASES: dict[str, tuple[Spoil, int, str, str]] = {
    "malformed URL": (_source(netloc="postgres:hush-hush@127.0.0.1:port"), 2, "malformed", "postgresql://"),
    "another scheme": (_source(scheme="mysql"), 2, "mysql", "postgresql://"),
    "host refuses": (_source(netloc="postgres:{password}@127.0.0.1:{free}"), 1, "Can not connect", "host and port"),
    "no such host": (_source(netloc="postgres:{password}@nowhere.invalid:5432"), 1, "nowhere.invalid", "host and port"),
    "wrong password": (_source(netloc="postgres:hush-hush@127.0.0.1:{port}"), 1, "authentication", "password"),
    "database missing": (_source(path="/nothing_here"), 1, "nothing_here", "database"),
    "column missing": (_catalog("Amount: amount}", "Amount: amont}"), 3, "'amont'", "amount"),
    "secret left open": (
        _catalog("    exclude: {password: hashes stay in the database}\n", ""),
        2,
        "customers.password",
        "exclude",
    ),
    "store is a file": (_file_as_store, 1, "store", ""),
    "store can not be made": (_set(BACKUP_STORE="file:///proc/nothing/store"), 1, "/proc/nothing", ""),
    "store of an unknown kind": (_set(BACKUP_STORE="ftp://somewhere/x"), 2, "ftp://", "s3://"),
    "work folder is a file": (_file_as_work, 1, "work", ""),
}


def _assert_failed(installation: Installation, result: RunResult, code: int, what: str, do: str) -> None:
    assert not result.success
    assert what in result.error
    assert do in result.what_to_do
    assert result.what_to_do
    assert result.exit_code == code
    assert "Traceback" not in result.error
    [(said, metadata)] = installation.step_failures(result.run_id)
    assert said == result.error
    assert metadata["exit code"] == code
    [attempt] = installation.attempts()
    assert attempt.status is Status.FAILED
    assert what in (attempt.error_message or "")
    [alert] = installation.alerts()
    assert "What to do" in alert
    assert attempt.backup_id in alert


@pytest.mark.acceptance("0.8")
@pytest.mark.parametrize(("spoil", "code", "what", "do"), CASES.values(), ids=CASES)
def test_bad_input_is_one_clear_failure(
    installation: Installation, spoil: Spoil, code: int, what: str, do: str
) -> None:
    spoil(installation)
    result = installation.run()
    _assert_failed(installation, result, code, what, do)
    assert not (installation.home / "store" / "shop" / "backups").exists()
    tell_of_failure(installation, result.run_id)
    assert len(installation.alerts()) == 1
    everything = _everything(installation, result)
    assert "hush-hush" not in everything
    assert url_secrets(installation.source_url)[0] not in everything


def _everything(installation: Installation, result: RunResult) -> str:
    """Event log, rows, audit, alerts, Dagster's folder with its compute logs: all that was written, as one text."""
    told = [installation.event_log(result.run_id)]
    told += [repr(attempt) for attempt in installation.attempts()] + [repr(event) for event in installation.audits()]
    told += [*installation.alerts(), repr(result)]
    told += [f.read_bytes().decode(errors="replace") for f in (installation.home / "dagster").rglob("*") if f.is_file()]
    return "\n".join(told)


class _Breaks:
    """Something nobody foresaw, with a secret in its words."""

    def __init__(self, words: str) -> None:
        self._words = words

    def tell(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            raise RuntimeError(self._words)


def test_an_error_nobody_foresaw_is_told_without_its_secrets(
    installation: Installation, capfd: pytest.CaptureFixture[str]
) -> None:
    words = f"could not use {installation.source_url} nor password=hush-hush"
    result = installation.run(progress=_Breaks(words))
    assert "RuntimeError" in result.error
    assert installation.attempt().status is Status.FAILED
    assert len(installation.alerts()) == 1
    captured = capfd.readouterr()
    everything = _everything(installation, result) + captured.out + captured.err
    assert "Traceback" in everything  # for whoever looks for the cause
    assert "hush-hush" not in everything
    assert url_secrets(installation.source_url)[0] not in everything


@pytest.mark.acceptance("2.32")
def test_no_secret_is_in_anything_that_a_good_run_writes(
    installation: Installation, capfd: pytest.CaptureFixture[str]
) -> None:
    with installation.instance() as instance:
        done = installation.run_job("shop_full_backup", instance=instance)  # with Dagster's own console log
    assert done.success
    captured = capfd.readouterr()
    assert "public.forgotten" in captured.out + captured.err  # what Dagster tells the console is looked at, too
    result = RunResult(done.run_id, success=True)
    everything = (
        _everything(installation, result) + captured.out + captured.err + installation.manifest().model_dump_json()
    )
    assert installation.today.isoformat() in everything
    for url in (installation.source_url, installation.ledger_url):
        assert url_secrets(url)[0] not in everything


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("postgresql://postgres:hush-hush@127.0.0.1:1/ledger", "can not be reached"),
        ("postgresql://postgres:hush-hush@127.0.0.1:port/ledger", "malformed"),
    ],
)
def test_without_its_ledger_a_backup_does_not_run_and_people_are_told(
    installation: Installation, url: str, what: str
) -> None:
    installation.configure(BACKUP_LEDGER_URL=url)
    result = installation.run()
    assert not result.success
    assert what in result.error
    assert result.what_to_do
    assert installation.store_keys() == []
    [alert] = installation.alerts()
    assert what in alert
    told = alert + repr(result) + installation.event_log(result.run_id)
    assert "hush-hush" not in told
    assert installation.attempts() == []


FULL_DISK = """
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.scope import command_line
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.ports import Silence
from backup_pipeline.orchestration.launch import RunOrder, run_backup
from backup_pipeline.settings import Settings
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(Settings().work_dir)], check=True)
catalog = load_catalog(Path(sys.argv[1]))
today = local_date(datetime.now(UTC), "Asia/Dhaka")
result = run_backup(RunOrder(catalog, (), today, "", command_line("tester")), Settings(), Silence())
print(result.run_id, result.exit_code, result.error, "|", result.what_to_do)
left = [path for path in Settings().work_dir.rglob("*") if path.is_file()]
print("left:", left)
"""


def _may_mount() -> bool:
    return subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode == 0


def test_a_full_disk_is_a_clear_failure_and_is_freed_again(installation: Installation, tmp_path: Path) -> None:
    if not _may_mount():
        pytest.skip("this system does not let users mount (unshare -rm)")
    work = tmp_path / "small"
    work.mkdir()
    installation.configure(BACKUP_WORK_DIR=str(work))
    installation.sql("INSERT INTO notes SELECT repeat(md5(n::text), 50), now() FROM generate_series(1, 500) AS n")
    done = subprocess.run(
        ["unshare", "-rm", *python(FULL_DISK, str(installation.catalog_file))],
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "No space left" in done.stdout or "no room" in done.stdout, done.stdout
    assert "left: []" in done.stdout
    attempt = installation.attempt()
    assert attempt.status is Status.FAILED
    assert "notes" in (attempt.error_message or "")
    assert installation.backups() == []
    assert len(installation.alerts()) == 1
