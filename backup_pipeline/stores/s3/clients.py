"""The clients of S3 (boto3, obstore), the locks of objects, and what their errors mean."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions as boto
import obstore.exceptions as obstore
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store as ObjectStoreClient

from backup_pipeline.core.errors import (
    BackupError,
    NotFoundError,
    SettingsError,
    StoreDeniedError,
    StoreError,
    StoreUnavailableError,
)
from backup_pipeline.core.ports.files import Protection
from backup_pipeline.core.text import redact
from backup_pipeline.stores.s3 import Lock, S3Settings, is_aws

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig


CREDENTIALS = "Check the access key id and the secret access key, or the AWS profile, that this endpoint is used with."
EXPIRED = "Renew the temporary credentials, for instance with `aws sso login`."
POLICY = "Allow this user to get, put, list and delete objects of the bucket, and to abort multipart uploads."
WAIT = "Check that the endpoint is right and reachable; when it is, try again in a while."
CLOCK = "Set this machine's clock: S3 accepts no request that is more than 15 minutes off."
REGION = "Set the region of the bucket."
TRUST = "Make this machine trust the authority of the endpoint's certificate, or correct the endpoint."
WIRE = "Run it again: bytes changed on their way to S3, and it refused them. If it repeats, look at the network."
ROOM = "Free space or raise the quota of the bucket, or prune old backups."

ADVICE = {
    "AccessDenied": POLICY,
    "ExpiredToken": EXPIRED,
    "AllAccessDisabled": POLICY,
    "AuthorizationHeaderMalformed": REGION,
    "PermanentRedirect": REGION,
    "IllegalLocationConstraintException": REGION,
    "RequestTimeTooSkewed": CLOCK,
    "RequestExpired": CLOCK,
    "EntityTooLarge": "Make the backup smaller: fewer tables in a catalog, or a business each.",
    "XAmzContentSHA256Mismatch": WIRE,
    "BadDigest": WIRE,
    "QuotaExceeded": ROOM,
    "InsufficientCapacity": ROOM,
    "XMinioStorageFull": ROOM,
    "InvalidCertificate": TRUST,
    "SSLError": TRUST,
    "NotImplemented": "Use a store that implements the S3 API: Amazon S3, Ceph, OpenStack Swift, MinIO and others.",
}
DENIED = {"AccessDenied", "AllAccessDisabled", "403", "Forbidden"}
"""A request that came with good credentials, and is not allowed; an answer without a body has only its status."""

TRANSIENT_CODES = {
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "ServiceUnavailable",
    "Throttling",
    "OperationAborted",
}
TRANSIENT_STATUSES = {408, 429, 500, 502, 503, 504}

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")


@dataclass(frozen=True)
class Reply:
    """What the server said: HTTP status, error code, message. Status 0: it said nothing, `message` is the client's."""

    status: int
    code: str
    message: str


def reply_of(error: BaseException) -> Reply | None:
    """What the server said, when `error` comes from boto3 or obstore; None for any other error."""
    if isinstance(error, boto.ClientError):
        about = error.response.get("Error", {})
        return Reply(status_of(error), str(about.get("Code", "")), str(about.get("Message", "")))
    if isinstance(error, boto.BotoCoreError):
        return Reply(0, type(error).__name__, str(error))
    if isinstance(error, (obstore.BaseError, FileNotFoundError)):
        return _reply_in(str(error))
    return None


