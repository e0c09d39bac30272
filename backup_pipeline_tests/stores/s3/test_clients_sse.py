"""Encryption by the S3 server: asked of every object, however it is uploaded, and checked on each."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backup_pipeline.core.errors import SettingsError, StoreError
from backup_pipeline.stores.s3 import ServerSide
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline_tests.servers.sse_server import SseServer
from backup_pipeline_tests.servers.swift import SwiftServer

MB = 1 << 20
KMS = ServerSide("aws:kms", "1234abcd-12ab")


def store(server: SseServer, sse: ServerSide | None) -> S3Store:
    return S3Store("vault", "isp", replace(server.settings, sse=sse))


@pytest.mark.parametrize(
    "sse", [ServerSide("AES256"), ServerSide("aws:kms"), KMS, ServerSide("aws:kms:dsse", "alias/backups")]
)
def test_every_object_is_asked_to_be_encrypted(sse: ServerSide, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"3")
    with SseServer() as server:
        at = store(server, sse)
        at.check()
        at.put("small", [b"1"])
        at.put("large", [bytes(9 * MB)] * 4)
        at.keep("kept", [b"2"])
        at.keep("kept and large", [bytes(9 * MB)] * 4)
        at.put_file("file", tmp_path / "file")
        assert len(server.objects["isp/large"][0]) == 36 * MB
        asked = {key.removeprefix("isp/"): (algorithm, key_id) for key, algorithm, key_id in server.asked}
    keys = ("backup-pipeline-check", "small", "large", "kept", "kept and large", "file")
    assert asked == dict.fromkeys(keys, (sse.algorithm, sse.key_id))


def test_nothing_is_asked_where_nothing_is_set() -> None:
    with SseServer() as server:
        store(server, None).put("small", [b"1"])
        assert server.asked == [("isp/small", None, None)]


@pytest.mark.parametrize("size", [1, 40])
@pytest.mark.parametrize("way", ["put", "keep"])
def test_an_object_that_is_not_encrypted_as_asked_is_an_error_and_is_removed(way: str, size: int) -> None:
    with SseServer("ignores") as server:
        with pytest.raises(
            StoreError, match=r"s3://vault/isp/a was to be encrypted .*1234abcd-12ab.* says: not encrypted"
        ):
            getattr(store(server, KMS), way)("a", [bytes(size * MB)])
        assert server.objects == {}


def test_so_is_one_that_is_encrypted_with_another_key() -> None:
    wanted = r"says: aws:kms arn:aws:kms:us-east-1:111122223333:key/another"
    with SseServer("another key") as server, pytest.raises(StoreError, match=wanted):
        store(server, KMS).put("a", [b"1"])


def test_a_real_store_that_can_not_encrypt_says_so_before_the_backup(s3_server: SwiftServer, s3_bucket: str) -> None:
    at = S3Store(s3_bucket, "", replace(s3_server.settings, sse=ServerSide("AES256"), retry_for=timedelta(0)))
    for refused in (at.check, lambda: at.put("a", [b"1"]), lambda: at.keep("b", [b"1"])):
        with pytest.raises(StoreError, match=r"NotImplemented|not encrypted"):
            refused()
    assert list(at.list("")) == []


def test_what_is_no_encryption_of_s3_is_refused() -> None:
    with pytest.raises(SettingsError, match="'aes'"):
        ServerSide("aes")
    with pytest.raises(SettingsError, match="by its own key"):
        ServerSide("AES256", "1234abcd-12ab")
