"""Proofs of backups in Dagster: the checks of assets that verify, and the drill that restores one every week."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from backup_pipeline.core.anomalies import ANOMALY, KEY_UNIQUE, READABLE, ROW_COUNT, SHRINKAGE, TableCheck
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.content.validation import VALID_ROWS
from backup_pipeline.core.drill import DrillReport, Fault
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import PartitionRecord, StoredManifest
from backup_pipeline.core.names import Kind
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.text import first_sentence, redact
from backup_pipeline.core.verification import Level, LevelReport, VerifyReport
from backup_pipeline.operations.browse import LATEST, find_backup, stored_manifest
from backup_pipeline.operations.drill import DrillRequest, drill_backup
from backup_pipeline.operations.read import ReadRequest
from backup_pipeline.operations.verify import VerifyRequest, verify_attempt, verify_partition
from backup_pipeline.orchestration.assets import MANIFEST_FILE
from backup_pipeline.orchestration.due import care_schedule
from backup_pipeline.orchestration.internals import AssetCheckEvaluationTargetMaterializationData
from backup_pipeline.orchestration.keys import (
    CATALOG_TAG,
    DRILL_TAG,
    Automation,
    actor_of,
    bundle_key,
    drill_job_name,
    drill_op,
    refuse_variables,
    restores_op,
    table_key,
    verified_op,
    with_bundle,
)
from backup_pipeline.orchestration.resources import BackupResource, told_as_failure, with_backups
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline.presentation.verification import drill_document, verification_document
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.drill import drilled_catalog, open_sandbox
from backup_pipeline.wiring.embedded import dagster_ready

_TABLE_CHECKS = {
    ROW_COUNT: "As many rows written, to Parquet and to CSV, as `count(*)` finds in the same snapshot.",
    KEY_UNIQUE: "Each key stands once.",
    SHRINKAGE: "Not far fewer rows than in the last good backup (ratio and floor of the catalog).",
    ANOMALY: "Rows, bytes, columns and keys are as in the good backups before; if not, the last good one is held.",
}
_OF_CUSTOMERS = {VALID_ROWS: "Not more rows than the catalog's share have customers' data that can not be true."}

_BUNDLE_CHECKS = {
    READABLE: "The bundle was read back from the store; size and SHA-256 are those that were written.",
    ANOMALY: "No table is new or gone, and references lead where they did; if not, the last good backup is held.",
}


def table_check_specs(catalog: Catalog) -> list[dg.AssetCheckSpec]:
    """The checks of every table."""
    return [
        dg.AssetCheckSpec(name, asset=table_key(catalog, table), description=description)
        for table, spec in catalog.tables.items()
        for name, description in {**_TABLE_CHECKS, **(_OF_CUSTOMERS if spec.validation else {})}.items()
    ]


def bundle_check_specs(catalog: Catalog) -> list[dg.AssetCheckSpec]:
    """The checks of the bundle."""
    return [
        dg.AssetCheckSpec(name, asset=bundle_key(catalog), description=description)
        for name, description in _BUNDLE_CHECKS.items()
    ]


def bundle_check_results(manifest: StoredManifest, key: dg.AssetKey) -> Iterator[dg.AssetCheckResult]:
    """The outcome of the checks of the bundle `key`, once it is in the store."""
    bundle, unusual = manifest.bundle, manifest.anomalies
    read = f"{bundle.bytes:,} bytes read back; SHA-256 {bundle.sha256}."
    yield dg.AssetCheckResult(asset_key=key, check_name=READABLE, passed=True, description=read)
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=ANOMALY,
        passed=not unusual,
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(anomaly.message for anomaly in unusual)
        or "No table is new or gone; references lead where they did.",
        metadata=_orphans(manifest),
    )


def _orphans(manifest: StoredManifest) -> Mapping[str, dg.TableMetadataValue | int]:
    """Rows that refer to a missing one: all together for the plot, and by reference where there are any."""
    some = [dg.TableRecord({"reference": name, "rows": rows}) for name, rows in manifest.orphans.items() if rows]
    return {
        "orphans": sum(manifest.orphans.values()),
        **({"orphans by reference": dg.MetadataValue.table(some)} if some else {}),
    }


def check_results(key: dg.AssetKey, checks: tuple[TableCheck, ...]) -> Iterator[dg.AssetCheckResult]:
    """The outcome of a table's checks."""
    for check in checks:
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=check.name,
            passed=check.passed,
            severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
            description=check.message,
            metadata=dict(check.numbers),
        )


