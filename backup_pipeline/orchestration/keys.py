"""The names by which Dagster knows a catalog's things, the tags and the config of runs, and a run as a request."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from backup_pipeline.core.catalog.model import BUNDLE, Catalog
from backup_pipeline.core.due import FULL
from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.ledger import Owner
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.runs import REQUEST_TAG, RunRequest, RunVerb, backup_steps, job_name, step_name
from backup_pipeline.core.scope import CATCH_UP, DAGSTER, SCHEDULE, Actor
from backup_pipeline.operations.attempts import Request
from backup_pipeline.operations.run_requests import claim_run
from backup_pipeline.orchestration.resources import BackupResource, Step, told_as_failure

SCOPE_TAG = "backup_pipeline/scope"
"""`selected`: the bundle holds only the tables of this run. Earlier versions put it on runs of the command line, which
may be executed again.
"""
SELECTED = "selected"
CATALOG_TAG = "backup_pipeline/catalog"
CARE_TAG = "backup_pipeline/care"
"""On the runs that take care of all catalogs at once, and belong to none: what of."""
DUE_TAG = "backup_pipeline/due"
"""On the runs that a schedule launches: the due time that they are for (ISO 8601, UTC)."""
CATCH_UP_TAG = "backup_pipeline/catch_up"
"""On a run that makes up for what was missed: the newest due time of it."""
DRILL_TAG = "backup_pipeline/drill"
"""On the runs that drill: the audit says how they end, and `backup_logs` the level."""
PRUNE_TAG = "backup_pipeline/prune"
"""On the runs that remove old backups: the audit says how they end."""
REFUSED_TAG = "backup_pipeline/refused"
"""On a run that was refused before anything began: nobody is alerted, because whoever launched it sees it."""
WORK_TAG = "backup_pipeline/work"
"""On the runs that work on one backup that is there: what they do (`RunVerb`)."""
SHARD_TAG = "backup_pipeline/shard_of"
"""On the runs that read a part of a backup which another run makes: the backup. That one tells people how it goes."""
RESTORE_TAG = "backup_pipeline/restore"
"""On the runs that restore: how they end is for `restore_requests`, not for `backup_logs`."""


def refuse_variables(run_config: Mapping[str, Any]) -> None:
    """RefusedError when run config asks for a variable of the environment, `{env: NAME}`, in place of a text.

    Dagster gives every text so. Ours are kept and shown, in the ledger, in manifests and in messages: whoever reaches
    the UI would read passwords and keys there.
    """
    for operation in run_config.get("ops", {}).values():
        for name, value in (operation.get("config") or {}).items():
            if isinstance(value, Mapping) and "env" in value:
                message = f"The run's config asks for the environment variable {value['env']!r} as its {name}."
                raise RefusedError(message, do="Write the text itself. Nothing was done.")


class BackupConfig(dg.Config):
    """Why this backup is made, and whether it may be filed under a date that is over."""

    reason: str = Field(default="", description="Why this backup is made; kept in the ledger and in the manifest.")
    late: bool = Field(
        default=False,
        description="File today's rows under a date that is over. The manifest then says late, with the true time.",
    )


class RestoreConfig(dg.Config):
    """Which request is performed. Everything else stands in the ledger, where a web page can not write.

    `backup-pipeline restore … --ask` makes a request with its plan, another person approves it with `backup-pipeline
    restores approve N`; what then runs is that plan, or nothing.
    """

    request: int = Field(
        ge=0,
        description="The number of a restore request that was approved: `backup-pipeline restores`. 0, with dry_run: "
        "make the plan that the console's request for this run wants.",
    )
    dry_run: bool = Field(
        default=False, description="Only make the plan, and keep it in the request; nothing is written anywhere else."
    )


@dataclass(frozen=True)
class Automation:
    """Whether schedules and sensors run where nobody has switched them, and what stands before the sensors' names.

    One set of sensors watches all catalogs of an installation. Where several sets stand in a project of somebody's,
    each has its catalog's name before its own.
    """

    running: bool = False
    prefix: str = ""

    @property
    def schedule(self) -> dg.DefaultScheduleStatus:
        """What a schedule is by default."""
        return dg.DefaultScheduleStatus.RUNNING if self.running else dg.DefaultScheduleStatus.STOPPED

    @property
    def sensor(self) -> dg.DefaultSensorStatus:
        """What a sensor is by default."""
        return dg.DefaultSensorStatus.RUNNING if self.running else dg.DefaultSensorStatus.STOPPED

    def named(self, name: str) -> str:
        """The name of a sensor or job that stands once for all catalogs of a set."""
        return f"{self.prefix}_{name}" if self.prefix else name


STOPPED = Automation()


Event = dg.MaterializeResult[None] | dg.AssetCheckResult | dg.AssetCheckEvaluation
Execute = Callable[[dg.AssetExecutionContext, Iterator[Event]], Iterator[Event]]


class PlacedCatalog(Catalog):
    """A catalog in a project of somebody's, who names and describes its assets, and has a say in how they are made.

    `specs` are the assets by table (and `bundle`), as they stand there; `execute` passes on the events of a step.
    """

    _specs: Mapping[str, dg.AssetSpec] = PrivateAttr(default_factory=dict)
    _execute: Execute | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, catalog: Catalog, specs: Mapping[str, dg.AssetSpec], execute: Execute | None) -> "PlacedCatalog":
        """`catalog` with these assets; those of them that are upstream of others keep being it by their new keys."""
        placed = cls.model_construct(catalog.model_fields_set, **dict(catalog))
        placed._specs, placed._execute = specs, execute
        return placed

    @property
    def specs(self) -> Mapping[str, dg.AssetSpec]:
        """The assets by table, and `bundle`."""
        return self._specs

    @property
    def execute(self) -> Execute | None:
        """What passes on the events of a step; None: they go their way."""
        return self._execute


def asset_key(catalog: Catalog, name: str) -> dg.AssetKey:
    """The asset of a table, or of the `bundle`."""
    spec = catalog.specs.get(name) if isinstance(catalog, PlacedCatalog) else None
    return spec.key if spec else dg.AssetKey([catalog.catalog, name])


def table_key(catalog: Catalog, table: str) -> dg.AssetKey:
    """The asset of a table."""
    return asset_key(catalog, table)


def source_key(catalog: Catalog, table: str) -> dg.AssetKey:
    """The asset of what a table is read from: somebody else makes it, in the database."""
    return dg.AssetKey([catalog.catalog, *catalog.relation_of(table)])


def bundle_key(catalog: Catalog) -> dg.AssetKey:
    """The asset of the bundle."""
    return asset_key(catalog, BUNDLE)


def owned_assets(catalog: Catalog) -> Mapping[dg.AssetKey, str]:
    """The assets that are the catalog's, exactly: the table of each, or `bundle`."""
    return {asset_key(catalog, name): name for name in (*catalog.tables, BUNDLE)}


