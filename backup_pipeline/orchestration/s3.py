"""S3 as a resource of Dagster, where a store is in S3: elsewhere its clients are not even loaded."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from backup_pipeline.settings import Settings
from backup_pipeline.stores.s3_settings import S3Settings
from backup_pipeline.wiring.addresses import store_url

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource


class NoS3(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is itself
    """The store of this installation is a directory."""


def s3_resource(settings: Settings) -> "S3Resource | NoS3":
    """S3 as the settings say; credentials come from the usual AWS chain and never stand in Dagster's config."""
    if not store_url(settings).startswith("s3:"):
        return NoS3()
    from dagster_aws.s3 import S3Resource

    return S3Resource(endpoint_url=settings.s3_endpoint_url, region_name=settings.s3_region)


def s3_settings_of(resource: Any) -> S3Settings | None:
    """The settings of `s3_resource` as the store takes them; None where there are none."""
    if isinstance(resource, NoS3):
        return None
    return S3Settings(
        endpoint_url=resource.endpoint_url,
        region=resource.region_name,
        access_key_id=resource.aws_access_key_id,
        secret_access_key=resource.aws_secret_access_key,
        session_token=resource.aws_session_token,
        profile=resource.profile_name,
    )