def failed_table_check(key: dg.AssetKey, error: BackupError) -> dg.AssetCheckResult:
    """A table that was not exported: its row count can not be right."""
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=ROW_COUNT,
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR,
        description=error.what,
        metadata={"what to do": error.do or "Correct the cause, then run this table again."},
    )


def tables_checked_again(
    context: dg.AssetExecutionContext, catalog: Catalog, backups: BackupResource
) -> Sequence[dg.AssetCheckResult]:
    """The selected checks of tables, without an export: of the newest partition of each, read back from the store.

    Files that still are those that were written are what the checks looked at then.
    """
    results: list[dg.AssetCheckResult] = []
    with told_as_failure(context.log), backups.open(catalog) as ports:
        for table in catalog.tables:
            key = table_key(catalog, table)
            wanted = {check.name for check in context.selected_asset_check_keys if check.asset_key == key}
            if wanted:
                record, report = verify_partition(ReadRequest(catalog.catalog, table), ports)
                results += _checked_again(key, wanted, record, report)
    return results


def _checked_again(
    key: dg.AssetKey, wanted: Set[str], record: PartitionRecord, report: LevelReport
) -> Iterator[dg.AssetCheckResult]:
    damage = " ".join(f"{finding.object} {finding.message}" for finding in report.findings)
    read = damage or f"The files of {record.partition_date} were read back, and are those that were written."
    known = {check.name: check for check in record.table.checks}
    for name in sorted(wanted):
        then = known.get(name)
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=name,
            passed=not damage and then is not None and then.passed,
            severity=dg.AssetCheckSeverity.ERROR if damage else dg.AssetCheckSeverity.WARN,
            description=f"{read} {then.message if then else 'This check was not made then.'}",
            metadata={"files": len(report.looked_at), "backup_id": record.table.exported_by},
        )


def bundle_checked_again(
    context: dg.AssetExecutionContext, catalog: Catalog, backups: BackupResource
) -> Sequence[dg.AssetCheckResult]:
    """The selected checks of the bundle, without making one: of the newest good full backup, read from the store."""
    wanted = {check.name for check in context.selected_asset_check_keys}
    with told_as_failure(context.log), backups.open(catalog) as ports:
        attempt = find_backup(LATEST, ports.ledger, catalog=catalog.catalog)
        report = verify_attempt(attempt, VerifyRequest(Level.BYTES), ports, actor=actor_of(context, ports.ledger))
        if not report.passed:
            return [
                dg.AssetCheckResult(check_name=name, passed=False, description=report.error().what) for name in wanted
            ]
        manifest = stored_manifest(attempt, ports.store)
    return [result for result in bundle_check_results(manifest, bundle_key(catalog)) if result.check_name in wanted]


VERIFIED, RESTORES = "verified", "restores"
PROOFS = {
    VERIFIED: "The newest backup was read back from the store and compared with its manifest, as deep as is said.",
    RESTORES: "The newest backup was restored into a scratch PostgreSQL, exported again, and came back as it was.",
}

Metadata = Mapping[str, dg.MetadataValue[Any] | int | float | str]


@dataclass(frozen=True)
class Proof:
    """What became known of a backup, as a check of its bundle tells it; `run_id` is that of the run that made it."""

    check: str
    passed: bool
    backup_id: str
    run_id: str | None
    description: str
    metadata: Metadata


