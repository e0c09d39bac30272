"""The resource through which assets and sensors reach the world: the ports of a catalog."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg
from pydantic import PrivateAttr

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.ports import Ports, Progress, Silence
from backup_pipeline.core.restore import FIRST, Which
from backup_pipeline.lazy import lazily
from backup_pipeline.settings import Settings
from backup_pipeline.stores.s3 import S3Settings
from backup_pipeline.wiring.addresses import store_url
from backup_pipeline.wiring.ports import open_ports

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource

    from backup_pipeline.operations.restore.requests import TargetDatabase
    from backup_pipeline.wiring.restore import NamedTarget

with lazily():
    from dagster_aws import s3 as dagster_s3

    from backup_pipeline.wiring import restore


class NoS3(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is itself
    """The store of this installation is a directory."""


def s3_resource(settings: Settings) -> "S3Resource | NoS3":
    """S3 as the settings say; credentials come from the usual AWS chain and never stand in Dagster's config."""
    if not store_url(settings).startswith("s3:"):
        return NoS3()
    return dagster_s3.S3Resource(endpoint_url=settings.s3_endpoint_url, region_name=settings.s3_region)


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


T = TypeVar("T")

watcher: ContextVar[Progress | None] = ContextVar("watcher", default=None)
"""Who watches the runs of this process; the command line sets it."""


class BackupResource(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is itself
    """Opens the ports of a catalog, and says what runs need to know of the installation.

    `s3` says how S3 is reached; everything else are the settings of the process that loaded the definitions.
    """

    s3: dg.ResourceDependency[Any]
    settings: dg.ResourceDependency[Settings]
    _unfinished: ExitStack = PrivateAttr(default_factory=ExitStack)

    @property
    def restores_wait(self) -> bool:
        """Whether a restore needs the approval of another person than who asked for it."""
        return self.settings.restore_approval

    @property
    def events_kept(self) -> timedelta:
        """How long the event log of a run is kept whole."""
        return timedelta(days=self.settings.keep_events_days)

    def run_url(self, run_id: str) -> str:
        """The page of a run in the Dagster UI."""
        return f"{self.settings.dagster_url.rstrip('/')}/runs/{run_id}"

    def whole(self, events: Generator[T]) -> Generator[T]:
        """`events` of a step, which are closed with the run at the latest.

        A run that is terminated while Dagster writes an event never returns to the generator, and Dagster leaves it
        suspended: its queries would run on, and the process would wait for them.
        """
        self._unfinished.callback(events.close)
        return events

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Close what a terminated run left suspended."""
        self._unfinished.close()

    @contextmanager
    def open(self, catalog: Catalog) -> Iterator[Ports]:
        """The ports of `catalog`, closed at the end. Nothing connects before it is used."""
        progress = watcher.get() or Silence()
        with open_ports(self.settings, catalog.catalog, s3=s3_settings_of(self.s3), progress=progress) as ports:
            yield ports

    @contextmanager
    def open_restore(
        self, catalog: Catalog, target: "NamedTarget", *, store: Which = FIRST
    ) -> Iterator[tuple["TargetDatabase", Ports]]:
        """The target of a restore, and the ports of one that reads `store`. Nothing connects before it is used."""
        progress, s3 = watcher.get() or Silence(), s3_settings_of(self.s3)
        with restore.open_restore(
            self.settings, target, catalog.catalog, s3=s3, progress=progress, store=store
        ) as access:
            yield access
