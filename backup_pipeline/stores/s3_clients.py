"""The clients of an S3 store, made of its settings: boto3 for what moves no bytes, obstore for what does."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import NoCredentialsError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store as ObjectStoreClient

from backup_pipeline.stores.s3_settings import S3Settings, is_aws

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

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