def verification_proof(report: VerifyReport, attempt: Attempt, now: datetime) -> Proof:
    """What a verification says of the backup of `attempt`."""
    outcome = f"{report.reached}, on {now:%Y-%m-%d %H:%M} UTC.{'' if report.passed else f' {report.error().what}'}"
    return Proof(
        VERIFIED,
        report.passed,
        attempt.backup_id,
        attempt.run_id,
        f"Backup {attempt.backup_id} of {attempt.partition_date}: {outcome}",
        {
            "backup_id": attempt.backup_id,
            "level": -1 if report.level is None else report.level.value,
            "verified_at": dg.MetadataValue.timestamp(now),
            "objects": report.objects,
            "bytes": report.bytes,
            "seconds": round(report.seconds, 3),
            "findings": len(report.findings),
            "report": dg.MetadataValue.md(markdown(verification_document(report))),
        },
    )


def drill_proofs(report: DrillReport, attempt: Attempt, now: datetime) -> Sequence[Proof]:
    """What a drill says: that the backup restores, or not; and how deep it was verified before, where all was well.

    Nothing for a drill into which a fault was put, or of a backup of some tables: the checks are of the whole bundle.
    """
    if report.injected is not None or attempt.kind != Kind.FULL:
        return ()
    known = (attempt.backup_id, attempt.run_id)
    when = _about(attempt, now)
    came = f"{len(report.tables)} tables with {report.rows:,} rows came back as they were" if report.passed else ""
    restores = Proof(
        RESTORES, report.passed, *known, f"{when}: {came or report.error().what}.", {
            **drill_metadata(report), "level": Level.RESTORED.value, "drilled_at": dg.MetadataValue.timestamp(now)
        }
    )  # fmt: skip
    if not report.passed:
        return (restores,)
    described = f"{when}: {report.verified}, in a drill."
    facts: Metadata = {
        "backup_id": attempt.backup_id,
        "level": Level.REFERENCES.value,
        "verified_at": dg.MetadataValue.timestamp(now),
        "bytes": report.bytes,
    }
    return (restores, Proof(VERIFIED, report.passed, *known, described, facts))


def _about(attempt: Attempt, now: datetime) -> str:
    return f"Backup {attempt.backup_id} of {attempt.partition_date}, on {now:%Y-%m-%d %H:%M} UTC"


def drill_metadata(report: DrillReport) -> Metadata:
    """What was seen; the numbers are plotted over the runs."""
    return {
        "backup_id": report.backup_id,
        "findings": len(report.findings),
        "tables": len(report.tables),
        "rows": report.rows,
        "bundle_bytes": report.bytes,
        "seconds": report.seconds,
        "restore_seconds": report.stages.restore,
        "predicted_restore_seconds": report.predicted_restore_seconds or 0.0,
        "stale": report.stale or "no",
        "report": dg.MetadataValue.md(markdown(drill_document(report))),
    }


def report_verification(report: VerifyReport, attempt: Attempt, settings: Settings, now: datetime) -> str | None:
    """`report_proofs` of a verification that ran outside of Dagster."""
    return report_proofs([verification_proof(report, attempt, now)], attempt, settings)


def report_drill(report: DrillReport, attempt: Attempt, settings: Settings, now: datetime) -> str | None:
    """`report_proofs` of a drill that ran outside of Dagster."""
    return report_proofs(drill_proofs(report, attempt, now), attempt, settings)


def report_proofs(proofs: Sequence[Proof], attempt: Attempt, settings: Settings) -> str | None:
    """Tell Dagster what became known of a backup without a run of its own; why not, when it can not be reached.

    Nothing for a backup that is no asset: of a catalog that is not there any more, of one business, or of some tables.
    """
    catalog = drilled_catalog(settings, attempt.scope.catalog)
    if catalog is None or attempt.scope != Scope(catalog.catalog) or attempt.kind != Kind.FULL:
        return None
    try:
        with dagster_ready(settings), dg.DagsterInstance.get() as instance:
            for proof in proofs:
                instance.report_runless_asset_event(evaluation(proof, catalog, instance))
    except Exception as error:  # noqa: BLE001  # whatever Dagster's storage says: the proof itself is in the ledger
        return redact(first_sentence(str(error)) or type(error).__name__)
    return None


