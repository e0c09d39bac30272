"""Encryption by the S3 server: what each object is asked to have, and whether it has it."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store as ObjectStoreClient

from backup_pipeline.core.errors import SettingsError, StoreError
from backup_pipeline.core.ports.store import Protection
from backup_pipeline.stores.s3.errors import reply_of
from backup_pipeline.stores.s3.settings import Lock, S3Settings, is_aws

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig


NO_LOCK = frozenset({"ObjectLockConfigurationNotFoundError", "NotImplemented", "MethodNotAllowed", "NoSuchLockConfig"})
"""What stores answer for a bucket without Object Lock, or when they have none at all."""

NO_RETENTION = NO_LOCK | {"NoSuchObjectLockConfiguration", "InvalidRequest"}
"""What they answer for an object that nothing keeps."""

_TOLERANCE = timedelta(seconds=2)
"""Stores keep times in whole seconds or milliseconds."""


def check_lockable(admin: Any, bucket: str) -> bool:
    """Whether the bucket is known to lock; SettingsError when it can not. Whoever may not ask learns it from a HEAD."""
    try:
        found = admin.get_object_lock_configuration(Bucket=bucket)
    except ClientError as error:
        reply = reply_of(error)
        if reply is None or reply.code not in NO_LOCK:
            if reply is not None and reply.status == 403:
                return False
            raise
        found = {}
    if found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
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
    seen = shown_retention(admin, bucket, full)
    if seen.mode is not None:
        return seen
    try:
        found = admin.get_object_retention(Bucket=bucket, Key=full).get("Retention", {})
    except ClientError as error:
        reply = reply_of(error)
        if reply is None or (reply.code not in NO_RETENTION and reply.status not in {404, 501}):
            raise
        found = {}
    return _protection(found.get("Mode"), found.get("RetainUntilDate"))


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
    found = shown_retention(admin, bucket, full)
    if known and not _is_locked(found, lock, begun):
        wanted = {"Mode": lock.mode.upper(), "RetainUntilDate": lock.until(begun)}
        with suppress(ClientError):  # what the object then has is looked up all the same
            admin.put_object_retention(Bucket=bucket, Key=full, Retention=wanted)
        found = retention(admin, bucket, full)
    if _is_locked(found, lock, begun):
        return
    until = f"{lock.until(begun):%Y-%m-%d %H:%M}"
    what = f"s3://{bucket}/{full} was to be locked ({lock.mode}) until {until} UTC, but the store says: {found}"
    do = "Use a store with S3 Object Lock and a bucket that has it enabled, or unset BACKUP_S3_LOCK_MODE."
    raise StoreError(what, do=do)


def _is_locked(found: Protection, lock: Lock, begun: datetime) -> bool:
    until = lock.until(begun) - _TOLERANCE
    return found.mode == lock.mode.upper() and found.until is not None and found.until >= until


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
