"""Jobs on one backup: verified as deep as is wanted, deleted, rendered for a download, made of an earlier file."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.names import parse_backup_id
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.runs import RunVerb, job_name, step_name
from backup_pipeline.core.verification import Level
from backup_pipeline.formats.documents import typed_rows
from backup_pipeline.operations.browse import LATEST, find_backup
from backup_pipeline.operations.download import render_for
from backup_pipeline.operations.legacy import adopt_legacy
from backup_pipeline.operations.retention.hold import DeleteRequest, delete_backup, left_error
from backup_pipeline.operations.retention.plan import prune_request
from backup_pipeline.operations.run_requests import note_result
from backup_pipeline.operations.verify import VerifyRequest, verify_attempt
from backup_pipeline.orchestration.keys import CATALOG_TAG, WORK_TAG, actor_of, refuse_variables, requested
from backup_pipeline.orchestration.resources import BackupResource, told_as_failure, with_backups
from backup_pipeline.orchestration.verification import evaluation, verification_proof
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline.presentation.retention import left_document
from backup_pipeline.presentation.verification import verification_document

_WHICH = "A backup id, or `latest`: the newest good full one."


class VerifyConfig(dg.Config):
    """Which backup is verified, and how deep."""

    backup_id: str = Field(default=LATEST, description=_WHICH)
    level: Literal["present", "bytes", "contents", "references"] = Field(
        default="contents",
        description="present: it is there; bytes: its SHA-256; contents: every file decoded; references: of its rows.",
    )


class DeleteConfig(dg.Config):
    """Which backup is deleted. That somebody with the right to it wants so stands in the ledger, as a run request."""

    backup_id: str = Field(description="A backup id.")
    confirm: str = Field(description="The same id again.")
    reason: str = Field(default="", description="Why; kept in the audit.")


class RenderConfig(dg.Config):
    """Which backup is rendered, and as what."""

    backup_id: str = Field(default=LATEST, description=_WHICH)
    rendering: Literal["xlsx", "csv", "json", "json_zip", "comprehensive", "quarantine"] = Field(
        description="The form of the one file that is made."
    )


class AdoptConfig(dg.Config):
    """Which file of an earlier program a backup is made of."""

    key: str = Field(description="Its key in the store, as `list --legacy` shows it: backups/comprehensive/NAME.json.")


def upkeep_jobs(catalog: Catalog) -> Sequence[dg.JobDefinition]:
    """The jobs of a catalog; the last is there for one that has files of an earlier program."""
    jobs = [_verify_job(catalog), _delete_job(catalog), _render_job(catalog)]
    return [*jobs, _adopt_job(catalog)] if catalog.legacy else jobs


def _job(catalog: Catalog, verb: RunVerb, description: str, step: Callable[[], object]) -> dg.JobDefinition:
    @dg.job(
        name=job_name(catalog.catalog, verb),
        description=description,
        tags={CATALOG_TAG: catalog.catalog, WORK_TAG: verb.value},
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        step()

    return job


def _find(backup_id: str, catalog: Catalog, ports: Ports) -> Attempt:
    """The backup; RefusedError for one of another catalog, whose rules and place are others."""
    attempt = find_backup(backup_id, ports.ledger, catalog=catalog.catalog)
    if attempt.scope.catalog != catalog.catalog:
        message = f"Backup {attempt.backup_id} is of catalog {attempt.scope.catalog}, not of {catalog.catalog}."
        raise RefusedError(message, do=f"Run the job of {attempt.scope.catalog}. Nothing was done.")
    return attempt


def _verify_job(catalog: Catalog) -> dg.JobDefinition:
    @dg.op(
        name=step_name(catalog.catalog, RunVerb.VERIFY),
        out=dg.Out(dg.Nothing),
        description="The backup read back from the store, and compared with its manifest; the ledger keeps the level.",
    )
    @with_backups(catalog)
    def verified(
        context: dg.OpExecutionContext, config: VerifyConfig, backups: BackupResource
    ) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
        with told_as_failure(context.log):
            refuse_variables(context.run.run_config)
            with backups.open(catalog, context) as ports:
                actor = actor_of(context, ports.ledger)
                attempt = _find(config.backup_id, catalog, ports)
                request = VerifyRequest(Level[config.level.upper()])
                report = verify_attempt(attempt, request, ports, actor=actor)
                proof = verification_proof(report, attempt, ports.clock())
                if config.backup_id == LATEST:  # the check is one of the newest backup
                    yield evaluation(proof, catalog, context.instance)
                note_result(context.run.run_id, report.as_json(), ports.ledger)
            context.log.info(markdown(verification_document(report)))
            yield dg.Output(None, metadata=dict(proof.metadata))
            if not report.passed:
                raise report.error()

    title = catalog.title or catalog.catalog
    return _job(
        catalog, RunVerb.VERIFY, f"Verify one backup of {title}, as deep as is wanted (docs/verify.md).", verified
    )


def _delete_job(catalog: Catalog) -> dg.JobDefinition:
    @dg.op(
        name=step_name(catalog.catalog, RunVerb.DELETE),
        out=dg.Out(dg.Nothing),
        description="What protects a backup from the rules protects it here as well. Its row stays, as deleted.",
    )
    @with_backups(catalog)
    def deleted(
        context: dg.OpExecutionContext, config: DeleteConfig, backups: BackupResource
    ) -> Iterator[dg.Output[None]]:
        with told_as_failure(context.log):
            refuse_variables(context.run.run_config)
            with backups.open(catalog, context) as ports:
                wanted = requested(context, ports.ledger)
                if wanted is None or wanted.detail.get("backup_id") != config.backup_id:
                    message = "Nobody with the right to delete has asked for this in the ledger. Nothing was touched."
                    raise RefusedError(message, do=f"Use the console, or: backup-pipeline delete {config.backup_id}")
                attempt = _find(str(parse_backup_id(config.backup_id, latest=False)), catalog, ports)
                versions = backups.settings.prune_versions
                rules = prune_request(attempt.scope, {catalog.catalog: catalog}, wanted.actor, versions)
                removed = delete_backup(DeleteRequest(attempt, rules, config.confirm, config.reason), ports)
                note_result(context.run.run_id, removed.as_json(), ports.ledger)
            left = markdown(left_document(removed.left)) or "none"
            facts: dict[str, dg.MetadataValue[Any] | int] = {
                "objects": removed.objects,
                "bytes": removed.bytes,
                "left": dg.MetadataValue.md(left),
            }
            yield dg.Output(None, metadata=facts)
            if removed.left or removed.kept:
                raise left_error(removed)

    description = f"Delete one backup of {catalog.title or catalog.catalog}, for which somebody asked in the console."
    return _job(catalog, RunVerb.DELETE, description, deleted)


def _render_job(catalog: Catalog) -> dg.JobDefinition:
    @dg.op(
        name=step_name(catalog.catalog, RunVerb.RENDER),
        out=dg.Out(dg.Nothing),
        description="One file of the whole backup, for reading, on the machine of the run; it goes after an hour.",
    )
    @with_backups(catalog)
    def rendered(
        context: dg.OpExecutionContext, config: RenderConfig, backups: BackupResource
    ) -> Iterator[dg.Output[None]]:
        with told_as_failure(context.log):
            refuse_variables(context.run.run_config)
            with backups.open(catalog, context) as ports:
                row = requested(context, ports.ledger)
                actor = actor_of(context, ports.ledger)
                attempt = _find(config.backup_id, catalog, ports)
                folder = str(row.id) if row is not None else context.run.run_id
                result = render_for(folder, attempt, Rendering(config.rendering), ports, actor)
                note_result(context.run.run_id, result, ports.ledger)
            yield dg.Output(None, metadata={name: str(value) for name, value in result.items()})

    description = f"Render one backup of {catalog.title or catalog.catalog} as one file for reading."
    return _job(catalog, RunVerb.RENDER, description, rendered)


def _adopt_job(catalog: Catalog) -> dg.JobDefinition:
    @dg.op(
        name=step_name(catalog.catalog, RunVerb.ADOPT),
        out=dg.Out(dg.Nothing),
        description="A good file becomes a backup: its rows typed by the tables as they are now. Nothing is restored.",
    )
    @with_backups(catalog)
    def adopted(
        context: dg.OpExecutionContext, config: AdoptConfig, backups: BackupResource
    ) -> Iterator[dg.Output[None]]:
        with told_as_failure(context.log):
            refuse_variables(context.run.run_config)
            with backups.open(catalog, context) as ports:
                actor = actor_of(context, ports.ledger)
                manifest = adopt_legacy(config.key, catalog, actor, ports, typed_rows)
                result = {"backup_id": manifest.backup_id, "rows": manifest.totals.rows, "key": config.key}
                note_result(context.run.run_id, result, ports.ledger)
            yield dg.Output(None, metadata={name: str(value) for name, value in result.items()})

    title = catalog.title or catalog.catalog
    return _job(catalog, RunVerb.ADOPT, f"Make a backup of {title} of a file of an earlier program.", adopted)
