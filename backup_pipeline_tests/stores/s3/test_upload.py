"""Objects that stay in S3: refused when their key is taken, locked, and honest about stores that do neither."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from backup_pipeline.core.errors import RefusedError, SettingsError, StoreError
from backup_pipeline.stores.s3 import Lock, LockMode
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline.stores.s3.upload import Chunks, Conditions, KeptUpload, KeyTakenError, cut
from backup_pipeline_tests.servers.http_proxy import HttpProxy, Trouble
from backup_pipeline_tests.servers.swift import SwiftServer

MB = 1 << 20
LOCK = Lock(LockMode.GOVERNANCE, 30)
UNKNOWN = b"<?xml version='1.0'?><Error><Code>NotImplemented</Code><Message>A header is unknown.</Message></Error>"


@pytest.fixture
def store(s3_server: SwiftServer, s3_bucket: str) -> S3Store:
    return S3Store(s3_bucket, "isp", s3_server.settings)


@pytest.mark.parametrize("size", [0, 1, 16 * MB - 1, 16 * MB, 16 * MB + 1, 50 * MB])
def test_every_size_comes_back(store: S3Store, size: int) -> None:
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    chunks = (content[at : at + 3 * MB] for at in range(0, size, 3 * MB))
    assert store.keep("bundle.zip", chunks).size == size
    assert store.get("bundle.zip") == content


@pytest.mark.parametrize(
    ("chunks", "parts"), [([], []), ([3], [3]), ([5, 5], [8, 2]), ([8, 8], [8, 8]), ([20], [8, 8, 4])]
)
def test_parts_are_of_one_size_but_the_last(chunks: list[int], parts: list[int]) -> None:
    assert [len(part) for part in cut(iter([bytes(size) for size in chunks]), 8)] == parts


def test_an_upload_in_parts_is_refused_at_its_end_and_leaves_nothing(store: S3Store, s3_server: SwiftServer) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield bytes(MB)
        store.keep("bundle.zip", [b"first"])

    with pytest.raises(RefusedError, match="is there already"):
        store.keep("bundle.zip", chunks())
    assert store.get("bundle.zip") == b"first"
    assert "Uploads" not in s3_server.client().list_multipart_uploads(Bucket=store.bucket)


def test_whether_the_store_refuses_is_seen_and_told(store: S3Store) -> None:
    assert store.protection("manifest.json").refuses is None
    store.keep("manifest.json", [b"{}"])
    assert store.protection("manifest.json").refuses is True
    assert store.get("manifest.json") == b"{}"


def test_a_store_that_does_not_know_the_condition_is_written_to_all_the_same(
    store: S3Store, s3_proxy: HttpProxy
) -> None:
    simple = replace(store, settings=replace(store.settings, endpoint_url=s3_proxy.endpoint_url))
    s3_proxy.on(Trouble(when=lambda method, _: method == "PUT", times=1, status=501, body=UNKNOWN))
    simple.keep("manifest.json", [b"{}"])
    found = simple.protection("manifest.json")
    assert found.refuses is False
    assert "looked up first" in str(found)
    with pytest.raises(RefusedError):
        simple.keep("manifest.json", [b"another"])
    simple.keep("bundle.zip", [bytes(17 * MB)])
    assert simple.get("manifest.json") == b"{}"


class Forgetful:
    """A client of a store that ignores conditions: it writes over what is there."""

    def __init__(self) -> None:
        self.puts = 0

    def put_object(self, **_: Any) -> None:
        self.puts += 1


def test_a_store_that_ignores_the_condition_is_noticed_once() -> None:
    client, conditions = Forgetful(), Conditions()
    for _ in range(2):
        KeptUpload(client, "b", "k", {}, conditions, replace=False, part_bytes=MB).send(Chunks([b"{}"]))
    assert conditions.refuses is False
    assert client.puts == 3


class Lossy:
    """A client whose first answer gets lost: the object is there when it asks again."""

    def __init__(self, there: bytes) -> None:
        self.there = there

    def put_object(self, **_: Any) -> None:
        raise ClientError(
            {"Error": {"Code": "PreconditionFailed"}, "ResponseMetadata": {"HTTPStatusCode": 412}},
            "PutObject",
        )

    def get_object(self, **_: Any) -> dict[str, Any]:
        import io

        return {"Body": io.BytesIO(self.there)}


def test_an_answer_that_got_lost_is_no_refusal_of_our_own_object() -> None:
    def send(there: bytes) -> None:
        client, seen = Lossy(there), Conditions(refuses=True)
        KeptUpload(client, "b", "k", {}, seen, replace=False, part_bytes=MB).send(Chunks([b"ours"]))

    send(b"ours")
    with pytest.raises(KeyTakenError):
        send(b"somebody else's")


def test_a_store_without_locks_is_refused_before_anything_is_written(store: S3Store) -> None:
    locking = replace(store, settings=replace(store.settings, lock=LOCK))
    for operation in (locking.check, lambda: locking.keep("bundle.zip", [b"1"])):
        with pytest.raises(SettingsError, match="has no Object Lock") as caught:
            operation()
        assert "Create a bucket with Object Lock" in caught.value.do
    assert list(store.list("")) == []


def test_a_lock_that_was_asked_for_and_is_not_there_is_an_error_and_leaves_nothing(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    locking = replace(store, settings=replace(store.settings, lock=LOCK))
    monkeypatch.setattr(
        "backup_pipeline.stores.s3.store.check_lockable", lambda *_: False
    )  # as if it might not be asked
    with pytest.raises(StoreError, match="was to be locked") as caught:
        locking.keep("bundle.zip", [b"1"])
    assert "not locked" in caught.value.what
    assert list(store.list("")) == []
