"""Object Lock, at a server that has it: what stays is locked from its first moment, and nobody takes it away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from backup_pipeline.core.errors import RefusedError, SettingsError
from backup_pipeline.core.ports.files import Protection
from backup_pipeline.stores.s3 import Lock, LockMode
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline_tests.servers.moto_fixtures import LockServer

MB = 1 << 20


@pytest.fixture(params=list(LockMode))
def lock(request: pytest.FixtureRequest) -> Lock:
    return Lock(request.param, 30)


@pytest.fixture
def store(lock_server: LockServer, locked_bucket: str, lock: Lock) -> S3Store:
    return S3Store(locked_bucket, "isp", replace(lock_server.admin, lock=lock))


@pytest.mark.parametrize("size", [10, 40 * MB], ids=["one request", "in parts"])
def test_what_stays_is_locked_as_the_settings_say(store: S3Store, lock: Lock, size: int) -> None:
    before = datetime.now(UTC)
    assert store.keep("bundle.zip", (bytes(MB)[: min(size, MB)] for _ in range(max(size // MB, 1)))).size == size
    found = store.protection("bundle.zip")
    assert found.mode == lock.mode.upper()
    assert found.until is not None
    assert timedelta() <= found.until - before.replace(microsecond=0) - timedelta(days=30) < timedelta(minutes=1)
    assert "locked" in str(found)


def test_a_locked_version_can_not_be_deleted(store: S3Store, lock_server: LockServer) -> None:
    store.keep("bundle.zip", [b"precious"])
    client = lock_server.client()
    version = client.head_object(Bucket=store.bucket, Key="isp/bundle.zip")["VersionId"]
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=store.bucket, Key="isp/bundle.zip", VersionId=version)
    store.delete(["bundle.zip"])  # hides it, in a bucket with versions
    assert store.head("bundle.zip") is None
    kept = client.get_object(Bucket=store.bucket, Key="isp/bundle.zip", VersionId=version)
    assert kept["Body"].read() == b"precious"


def test_what_is_written_again_all_the_time_is_not_locked(store: S3Store, lock_server: LockServer) -> None:
    store.put("tables/customers/part-00000.parquet", [b"1"])
    about = lock_server.client().head_object(Bucket=store.bucket, Key="isp/tables/customers/part-00000.parquet")
    assert "ObjectLockMode" not in about
    store.put("tables/customers/part-00000.parquet", [b"2"])
    assert store.get("tables/customers/part-00000.parquet") == b"2"


def test_a_locked_object_is_not_written_over_either(store: S3Store) -> None:
    store.keep("manifest.json", [b"{}"])
    with pytest.raises(RefusedError, match="there already"):
        store.keep("manifest.json", [b"another"])
    assert store.get("manifest.json") == b"{}"


def test_an_upload_that_fails_locks_nothing(store: S3Store, lock_server: LockServer) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield bytes(MB)
        raise KeyError

    with pytest.raises(KeyError):
        store.keep("bundle.zip", chunks())
    assert "Versions" not in lock_server.client().list_object_versions(Bucket=store.bucket)
    assert "Uploads" not in lock_server.client().list_multipart_uploads(Bucket=store.bucket)


def test_a_bucket_without_object_lock_is_refused_at_once(lock_server: LockServer, plain_bucket: str) -> None:
    store = S3Store(plain_bucket, "isp", replace(lock_server.admin, lock=Lock(LockMode.COMPLIANCE, 1)))
    with pytest.raises(SettingsError, match=f"bucket {plain_bucket} has no Object Lock"):
        store.check()


def test_a_bucket_that_can_lock_passes_the_check(store: S3Store) -> None:
    store.check()
    assert list(store.list("")) == []


def test_without_a_lock_in_the_settings_nothing_is_locked(lock_server: LockServer, locked_bucket: str) -> None:
    store = S3Store(locked_bucket, "isp", lock_server.admin)
    store.keep("bundle.zip", [b"1"])
    assert store.protection("bundle.zip").mode is None


def test_a_protection_is_told_in_one_line() -> None:
    until = datetime(2026, 12, 21, 18, 30, tzinfo=UTC)
    told = str(Protection(refuses=True, mode="GOVERNANCE", until=until))
    assert told == "locked (governance) until 2026-12-21 18:30 UTC; the store refuses to overwrite it"
    assert not Protection(refuses=True).notable
    assert Protection(refuses=False).notable
