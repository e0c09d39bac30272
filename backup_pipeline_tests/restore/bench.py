"""A workbench for restores: backups of real databases, restored into real databases, and compared with pg_dump."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from backup_pipeline.core.catalog.draft import draft_catalog
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.layout import RESTORES
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.ports import Ports, Progress, Silence
from backup_pipeline.core.restore import Mode, RemarkSeverity, RestorePlan, RestoreReport, RestoreRequest
from backup_pipeline.operations.restore.transfer import plan_restore, run_restore
from backup_pipeline.postgres.programs import find_binaries
from backup_pipeline.postgres.restore import PostgresTarget, TargetOptions
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.operations.made import Place

SAFETY = "20261121T000000Z-selective-00000001"


@dataclass
class Bench:
    """A backup and where it can be restored to. `safety` is what is called for the safety backup."""

    place: Place
    attempt: Attempt
    work: Path
    safety: Callable[[], str] | None = lambda: SAFETY
    progress: Progress = field(default_factory=Silence)

    @property
    def spool(self) -> Path:
        """Where restores keep what they have fetched."""
        return self.work / RESTORES

    @property
    def ports(self) -> Ports:
        place = self.place
        return ports_for_test(store=place.store, ledger=place.ledger, progress=self.progress, spool=self.work)

    def request(self, mode: Mode, *tables: str, **more: Any) -> RestoreRequest:
        return RestoreRequest(self.attempt.backup_id, tables, mode, **more)

    def plan(self, url: str, mode: Mode, *tables: str, **more: Any) -> RestorePlan:
        return plan_restore(self.request(mode, *tables, **more), PostgresTarget(url), self.ports)

    def restore(self, url: str, mode: Mode, *tables: str, **more: Any) -> RestoreReport:
        """Plan and carry out, confirmed as a person would."""
        more.setdefault("confirm", url.rpartition("/")[2])
        target = PostgresTarget(url, options=TargetOptions(lock_timeout_s=5))
        plan = plan_restore(self.request(mode, *tables, **more), target, self.ports)
        return run_restore(plan, target, self.ports, safety=self.safety)


def back_up(url: str, folder: Path, specs: Mapping[str, Mapping[str, Any]] | None = None) -> Bench:
    """A backup of every table at `url`; `specs` says more about some."""
    with PostgresSource(url).snapshot() as snapshot:
        drafted = draft_catalog(snapshot.database(), name="shop").catalog
    tables = {name: {**spec.model_dump(exclude_defaults=True), **(specs or {}).get(name, {})}
              for name, spec in drafted.tables.items()}  # fmt: skip
    values = drafted.model_dump(by_alias=True, exclude={"tables"})
    return back_up_catalog(url, folder, Catalog.model_validate({**values, "tables": tables}))


def back_up_catalog(url: str, folder: Path, catalog: Catalog) -> Bench:
    place = Place(folder / "spool")
    return Bench(place, place.back_up(url, catalog), folder / "restore")


def run(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(sql.encode())


def rows(url: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True, row_factory=tuple_row) as session:
        return session.execute(sql.encode()).fetchall()


def one(url: str, sql: str) -> Any:
    return rows(url, sql)[0][0]


def dump(url: str, *options: str) -> list[str]:
    """What pg_dump says about the database; data in a stable order."""
    program = find_binaries(needs=("pg_dump",)).tool("pg_dump")
    command = [str(program), "--no-owner", "--no-privileges", *options, "-d", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("\\")]
    return sorted(lines) if "--data-only" in options else lines


def everything(url: str) -> tuple[list[str], list[str]]:
    """Schema and data, to be compared before and after."""
    return dump(url, "--schema-only"), dump(url, "--data-only")


def refusals(plan: RestorePlan) -> str:
    return "\n".join(f"{remark.message} {remark.do}" for remark in plan.refusals)


def warnings(plan: RestorePlan) -> str:
    return "\n".join(remark.message for remark in plan.remarks if remark.severity is RemarkSeverity.WARNING)