def catalogs_of_run(run: dg.DagsterRun, catalogs: Mapping[str, Catalog], assets: Set[dg.AssetKey]) -> Sequence[Catalog]:
    """The catalogs that a run is for: by its tag, else those of which it was to make `assets`.

    Beside ours stand the assets, jobs and runs of other people, under names that may begin as ours do.
    """
    named = run.tags.get(CATALOG_TAG)
    if named is not None:
        return [catalogs[named]] if named in catalogs else []
    return [catalog for catalog in catalogs.values() if not assets.isdisjoint(owned_assets(catalog))]


def is_all_ours(run: dg.DagsterRun, catalogs: Mapping[str, Catalog]) -> bool:
    """Whether nothing in a run is anybody else's: its job is ours, or each of the assets chosen for it."""
    if CATALOG_TAG in run.tags:
        return run.tags[CATALOG_TAG] in catalogs
    owned = {key for catalog in catalogs.values() for key in owned_assets(catalog)}
    return CARE_TAG in run.tags or (bool(run.asset_selection) and set(run.asset_selection or ()) <= owned)


def tables_op(catalog: Catalog) -> str:
    """The step that exports the tables; its config is under this name."""
    return backup_steps(catalog.catalog)[0]


def shared_op(catalog: Catalog) -> str:
    """The step that reads a part of a snapshot which another run holds."""
    return f"{catalog.catalog}_shared"


