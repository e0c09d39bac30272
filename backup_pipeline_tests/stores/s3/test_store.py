"""What only an S3 store does: URLs, buckets, credentials, errors, uploads that leave nothing behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from backup_pipeline.core.errors import NotFoundError, RefusedError, SettingsError, StoreError, StoreUnavailableError
from backup_pipeline.stores.s3 import S3Settings
from backup_pipeline.stores.s3 import store as s3
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline_tests.servers.swift import ROOT, SwiftServer

MB = 1 << 20
HOUR = timedelta(hours=1)


@pytest.fixture
def store(s3_server: SwiftServer, s3_bucket: str) -> S3Store:
    return S3Store(s3_bucket, "isp backups", s3_server.settings)


def _download(url: str) -> tuple[bytes, Mapping[str, str]]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read(), dict(answer.headers.items())


def _refusal(url: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url, timeout=10)
    caught.value.close()
    return caught.value.code


def test_objects_lie_under_the_prefix_of_the_store(store: S3Store, s3_server: SwiftServer) -> None:
    store.put("isp/a", [b"1"])
    S3Store(store.bucket, "", store.settings).put("isp backups, others/b", [b"2"])
    listed = s3_server.client().list_objects_v2(Bucket=store.bucket)["Contents"]
    assert [each["Key"] for each in listed] == ["isp backups, others/b", "isp backups/isp/a"]
    assert [each.key for each in store.list("")] == ["isp/a"]
    assert store.url == f"s3://{store.bucket}/isp backups"


def test_a_signed_url_gives_the_object_under_its_file_name(store: S3Store) -> None:
    store.put("গ্রাহক/full backup.zip", [b"bytes of the bundle"])
    body, headers = _download(store.sign("গ্রাহক/full backup.zip", expires=HOUR, file_name='ব্যাকআপ "full".zip'))
    assert body == b"bytes of the bundle"
    assert headers["Content-Disposition"].startswith('attachment; filename="_______ _full_.zip"; filename*=UTF-8')
    encoded = headers["Content-Disposition"].rpartition("''")[2]
    assert unquote(encoded) == 'ব্যাকআপ "full".zip'


def test_a_signed_url_is_sigv4_and_holds_no_secret(store: S3Store) -> None:
    url = store.sign("isp/a", expires=HOUR, file_name="a.zip")
    query = parse_qs(urlsplit(url).query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["3600"]
    assert str(store.settings.secret_access_key) not in url


@pytest.mark.acceptance("2.34")
def test_a_tampered_url_is_rejected(store: S3Store) -> None:
    store.put("isp/a", [b"1"])
    store.put("isp/b", [b"2"])
    url = store.sign("isp/a", expires=HOUR, file_name="a.zip")
    assert _refusal(url.replace("/isp/a", "/isp/b")) == 403
    assert _refusal(url.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200")) == 403
    assert _refusal(url.replace("a.zip", "b.zip")) == 403


@pytest.mark.acceptance("0.6")
def test_without_a_signature_nobody_gets_an_object(store: S3Store) -> None:
    store.put("isp/a", [b"1"])
    signed = store.sign("isp/a", expires=HOUR, file_name="a.zip")
    assert _download(signed)[0] == b"1"
    assert _refusal(signed.partition("?")[0]) in {400, 403}  # Amazon says 403; Swift, that the signature is missing


@pytest.mark.acceptance("0.18")
def test_a_url_expires(store: S3Store) -> None:
    store.put("isp/a", [b"1"])
    url = store.sign("isp/a", expires=timedelta(seconds=1), file_name="a.zip")
    stopwatch = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2.1)"])
    assert _download(url)[0] == b"1"
    stopwatch.wait()
    assert _refusal(url) == 403


@pytest.mark.parametrize("expires", [timedelta(0), timedelta(seconds=-5), timedelta(days=7, seconds=1)])
def test_a_url_that_s3_would_not_honour_is_refused(store: S3Store, expires: timedelta) -> None:
    with pytest.raises(RefusedError, match="can not live"):
        store.sign("isp/a", expires=expires, file_name="a.zip")


def test_an_upload_that_fails_leaves_no_unfinished_upload(
    store: S3Store,
    s3_server: SwiftServer,
) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * MB
        raise KeyError

    with pytest.raises(KeyError):
        store.put("isp/large", chunks())
    assert "Uploads" not in s3_server.client().list_multipart_uploads(Bucket=store.bucket)
    store.check()
    assert "Uploads" not in s3_server.client().list_multipart_uploads(Bucket=store.bucket)


def test_a_killed_upload_leaves_nothing_listed(store: S3Store) -> None:
    code = """if True:
        import sys
        from backup_pipeline.stores.s3.store import S3Store
        from backup_pipeline.stores.s3.clients import S3Settings
        endpoint, access, secret, bucket = sys.argv[1:]
        def chunks():
            for _ in range(80):
                yield bytes(1 << 20)
            print("half", flush=True)
            sys.stdin.read()
            yield b"never"
        settings = S3Settings(endpoint_url=endpoint, access_key_id=access, secret_access_key=secret)
        S3Store(bucket, "isp backups", settings).put("isp/large", chunks())
    """
    settings = store.settings
    secrets = [str(settings.access_key_id), str(settings.secret_access_key)]
    command = [sys.executable, "-c", code, str(settings.endpoint_url), *secrets, store.bucket]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        writer.kill()
        assert writer.wait() == -signal.SIGKILL
    assert list(store.list("")) == []
    assert store.head("isp/large") is None
    store.put("isp/large", [b"the next run succeeds"])
    assert store.get("isp/large") == b"the next run succeeds"


def _every_operation(store: S3Store, path: Path) -> list[StoreError]:
    path.write_bytes(b"1")
    operations = [
        lambda: store.put("k", [b"1"]),
        lambda: store.put("k", [bytes(17 * MB)]),
        lambda: store.put_file("k", path),
        lambda: store.get("k"),
        lambda: b"".join(store.stream("k")),
        lambda: store.head("k"),
        lambda: list(store.list("")),
        lambda: store.delete(["k"]),
        store.check,
    ]
    errors = []
    for operation in operations:
        with pytest.raises(StoreError) as caught:
            operation()
        errors.append(caught.value)
    return errors


def test_a_missing_bucket_is_named_by_every_operation(store: S3Store, tmp_path: Path) -> None:
    for error in _every_operation(replace(store, bucket="no-such-bucket"), tmp_path / "file"):
        assert re.match("There is no bucket no-such-bucket at http://127", error.what), error.what
        assert "Create the bucket" in error.do
        assert not error.transient


@pytest.mark.parametrize(
    "wrong",
    [{"secret_access_key": "wr0ng-SECRET"}, {"access_key_id": "lab:nobody", "secret_access_key": "wr0ng-SECRET"}],
)
def test_wrong_credentials_are_permanent_and_never_shown(store: S3Store, wrong: dict[str, Any], tmp_path: Path) -> None:
    denied = replace(store, settings=replace(store.settings, **wrong))
    for error in _every_operation(denied, tmp_path / "file"):
        shown = "".join(traceback.format_exception(error))
        assert not error.transient
        assert store.bucket in error.what
        assert "access key" in error.do or "Allow this user" in error.do
        assert "wr0ng-SECRET" not in shown
        assert "Signature=" not in shown


def test_no_secret_is_in_what_is_printed_of_a_store(store: S3Store) -> None:
    store.put("k", [b"1"])  # its clients exist now
    settings = replace(store.settings, session_token="s3cret-token")
    assert str(settings.secret_access_key) not in repr(store) + repr(settings) + str(vars(store)) + store.url
    assert "s3cret-token" not in repr(settings)


def test_nobody_at_the_endpoint_is_transient_and_shows_soon(store: S3Store) -> None:
    settings = replace(store.settings, endpoint_url="http://127.0.0.1:9", retry_for=timedelta(seconds=0.3))
    operations: list[Callable[[S3Store], object]] = [
        lambda gone: gone.put("k", [b"1"]),
        lambda gone: gone.get("k"),
        lambda gone: gone.check(),
        lambda gone: list(gone.list("")),
    ]
    for operation in operations:
        with pytest.raises(StoreUnavailableError, match=r"http://127\.0\.0\.1:9") as caught:
            operation(replace(store, settings=settings))
        assert "reachable" in caught.value.do


@pytest.mark.parametrize(
    "endpoint",
    ["localhost:9000", "s3.example.com", "ftp://s3.example.com", "http://", "https://user:hush@s3.example.com", "x://"],
)
def test_an_endpoint_that_is_no_url_is_refused_without_its_password(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="Not an S3 endpoint") as caught:
        S3Settings(endpoint_url=endpoint)
    assert "hush" not in str(caught.value)


def test_half_a_pair_of_keys_is_refused() -> None:
    with pytest.raises(SettingsError, match="Only one"):
        S3Settings(access_key_id="id")


@pytest.mark.parametrize("bucket", ["", "ab", "a/b", "a b", "-ab"])
def test_what_can_not_be_a_bucket_is_refused(bucket: str) -> None:
    with pytest.raises(SettingsError, match="Not the name of a bucket"):
        S3Store(bucket, "", S3Settings())


def test_the_usual_aws_chain_is_used_when_no_keys_are_given(
    store: S3Store,
    s3_server: SwiftServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    profile = tmp_path / "credentials"
    profile.write_text(
        f"[nightly]\naws_access_key_id={s3_server.access_key}\naws_secret_access_key={s3_server.secret_key}\n"
    )
    (tmp_path / "config").write_text(f"[profile nightly]\nendpoint_url={s3_server.endpoint_url}\nregion=us-east-1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profile))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "nightly")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    chained = replace(store, settings=S3Settings())
    chained.put("isp/a", [b"1"])
    assert store.get("isp/a") == chained.get("isp/a") == b"1"


def test_explicit_keys_count_alone_whatever_the_environment_has(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_TOKEN"):
        monkeypatch.setenv(name, "of-somebody-else")
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    store.put("isp/a", [b"1"])
    assert [each.key for each in store.list("")] == ["isp/a"]
    assert store.get("isp/a") == b"1"


def test_without_any_credentials_the_error_says_so(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    settings = S3Settings(endpoint_url=store.settings.endpoint_url)
    operations: list[Callable[[S3Store], object]] = [lambda each: each.put("k", [b"1"]), lambda each: each.check()]
    for operation in operations:
        with pytest.raises(StoreError, match="credentials") as caught:
            operation(replace(store, settings=settings))
        assert "AWS profile" in caught.value.do
        assert not caught.value.transient


def test_an_unknown_profile_is_named(store: S3Store) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        replace(store, settings=S3Settings(profile="nowhere")).put("k", [b"1"])


def test_an_object_that_is_replaced_while_it_is_read_is_noticed(store: S3Store) -> None:
    store.put("k", [bytes(20 * MB)])
    chunks = store.stream("k")
    next(chunks)
    store.put("k", [b"x" * 20 * MB])
    with pytest.raises(StoreError, match="PreconditionFailed"):
        list(chunks)


def test_more_keys_than_one_request_takes_are_deleted(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "KEYS_A_DELETE", 3)
    for number in range(8):
        store.put(f"k{number}", [b"1"])
    store.delete([f"k{number}" for number in range(7)])
    assert [each.key for each in store.list("")] == ["k7"]


def test_an_object_deleted_while_it_is_read_is_not_found(store: S3Store) -> None:
    store.put("k", [bytes(20 * MB)])
    chunks = store.stream("k")
    next(chunks)
    store.delete(["k"])
    with pytest.raises(NotFoundError):
        list(chunks)
