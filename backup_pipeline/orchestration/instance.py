"""What `dagster.yaml` can not say by itself: storage and compute logs by environment, a launcher that notices death.

Uses names that are private to Dagster: its version is pinned, and a contract test loads every class named here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_postgres import DagsterPostgresStorage, PostgresRunStorage, PostgresScheduleStorage
from pydantic import SecretStr

from backup_pipeline.catalogs import load_catalogs
from backup_pipeline.core.doctor import Line, ok, problem, warning
from backup_pipeline.core.errors import CatalogError, UsageError
from backup_pipeline.lazy import lazily
from backup_pipeline.orchestration.due import refuse_backfill
from backup_pipeline.orchestration.event_log import BatchedEventLog
from backup_pipeline.orchestration.internals import (
    CheckRunHealthResult,
    ComputeLogManager,
    ConfigurableClass,
    ConfigurableClassData,
    DagsterSqliteStorage,
    DagsterStorage,
    DagsterUserCodeUnreachableError,
    LocalComputeLogManager,
    WorkerStatus,
    code_server_of,
)
from backup_pipeline.orchestration.keys import OWNER_TAG, read_owner_tag
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import utc_now
from backup_pipeline.wiring.folders import close_dagster
from backup_pipeline.wiring.ports import is_alive_here

if TYPE_CHECKING:
    from backup_pipeline.orchestration.internals import PartitionBackfill

with lazily():
    from dagster_aws.s3 import compute_log_manager


_S3_PREFIX = "dagster"


class PostgresStorage(DagsterPostgresStorage):
    """Dagster's storage in PostgreSQL, whose event log is written many events at a time."""

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        """As Dagster's own; the tables are made where they are missing."""
        self.postgres_url, self.should_autocreate_tables = postgres_url, True
        self._inst_data = inst_data
        self._run_storage = PostgresRunStorage(postgres_url)
        self._event_log_storage = BatchedEventLog(postgres_url)
        self._schedule_storage = PostgresScheduleStorage(postgres_url)
        # Not what stands between: that would make an event log of its own.
        DagsterStorage.__init__(self)  # type: ignore[no-untyped-call,arg-type]


