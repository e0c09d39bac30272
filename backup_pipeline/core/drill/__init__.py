"""Drills, as values: what is left out of a backup's definitions, what was found, the report.

Whatever comes from a backup runs in the scratch server as a role without a superuser's rights. So functions in C or in
an untrusted language, event triggers, servers of foreign data and the like are not made there, nor what needs them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

from backup_pipeline.core.errors import BackupError, VerificationError
from backup_pipeline.core.restore import Name
from backup_pipeline.core.restore.dump import Dump, DumpEntry, Token

_KINDS = frozenset(
    {
        "ACCESS METHOD", "EVENT TRIGGER", "FOREIGN DATA WRAPPER", "FOREIGN TABLE", "LANGUAGE", "OPERATOR CLASS",
        "OPERATOR FAMILY", "PROCEDURAL LANGUAGE", "PUBLICATION", "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA",
        "SECURITY LABEL", "SERVER", "SHELL TYPE", "SUBSCRIPTION", "SUBSCRIPTION TABLE", "TEXT SEARCH PARSER",
        "TEXT SEARCH TEMPLATE", "TRANSFORM", "USER MAPPING",
    }
)  # fmt: skip
_ROUTINES = frozenset({"FUNCTION", "PROCEDURE"})
_TRUSTED_LANGUAGES = frozenset({"sql", "plpgsql", "plperl", "pltcl", "plv8", "plrust", "pllua", "pljava"})


@dataclass(frozen=True)
class Permitted:
    """The definitions that a role without a superuser's rights may make, and why others are left out."""

    dump: Dump
    left_out: tuple[str, ...]


def permitted(dump: Dump, held: Collection[Name]) -> Permitted:
    """`dump` without what only a superuser may make, and without what needs that.

    A table among `held`, of which the backup has rows, that needs it goes too, but not what needs the table: it is
    made anew from the manifest.
    """
    kept: list[DumpEntry] = []
    left_out: list[str] = []
    lost: set[Name] = set()
    for entry in dump.entries:
        needed = sorted(entry.mentions & lost)
        if not (needed or _for_superusers(entry)):
            kept.append(_without_promises(entry))
            continue
        left_out.append(_reason(entry, needed))
        if entry.defines and entry.defines not in held:
            lost.add(entry.defines)
    return Permitted(Dump(tuple(kept), dump.left_out), tuple(left_out))


def _reason(entry: DumpEntry, needed: list[Name]) -> str:
    called = f"{entry.kind.lower()} {entry.tag} is not made: "
    if needed:
        return f"{called}it needs {', '.join('.'.join(name) for name in needed)}, which is not made."
    return f"{called}only a superuser may, and nothing that comes from a backup runs as one in a drill."


def _for_superusers(entry: DumpEntry) -> bool:
    if entry.kind in _KINDS:
        return True
    if entry.kind in _ROUTINES:
        return not _languages(entry) <= _TRUSTED_LANGUAGES
    if entry.kind == "CAST":
        return any(token.is_word("WITHOUT") for token in entry.tokens)
    return entry.kind == "TYPE" and _is_base_type(entry)


def _languages(entry: DumpEntry) -> set[str]:
    """The language of a routine as its definition names it."""
    options = list(_options(entry))
    return {named.text for token, named in pairwise(options) if token.is_word("LANGUAGE")}


def _options(entry: DumpEntry) -> Iterator[Token]:
    """What stands behind a routine's arguments and before its body, without what stands in parentheses."""
    depth, behind = 0, False
    for token in entry.tokens:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and behind:
            if token.is_word("AS", "BEGIN", "RETURN"):
                return
            yield token
        behind = behind or token.text == ")"


def _is_base_type(entry: DumpEntry) -> bool:
    """CREATE TYPE name; or CREATE TYPE name (INPUT = …): its values are read and shown by functions in C."""
    tokens = entry.tokens
    opened = next((index for index, token in enumerate(tokens) if token.text in {"(", ";"}), None)
    if opened is None or tokens[opened].text == ";":
        return opened is not None
    before = tokens[opened - 1]
    return not before.is_word("AS", "ENUM", "RANGE")


def _without_promises(entry: DumpEntry) -> DumpEntry:
    """A function without LEAKPROOF: only a superuser may promise that, and rows are the same without."""
    if entry.kind not in _ROUTINES:
        return entry
    sql = entry.sql
    for token in reversed([token for token in _options(entry) if token.is_word("LEAKPROOF")]):
        sql = f"{sql[: token.start]}{sql[token.end :]}"
    return replace(entry, sql=sql) if sql != entry.sql else entry


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
class DrillFinding:
    """Something that did not come back as it was: about a table, an object of the schema or a file; and what to do."""

    about: str
    message: str
    do: str = ""

    def __str__(self) -> str:
        return f"{self.about}: {self.message}"


@dataclass(frozen=True)
class DrillRemark:
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
    findings: tuple[DrillFinding, ...] = ()
    remarks: tuple[DrillRemark, ...] = ()


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
    findings: tuple[DrillFinding, ...] = ()
    remarks: tuple[DrillRemark, ...] = ()
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

    `fill` gives values to columns that the backup does not hold; `redefined` are tables whose definition is made from
    the manifest or relaxed, with the reason.
    """

    fill: Mapping[str, str] = field(default_factory=dict)
    redefined: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[DrillRemark, ...] = ()


BLIND = "The drill is blind"


@dataclass(frozen=True)
class Injection:
    """A fault that was put in: what was done, and the word that a finding must have to be about it."""

    fault: Fault
    what: str
    mark: str


def unnoticed(report: DrillReport, injection: Injection) -> BackupError | None:
    """The error of a drill that did not find what was put in; None when it did."""
    if any(injection.mark in f"{finding.about} {finding.message}" for finding in report.findings):
        return None
    return blind(injection, report.backup_id)


def blind(injection: Injection, backup_id: str, why: str = "") -> BackupError:
    """The error of a drill that does not see a fault."""
    also = f" {why}" if why else ""
    message = f"{BLIND}: {injection.fault} was injected into the drill of backup {backup_id} and not found.{also}"
    return BackupError(message, do=f"{injection.what} Report this: until it is found, no drill can be trusted.")


def noticed(report: DrillReport, injection: Injection) -> VerificationError:
    """The error of a drill that found what was put in."""
    first = next(f for f in report.findings if injection.mark in f"{f.about} {f.message}")
    message = f"Injected fault {injection.fault} was FOUND, as it should be: {first}"
    do = f"{injection.what} The backup itself was not touched; nothing was recorded as its state, nobody was alerted."
    return VerificationError(message, do=do)