def evaluation(proof: Proof, catalog: Catalog, instance: dg.DagsterInstance) -> dg.AssetCheckEvaluation:
    """The proof as an evaluation of the check, of the materialization that it is about where that is known.

    It has no partition: the check then would stand as passed for the newest backup when an older one was looked at.
    """
    record = _materialization_of(proof, instance)
    key = record.asset_key if record else None
    return dg.AssetCheckEvaluation(
        asset_key=key or bundle_key(catalog),
        check_name=proof.check,
        passed=proof.passed,
        description=proof.description,
        metadata=proof.metadata,
        target_materialization_data=record and _target(record),
    )


_LOOKED_AT = 50
"""Materializations of a date that are looked through for the run of a backup."""


def _materialization_of(proof: Proof, instance: dg.DagsterInstance) -> dg.EventLogRecord | None:
    """The bundle's materialization in the run that made the backup, whatever key the bundle has in its project."""
    bundle = _bundle_of_run(proof, instance)
    if bundle is None or bundle.partition is None:
        return None
    wanted = dg.AssetRecordsFilter(asset_key=bundle.asset_key, asset_partitions=[bundle.partition])
    records = instance.fetch_materializations(wanted, limit=_LOOKED_AT).records
    return next((record for record in records if record.run_id == proof.run_id), None)


def _bundle_of_run(proof: Proof, instance: dg.DagsterInstance) -> dg.AssetMaterialization | None:
    """What the run says of its bundle. The command line knows a catalog by its file alone, not where it was placed."""
    # Its records have other numbers than those of the asset, where each run has a file of SQLite.
    entries = instance.all_logs(proof.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION) if proof.run_id else ()
    for made in (entry.asset_materialization for entry in entries):
        if made is not None and MANIFEST_FILE in made.metadata and made.metadata["backup_id"].value == proof.backup_id:
            return made
    return None


def _target(record: dg.EventLogRecord) -> AssetCheckEvaluationTargetMaterializationData:
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
    )


class VerifiedConfig(dg.Config):
    """How deep the newest backup is looked into."""

    level: Literal["present", "bytes", "contents", "references"] = Field(
        default="contents",
        description="`present`: manifest and size. `bytes`: SHA-256 of the bundle. `contents`: every file is decoded "
        "and compared with the manifest. `references`: no row refers to a row that is missing.",
    )


def proofs_of(catalog: Catalog) -> Sequence[dg.AssetChecksDefinition]:
    """The checks of the bundle that can be executed by themselves: each looks at the newest good full backup."""
    return [_verified(catalog), _restores(catalog)]


def _spec(catalog: Catalog, check: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(check, asset=bundle_key(catalog), description=PROOFS[check])


# Each yields nothing in a run that makes a bundle: who materializes it asks for no drill, and the UI names all
# checks of an asset that it materializes. An asset_check must answer, one that can be a subset need not.


def _verified(catalog: Catalog) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name=verified_op(catalog), specs=[_spec(catalog, VERIFIED)], can_subset=True)
    @with_backups(catalog)
    def verified(
        context: dg.AssetCheckExecutionContext, config: VerifiedConfig, backups: BackupResource
    ) -> Iterator[dg.AssetCheckResult]:
        if with_bundle(context.op_execution_context, catalog):
            return
        with told_as_failure(context.log):
            refuse_variables(context.run.run_config)
            with backups.open(catalog) as ports:
                attempt = find_backup(LATEST, ports.ledger, catalog=catalog.catalog)
                request = VerifyRequest(Level[config.level.upper()])
                report = verify_attempt(attempt, request, ports, actor=actor_of(context, ports.ledger))
                proof = verification_proof(report, attempt, ports.clock())
        yield _result(proof)

    return verified