def share_job(catalog: Catalog) -> str:
    """The job that reads a part of a snapshot which another run holds."""
    return f"{catalog.catalog}_share"


def bundle_op(catalog: Catalog) -> str:
    """The step that makes the bundle."""
    return backup_steps(catalog.catalog)[1]


def full_job(catalog: Catalog) -> str:
    """The job that exports every table and bundles them."""
    return job_name(catalog.catalog, RunVerb.BACKUP)


def restore_op(catalog: Catalog) -> str:
    """The step that restores."""
    return step_name(catalog.catalog, RunVerb.RESTORE)


def restore_job_name(catalog: Catalog) -> str:
    """The job that restores a backup, or tables of it."""
    return job_name(catalog.catalog, RunVerb.RESTORE)


def drill_op(catalog: Catalog) -> str:
    """The step that drills."""
    return step_name(catalog.catalog, RunVerb.DRILL)


def drill_job_name(catalog: Catalog) -> str:
    """The job that restores a backup into a scratch database and compares."""
    return job_name(catalog.catalog, RunVerb.DRILL)


def verified_op(catalog: Catalog) -> str:
    """The step that verifies the newest backup."""
    return f"{catalog.catalog}_bundle_verified"


def restores_op(catalog: Catalog) -> str:
    """The step that drills the newest backup."""
    return f"{catalog.catalog}_bundle_restores"


def prune_op(catalog: Catalog) -> str:
    """The step that removes old backups."""
    return step_name(catalog.catalog, RunVerb.PRUNE)


def prune_job_name(catalog: Catalog) -> str:
    """The job that removes old backups."""
    return job_name(catalog.catalog, RunVerb.PRUNE)


def tables_job(catalog: Catalog) -> str:
    """The job that exports tables only."""
    return job_name(catalog.catalog, RunVerb.TABLES)


OWNER_TAG = ".dagster/backup_pipeline_owner"
"""Dagster hides tags that begin like this from the lists of runs."""


def owner_tag(owner: Owner) -> str:
    """The owner as a tag's value."""
    return f"{owner.host} {owner.pid} {owner.started}"


def read_owner_tag(value: str) -> Owner | None:
    """The owner that `value` names, or None."""
    words = value.split()
    if len(words) != 3:
        return None
    host, pid, started = words
    return Owner(host, int(pid), float(started))


EARLIEST = "2026-01-01"
"""Where partitions begin as long as neither the catalog nor the installation knows its first day: before any backup."""


def daily_partitions(catalog: Catalog) -> dg.DailyPartitionsDefinition:
    """Every date from the catalog's start to today, today included: `end_offset=1` opens it at 00:00."""
    start = catalog.start_date or EARLIEST
    return dg.DailyPartitionsDefinition(start_date=start, timezone=catalog.timezone, end_offset=1)


_SCHEDULE_TAG = "dagster/schedule_name"


person: ContextVar[Actor | None] = ContextVar("person", default=None)
"""Who runs the runs of this process by hand; the command line sets it, and nothing of a run's own can."""


def requested(context: Step, ledger: Ledger) -> RunRequest | None:
    """The row of the ledger that a run acts for, which from now on is this run's; None for a run without one.

    A run that is executed again is whoever's who did that: it has the tags of the first. RefusedError, of which nobody
    is alerted, when the tag names a row that this run may not act for (`claim_run`).
    """
    run = context.run
    request = run.tags.get(REQUEST_TAG)
    if request is None or run.parent_run_id is not None:
        return None
    try:
        return claim_run(request, run.run_id, run.job_name, ledger, ledger.now())
    except RefusedError:
        context.instance.add_run_tags(run.run_id, {REFUSED_TAG: "true"})
        raise


