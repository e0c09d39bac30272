"""boto3's clients of the test servers, to arrange things there and to look at what is really stored."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config

from backup_pipeline.stores.s3 import S3Settings


def client_of(settings: S3Settings, service: str = "s3") -> Any:
    """A client of `service` as the user that `settings` name."""
    return boto3.client(
        service,
        endpoint_url=settings.endpoint_url,
        region_name=settings.region,
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key,
        config=Config(signature_version="s3v4" if service == "s3" else None, s3={"addressing_style": "path"}),
    )
