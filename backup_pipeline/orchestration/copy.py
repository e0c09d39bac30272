"""The job that fills the gaps of the second store, and the sensor that starts it."""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.errors import BackupError, LedgerError, SettingsError
from backup_pipeline.core.scope import DAGSTER
from backup_pipeline.operations.copy import copy_missing, missing_copies
from backup_pipeline.orchestration.failures import failure
from backup_pipeline.orchestration.keys import CARE_TAG, Automation
from backup_pipeline.orchestration.resources import Backups, with_backups
from backup_pipeline.presentation.backup import copies_document
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline.wiring.ports import utc_now

COPY_JOB = "copy_missing_backups"
_EVERY_S = 60


def copying(
    catalogs: Mapping[str, Catalog], automation: Automation
) -> tuple[Sequence[dg.JobDefinition], Sequence[dg.SensorDefinition]]:
    """The job and its sensor."""
    return (copies_job(catalogs, automation),), (copies_sensor(catalogs, automation),)


def copies_job(catalogs: Mapping[str, Catalog], automation: Automation) -> dg.JobDefinition:
    """Copy every good backup, of whichever catalog, that has no good copy in the second store."""

    @dg.op(
        name=automation.named("backups_copied"),
        out=dg.Out(dg.Nothing),
        description="Each backup is hashed as it passes, and read back from the second store. The newest come first.",
    )
    @with_backups(*catalogs, each=True)
    def backups_copied(context: dg.OpExecutionContext, backups: Backups) -> Iterator[dg.Output[None]]:
        rows: list[Copy] = []
        try:
            with backups.open(next(iter(catalogs.values()))) as ports:
                decisions = missing_copies(ports)
                for row in copy_missing(decisions, ports, actor=DAGSTER):
                    context.log.info("%s: %s", row.backup_id, row.in_short(utc_now()))
                    rows.append(row)
        except BackupError as error:
            raise failure(error) from None
        _raise_failed(rows)
        yield dg.Output(
            None,
            metadata={"copied": len(rows), "backups": dg.MetadataValue.md(markdown(copies_document(rows, decisions)))},
        )

    @dg.job(
        name=automation.named(COPY_JOB),
        description="Fill the gaps of the second store. A sensor starts it, at most once an hour.",
        tags={CARE_TAG: "copies"},
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        backups_copied()

    return job


def copies_sensor(catalogs: Mapping[str, Catalog], automation: Automation) -> dg.SensorDefinition:
    """One sensor for all catalogs."""

    @dg.sensor(
        name=automation.named("backup_copies"),
        job_name=automation.named(COPY_JOB),
        default_status=automation.sensor,
        minimum_interval_seconds=_EVERY_S,
        description="Starts copying when a good backup has no good copy in the second store; once an hour at most.",
    )
    @with_backups(*catalogs, each=True)
    def backup_copies(backups: Backups) -> Iterator[dg.RunRequest | dg.SkipReason]:
        try:
            with backups.open(next(iter(catalogs.values()))) as ports:
                decisions = missing_copies(ports)
        except (LedgerError, SettingsError) as error:  # the next tick tries again
            yield dg.SkipReason(str(error))
            return
        missing = [each.attempt.backup_id for each in decisions if each.wanted]
        if missing:
            yield dg.RunRequest(run_key=f"{automation.named(COPY_JOB)} {utc_now():%Y-%m-%dT%H}")
        else:
            yield dg.SkipReason("Every good backup has its copy.")

    return backup_copies


def _raise_failed(rows: Sequence[Copy]) -> None:
    """A red run for what failed; people were alerted when it did."""
    failed = [row for row in rows if row.status is not CopyStatus.GOOD]
    if failed:
        what = f"{len(failed)} of {len(rows)} backups were not copied. {failed[0].error_message or ''}"
        message, _, do = what.partition("\nWhat to do: ")
        raise failure(BackupError(message, do=do)) from None