def _restores(catalog: Catalog) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name=restores_op(catalog), specs=[_spec(catalog, RESTORES)], can_subset=True)
    @with_backups(catalog)
    def restores(context: dg.AssetCheckExecutionContext, backups: BackupResource) -> Iterator[dg.AssetCheckResult]:
        if with_bundle(context.op_execution_context, catalog):
            return
        with told_as_failure(context.log), backups.open(catalog) as ports:
            request = DrillRequest(
                attempt=find_backup(LATEST, ports.ledger, catalog=catalog.catalog),
                actor=actor_of(context, ports.ledger),
                catalog=drilled_catalog(backups.settings, catalog.catalog),
                newest=True,
                run_id=context.run.run_id,
                run_url=backups.run_url(context.run.run_id),
            )
            report, _ = drill_backup(request, ports, partial(open_sandbox, backups.settings))
            proof, *_ = drill_proofs(report, request.attempt, ports.clock())
        yield _result(proof)

    return restores


def _result(proof: Proof) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=proof.check, passed=proof.passed, description=proof.description, metadata=proof.metadata
    )


WEEKLY = "0 4 * * 0"
"""Sundays at four, in the catalog's timezone: long after the daily backup."""


class DrillConfig(dg.Config):
    """Which backup is drilled, and whether a fault is put into a copy of it."""

    backup_id: str = Field(default=LATEST, description="A backup id, or `latest`: the newest good full one.")
    inject: Literal["", "bitflip", "drop-row", "drop-file", "stale"] = Field(
        default="",
        description=(
            "A fault that is put into a copy, to try the drill itself. The run then fails, as it should; no level is "
            "recorded and nobody is alerted."
        ),
    )


def drill_job(catalog: Catalog) -> dg.JobDefinition:
    """Rehearse a restore of a backup of the catalog."""

    @dg.op(
        name=drill_op(catalog),
        out=dg.Out(dg.Nothing),
        description="The backup restored into a scratch PostgreSQL, exported again, and compared table by table.",
    )
    @with_backups(catalog)
    def drilled(
        context: dg.OpExecutionContext, config: DrillConfig, backups: BackupResource
    ) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
        with told_as_failure(context.log):
            refuse_variables(context.run.run_config)
            sandbox = partial(open_sandbox, backups.settings)
            with backups.open(catalog, context) as ports:
                request = DrillRequest(
                    attempt=find_backup(config.backup_id, ports.ledger, catalog=catalog.catalog),
                    actor=actor_of(context, ports.ledger),
                    catalog=drilled_catalog(backups.settings, catalog.catalog),
                    newest=config.backup_id == LATEST,
                    fault=Fault(config.inject) if config.inject else None,
                    run_id=context.run.run_id,
                    run_url=backups.run_url(context.run.run_id),
                )
                report, error = drill_backup(request, ports, sandbox)
                for proof in drill_proofs(report, request.attempt, ports.clock()):
                    yield evaluation(proof, catalog, context.instance)
            context.log.info(markdown(drill_document(report)))
            passed = dg.MetadataValue.bool(report.passed)
            yield dg.Output(None, metadata={"passed": passed, **drill_metadata(report)})
            if error is not None:
                raise error

    @dg.job(
        name=drill_job_name(catalog),
        description=f"Drill {catalog.title or catalog.catalog}: restore the newest backup into a scratch database.",
        tags={CATALOG_TAG: catalog.catalog, DRILL_TAG: "true"},
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        drilled()

    return job


def drill_schedule(catalog: Catalog, automation: Automation) -> dg.ScheduleDefinition:
    """Launch the drill weekly in the catalog's timezone."""
    return care_schedule(
        catalog,
        WEEKLY,
        automation,
        name=f"{catalog.catalog}_drill_weekly",
        job=drill_job_name(catalog),
        work="drill",
        description=f"Restore drill of {catalog.title or catalog.catalog} (Sundays 04:00, {catalog.timezone}).",
    )
