"""Who may do what in the bucket: the policies of the docs are enough for each verb, and allow no more."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from backup_pipeline.core.errors import StoreDeniedError
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.ports import Silence
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.download import AuditTrail, Destination, download_bundle
from backup_pipeline.operations.verify import VerifyRequest, verify_backup
from backup_pipeline.stores.s3 import Lock, LockMode, S3Settings
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.ports import now
from backup_pipeline_tests.operations.conftest import SHOP
from backup_pipeline_tests.operations.made import Place, verify_ports
from backup_pipeline_tests.servers.http_proxy import HttpProxy
from backup_pipeline_tests.servers.moto import policy_of
from backup_pipeline_tests.servers.moto_fixtures import LockServer

POLICIES = Path(__file__).resolve().parents[2] / "docs" / "policies"
LOCK = Lock(LockMode.GOVERNANCE, 30)
OF_A_BUCKET = {
    ("GET", "object-lock"): "s3:GetBucketObjectLockConfiguration",
    ("GET", "versioning"): "s3:GetBucketVersioning",
    ("GET", "versions"): "s3:ListBucketVersions",
    ("GET", "uploads"): "s3:ListBucketMultipartUploads",
    ("POST", "delete"): "s3:DeleteObject",
    ("GET", ""): "s3:ListBucket",
    ("HEAD", ""): "s3:ListBucket",
}
OF_AN_OBJECT = {
    ("GET", "retention"): "s3:GetObjectRetention",
    ("GET", "legal-hold"): "s3:GetObjectLegalHold",
    ("DELETE", "uploadId"): "s3:AbortMultipartUpload",
    ("DELETE", ""): "s3:DeleteObject",
    ("GET", ""): "s3:GetObject",
    ("HEAD", ""): "s3:GetObject",
    ("PUT", ""): "s3:PutObject",
    ("POST", ""): "s3:PutObject",
}
WITH_A_LOCK = {"s3:PutObjectRetention", "s3:GetObjectRetention"}
"""What writing needs besides when objects are locked, in headers: a path does not show that a HEAD asks for a lock."""

Roles = Callable[[str], S3Settings]


def action(method: str, path: str) -> str:
    """The right that a request needs."""
    parts = urlsplit(path)
    names = parse_qs(parts.query, keep_blank_values=True)
    table = OF_AN_OBJECT if "/" in parts.path.strip("/") else OF_A_BUCKET
    return next(
        (table[method, name] for name in names if (method, name) in table), table.get((method, ""), f"? {path}")
    )


@pytest.fixture
def roles(lock_server: LockServer, locked_bucket: str) -> Roles:
    """Gives a new user with the policy of that name."""

    def user(name: str) -> S3Settings:
        return lock_server.new_user(f"{name}-{locked_bucket}", policy_of(POLICIES / f"{name}.json", locked_bucket))

    return user


def allowed(name: str) -> set[str]:
    found: set[str] = set()
    policy: dict[str, Any] = policy_of(POLICIES / f"{name}.json", "b")
    for statement in policy["Statement"]:
        if statement["Effect"] == "Allow":
            actions = statement["Action"]
            found |= {actions} if isinstance(actions, str) else set(actions)
    return found


def back_up(store: S3Store, url: str, spool: Path) -> tuple[Attempt, Place]:
    place = Place(spool, store)
    return place.back_up(url, SHOP), place


def test_a_writer_that_can_delete_nothing_backs_up_and_locks(
    roles: Roles, locked_bucket: str, shop_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = S3Store(locked_bucket, "daily", replace(roles("writer"), lock=LOCK))
    with caplog.at_level(logging.WARNING):
        first, _ = back_up(store, shop_url, tmp_path)
        second, place = back_up(store, shop_url, tmp_path)  # the partitions of the same date, written over
    assert {first.status, second.status} <= {Status.SUCCESS, Status.SUCCESS_WITH_WARNINGS}
    told = [line for line in caplog.messages if "Nothing may be deleted" in line]
    assert len(told) == 1
    (audit,) = [event for event in place.ledger.audits(second.backup_id) if event.action == "protect"]
    assert audit.detail["mode"] == "GOVERNANCE"
    for attempt in (first, second):
        for name in (attempt.file_name or "", "manifest.json"):
            assert store.protection(place_of(attempt).prefix + name).mode == "GOVERNANCE"
        assert verify_backup(place_of(attempt), VerifyRequest(), verify_ports(store)).passed


def test_the_writer_is_denied_what_takes_away(roles: Roles, locked_bucket: str) -> None:
    store = S3Store(locked_bucket, "daily", roles("writer"))
    store.put("a", [b"1"])
    with pytest.raises(StoreDeniedError):
        store.delete(["a"])
    assert store.get("a") == b"1"


def test_a_reader_verifies_and_downloads_and_no_more(
    roles: Roles, lock_server: LockServer, locked_bucket: str, shop_url: str, tmp_path: Path
) -> None:
    attempt, place = back_up(S3Store(locked_bucket, "daily", lock_server.admin), shop_url, tmp_path)
    store = S3Store(locked_bucket, "daily", roles("reader"))
    assert verify_backup(place_of(attempt), VerifyRequest(), verify_ports(store)).passed
    audit = AuditTrail(place.ledger, now, RAHIM)
    to = Destination(tmp_path / "got.zip", False)
    assert download_bundle(attempt, to, store=store, audit=audit, progress=Silence()).is_file()
    for denied in (
        lambda: store.put("a", [b"1"]),
        lambda: store.keep("a", [b"1"]),
        lambda: store.delete([place_of(attempt).manifest]),
    ):
        with pytest.raises(StoreDeniedError):
            denied()


def test_a_pruner_takes_away_and_writes_nothing(roles: Roles, lock_server: LockServer, locked_bucket: str) -> None:
    S3Store(locked_bucket, "daily", lock_server.admin).put("old", [b"1"])
    store = S3Store(locked_bucket, "daily", roles("pruner"))
    assert store.get("old") == b"1"
    store.delete(["old"])
    assert store.head("old") is None
    with pytest.raises(StoreDeniedError):
        store.put("new", [b"1"])


def test_a_pruner_can_not_lift_a_lock(roles: Roles, lock_server: LockServer, locked_bucket: str) -> None:
    S3Store(locked_bucket, "daily", replace(lock_server.admin, lock=LOCK)).keep("kept", [b"1"])
    version = lock_server.client().head_object(Bucket=locked_bucket, Key="daily/kept")["VersionId"]
    store = S3Store(locked_bucket, "daily", roles("pruner"))
    with pytest.raises(Exception, match="AccessDenied"):
        store._admin.delete_object(Bucket=locked_bucket, Key="daily/kept", VersionId=version)
    if lock_server.asks_who_lifts_a_lock:
        with pytest.raises(Exception, match="AccessDenied"):
            store._admin.delete_object(
                Bucket=locked_bucket, Key="daily/kept", VersionId=version, BypassGovernanceRetention=True
            )


def test_every_verb_asks_for_what_its_policy_allows_and_the_policy_allows_no_more(
    roles: Roles, lock_server: LockServer, locked_bucket: str, shop_url: str, tmp_path: Path
) -> None:
    with HttpProxy(lock_server.endpoint_url) as proxy:

        def asked() -> set[str]:
            found = {action(method, path) for method, path in proxy.seen}
            proxy.seen.clear()
            return found

        def store(name: str, lock: Lock | None = None) -> S3Store:
            return S3Store(locked_bucket, "daily", replace(roles(name), endpoint_url=proxy.endpoint_url, lock=lock))

        writer, reader = store("writer", LOCK), store("reader")
        attempt, _ = back_up(writer, shop_url, tmp_path)
        with pytest.raises(KeyError):
            writer.keep("stopped", _stopped())
        assert asked() - {"s3:DeleteObject"} | WITH_A_LOCK == allowed("writer")
        verify_backup(place_of(attempt), VerifyRequest(), verify_ports(reader))
        list(reader.list(""))
        assert asked() == allowed("reader")


def _stopped() -> Any:
    for _ in range(20):
        yield bytes(1 << 20)
    raise KeyError
