"""The second store and the locks of an installation, as the settings say them."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.settings import Settings
from backup_pipeline.stores.s3 import Lock, LockMode
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline.wiring.stores import lock_of, open_second, open_settings_store, the_second

pytestmark = pytest.mark.usefixtures("bare_home")


def test_without_a_second_store_there_is_none(tmp_path: Path) -> None:
    assert open_second(Settings()) is None
    with pytest.raises(SettingsError, match="BACKUP_SECOND_STORE is not set"):
        the_second(Settings())


def test_the_second_store_has_its_own_endpoint_region_profile_and_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_STORE", "s3://first")
    monkeypatch.setenv("BACKUP_S3_ENDPOINT_URL", "http://127.0.0.1:9000")
    monkeypatch.setenv("BACKUP_S3_REGION", "eu-west-1")
    monkeypatch.setenv("BACKUP_SECOND_STORE", "s3://second/backups/")
    monkeypatch.setenv("BACKUP_SECOND_S3_ENDPOINT_URL", "http://127.0.0.1:9001")
    monkeypatch.setenv("BACKUP_SECOND_S3_REGION", "ap-south-1")
    monkeypatch.setenv("BACKUP_SECOND_S3_PROFILE", "elsewhere")
    monkeypatch.setenv("BACKUP_SECOND_S3_LOCK_MODE", "compliance")
    monkeypatch.setenv("BACKUP_SECOND_S3_LOCK_DAYS", "90")
    second = open_second(Settings())
    assert second is not None
    assert second.url == "s3://second/backups"
    inner = getattr(second.store, "inner")  # noqa: B009  # the port does not have it
    assert isinstance(inner, S3Store)
    assert (inner.bucket, inner.prefix) == ("second", "backups")
    assert inner.settings.endpoint_url == "http://127.0.0.1:9001"
    assert (inner.settings.region, inner.settings.profile) == ("ap-south-1", "elsewhere")
    assert inner.settings.lock == Lock(LockMode.COMPLIANCE, 90)
    assert open_settings_store(Settings()).url == "s3://first"
    assert the_second(Settings()).store.url == "s3://second/backups"


def test_a_second_store_that_can_not_be_meant_says_so_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_SECOND_STORE", "s3://b")
    second = open_second(Settings())
    assert second is not None
    with pytest.raises(SettingsError, match="Not the name of a bucket"):
        second.store.check()


def test_a_lock_has_a_mode_and_days() -> None:
    assert lock_of("L", None, None, "file:///a") is None
    assert lock_of("L", "governance", 30, "s3://b") == Lock(LockMode.GOVERNANCE, 30)
    with pytest.raises(SettingsError, match="L_MODE is set, but L_DAYS is not"):
        lock_of("L", "governance", None, "s3://b")
    with pytest.raises(SettingsError, match="L_DAYS is set, but L_MODE is not"):
        lock_of("L", None, 3, "s3://b")


def test_a_directory_locks_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_S3_LOCK_MODE", "governance")
    monkeypatch.setenv("BACKUP_S3_LOCK_DAYS", "7")
    with pytest.raises(SettingsError, match="only a store in S3 can lock"):
        open_settings_store(Settings())


@pytest.mark.parametrize(
    ("variable", "value"),
    [("BACKUP_S3_LOCK_MODE", "forever"), ("BACKUP_S3_LOCK_DAYS", "0"), ("BACKUP_S3_LOCK_DAYS", "x")],
)
def test_a_wrong_lock_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        Settings()
