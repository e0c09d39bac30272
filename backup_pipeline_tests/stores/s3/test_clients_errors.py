"""Which error a reply of an S3 server becomes."""

from __future__ import annotations

import pytest
from botocore import exceptions as boto

from backup_pipeline.core.errors import BackupError, NotFoundError, StoreDeniedError, StoreError, StoreUnavailableError
from backup_pipeline.stores.s3.clients import Reply, explain, reply_of


def _explain(reply: Reply) -> BackupError:
    return explain(reply, action="put isp/a", endpoint="https://s3.example.com", bucket="backups")


@pytest.mark.parametrize(
    ("reply", "kind", "hint"),
    [
        (Reply(404, "NoSuchBucket", ""), StoreError, "Create the bucket backups"),
        (Reply(404, "NoSuchKey", ""), NotFoundError, "List"),
        (Reply(404, "404", ""), StoreError, "S3 API"),
        (Reply(403, "InvalidAccessKeyId", "no such key"), StoreError, "access key id"),
        (Reply(403, "SignatureDoesNotMatch", "no"), StoreError, "access key id"),
        (Reply(400, "ExpiredToken", "old"), StoreError, "temporary credentials"),
        (Reply(403, "AccessDenied", "no"), StoreDeniedError, "Allow this user"),
        (Reply(403, "RequestTimeTooSkewed", "late"), StoreError, "clock"),
        (Reply(301, "PermanentRedirect", "elsewhere"), StoreError, "region"),
        (Reply(400, "AuthorizationHeaderMalformed", "region"), StoreError, "region"),
        (Reply(403, "QuotaExceeded", "full"), StoreError, "quota"),
        (Reply(507, "507", ""), StoreError, "quota"),
        (Reply(503, "SlowDown", "slower"), StoreUnavailableError, "try again"),
        (Reply(500, "InternalError", "oops"), StoreUnavailableError, "try again"),
        (Reply(400, "RequestTimeout", "idle"), StoreUnavailableError, "try again"),
        (Reply(200, "InternalError", "of one key of a delete"), StoreUnavailableError, "try again"),
        (Reply(429, "429", ""), StoreUnavailableError, "try again"),
        (Reply(0, "", "HTTP error: error sending request"), StoreUnavailableError, "try again"),
        (Reply(0, "SSLError", "CERTIFICATE_VERIFY_FAILED"), StoreError, "trust"),
        (Reply(0, "NoCredentialsError", "Unable to locate credentials"), StoreError, "access key id"),
    ],
)
def test_a_reply_becomes_an_error_that_names_the_place_and_says_what_to_do(
    reply: Reply, kind: type[BackupError], hint: str
) -> None:
    error = _explain(reply)
    assert type(error) is kind
    assert error.transient == (kind is StoreUnavailableError)
    assert hint in error.do
    assert "isp/a" in error.what
    assert "backups at https://s3.example.com" in error.what


@pytest.mark.parametrize(
    "error",
    [
        boto.EndpointConnectionError(endpoint_url="http://x"),
        boto.ConnectTimeoutError(endpoint_url="http://x"),
        boto.ReadTimeoutError(endpoint_url="http://x"),
        boto.ConnectionClosedError(endpoint_url="http://x"),
        boto.ResponseStreamingError(error="cut"),
        boto.IncompleteReadError(actual_bytes=1, expected_bytes=2),
    ],
)
def test_a_connection_that_fails_is_transient(error: boto.BotoCoreError) -> None:
    reply = reply_of(error)
    assert reply is not None
    assert _explain(reply).transient


def test_a_secret_in_a_message_is_hidden() -> None:
    error = _explain(Reply(400, "InvalidRequest", "secret=hush and https://user:hush@host"))
    assert "hush" not in str(error)


@pytest.mark.parametrize("error", [KeyError("k"), ValueError("v"), OSError(28, "full")])
def test_an_error_that_no_client_raised_is_left_alone(error: Exception) -> None:
    assert reply_of(error) is None
