"""An S3 that answers 503, says nothing, hangs up in the middle, or is gone; and comes back."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from backup_pipeline.core.errors import StoreError, StoreUnavailableError
from backup_pipeline.stores.s3 import S3Settings
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline.stores.wrappers import RetryingStore
from backup_pipeline_tests.servers.http_proxy import HttpProxy, Trouble
from backup_pipeline_tests.servers.swift import SwiftServer

MB = 1 << 20
IMPATIENT = timedelta(seconds=0.5)


@pytest.fixture
def store(s3_server: SwiftServer, s3_proxy: HttpProxy, s3_bucket: str) -> S3Store:
    settings = replace(s3_server.settings, endpoint_url=s3_proxy.endpoint_url, retry_for=timedelta(seconds=8))
    return S3Store(s3_bucket, "isp", settings)


def _impatient(store: S3Store) -> S3Store:
    quick = replace(store.settings, retry_for=IMPATIENT, answer_timeout=IMPATIENT, transfer_timeout=IMPATIENT)
    return replace(store, settings=quick)


def _retrying(store: S3Store, attempts: int = 6) -> RetryingStore:
    return RetryingStore(store, attempts, wait=lambda _: None, chance=lambda: 0.0)


def _part(method: str, path: str) -> bool:
    return method == "PUT" and "partNumber" in path


def test_a_streamed_upload_outlives_503_for_a_while(store: S3Store, s3_proxy: HttpProxy) -> None:
    refused = s3_proxy.on(Trouble(when=_part, times=3, status=503))
    assert store.put("large", (bytes([number]) * MB for number in range(40))).size == 40 * MB
    assert refused.met == 3
    assert next(store.stream("large", start=39 * MB)) == bytes([39]) * MB


def test_every_operation_outlives_503_for_a_while_through_retries(
    store: S3Store,
    s3_proxy: HttpProxy,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    retrying = _retrying(_impatient(store))
    operations: list[Callable[[], object]] = [
        lambda: retrying.put_file("k", tmp_path / "file"),
        lambda: retrying.get("k"),
        lambda: b"".join(retrying.stream("k", start=1)),
        lambda: retrying.head("k"),
        lambda: list(retrying.list("")),
        retrying.check,
        lambda: retrying.delete(["k"]),
    ]
    for operation in operations:
        refused = s3_proxy.on(Trouble(times=3, status=503))
        operation()
        assert refused.met == 3
        s3_proxy.clear()
    assert retrying.head("k") is None


@pytest.mark.parametrize("status", [503, 429])
def test_503_for_ever_is_transient_in_bounded_time(
    store: S3Store,
    s3_proxy: HttpProxy,
    status: int,
) -> None:
    s3_proxy.on(Trouble(status=status))
    begun = time.monotonic()
    for operation in (lambda: _impatient(store).put("k", [b"1"]), lambda: _impatient(store).check()):
        with pytest.raises(StoreUnavailableError, match="does not answer"):
            operation()
    assert time.monotonic() - begun < 12


def test_an_upload_that_is_given_up_leaves_nothing_listed(
    store: S3Store,
    s3_proxy: HttpProxy,
    s3_server: SwiftServer,
) -> None:
    s3_proxy.on(Trouble(when=_part, status=503))
    with pytest.raises(StoreUnavailableError):
        _impatient(store).put("large", (bytes(MB) for _ in range(40)))
    s3_proxy.clear()
    assert list(store.list("")) == []
    assert "Uploads" not in s3_server.client().list_multipart_uploads(Bucket=store.bucket)


def test_an_s3_that_says_nothing_is_transient_in_bounded_time(
    store: S3Store,
    s3_proxy: HttpProxy,
) -> None:
    s3_proxy.on(Trouble(stall=True))
    begun = time.monotonic()
    for operation in (lambda: _impatient(store).put("k", [b"1"]), lambda: _impatient(store).check()):
        with pytest.raises(StoreUnavailableError):
            operation()
    assert time.monotonic() - begun < 15


def test_an_s3_that_goes_away_for_a_moment_is_waited_for(
    store: S3Store,
    s3_proxy: HttpProxy,
) -> None:
    s3_proxy.stop()
    back = threading.Timer(1.0, s3_proxy.start)
    back.start()
    assert store.put("k", [b"1"]).size == 1
    back.join()


def test_an_s3_that_is_gone_is_transient_with_the_default_patience_in_fifteen_seconds(
    store: S3Store,
    s3_proxy: HttpProxy,
) -> None:
    s3_proxy.stop()
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        store.put("k", [b"1"])
    assert time.monotonic() - begun < 15


def test_a_certificate_that_nobody_vouches_for_is_permanent(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        endpoint = f"https://127.0.0.1:{server.server_address[1]}"
        settings = S3Settings(endpoint_url=endpoint, access_key_id="a", secret_access_key="b", retry_for=IMPATIENT)
        operations: list[Callable[[S3Store], object]] = [
            lambda store: store.put("k", [b"1"]),
            lambda store: store.check(),
        ]
        for operation in operations:
            with pytest.raises(StoreError, match="ertificate") as caught:
                operation(S3Store("bucket", "", settings))
            assert not caught.value.transient
            assert "trust" in caught.value.do
        server.shutdown()


@pytest.mark.parametrize("cut", [1, 3 * MB])
def test_a_connection_cut_in_an_upload_is_made_again(
    store: S3Store,
    s3_proxy: HttpProxy,
    cut: int,
) -> None:
    refused = s3_proxy.on(Trouble(when=_part, times=2, cut_request=cut))
    assert store.put("large", (bytes([number]) * MB for number in range(40))).size == 40 * MB
    assert refused.met == 2
    assert b"".join(store.stream("large", start=MB - 1, length=2)) == b"\0\1"


def _body(method: str, path: str) -> bool:
    return method == "GET" and "/large" in path


def test_a_stream_goes_on_where_the_connection_was_cut(store: S3Store, s3_proxy: HttpProxy) -> None:
    store.put("large", (bytes([number]) * MB for number in range(20)))
    cut = s3_proxy.on(Trouble(when=_body, times=6, cut_response=3 * MB))
    got = b"".join(_retrying(_impatient(store)).stream("large", start=5, length=18 * MB))
    assert got == b"".join(bytes([number]) * MB for number in range(20))[5 : 5 + 18 * MB]
    assert cut.met >= 1


def test_an_upload_through_a_restart_of_the_server_is_whole(
    store: S3Store,
    s3_server: SwiftServer,
) -> None:
    direct = replace(store, settings=replace(s3_server.settings, retry_for=timedelta(seconds=30)))
    back = threading.Timer(0.5, s3_server.start)

    def chunks() -> Iterator[bytes]:
        for number in range(60):
            if number == 30:
                s3_server.stop()
                back.start()
            yield bytes([number]) * MB

    try:
        assert direct.put("large", chunks()).size == 60 * MB
    finally:
        back.join()
    assert b"".join(direct.stream("large", start=30 * MB - 1, length=2)) == bytes([29, 30])
