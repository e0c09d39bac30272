"""The sensors: a run that failed, was canceled, died without a word, or whose checks failed, is told to people.

They watch every code location, because a run of the command line may be of another one than theirs, and leave alone
what is not ours (`catalogs_of_run`). They answer nothing, not even why they skip: once one of them has answered,
Dagster shows it no further run until its next tick.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta

import dagster as dg

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.anomalies import ANOMALY
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError, CanceledError, LedgerError, SettingsError
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.runs import RunVerb
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.text import redact
from backup_pipeline.operations.alerting import deliver, tell, tell_unreached
from backup_pipeline.operations.attempts import end_run
from backup_pipeline.operations.backup import close_orphans
from backup_pipeline.operations.download import sweep_renderings
from backup_pipeline.operations.drill import end_drill_run
from backup_pipeline.operations.restore.requests import close_abandoned, end_restore_run
from backup_pipeline.operations.retention import prune_alert
from backup_pipeline.operations.verify import verification_alert
from backup_pipeline.orchestration.keys import (
    CATALOG_TAG,
    DRILL_TAG,
    PRUNE_TAG,
    REFUSED_TAG,
    RESTORE_TAG,
    SHARD_TAG,
    WORK_TAG,
    Automation,
    bundle_key,
    catalogs_of_run,
    is_all_ours,
    owned_assets,
)
from backup_pipeline.orchestration.resources import Backups, with_backups
from backup_pipeline.orchestration.verification import VERIFIED, bundle_check_specs, table_check_specs

_EVERY_S = 30


def alerts_sensor(catalogs: Mapping[str, Catalog], automation: Automation) -> dg.SensorDefinition:
    """One sensor for the alerts of all catalogs."""

    @dg.sensor(
        name=automation.named("backup_alerts"),
        default_status=automation.sensor,
        minimum_interval_seconds=_EVERY_S,
        description="Delivers the alerts of the outbox that are due: a channel that was away is told once it is back.",
    )
    @with_backups(*catalogs, each=True)
    def backup_alerts(backups: Backups) -> Iterator[dg.SkipReason]:
        try:
            with backups.open(next(iter(catalogs.values()))) as ports:
                tell_unreached(ports)
                tried = deliver(ports)
        except (LedgerError, SettingsError) as error:  # the next tick tries again
            yield dg.SkipReason(str(error))
            return
        good = sum(entry.delivered_at is not None for entry in tried)
        message = f"{good} alerts delivered, {len(tried) - good} not." if tried else "No alert is due."
        yield dg.SkipReason(message)

    return backup_alerts


def build_sensors(catalogs: Mapping[str, Catalog], automation: Automation) -> Sequence[dg.SensorDefinition]:
    """One set of sensors for all catalogs."""
    makers = (_failed, _canceled, _checks, _orphans, alerts_sensor)
    return [make(catalogs, automation) for make in makers]


def _failed(catalogs: Mapping[str, Catalog], automation: Automation) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name=automation.named("backup_failed"),
        default_status=automation.sensor,
        minimum_interval_seconds=_EVERY_S,
        monitor_all_code_locations=True,
        description="Closes the ledger row of a failed run that could not close it itself, and alerts.",
    )
    @with_backups(*catalogs, each=True)
    def backup_failed(context: dg.RunFailureSensorContext, backups: Backups) -> None:
        """A run that closed its own row has alerted already: `end_run` then does nothing."""
        if context.dagster_run.tags.get("dagster/will_retry") == "true":
            return
        reason = redact(context.failure_event.message or "The run failed.")
        error = BackupError(reason, do="Open the run, correct the cause, and run the backup again.")
        _end(catalogs, context, backups, error)

    return backup_failed


def _canceled(catalogs: Mapping[str, Catalog], automation: Automation) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.CANCELED,
        name=automation.named("backup_canceled"),
        default_status=automation.sensor,
        minimum_interval_seconds=_EVERY_S,
        monitor_all_code_locations=True,
        description="Closes the ledger row of a canceled run that could not close it itself, and alerts.",
    )
    @with_backups(*catalogs, each=True)
    def backup_canceled(context: dg.RunStatusSensorContext, backups: Backups) -> None:
        error = CanceledError("The run was canceled.", do="Run the backup again if its date still wants one.")
        _end(catalogs, context, backups, error)

    return backup_canceled


def _checks(catalogs: Mapping[str, Catalog], automation: Automation) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name=automation.named("backup_checks_failed"),
        default_status=automation.sensor,
        minimum_interval_seconds=_EVERY_S,
        monitor_all_code_locations=True,
        description="Alerts when a check failed in a run that went well otherwise: Dagster calls such a run a success.",
    )
    @with_backups(*catalogs, each=True)
    def checks_failed(context: dg.RunStatusSensorContext, backups: Backups) -> None:
        run = context.dagster_run
        for catalog in _catalogs_of(catalogs, run, context.instance) or _checked(catalogs, run):
            failed = failed_checks(context.instance, run.run_id, catalog)
            if not failed:
                continue
            with backups.open(catalog) as ports:
                attempt = ports.ledger.of_run(run.run_id)
                backup_id = attempt.backup_id if attempt else None
                tell(_checks_alert(catalog, failed, run.run_id, backups.run_url(run.run_id), backup_id), ports)

    return checks_failed


def _orphans(catalogs: Mapping[str, Catalog], automation: Automation) -> dg.SensorDefinition:
    @dg.sensor(
        name=automation.named("backup_orphans"),
        default_status=automation.sensor,
        minimum_interval_seconds=_EVERY_S,
        description="Closes the ledger rows of runs that died without a word, and alerts; Dagster is told, too.",
    )
    @with_backups(*catalogs, each=True)
    def backup_orphans(context: dg.SensorEvaluationContext, backups: Backups) -> Iterator[dg.SkipReason]:
        catalog = next(iter(catalogs.values()))
        try:
            with backups.open(catalog) as ports:
                closed = close_what_died(context.instance, catalogs, ports)
                sweep_renderings(ports.spool, ports.clock())  # of runs on this machine, which may have no console
        except SettingsError as error:
            yield dg.SkipReason(str(error))
            return
        names = ", ".join(closed)
        yield dg.SkipReason(f"Closed as failed: {names}" if closed else "Every running backup and restore is alive.")

    return backup_orphans


def _end(
    catalogs: Mapping[str, Catalog], context: dg.RunStatusSensorContext, backups: Backups, error: BackupError
) -> None:
    if REFUSED_TAG in context.dagster_run.tags or SHARD_TAG in context.dagster_run.tags:
        return
    for catalog in _catalogs_of(catalogs, context.dagster_run, context.instance):
        with backups.open(catalog) as ports:
            _end_run_of(catalog, context.dagster_run, backups, error, ports)


def _end_run_of(catalog: Catalog, run: dg.DagsterRun, backups: Backups, error: BackupError, ports: Ports) -> None:
    url = backups.run_url(run.run_id)
    if RESTORE_TAG in run.tags:
        end_restore_run(run.run_id, catalog.catalog, error, ports, needs_approval=backups.restores_wait, run_url=url)
    elif DRILL_TAG in run.tags:
        end_drill_run(run.run_id, catalog.catalog, error, ports, run_url=url)
    elif (work := run.tags.get(WORK_TAG)) is not None:
        if work == RunVerb.VERIFY:  # who deletes or downloads looks on
            tell(verification_alert(Scope(catalog.catalog), error, ports.clock(), run.run_id, url), ports)
    elif PRUNE_TAG in run.tags:
        tell(prune_alert(Scope(catalog.catalog), error, ports.clock(), run.run_id, url), ports)
    else:
        end_run(run.run_id, catalog.catalog, error, ports, run_url=url)


def _catalogs_of(
    catalogs: Mapping[str, Catalog], run: dg.DagsterRun, instance: dg.DagsterInstance
) -> Sequence[Catalog]:
    """The catalogs that a run is for; a run without a selection is for what was planned when it was launched."""
    if CATALOG_TAG in run.tags or run.asset_selection:
        return catalogs_of_run(run, catalogs, run.asset_selection or frozenset())
    planned = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    events = [entry.dagster_event for entry in planned if entry.dagster_event]
    return catalogs_of_run(run, catalogs, {event.asset_key for event in events if event.asset_key})


def _checked(catalogs: Mapping[str, Catalog], run: dg.DagsterRun) -> Sequence[Catalog]:
    """The catalogs of which a run was to execute checks by themselves."""
    return catalogs_of_run(run, catalogs, {check.asset_key for check in run.asset_check_selection or ()})


def _checks_alert(
    catalog: Catalog, failed: Mapping[str, str], run_id: str, run_url: str, backup_id: str | None
) -> Alert:
    return Alert(
        severity=Severity.WARNING,
        title=f"Backup checks failed: {catalog.catalog}",
        what=f"The backup is there, but {len(failed)} of its checks failed.",
        do="Compare with the earlier backups before the next one replaces them in people's minds.",
        scope=Scope(catalog.catalog),
        backup_id=backup_id,
        run_id=run_id,
        run_url=run_url,
        tables=failed,
    )


def failed_checks(instance: dg.DagsterInstance, run_id: str, catalog: Catalog) -> Mapping[str, str]:
    """What each failed check of the catalog says, by `table, check`; without those of tables that were told already.

    A backup tells its anomalies itself, and a table's other checks then say the same once more. So does a drill tell
    what it found. A check that somebody else has put on our tables is for him to alert of.
    """
    names = owned_assets(catalog)
    own = (*table_check_specs(catalog), *bundle_check_specs(catalog))
    ours = {*(spec.key for spec in own), dg.AssetCheckKey(bundle_key(catalog), VERIFIED)}
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    events = [entry.dagster_event.asset_check_evaluation_data for entry in entries if entry.dagster_event]
    checks = [check for check in events if check.asset_check_key in ours]
    failed = [check for check in checks if not check.passed]
    alerted = {check.asset_key for check in failed if check.check_name == ANOMALY}
    return {
        f"{names[check.asset_key]}, {check.check_name}": check.description or "failed"
        for check in failed
        if check.asset_key not in alerted
    }


_GONE = "The process that ran it is gone (killed, out of memory, or the machine is down). The ledger says what is left."
_ENDLESS = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def close_what_died(instance: dg.DagsterInstance, catalogs: Mapping[str, Catalog], ports: Ports) -> Sequence[str]:
    """Close the rows of dead backups and restores, and the runs of Dagster that are all ours; what was closed.

    The rows come first: of a backup the store decides what it is, and its run then only follows. A run in which
    somebody else's assets are made goes on without ours: its own executor says how it ends.
    """
    attempts = close_orphans(ports)
    restores = close_abandoned(ports)
    _end_runs(instance, {row.run_id for row in attempts} | {row.run_id for row in restores}, catalogs, ports)
    return [attempt.backup_id for attempt in attempts] + [f"restore request {row.id}" for row in restores]


def _end_runs(
    instance: dg.DagsterInstance, dead: Collection[str | None], catalogs: Mapping[str, Catalog], ports: Ports
) -> None:
    for run in instance.get_runs(dg.RunsFilter(statuses=_ENDLESS)):
        ours = CATALOG_TAG in run.tags or is_all_ours(run, catalogs)
        if not ours or (run.run_id not in dead and not _is_orphaned(run.run_id, ports)):
            continue
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message=_GONE)
        else:
            instance.report_run_failed(run, _GONE)


_ENDED_LONG_AGO = timedelta(minutes=15)
"""After its row was closed a run has alerts to send and its end to report, no more."""


def _is_orphaned(run_id: str, ports: Ports) -> bool:
    """Whether the process of the run is gone, though its row was closed by somebody else.

    Of another host's process only this is known: its row was closed long ago, and a run that lives ends soon after.
    """
    row = ports.ledger.of_run(run_id) or next(iter(ports.ledger.restores.list(run_id=run_id, limit=1)), None)
    if row is None or row.owner is None:
        return False
    if row.owner.host == ports.owner.host:
        return not ports.alive(row.owner)
    return row.finished_at is not None and ports.clock() - row.finished_at > _ENDED_LONG_AGO