def status_of(error: boto.ClientError) -> int:
    """The HTTP status the server answered with."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _reply_in(text: str) -> Reply:
    """The reply quoted in an obstore error; the rest of its text has request signatures, and stays behind."""
    status, code, message = (pattern.search(text) for pattern in (_STATUS, _CODE, _MESSAGE))
    if status:
        return Reply(int(status[1]), code[1] if code else status[1], message[1] if message else "")
    if "InvalidCertificate" in text:
        return Reply(0, "InvalidCertificate", "the certificate of the server is not trusted")
    causes = re.findall(r'"([^"\n]*(?:error|refused|timed out|certificate)[^"\n]*)"|message: "([^"\n]*)"', text)
    detail = "; ".join(dict.fromkeys(cause for pair in causes for cause in pair if cause))
    return Reply(0, "", ": ".join(part for part in (text.partition("\n")[0].rpartition(" - ")[2], detail) if part))


def explain(reply: Reply, *, action: str, endpoint: str, bucket: str) -> BackupError:
    """The error that `action` (`put isp/manifest.json`) on `bucket` ends with. Never has a secret."""
    detail = redact(" ".join(part for part in (reply.code, reply.message) if part))
    what = f"S3 said no to: {action}, bucket {bucket} at {endpoint}: {detail}"
    if reply.code == "NoSuchBucket":
        what = f"There is no bucket {bucket} at {endpoint} ({action})"
        return StoreError(what, do=f"Create the bucket {bucket}, or name another one in the store's URL.")
    if reply.code == "NoSuchKey":
        return NotFoundError(
            f"There is no such object: {action}, bucket {bucket} at {endpoint}", do="List what is there."
        )
    if _is_transient(reply):
        return StoreUnavailableError(f"S3 does not answer: {action}, bucket {bucket} at {endpoint}: {detail}", do=WAIT)
    kind = StoreDeniedError if reply.code in DENIED else StoreError
    return kind(what, do=ADVICE.get(reply.code, _advice(reply)))


def _advice(reply: Reply) -> str:
    if reply.status in {401, 403} or "redential" in reply.code:
        return CREDENTIALS
    if reply.status in {301, 307}:
        return REGION
    if reply.status in {404, 405}:
        return "Check that the endpoint is that of an S3 API."
    if reply.status == 507:
        return ROOM
    return "Correct what the message names, then try again."


def _is_transient(reply: Reply) -> bool:
    if reply.status:
        return reply.status in TRANSIENT_STATUSES or reply.code in TRANSIENT_CODES
    silent = ("Connect", "Timeout", "ConnectionClosed", "HTTPClient", "ResponseStreaming", "IncompleteRead")
    return not reply.code or any(word in reply.code for word in silent)


NO_LOCK = frozenset({"ObjectLockConfigurationNotFoundError", "NotImplemented", "MethodNotAllowed", "NoSuchLockConfig"})
"""What stores answer for a bucket without Object Lock, or when they have none at all."""

NO_RETENTION = NO_LOCK | {"NoSuchObjectLockConfiguration", "InvalidRequest"}
"""What they answer for an object that nothing keeps."""

_TOLERANCE = timedelta(seconds=2)
"""Stores keep times in whole seconds or milliseconds."""


def check_lockable(admin: Any, bucket: str) -> bool:
    """Whether the bucket is known to lock; SettingsError when it can not. Whoever may not ask learns it from a HEAD."""
    try:
        configuration = admin.get_object_lock_configuration(Bucket=bucket)
    except ClientError as error:
        reply = reply_of(error)
        if reply is None or reply.code not in NO_LOCK:
            if reply is not None and reply.status == 403:
                return False
            raise
        configuration = {}
    if configuration.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
        what = f"BACKUP_S3_LOCK_MODE is set, but bucket {bucket} has no Object Lock"
        do = (
            "Create a bucket with Object Lock (versioning comes with it) and name that one, or unset "
            "BACKUP_S3_LOCK_MODE and BACKUP_S3_LOCK_DAYS. docs/s3.md shows how."
        )
        raise SettingsError(what, do=do)
    return True


def retention(admin: Any, bucket: str, full: str) -> Protection:
    """How the newest version of an object is locked; not at all where the store has no locks.

    A HEAD tells it to whoever may know; where it says nothing the store is asked in so many words. Only of a bucket
    that is known to lock: other stores may answer with the object itself.
    """
    protection = shown_retention(admin, bucket, full)
    if protection.mode is not None:
        return protection
    try:
        lock = admin.get_object_retention(Bucket=bucket, Key=full).get("Retention", {})
    except ClientError as error:
        reply = reply_of(error)
        if reply is None or (reply.code not in NO_RETENTION and reply.status not in {404, 501}):
            raise
        lock = {}
    return _protection(lock.get("Mode"), lock.get("RetainUntilDate"))


def shown_retention(admin: Any, bucket: str, full: str) -> Protection:
    """How the object is locked as a HEAD shows it."""
    about = admin.head_object(Bucket=bucket, Key=full)
    return _protection(about.get("ObjectLockMode"), about.get("ObjectLockRetainUntilDate"))


def _protection(mode: str | None, until: datetime | None) -> Protection:
    return Protection(mode=mode, until=until) if mode and until else Protection()


def ensure_locked(place: tuple[Any, str, str], lock: Lock, begun: datetime, *, known: bool) -> None:
    """StoreError unless an object that was begun at `begun` is locked; `place` is the client, the bucket, the key.

    Some stores forget the lock that an upload in parts was begun with: those are told it once more. Not so where the
    bucket is not `known` to lock: a store without locks would write what it is told in place of the object.
    """
    admin, bucket, full = place
    actual = shown_retention(admin, bucket, full)
    if known and not _is_locked(actual, lock, begun):
        wanted = {"Mode": lock.mode.upper(), "RetainUntilDate": lock.until(begun)}
        with suppress(ClientError):  # what the object then has is looked up all the same
            admin.put_object_retention(Bucket=bucket, Key=full, Retention=wanted)
        actual = retention(admin, bucket, full)
    if _is_locked(actual, lock, begun):
        return
    until = f"{lock.until(begun):%Y-%m-%d %H:%M}"
    what = f"s3://{bucket}/{full} was to be locked ({lock.mode}) until {until} UTC, but the store says: {actual}"
    do = "Use a store with S3 Object Lock and a bucket that has it enabled, or unset BACKUP_S3_LOCK_MODE."
    raise StoreError(what, do=do)


def _is_locked(actual: Protection, lock: Lock, begun: datetime) -> bool:
    until = lock.until(begun) - _TOLERANCE
    return actual.mode == lock.mode.upper() and actual.until is not None and actual.until >= until


DEFAULT_REGION = "us-east-1"
ATTEMPTS = 2
ATTEMPTS_TO_UPLOAD = 5  # within some eight seconds, as botocore's waits grow
CREDENTIALS_LIVE = timedelta(minutes=5)  # below the ten minutes that botocore's refreshed credentials always have left


def session_of(settings: S3Settings) -> boto3.Session:
    """A boto3 session with the credentials of the settings; they count alone, whatever the environment has."""
    return boto3.Session(
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key,
        aws_session_token=settings.session_token,
        region_name=settings.region,
        profile_name=settings.profile,
    )


def administration(session: boto3.Session, settings: S3Settings) -> Any:
    """The boto3 client for everything but bytes. Its presigned URLs are SigV4; a custom endpoint gets path style."""
    return _client(session, settings, settings.answer_timeout, ATTEMPTS)


def uploading(session: boto3.Session, settings: S3Settings) -> Any:
    """The boto3 client for the bytes of objects that stay: as patient as `transfer` is."""
    return _client(session, settings, settings.transfer_timeout, ATTEMPTS_TO_UPLOAD)


def _client(session: boto3.Session, settings: S3Settings, patience: timedelta, attempts: int) -> Any:
    if settings.endpoint_url is not None and not is_aws(settings.endpoint_url):
        return _new_client(session, settings, "path", patience, attempts)
    client = _new_client(session, settings, "auto", patience, attempts)  # it finds the endpoint a profile may name
    if is_aws(client.meta.endpoint_url):
        return client
    return _new_client(session, settings, "path", patience, attempts)


def _new_client(session: boto3.Session, settings: S3Settings, style: str, patience: timedelta, attempts: int) -> Any:
    config = Config(
        signature_version="s3v4",
        connect_timeout=settings.connect_timeout.total_seconds(),
        read_timeout=patience.total_seconds(),
        retries={"mode": "standard", "total_max_attempts": attempts},
        s3={"addressing_style": style},
        request_checksum_calculation="when_required",  # older S3 implementations refuse what they do not know
        response_checksum_validation="when_required",
    )
    region = settings.region or session.region_name or DEFAULT_REGION
    return session.client("s3", endpoint_url=settings.endpoint_url, region_name=region, config=config)


def transfer(bucket: str, session: boto3.Session, admin: Any, settings: S3Settings) -> ObjectStoreClient:
    """The obstore client for bytes, at the endpoint, in the region and with the credentials of the boto3 client.

    obstore reads AWS variables of its own accord, and other ones than boto3 does: everything they differ in is passed.
    """
    if session.get_credentials() is None:
        raise NoCredentialsError
    endpoint: str = admin.meta.endpoint_url.rstrip("/")
    virtual = is_aws(endpoint) and "." not in bucket
    retry: RetryConfig = {
        "max_retries": 100,  # `retry_timeout` ends it
        "retry_timeout": settings.retry_for,
        "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=2), "base": 2},
    }
    client: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": settings.connect_timeout,
        "timeout": settings.transfer_timeout,
    }
    return ObjectStoreClient(
        bucket,
        endpoint=endpoint.replace("://", f"://{bucket}.", 1) if virtual else endpoint,
        virtual_hosted_style_request=virtual,
        region=admin.meta.region_name,
        credential_provider=Boto3CredentialProvider(session, ttl=CREDENTIALS_LIVE),
        client_options=client,
        retry_config=retry,
        **(settings.sse.config() if settings.sse else {}),
    )
