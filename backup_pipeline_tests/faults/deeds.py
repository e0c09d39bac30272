"""What a process of its own does to be killed at it: a backup as Dagster's steps make it, and all that comes after."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import boto3
import botocore.session
import dagster as dg
from botocore.loaders import create_loader

from backup_pipeline import ledger as patience
from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError, ExportFailedError
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level
from backup_pipeline.operations import attempts as end_made
from backup_pipeline.operations.attempts import Request
from backup_pipeline.operations.backup import bundle_attempt, close_orphans, export_attempt
from backup_pipeline.operations.retention import prune
from backup_pipeline.operations.retention.plan import plan_prune, prune_requests
from backup_pipeline.operations.verify import VerifyRequest, verify_attempt
from backup_pipeline.orchestration.resources import EXIT_CODE, WHAT_TO_DO, attempt_of
from backup_pipeline.settings import Settings
from backup_pipeline.stores.s3 import store as s3
from backup_pipeline.wiring.ports import open_ledger, open_ports, ports_over
from backup_pipeline_tests.actors import TESTER

_LOG = logging.getLogger(__name__)
_MODELS = create_loader()
botocore.session.create_loader = lambda *_: _MODELS  # the forked processes share what boto3 has read of S3
boto3.Session(region_name="us-east-1").client("s3", aws_access_key_id="a", aws_secret_access_key="b")
CATALOG = "shop"


@dataclass(frozen=True)
class Ended:
    """How a deed ended: the exit code, and of a failure what people are told."""

    exit_code: int = 0
    error: str = ""
    what_to_do: str = ""
    findings: tuple[str, ...] = ()
    """What a verification found wrong, each with its backup."""
    verified: tuple[str, ...] = ()
    """The backups that were found good."""
    changes: tuple[str, ...] = ()
    """What it changed on disk, where that was watched."""


def catalog_of(settings: Settings) -> Catalog:
    """The catalog of the tests of faults."""
    return load_catalog(settings.catalogs / f"{CATALOG}.yaml")


@dataclass(frozen=True)
class BackUp:
    """A full backup in two steps, as Dagster runs it, after what died before is closed, as the command line does it.

    `part_bytes`: objects in S3 are sent in parts of that size. `answer_seconds`: how long the ledger is waited for,
    `again_after`: when the end of a backup is written again.
    """

    part_bytes: int = s3.PART
    answer_seconds: float = patience.ANSWER_SECONDS
    again_after: tuple[float, ...] = end_made.AGAIN_AFTER_S

    def __call__(self) -> Ended:
        """Do it."""
        s3.PART, patience.ANSWER_SECONDS = self.part_bytes, self.answer_seconds
        end_made.AGAIN_AFTER_S = self.again_after
        settings = Settings(workers=2)
        catalog = catalog_of(settings)
        run_id = f"run {datetime.now(UTC):%H:%M:%S.%f}"
        tables = tuple(catalog.tables)
        day = local_date(datetime.now(UTC), catalog.timezone)
        request = Request(catalog, Kind.FULL, tables, day, Trigger.MANUAL, TESTER, run_id=run_id)
        try:
            with open_ports(settings, CATALOG) as ports:
                close_orphans(ports)
            with open_ports(settings, CATALOG) as ports:
                _export(request, ports)
            with open_ports(settings, CATALOG) as ports:
                _bundle(replace(request, reads=False), ports)
        except dg.Failure as failure:
            told = {name: value.value for name, value in failure.metadata.items()}
            return Ended(int(str(told[EXIT_CODE])), failure.description or "", str(told.get(WHAT_TO_DO, "")))
        except BackupError as error:
            return Ended(error.exit_code, error.what, error.do)
        return Ended()


def _export(request: Request, world: Ports) -> None:
    log: dg.DagsterLogManager = _LOG  # type: ignore[assignment]  # it warns and tells details, no more is used
    with attempt_of(request, world, log) as work:
        failed = {result.table: result.error for result in export_attempt(work) if result.error is not None}
        if failed:
            raise ExportFailedError(failed, len(request.tables))


def _bundle(request: Request, world: Ports) -> None:
    log: dg.DagsterLogManager = _LOG  # type: ignore[assignment]  # as above
    with attempt_of(request, world, log) as work:
        bundle_attempt(work)


def close_dead() -> Ended:
    """What the sensor and the next start do: close the rows of what died."""
    with open_ports(Settings(), CATALOG) as ports:
        close_orphans(ports)
    return Ended()


def verify_all() -> Ended:
    """Verify every backup that the ledger lists as good, down to the contents of its files."""
    settings = Settings()
    findings: list[str] = []
    good: list[str] = []
    with open_ledger(settings) as ledger:
        ports = ports_over(ledger, settings)
        for row in ledger.list(scope=Scope(CATALOG)):
            if not row.status.good:
                continue
            report = verify_attempt(row, VerifyRequest(Level.CONTENTS), ports, actor=TESTER)
            findings += [f"{row.backup_id} {found.object}: {found.message}" for found in report.findings]
            good += [row.backup_id] if not report.findings else []
    return Ended(findings=tuple(findings), verified=tuple(good))


def prune_all() -> Ended:
    """What `prune --confirm` does."""
    settings = Settings()
    try:
        with open_ledger(settings) as ledger:
            ports = ports_over(ledger, settings)
            for request in prune_requests(catalog_of(settings), TESTER, settings.prune_versions):
                report = prune(plan_prune(request, ports), request, ports)
                if report.partial:
                    raise report.error()
    except BackupError as error:
        return Ended(error.exit_code, error.what, error.do)
    return Ended()


def recover() -> Ended:
    """The next backup, a verification of everything that is listed, and a prune."""
    for deed in (BackUp(), verify_all, prune_all):
        ended = deed()
        if ended.exit_code or ended.findings:
            return ended
    return ended
