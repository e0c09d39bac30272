"""Drills for tests: of backups in memory, with real scratch servers, and a channel that remembers its alerts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg

from backup_pipeline.core.alerts import Alert, Delivery
from backup_pipeline.core.catalog.draft import draft_catalog
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.drill import DrillReport, Fault, TableDrill
from backup_pipeline.core.drill.objects import Sandbox
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ledger import Attempt, AuditEvent
from backup_pipeline.core.ports import Ports, Store
from backup_pipeline.core.verification import depth_of, has_failed
from backup_pipeline.operations.drill import DrillRequest, drill, drill_with_fault
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.drill import open_sandbox
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.operations.made import Place

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


class Remembering:
    """The port `Alerter`, with one channel that remembers."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    @property
    def channels(self) -> Sequence[str]:
        return ["memory"]

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        self.alerts.append(alert)
        return [Delivery("memory")]


@dataclass
class Rehearsing:
    """A backup and a place to drill it in."""

    place: Place
    attempt: Attempt
    catalog: Catalog
    work: Path
    alerter: Remembering = field(default_factory=Remembering)

    def ports(self) -> Ports:
        return replace(self.place.ports(NOWHERE), alerter=self.alerter)

    def open_sandbox(self) -> AbstractContextManager[Sandbox]:
        return open_sandbox(Settings(work_dir=self.work))

    def request(self, **more: Any) -> DrillRequest:
        found = self.place.ledger.get(self.attempt.backup_id)
        assert found is not None
        return replace(DrillRequest(found, TESTER, self.catalog), **more)

    def drill(self, **more: Any) -> DrillReport:
        return drill(self.request(**more), self.ports(), self.open_sandbox)

    def inject(self, fault: Fault, **more: Any) -> tuple[DrillReport, BackupError]:
        return drill_with_fault(self.request(fault=fault, **more), self.ports(), self.open_sandbox)

    def level(self) -> tuple[int, bool]:
        found = self.place.ledger.get(self.attempt.backup_id)
        assert found is not None
        return depth_of(found.verification), not has_failed(found.verification)

    def audits(self, action: str = "drill") -> list[AuditEvent]:
        return [event for event in self.place.ledger.audits(self.attempt.backup_id) if event.action == action]

    def left(self) -> list[Path]:
        """What drills left behind."""
        folder = self.work / "drills"
        return [*folder.iterdir()] if folder.is_dir() else []

    def stored(self) -> dict[str, bytes]:
        return {found.key: self.place.store.get(found.key) for found in self.place.store.list("")}


def backed_up(url: str, folder: Path, catalog: Catalog, store: Store | None = None) -> Rehearsing:
    """A backup of the database at `url`; in memory, unless a store is given."""
    place = Place(folder / "spool", store or MemoryStore())
    return Rehearsing(place, place.back_up(url, catalog), catalog, folder / "work")


def drafted(url: str, **specs: dict[str, Any]) -> Catalog:
    """A catalog of every table at `url`; `specs` says more about some."""
    with PostgresSource(url).snapshot() as snapshot:
        made = draft_catalog(snapshot.database(), name="shop").catalog
    tables = {name: {**spec.model_dump(exclude_defaults=True), **specs.get(name, {})}
              for name, spec in made.tables.items()}  # fmt: skip
    for name, spec in specs.items():
        tables.setdefault(name, spec)
    values = made.model_dump(by_alias=True, exclude={"tables"})
    return Catalog.model_validate({**values, "tables": tables})


def run(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(sql.encode())


def table(report: DrillReport, name: str) -> TableDrill:
    return next(table for table in report.tables if table.name == name)


def said(report: DrillReport) -> str:
    """Every remark, as one text."""
    return "\n".join(str(remark) for remark in report.remarks)