def actor_of(context: Step, ledger: Ledger) -> Actor:
    """Who makes a run: the person of the request that it is for, else who or what has launched it."""
    row = requested(context, ledger)
    return row.actor if row is not None else launched_by(context.run)


def launched_by(run: dg.DagsterRun) -> Actor:
    """Who launched a run: the person at the command line, else `schedule`, `catch-up` or `dagster`.

    Dagster asks nobody who he is, so its tags and run config name nobody: whoever launches a run can write both.
    """
    by_hand = person.get()
    if by_hand is not None:
        return by_hand
    if CATCH_UP_TAG in run.tags:
        return CATCH_UP
    return SCHEDULE if _SCHEDULE_TAG in run.tags else DAGSTER


def run_assets(context: Step) -> Set[dg.AssetKey]:
    """The assets that the whole run is for, not only this step."""
    return set(context.run.asset_selection or context.job_def.asset_layer.executable_asset_keys)


def with_bundle(context: Step, catalog: Catalog) -> bool:
    """Whether the run has the bundle's asset, which ends the backup; else the step of the tables does."""
    return bundle_key(catalog) in run_assets(context)


def bundle_tables(context: dg.AssetExecutionContext, catalog: Catalog) -> tuple[str, ...]:
    """The tables that the run's bundle holds: all with the bundle's asset, else those of the run.

    A re-execution may be for the failed tables alone; its bundle holds what the run that it goes back to was for.
    """
    selected = context.run.tags.get(SCOPE_TAG) == SELECTED
    if with_bundle(context, catalog) and not selected:
        return tuple(catalog.tables)
    root = context.instance.get_run_by_id(context.run.root_run_id) if context.run.root_run_id else None
    first = (root and root.asset_selection) or frozenset()
    whole = first if selected or bundle_key(catalog) not in first else frozenset()
    return _tables_among(whole or run_assets(context), catalog)


def _tables_among(keys: Set[dg.AssetKey], catalog: Catalog) -> tuple[str, ...]:
    return tuple(table for table in catalog.tables if table_key(catalog, table) in keys)


def request_of(
    context: dg.AssetExecutionContext, config: BackupConfig, catalog: Catalog, backups: BackupResource, *, reads: bool
) -> Request:
    """The run as a request; `reads` says whether this step reads the source. A Failure where config asks too much.

    A run of tables without the bundle's asset is a selective backup of them.
    """
    with told_as_failure(context.log):
        refuse_variables(context.run.run_config)
        row = _request_row(context, catalog, backups)
    tags = context.run.tags
    automatic = _SCHEDULE_TAG in tags or CATCH_UP_TAG in tags or (row is not None and bool(row.detail.get("automatic")))
    kind = Kind.FULL if with_bundle(context, catalog) and tags.get(SCOPE_TAG) != SELECTED else Kind.SELECTIVE
    return Request(
        catalog=catalog,
        kind=kind,
        tables=bundle_tables(context, catalog),
        day=context.partition_time_window.start.date(),
        type=Trigger.AUTOMATIC if automatic else Trigger.MANUAL,
        actor=row.actor if row is not None else launched_by(context.run),
        reason=config.reason,
        late=config.late,
        reads=reads,
        run_id=context.run.run_id,
        run_url=backups.run_url(context.run.run_id),
        due_at=datetime.fromisoformat(tags[DUE_TAG]) if DUE_TAG in tags and kind == FULL else None,
    )


def _request_row(context: Step, catalog: Catalog, backups: BackupResource) -> RunRequest | None:
    """As `requested`; nothing is opened for a run without such a tag."""
    if REQUEST_TAG not in context.run.tags:
        return None
    with backups.open(catalog) as ports:
        return requested(context, ports.ledger)
