"""How objects leave each store: what is deleted, hidden, locked or refused, told object by object."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.core.errors import StoreDeniedError, StoreError, StoreUnavailableError
from backup_pipeline.core.retention.prune import Versions, Why
from backup_pipeline.stores import removals_of
from backup_pipeline.stores.directory import DirectoryRemovals, DirectoryStore, PlainRemovals
from backup_pipeline.stores.s3 import Lock, LockMode
from backup_pipeline.stores.s3.administration import S3Removals
from backup_pipeline.stores.s3.store import TRIAL_KEY, S3Store
from backup_pipeline.stores.wrappers import RetryingStore
from backup_pipeline_tests.doubles.stores import FaultyStore, MemoryStore, StoreFault
from backup_pipeline_tests.servers.http_proxy import HttpProxy, Trouble
from backup_pipeline_tests.servers.moto import MotoServer
from backup_pipeline_tests.servers.swift import SwiftServer

REPORT, LEAVE, REMOVE = Versions
KEYS = ["shop/a/manifest.json", "shop/a/full.zip"]
PREFIX = "isp backups"


def _keys(store: Any) -> list[str]:
    return [found.key for found in store.list("")]


# Any store, and a directory.


def test_a_store_finds_its_own_way_of_removing_also_when_it_is_wrapped(tmp_path: Path) -> None:
    s3 = S3Store("bucket", "x", S3Store("bucket", "x", None).settings)  # type: ignore[arg-type]
    wrapped = RetryingStore(FaultyStore(DirectoryStore(tmp_path)), 3, wait=lambda _: None, chance=lambda: 0.0)
    assert isinstance(removals_of(wrapped), DirectoryRemovals)
    assert isinstance(removals_of(FaultyStore(s3)), S3Removals)
    assert type(removals_of(MemoryStore())) is PlainRemovals


def test_what_a_store_would_not_delete_is_told_and_the_rest_goes() -> None:
    store = FaultyStore(MemoryStore())
    for key in KEYS:
        store.put(key, [b"1"])
    store.on("delete", StoreFault(nth=1, error=StoreDeniedError("a policy forbids it", do="ask")))
    [left] = removals_of(store).remove([*KEYS, "shop/not-there"], REPORT)
    assert (left.key, left.why, left.message, left.do, left.hidden) == (
        KEYS[0],
        Why.DENIED,
        "a policy forbids it",
        "ask",
        False,
    )
    assert _keys(store) == KEYS[:1]
    broken = FaultyStore(store.inner).on("delete", StoreFault(nth=1, error=StoreError("the disk is broken")))
    assert [each.why for each in removals_of(broken).remove(KEYS, REPORT)] == [Why.FAILED]


def test_a_store_that_does_not_answer_is_an_error() -> None:
    store = FaultyStore(MemoryStore()).on("delete", StoreFault(error=StoreUnavailableError("503")))
    with pytest.raises(StoreUnavailableError):
        removals_of(store).remove(KEYS, REPORT)


def test_in_a_directory_files_of_dead_writers_are_found_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    root = tmp_path / "store"
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom backup_pipeline.stores.directory import DirectoryStore\n"
        "def chunks():\n  yield b'half'\n  print('ready', flush=True)\n  time.sleep(60)\n"
        "DirectoryStore(Path(sys.argv[1])).put('shop/x', chunks())"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE, cwd=Path.cwd())
        for _ in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
        removals = removals_of(DirectoryStore(root))
        assert list(removals.unfinished("shop/")) == []
        writers[0].kill()
        writers[0].wait(10)
        [found] = removals.unfinished("shop/")
        assert found.key.startswith(f".partial/{writers[0].pid}-")
        assert datetime.now(UTC) - found.begun < timedelta(minutes=2)
        living = next(path for path in (root / ".partial").iterdir() if path.name.startswith(f"{writers[1].pid}-"))
        left = removals.discard(replace(found, token=str(living)))
        assert left is not None
        assert left.why is Why.FAILED
        assert removals.discard(found) is None
        assert removals.discard(found) is None, "gone already"
        assert [path.name for path in (root / ".partial").iterdir()] == [living.name]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait(10)
            assert writer.stdout is not None
            writer.stdout.close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that anybody can reach, whoever runs the tests."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def _as_nobody(*own: Path) -> Iterator[None]:
    """As somebody who owns these folders and may not do everything, which root may."""
    if os.geteuid() != 0:
        yield
        return
    for folder in own:
        os.chown(folder, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_written_refuses_by_name(open_folder: Path) -> None:
    store = DirectoryStore(open_folder / "store")
    store.put("shop/a", [b"1"])
    folder = open_folder / "store" / "shop"
    folder.chmod(0o500)
    with _as_nobody(open_folder, open_folder / "store", folder):
        [left] = removals_of(store).remove(["shop/a"], REPORT)
    assert left.why is Why.DENIED
    assert "Not allowed: shop/a" in left.message
    assert _keys(store) == ["shop/a"]
    folder.chmod(0o700)


# A real S3 API: OpenStack Swift.


@pytest.fixture
def store(s3_server: SwiftServer, s3_bucket: str) -> S3Store:
    return S3Store(s3_bucket, PREFIX, s3_server.settings)


def test_in_an_ordinary_bucket_what_is_removed_is_gone(store: S3Store) -> None:
    for key in (*KEYS, "shop/b"):
        store.put(key, [b"1"])
    removals = removals_of(store)
    assert removals.locked(KEYS) == []
    assert removals.remove([*KEYS, "shop/not-there"], REPORT) == []
    assert _keys(store) == ["shop/b"]
    assert list(removals.hidden("shop/")) == []
    assert removals.remove([], REPORT) == []


def test_uploads_that_were_never_finished_are_found_below_the_prefix_and_aborted(
    store: S3Store, s3_server: SwiftServer
) -> None:
    client = s3_server.client()
    for key in ("shop/a/full.zip", "shop2/full.zip"):
        client.create_multipart_upload(Bucket=store.bucket, Key=f"{PREFIX}/{key}")
    removals = removals_of(store)
    [found] = removals.unfinished("shop/")
    assert found.key == "shop/a/full.zip"
    assert abs(datetime.now(UTC) - found.begun) < timedelta(minutes=5)
    assert removals.discard(found) is None
    assert list(removals.unfinished("shop/")) == []
    assert len(list(removals.unfinished("shop2/"))) == 1
    assert removals.discard(found) is None, "gone already"


def test_the_upload_of_a_trial_that_was_killed_is_found_whatever_the_prefix(
    store: S3Store, s3_server: SwiftServer
) -> None:
    s3_server.client().create_multipart_upload(Bucket=store.bucket, Key=f"{PREFIX}/{TRIAL_KEY}")
    removals = removals_of(store)
    [found] = removals.unfinished("shop/")
    assert found.key == TRIAL_KEY
    assert removals.discard(found) is None
    assert list(removals.unfinished("shop/")) == []


@pytest.fixture
def versioned(store: S3Store, s3_server: SwiftServer) -> Iterator[S3Store]:
    s3_server.client().put_bucket_versioning(Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"})
    yield store
    _drop_versions(s3_server.client(), store.bucket)


def _drop_versions(client: Any, bucket: str) -> None:
    found = client.list_object_versions(Bucket=bucket)
    for each in (*found.get("Versions", ()), *found.get("DeleteMarkers", ())):
        client.delete_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"])


def _versions(store: S3Store, client: Any) -> Mapping[str, int]:
    """How many real versions each key has."""
    counted: dict[str, int] = {}
    for each in client.list_object_versions(Bucket=store.bucket).get("Versions", ()):
        counted[each["Key"]] = counted.get(each["Key"], 0) + 1
    return counted


def test_in_a_versioned_bucket_a_delete_only_hides_and_that_is_said(versioned: S3Store, s3_server: SwiftServer) -> None:
    versioned.put(KEYS[0], [b"first"])
    versioned.put(KEYS[0], [b"second!"])
    [left] = removals_of(versioned).remove(KEYS[:1], REPORT)
    assert (left.key, left.why, left.hidden) == (KEYS[0], Why.VERSIONED, True)
    assert "2 versions of it with 12 bytes stay" in left.message
    assert "BACKUP_PRUNE_VERSIONS=leave" in left.do
    assert _keys(versioned) == []
    assert _versions(versioned, s3_server.client()) == {f"{PREFIX}/{KEYS[0]}": 2}
    assert [(found.key, found.size) for found in removals_of(versioned).hidden("shop/")] == [(KEYS[0], 12)]


def test_where_the_bucket_cleans_up_itself_hidden_objects_are_no_news(
    versioned: S3Store, s3_server: SwiftServer
) -> None:
    versioned.put(KEYS[0], [b"1"])
    assert removals_of(versioned).remove(KEYS[:1], LEAVE) == []
    assert len(_versions(versioned, s3_server.client())) == 1


def test_versions_are_removed_when_that_is_asked_for(versioned: S3Store, s3_server: SwiftServer) -> None:
    for key in (*KEYS, f"{KEYS[1]}.other"):
        versioned.put(key, [b"1"])
        versioned.put(key, [b"2"])
    assert removals_of(versioned).remove(KEYS, REMOVE) == []
    assert _keys(versioned) == [f"{KEYS[1]}.other"]
    assert _versions(versioned, s3_server.client()) == {f"{PREFIX}/{KEYS[1]}.other": 2}
    assert list(removals_of(versioned).hidden("shop/")) == []


def test_a_server_that_is_away_is_an_error_that_waiting_can_help(s3_proxy: HttpProxy, s3_server: SwiftServer) -> None:
    settings = replace(s3_server.settings, endpoint_url=s3_proxy.endpoint_url)
    removals = S3Removals("bucket-1", PREFIX, settings)
    s3_proxy.stop()
    with pytest.raises(StoreUnavailableError, match="S3 does not answer"):
        removals.remove(KEYS, REPORT)
    with pytest.raises(StoreUnavailableError):
        removals.locked(KEYS)
    s3_proxy.start()


# Locks and policies: moto, which enforces them.


@pytest.mark.parametrize("mode", list(LockMode))
def test_a_locked_object_is_told_with_its_date_before_anything_is_touched(
    lock_server: MotoServer, locked_bucket: str, mode: LockMode
) -> None:
    store = S3Store(locked_bucket, PREFIX, replace(lock_server.admin, lock=Lock(mode, 30)))
    store.keep(KEYS[0], [b"1"])
    store.put(KEYS[1], [b"2"])
    [left] = removals_of(store).locked(KEYS)
    until = datetime.now(UTC) + timedelta(days=30)
    assert (left.key, left.why, left.hidden) == (KEYS[0], Why.LOCKED, False)
    assert f"locked until {until:%Y-%m-%d}" in left.message
    assert mode in left.message
    assert ("BypassGovernance" in left.do) is (mode == "governance")
    assert _keys(store) == sorted(KEYS)


def test_versions_that_are_locked_stay_and_each_is_told(lock_server: MotoServer, locked_bucket: str) -> None:
    store = S3Store(locked_bucket, PREFIX, replace(lock_server.admin, lock=Lock(LockMode.COMPLIANCE, 30)))
    store.keep(KEYS[0], [b"1"])
    store.put(KEYS[1], [b"2"])
    [left] = removals_of(store).remove(KEYS, REMOVE)
    assert (left.key, left.why, left.hidden) == (KEYS[0], Why.LOCKED, True)
    assert list(_versions(store, lock_server.client())) == [f"{PREFIX}/{KEYS[0]}"]


def test_a_legal_hold_is_told(lock_server: MotoServer, locked_bucket: str) -> None:
    store = S3Store(locked_bucket, PREFIX, lock_server.admin)
    store.put(KEYS[0], [b"1"])
    lock_server.client().put_object_legal_hold(
        Bucket=locked_bucket, Key=f"{PREFIX}/{KEYS[0]}", LegalHold={"Status": "ON"}
    )
    [left] = removals_of(store).locked(KEYS[:1])
    assert "legal hold" in left.message


def test_who_may_not_delete_is_told_for_each_object(lock_server: MotoServer, plain_bucket: str) -> None:
    everything = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{plain_bucket}/*"}
    denied = everything | {"Effect": "Deny", "Action": "s3:DeleteObject"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everything, denied]})
    lock_server.client().put_bucket_policy(Bucket=plain_bucket, Policy=policy)
    store = S3Store(plain_bucket, PREFIX, lock_server.admin)
    for key in KEYS:
        store.put(key, [b"1"])
    left = removals_of(store).remove(KEYS, REPORT)
    assert [(each.key, each.why, each.hidden) for each in left] == [(key, Why.DENIED, False) for key in KEYS]
    assert "AccessDenied" in left[0].message
    assert "s3:DeleteObject" in left[0].do
    assert _keys(store) == sorted(KEYS)


# What the server is not asked for, or answers otherwise: a proxy in front of Swift says no to single requests.

NO = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"


@pytest.fixture
def watched(versioned: S3Store, s3_proxy: HttpProxy) -> S3Store:
    """The versioned store, through the proxy."""
    return replace(versioned, settings=replace(versioned.settings, endpoint_url=s3_proxy.endpoint_url))


def _deny(proxy: HttpProxy, when: Callable[[str, str], bool]) -> None:
    proxy.on(Trouble(when=when, status=403, body=NO))


def test_who_may_not_delete_at_all_is_told_for_each_object(watched: S3Store, s3_proxy: HttpProxy) -> None:
    for key in KEYS:
        watched.put(key, [b"1"])
    _deny(s3_proxy, lambda method, path: method == "POST" and "delete" in path)
    left = removals_of(watched).remove(KEYS, REPORT)
    assert [(each.key, each.why, each.hidden) for each in left] == [(key, Why.DENIED, False) for key in KEYS]
    assert _keys(watched) == sorted(KEYS)


def test_who_may_delete_but_not_the_versions_is_told_so(watched: S3Store, s3_proxy: HttpProxy) -> None:
    watched.put(KEYS[0], [b"1"])
    asked: list[str] = []

    def second(method: str, path: str) -> bool:
        if method == "POST" and "delete" in path:
            asked.append(path)
        return len(asked) > 1 and method == "POST"

    _deny(s3_proxy, second)
    [left] = removals_of(watched).remove(KEYS[:1], REMOVE)
    assert (left.why, left.hidden) == (Why.DENIED, True)
    assert "AccessDenied" in left.message
    assert "s3:DeleteObjectVersion" in left.do
    assert _keys(watched) == []


def test_where_versions_can_not_be_listed_that_is_said(watched: S3Store, s3_proxy: HttpProxy) -> None:
    watched.put(KEYS[0], [b"1"])
    _deny(s3_proxy, lambda method, path: method == "GET" and "versions" in path)
    [left] = removals_of(watched).remove(KEYS[:1], REPORT)
    assert (left.why, left.hidden) == (Why.VERSIONED, True)
    assert "can not be listed" in left.message


def test_where_versioning_and_uploads_may_not_be_asked_for_it_is_an_ordinary_bucket(
    store: S3Store, s3_proxy: HttpProxy
) -> None:
    plain = replace(store, settings=replace(store.settings, endpoint_url=s3_proxy.endpoint_url))
    plain.put(KEYS[0], [b"1"])
    _deny(s3_proxy, lambda method, path: "versioning" in path or "uploads" in path or method == "HEAD")
    removals = removals_of(plain)
    assert removals.locked(KEYS[:1]) == []
    assert removals.remove(KEYS[:1], REMOVE) == []
    assert list(removals.unfinished("shop/")) == []
    assert list(removals.hidden("shop/")) == []
