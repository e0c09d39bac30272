"""Downloading: whole or not at all, never over somebody's file, and never without an audit row."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from backup_pipeline.core.errors import (
    BackupError,
    LedgerError,
    RefusedError,
    StoreUnavailableError,
    UsageError,
    VerificationError,
)
from backup_pipeline.core.ports import Silence, Store
from backup_pipeline.operations.download import AuditTrail, Destination, bundle_url, download_bundle
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.ports import now
from backup_pipeline_tests.doubles.stores import FaultyStore, StoreFault
from backup_pipeline_tests.operations.conftest import Made
from backup_pipeline_tests.operations.made import mute_ledger


def audit(made: Made) -> AuditTrail:
    return AuditTrail(made.ledger, now, RAHIM)


def download(made: Made, target: Path, *, store: Store | None = None, force: bool = False) -> Path:
    return download_bundle(
        made.attempt,
        Destination(target, force),
        store=store or made.store,
        audit=audit(made),
        progress=Silence(),
    )


def test_into_a_folder_it_takes_the_name_of_the_bundle(made: Made, tmp_path: Path) -> None:
    path = download(made, tmp_path)
    assert path == tmp_path / made.manifest.bundle.name
    assert path.read_bytes() == made.store.get(made.bundle)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_into_a_file_it_takes_that_name(made: Made, tmp_path: Path) -> None:
    assert download(made, tmp_path / "mine.zip").read_bytes() == made.store.get(made.bundle)


def test_a_new_name_without_ending_is_a_folder_and_is_made(made: Made, tmp_path: Path) -> None:
    path = download(made, tmp_path / "my" / "backups")
    assert path == tmp_path / "my" / "backups" / made.manifest.bundle.name
    assert path.read_bytes() == made.store.get(made.bundle)
    with pytest.raises(RefusedError):
        download(made, tmp_path / "my" / "backups")


def test_a_file_without_ending_that_is_there_stays_a_file(made: Made, tmp_path: Path) -> None:
    target = tmp_path / "backups"
    target.write_text("precious")
    with pytest.raises(RefusedError):
        download(made, target)
    assert target.read_text() == "precious"


def test_a_folder_that_can_not_be_made_is_told_with_what_to_do(made: Made, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(BackupError, match="can not be written") as caught:
        download(made, tmp_path / "file" / "backups")
    assert "--to" in caught.value.do


def test_only_the_owner_may_read_it(made: Made, tmp_path: Path) -> None:
    assert stat.S_IMODE(download(made, tmp_path).stat().st_mode) == 0o600


def test_a_file_that_is_there_stays_unless_forced(made: Made, tmp_path: Path) -> None:
    target = tmp_path / "mine.zip"
    target.write_text("precious")
    with pytest.raises(RefusedError) as caught:
        download(made, target)
    assert caught.value.exit_code == 21
    assert target.read_text() == "precious"
    assert download(made, target, force=True).read_bytes() == made.store.get(made.bundle)


def test_a_file_that_appears_meanwhile_stays(made: Made, tmp_path: Path) -> None:
    target = tmp_path / "mine.zip"
    racing = FaultyStore(made.store).on("stream", StoreFault(nth=2, before=lambda _: target.write_text("precious")))
    with pytest.raises(RefusedError):
        download(made, target, store=racing)
    assert target.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("fault", [StoreFault(nth=2, flip=80_000), StoreFault(nth=2, truncate=1000)])
def test_damaged_bytes_leave_nothing(made: Made, tmp_path: Path, fault: StoreFault) -> None:
    with pytest.raises(VerificationError):
        download(made, tmp_path, store=FaultyStore(made.store).on("stream", fault))
    assert list(tmp_path.iterdir()) == []


def test_damaged_bytes_leave_the_older_file_also_when_forced(made: Made, tmp_path: Path) -> None:
    target = tmp_path / "mine.zip"
    target.write_text("precious")
    with pytest.raises(VerificationError):
        download(made, target, store=FaultyStore(made.store).on("stream", StoreFault(nth=2, flip=8)), force=True)
    assert target.read_text() == "precious"


def test_a_store_that_goes_away_leaves_nothing(made: Made, tmp_path: Path) -> None:
    gone = FaultyStore(made.store).on("stream", StoreFault(nth=2, error=StoreUnavailableError("gone"), after=1))
    with pytest.raises(StoreUnavailableError):
        download(made, tmp_path, store=gone)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told_with_what_to_do(made: Made, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="can not be written") as caught:
        download(made, tmp_path / "no" / "mine.zip")
    assert "--to" in caught.value.do
    assert made.ledger.audits() == []


def test_who_took_it_is_written_down(made: Made, tmp_path: Path) -> None:
    download(made, tmp_path)
    (event,) = made.ledger.audits(made.attempt.backup_id)
    assert (event.actor, event.action) == (RAHIM, "download")


def test_nobody_gets_bytes_when_the_audit_can_not_be_written(made: Made, tmp_path: Path) -> None:
    made.ledger = mute_ledger()
    store = FaultyStore(made.store)
    with pytest.raises(LedgerError):
        download(made, tmp_path, store=store)
    assert list(tmp_path.iterdir()) == []
    assert store.calls["stream"] == 1, "the manifest"


class Signing(FaultyStore):
    """A store with URLs."""

    def sign(self, key: str, *, expires: timedelta, file_name: str) -> str:
        return f"https://store.example/{key}?expires={expires.total_seconds():.0f}&name={file_name}"


def test_a_url_names_the_bundle_and_is_written_down_with_its_end(made: Made) -> None:
    two_hours = timedelta(hours=2)
    url, bundle = bundle_url(made.attempt, store=Signing(made.store), audit=audit(made), expires=two_hours)
    assert bundle == made.manifest.bundle
    assert made.bundle in url
    assert "expires=7200" in url
    assert f"name={made.manifest.bundle.name}" in url
    (event,) = made.ledger.audits(made.attempt.backup_id)
    assert (event.actor, event.action) == (RAHIM, "url")
    assert url not in str(event.detail)


@pytest.mark.parametrize("expires", [timedelta(0), timedelta(days=7, seconds=1), timedelta(hours=-1)])
def test_a_url_for_a_time_that_can_not_be_is_a_wrong_request(made: Made, expires: timedelta) -> None:
    with pytest.raises(UsageError, match="7 days"):
        bundle_url(made.attempt, store=Signing(made.store), audit=audit(made), expires=expires)


@pytest.mark.parametrize(
    ("expires", "told"),
    [
        (timedelta(days=9), "not for 9 days."),
        (timedelta(hours=200), "not for 8 days, 8:00:00."),
        (timedelta(0), "not for 0 seconds."),
    ],
)
def test_the_time_that_can_not_be_is_told_as_people_say_it(made: Made, expires: timedelta, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        bundle_url(made.attempt, store=Signing(made.store), audit=audit(made), expires=expires)
    assert caught.value.what.endswith(told)


def test_a_store_without_urls_refuses_and_nothing_is_written_down(made: Made) -> None:
    with pytest.raises(RefusedError):
        bundle_url(made.attempt, store=made.store, audit=audit(made))
    assert made.ledger.audits() == []