class EnvStorage(DagsterStorage, ConfigurableClass):
    """Runs, events and schedules in the PostgreSQL of `postgres_url`, else of DAGSTER_PG_URL, else in SQLite."""

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """`postgres_url`, where nothing else than PostgreSQL will do; without it the environment says it."""
        return {"postgres_url": dg.Field(dg.StringSource, is_required=False)}

    @classmethod
    def from_config_value(  # type: ignore[override]  # a chooser: what it makes is not of its own class
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> DagsterStorage:
        """The storage the environment asks for."""
        settings = _settings()
        url = SecretStr(config_value["postgres_url"]) if "postgres_url" in config_value else settings.dagster_pg_url
        if url is None:
            home = _dagster_home(settings)
            close_dagster(home)
            return _refusing(DagsterSqliteStorage.from_local(base_dir=str(home), inst_data=inst_data))
        return _refusing(_pooled(PostgresStorage(psycopg2_url(url.get_secret_value()), inst_data)))


class EnvComputeLogs(ComputeLogManager[Any], ConfigurableClass):
    """Compute logs in the S3 bucket BACKUP_COMPUTE_LOG_BUCKET where that is set, else in DAGSTER_HOME."""

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """No configuration: the environment says it."""
        return {}

    @classmethod
    def from_config_value(  # type: ignore[override]  # a chooser: what it makes is not of its own class
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> ComputeLogManager[Any]:
        """The manager the environment asks for."""
        settings = _settings()
        home = _dagster_home(settings)
        close_dagster(home)
        if settings.compute_log_bucket is None:
            return LocalComputeLogManager(base_dir=str(home / "compute_logs"), inst_data=inst_data)
        return compute_log_manager.S3ComputeLogManager(
            bucket=settings.compute_log_bucket,
            prefix=_S3_PREFIX,
            endpoint_url=settings.s3_endpoint_url,
            region=settings.s3_region,
            skip_empty_files=True,
            upload_interval=30,
            inst_data=inst_data,
        )


class SupervisedRunLauncher(dg.DefaultRunLauncher):
    """Dagster's own launcher, which also notices a run whose process is gone.

    Without it a run stays STARTED for ever when its host went down, and holds its pool (dagster-io/dagster#4319). A
    run counts as dead only when the code server that ran it is unreachable, or, for a run of the command line, when
    its process is: anything else may be a reload of the code.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may ask."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process that executes `run` still lives."""
        # A run that is executed again has the tags of the one before, and a process of its own.
        owner = None if run.parent_run_id else read_owner_tag(run.tags.get(OWNER_TAG, ""))
        if owner is not None:
            return _health(alive=is_alive_here(owner))
        client = code_server_of(self, run.run_id)
        if client is None:
            return CheckRunHealthResult(WorkerStatus.UNKNOWN)
        try:
            client.ping("")
        except DagsterUserCodeUnreachableError:
            return _health(alive=False)
        return _health(alive=True)


def _pooled(storage: DagsterPostgresStorage) -> DagsterPostgresStorage:
    """`storage` with connections that stay open: by default each event of a run connects anew, half of a run's time."""
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        part.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3600, max_overflow=20)
    return storage


def _refusing(storage: DagsterStorage) -> DagsterStorage:
    """`storage` that takes no backfill over days that are over: refused here, none of its runs is ever made.

    Every way to launch one ends here: the UI, GraphQL, the command line, the daemon. A catalog that can not be read
    refuses nothing; its runs do.
    """
    runs = storage.run_storage
    add = runs.add_backfill

    def add_backfill(partition_backfill: PartitionBackfill) -> None:
        with suppress(CatalogError):
            catalogs = load_catalogs(_settings().catalogs).values()
            refuse_backfill(partition_backfill, catalogs, utc_now())
        add(partition_backfill)

    runs.add_backfill = add_backfill  # type: ignore[method-assign]  # of this one storage, whatever its class
    return storage


def psycopg2_url(url: str) -> str:
    """`url` with the driver that dagster-postgres speaks; SQLAlchemy 2.1 would take another one for a bare scheme."""
    scheme, separator, rest = url.partition("://")
    if scheme.partition("+")[0] not in {"postgresql", "postgres"} or not separator:
        message = f"DAGSTER_PG_URL starts with {scheme!r}." if separator else "DAGSTER_PG_URL is not a URL."
        raise UsageError(message, do="It wants postgresql://user:password@host:port/database.")
    return f"postgresql+psycopg2://{rest}"


def _health(*, alive: bool) -> CheckRunHealthResult:
    if alive:
        return CheckRunHealthResult(WorkerStatus.RUNNING)
    return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "The process that ran it is gone.")


def _settings() -> Settings:
    """Those of this process: Dagster makes what dagster.yaml names by itself, and nobody can hand anything in."""
    return Settings()


def _dagster_home(settings: Settings) -> Path:
    return settings.dagster_home or Path.cwd() / ".dagster"


_DEAD_AFTER = timedelta(minutes=30)
_UP = "Start it: `backup-pipeline up`, or dagster-daemon under your supervisor (systemd, Kubernetes)."


def examine_dagster(now: datetime) -> Iterator[Line]:
    """The last sign of each daemon, and the schedules that somebody switched off."""
    with dg.DagsterInstance.get() as instance:
        yield from _daemons(instance, now)
        yield from _schedules(instance)


def _daemons(instance: dg.DagsterInstance, now: datetime) -> Iterator[Line]:
    beats = instance.get_daemon_heartbeats()
    if not beats:
        yield problem("dagster", "no daemon has ever run: no schedule and no sensor does anything", _UP)
    for name, beat in sorted(beats.items()):
        silent = now - datetime.fromtimestamp(beat.timestamp, UTC)
        if silent > _DEAD_AFTER:
            yield problem("dagster", f"the {name} daemon gave its last sign {_minutes(silent)} minutes ago", _UP)
        elif beat.errors:
            yield warning(
                "dagster", f"the {name} daemon met an error: {beat.errors[0].message.strip()}", "See its log."
            )
        else:
            yield ok("dagster", f"the {name} daemon lives")


def _schedules(instance: dg.DagsterInstance) -> Iterator[Line]:
    states = instance.all_instigator_state()
    off = sorted({state.name for state in states if state.status.value == "STOPPED"})
    if off:
        do = "Switch them on in the Dagster UI (Automation), unless that is meant."
        yield warning("dagster", f"switched off: {', '.join(off)}", do)
    else:
        yield ok("dagster", "no schedule and no sensor is switched off")


def _minutes(span: timedelta) -> int:
    return int(span.total_seconds() // 60)
