"""A drill: what a rehearsed restore saw, table by table, what it found, and what it says about a real one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum

from backup_pipeline.core.errors import VerificationError


class Fault(StrEnum):
    """What a drill can be made to suffer, in a copy, to see whether it notices."""

    BITFLIP = "bitflip"
    """One bit of the copied bundle is turned over."""
    DROP_ROW = "drop-row"
    """One row is deleted from the scratch database after the restore."""
    DROP_FILE = "drop-file"
    """One table's file is taken out of the copied bundle."""
    STALE = "stale"
    """The backup is taken for an old one."""


class How(StrEnum):
    """How files of the backup and of the restored database were found to be the same, or that they were not."""

    BYTES = "bytes"
    """The very bytes: the same SHA-256."""
    FINGERPRINT = "fingerprint"
    """The same rows in any order: as many, and the same sums of their hashes."""
    DIFFERENT = "different"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Finding:
    """Something that did not come back as it was: about a table, an object of the schema or a file; and what to do."""

    about: str
    message: str
    do: str = ""

    def __str__(self) -> str:
        return f"{self.about}: {self.message}"


@dataclass(frozen=True)
class Remark:
    """Something worth knowing that makes the backup no worse."""

    about: str
    message: str

    def __str__(self) -> str:
        return f"{self.about}: {self.message}"


@dataclass(frozen=True)
class TableSeconds:
    """How long a table took. `fetch` is its share, by bytes, of the time in which the bundle came from the store."""

    fetch: float = 0.0
    restore: float = 0.0
    export: float = 0.0
    compare: float = 0.0


@dataclass(frozen=True)
class TableDrill:
    """What became of one table: the rows in the backup, those that came back, and how its files were the same.

    `restored` is false for a view that holds no rows of its own: its rows were computed anew.
    """

    name: str
    rows: int
    rows_again: int | None
    parquet: How
    sheet: How
    restored: bool = True
    seconds: TableSeconds = TableSeconds()
    findings: tuple[Finding, ...] = ()
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class ObjectCount:
    """Of one kind of object: how many the backup's schema.sql makes, and how many of them are there and valid."""

    kind: str
    wanted: int
    valid: int


@dataclass(frozen=True)
class InsertTrial:
    """One insert into a table with a numbered column, rolled back: the number it drew, or why it was not tried."""

    table: str
    columns: tuple[str, ...]
    drawn: tuple[str, ...] = ()
    not_tried: str = ""


@dataclass(frozen=True)
class Stages:
    """How many seconds each part of the drill took. `server` is starting the scratch server."""

    fetch: float = 0.0
    verify: float = 0.0
    server: float = 0.0
    restore: float = 0.0
    export: float = 0.0
    compare: float = 0.0
    inspect: float = 0.0


@dataclass(frozen=True)
class DrillReport:
    """What a drill saw. `verified` is how far the verification before it got; `injected` a fault that was put in.

    `bytes` is the size of the bundle, `bytes_to_fetch` what a restore of everything would fetch of it. `server` says
    for people which scratch server it was.
    """

    backup_id: str
    catalog: str
    snapshot_at: datetime | None
    verified: str
    bytes: int
    bytes_to_fetch: int = 0
    server_version: str = ""
    server: str = ""
    tables: tuple[TableDrill, ...] = ()
    objects: tuple[ObjectCount, ...] = ()
    inserts: tuple[InsertTrial, ...] = ()
    findings: tuple[Finding, ...] = ()
    remarks: tuple[Remark, ...] = ()
    stages: Stages = Stages()
    seconds: float = 0.0
    injected: Fault | None = None
    stale: str | None = None

    @property
    def passed(self) -> bool:
        """Whether everything came back as it was."""
        return not self.findings

    @property
    def rows(self) -> int:
        """The rows that were restored."""
        return sum(table.rows for table in self.tables if table.restored)

    @property
    def predicted_restore_seconds(self) -> float | None:
        """How long a restore of the whole backup takes on a machine like this one; None when none was done.

        What a restore would fetch, at the speed with which the bundle came, and the seconds of the restore itself.
        """
        if not self.stages.restore:
            return None
        share = self.bytes_to_fetch / self.bytes if self.bytes else 0.0
        return round(self.stages.fetch * share + self.stages.restore, 1)

    def error(self) -> VerificationError:
        """One error, naming the first finding, for whoever must fail on them."""
        first, more = self.findings[0], len(self.findings) - 1
        also = f" ({more} more {'findings' if more > 1 else 'finding'})" if more else ""
        message = f"The drill of backup {self.backup_id} failed: {first}{also}"
        do = first.do or "Do not rely on this backup alone: drill another one, and make a new one now."
        return VerificationError(message, do=do)

    def as_json(self) -> dict[str, object]:
        """Everything, as JSON has it."""
        plain = asdict(self)
        return {
            **plain,
            "snapshot_at": self.snapshot_at.isoformat() if self.snapshot_at else None,
            "passed": self.passed,
            "rows": self.rows,
            "predicted_restore_seconds": self.predicted_restore_seconds,
        }


@dataclass(frozen=True)
class Amendment:
    """What is different about the definitions in the scratch database, so that the backup can be restored by itself.

    `fill` gives values to columns that the backup does not hold; `made` are tables of the backup whose definition is
    made from the manifest or relaxed, with the reason.
    """

    fill: Mapping[str, str] = field(default_factory=dict)
    made: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
