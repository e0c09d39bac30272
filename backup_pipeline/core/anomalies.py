"""Anomalies of a table: its rows, bytes, columns and keys, against those of the good backups before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import median_low

from pydantic import BaseModel, ConfigDict

from backup_pipeline.core.catalog.model import Anomalies, Catalog, Shrinkage
from backup_pipeline.core.catalog.rules import ADDITIONS, SIZES, AnomalyKind
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import (
    AnomalyEntry,
    CommunicationEntry,
    Manifest,
    StoredManifest,
    TableEntry,
    ValidationEntry,
)
from backup_pipeline.core.names import Kind

ROW_COUNT = "row_count"
KEY_UNIQUE = "key_unique"
SHRINKAGE = "shrinkage"
READABLE = "readable_from_store"
ANOMALY = "anomaly"


@dataclass(frozen=True)
class TableCheck:
    """The outcome of one check. A failed check that is `blocking` makes the table's export a failure."""

    name: str
    passed: bool
    blocking: bool
    message: str
    numbers: Mapping[str, int] = field(default_factory=dict)


def row_count(written: int, counted: int) -> TableCheck:
    """Were as many rows written as `count(*)` finds in the same snapshot?"""
    passed = written == counted
    message = f"{written:,} rows written, {counted:,} counted in the snapshot."
    return TableCheck(
        ROW_COUNT, passed, blocking=True, message=message, numbers={"written": written, "counted": counted}
    )


def key_unique(key: tuple[str, ...], duplicates: int) -> TableCheck:
    """Does each key stand once?"""
    if not key:
        return TableCheck(KEY_UNIQUE, passed=True, blocking=False, message="The table has no key; nothing to compare.")
    name = ", ".join(key)
    message = f"{duplicates:,} keys ({name}) stand more than once." if duplicates else f"Each key ({name}) stands once."
    return TableCheck(KEY_UNIQUE, duplicates == 0, blocking=False, message=message, numbers={"duplicates": duplicates})


def shrinkage(now: int, before: int | None, rule: Shrinkage) -> TableCheck:
    """Are there far fewer rows than in the last good backup? Small losses (up to `rule.floor` rows) never count."""
    if before is None:
        return TableCheck(
            SHRINKAGE,
            passed=True,
            blocking=False,
            message="No earlier good backup to compare with.",
            numbers={"rows": now},
        )
    lost = before - now
    least = before * Decimal(str(rule.ratio))  # exactly the ratio as it is written: 0.55 of 100 is 55
    passed = not (lost > rule.floor and now < least)
    share = f"{now / before:.0%} of" if before else "against"
    message = f"{now:,} rows, {share} the {before:,} of the last good backup."
    numbers = {"rows": now, "before": before, "lost": max(lost, 0)}
    return TableCheck(SHRINKAGE, passed, blocking=False, message=message, numbers=numbers)


class _Kept(BaseModel):
    """What a newer version of the program kept besides is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class TableShape(_Kept):
    """A table: what it was read from, its rows, and each column with its type; `unique`, whether each key stood once.

    `excluded` are the columns that the catalog left out. `anomalies` are those found in it. `communication` and
    `validation` are what its rows say, so that pages can tell it without the store.
    """

    relation: str
    rows: int
    columns: Mapping[str, str]
    excluded: tuple[str, ...] = ()
    unique: bool | None = None
    anomalies: tuple[AnomalyEntry, ...] = ()
    communication: tuple[CommunicationEntry, ...] = ()
    validation: ValidationEntry | None = None


class Shape(_Kept):
    """A backup: its tables, the relations nobody decided about or that were excluded, references that lead nowhere.

    `bundle_sha256` is there before the manifest is: of a run that died, it tells what the run had made.
    """

    backup_id: str
    tables: Mapping[str, TableShape]
    unlisted: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    orphans: Mapping[str, int] = {}
    anomalies: tuple[AnomalyEntry, ...] = ()
    bundle_sha256: str | None = None

    @property
    def findings(self) -> tuple[AnomalyEntry, ...]:
        """Everything unusual about the backup, as its manifest has it."""
        return (*(entry for table in self.tables.values() for entry in table.anomalies), *self.anomalies)


def shape_of(manifest: Manifest) -> Shape:
    """The shape of the backup that `manifest` describes."""
    return Shape(
        backup_id=manifest.backup_id,
        tables={table.name: table_shape(table) for table in manifest.tables},
        unlisted=manifest.unlisted,
        excluded=tuple(entry.table for entry in manifest.excluded),
        orphans=manifest.orphans,
        anomalies=manifest.anomalies,
        bundle_sha256=manifest.bundle.sha256 if isinstance(manifest, StoredManifest) else None,
    )


def table_shape(table: TableEntry) -> TableShape:
    """The shape of one table."""
    return TableShape(
        relation=table.relation,
        rows=table.row_count,
        columns={column.name: column.pg_type for column in table.columns},
        excluded=tuple(table.excluded_columns),
        unique=next((check.passed for check in table.checks if check.name == KEY_UNIQUE), None),
        anomalies=table.anomalies,
        communication=table.communication,
        validation=table.validation,
    )


@dataclass(frozen=True)
class Past:
    """A table in the good backups before: its rows and bytes, newest first, and its shape in the last, `backup_id`.

    `open` are findings of that last backup whose held backup nobody has released yet. While one of them is about sizes,
    rows and bytes are those up to the held backup: what is in doubt never becomes the usual by waiting.
    """

    rows: tuple[int, ...] = ()
    bytes: tuple[int, ...] = ()
    backup_id: str | None = None
    shape: TableShape | None = None
    open: tuple[AnomalyEntry, ...] = ()


@dataclass(frozen=True)
class History:
    """The good backups before one: ledger rows, newest first, of those that hold tables.

    `tables` has, by name, the shape in the newest backup that holds it, where it is known; `full` is the shape of the
    newest full backup. `held` are the ids of those that are held.
    """

    attempts: Sequence[Attempt] = ()
    tables: Mapping[str, TableShape] = field(default_factory=dict)
    full: Shape | None = None
    held: frozenset[str] = frozenset()

    def of(self, table: str, trailing: int) -> Past:
        """The table in the newest `trailing` of them."""
        having = [attempt for attempt in self.attempts if table in attempt.table_counts]
        if not having:
            return Past()
        shape = self.tables.get(table)
        unreleased = self.open(shape.anomalies if shape else ())
        seen = self._until(having[:trailing], {entry.held for entry in unreleased if entry.kind in SIZES})
        return Past(
            rows=tuple(attempt.table_counts[table] for attempt in seen),
            bytes=tuple(attempt.table_bytes[table] for attempt in seen if table in attempt.table_bytes),
            backup_id=having[0].backup_id,
            shape=shape,
            open=unreleased,
        )

    def open(self, findings: Sequence[AnomalyEntry]) -> tuple[AnomalyEntry, ...]:
        """Those findings whose held backup is still held."""
        return tuple(entry for entry in findings if entry.held in self.held)

    def _until(self, attempts: Sequence[Attempt], doubted: set[str | None]) -> Sequence[Attempt]:
        """Those that are no newer than the oldest of the backups `doubted`, which show how it was."""
        moments = [attempt.created_at for attempt in self.attempts if attempt.backup_id in doubted]
        return [attempt for attempt in attempts if attempt.created_at <= min(moments)] if moments else attempts


_UNITS = {AnomalyKind.ROWS: "rows", AnomalyKind.BYTES: "bytes", AnomalyKind.EMPTIED: "rows"}
_LOOK = "Look at what changed: `backup-pipeline show {held}` tells how it was."
_BACK = " Lost rows come back with `backup-pipeline restore {held} -T {table} --to-source --mode insert-missing`."
_NEXT = {
    AnomalyKind.NEW_COLUMN: "Decide whether it may leave the database: `exclude` or `mask` it in the catalog if not.",
    AnomalyKind.NEW_TABLE: "List it in the catalog, or exclude it with a reason.",
    AnomalyKind.DUPLICATE_KEYS: "Find out what wrote them: a constraint is missing, or the catalog's `key` is wrong.",
    AnomalyKind.ORPHANS: "Find out what removed the rows they refer to: the backup {held} may have them.",
    AnomalyKind.VANISHED_TABLE: "List it in the catalog again, or exclude it with a reason: nobody backs it up now.",
}


def size_finding(table: str, kind: AnomalyKind, now: int, usual: int, backups: int) -> AnomalyEntry:
    """A table that is smaller or larger than usual, the median of so many `backups`."""
    unit = _UNITS[kind]
    text = f"{now:,} {unit}, usually {usual:,} (median of {backups} good backups): {_change(now, usual, unit)}"
    return finding(table, kind, text, now=now, usual=usual, short=_change(now, usual, unit))


def finding(
    table: str,
    kind: AnomalyKind,
    text: str,
    *,
    subject: str = "",
    now: int | str | None = None,
    usual: int | str | None = None,
    short: str | None = None,
) -> AnomalyEntry:
    """A finding that says `told`; which backup it holds, `settled` decides. `short` is the change alone."""
    return AnomalyEntry(
        table=table,
        kind=kind.value,
        subject=subject,
        now=now,
        usual=usual,
        change=short or text,
        message=f"{text[0].upper()}{text[1:]}.",
        do=_NEXT.get(kind, _LOOK),
        severity="info" if kind in ADDITIONS else "warning",
    )


def settled(entry: AnomalyEntry, past: Past) -> AnomalyEntry:
    """The finding with the backup that it holds: the last one, or that of a finding not released yet.

    It is `standing` when a backup before told the same.
    """
    return settled_against(entry, past.open, past.backup_id)


def settled_against(entry: AnomalyEntry, earlier: Sequence[AnomalyEntry], last: str | None) -> AnomalyEntry:
    """The finding, where the findings `told` are not released yet and `last` is the backup before."""
    same = _first(before for before in earlier if (before.kind, before.subject) == (entry.kind, entry.subject))
    alike = same or _first(before for before in earlier if {entry.kind, before.kind} <= SIZES)
    held = alike.held if alike else last
    return entry.model_copy(update={"held": held, "standing": same is not None, "do": _step(entry, held or "latest")})


def _step(entry: AnomalyEntry, held: str) -> str:
    step = _NEXT.get(AnomalyKind(entry.kind), _LOOK)
    lost = isinstance(entry.now, int) and isinstance(entry.usual, int) and entry.now < entry.usual
    if lost and entry.kind in {AnomalyKind.ROWS, AnomalyKind.EMPTIED}:
        step += _BACK
    return step.format(held=held, table=entry.table)


def _first(findings: Iterable[AnomalyEntry]) -> AnomalyEntry | None:
    return next(iter(findings), None)


def _change(now: int, usual: int, unit: str) -> str:
    """`52% fewer rows`, `3.1 times the bytes`."""
    if now < usual:
        return f"{1 - now / usual:.0%} {'fewer' if unit == 'rows' else 'less'} {unit}"
    return f"{now / usual:.1f} times the {unit}" if usual else f"{now:,} {unit} where there were none"


FEWEST = 3
"""Below so many earlier backups only emptiness is judged: two values do not say what is usual."""


def unusual(now: int, before: Sequence[int], *, ratio: float, floor: int) -> int | None:
    """The median of `before` when `now` is far from it, else None.

    Far is `ratio` of the median or less; or so much that the most of `before` is `ratio` of it or less. Nothing is far
    that lies within what was seen, or outside of it by no more than `floor`. Fewer than three values say nothing.
    """
    if len(before) < FEWEST:
        return None
    usual, share = median_low(before), Decimal(str(ratio))  # exactly the ratio as it is written
    fell = now <= usual * share and min(before) - now > floor
    grew = max(before) <= now * share and now - max(before) > floor
    return usual if fell or grew else None


def judge_table(now: TableEntry, past: Past, rule: Anomalies) -> tuple[AnomalyEntry, ...]:
    """What is unusual about the table, by `rule`. A table that no good backup holds yet has nothing to differ from."""
    if past.backup_id is None or not rule.trailing:
        return ()
    findings = [*_sizes(now, past, rule), *_columns(now, past), *_keys(now, past)]
    return tuple(settled(entry, past) for entry in findings if AnomalyKind(entry.kind) not in rule.allow)


def anomaly_check(findings: Sequence[AnomalyEntry], past: Past) -> TableCheck:
    """The check of a table that tells its findings."""
    message = " ".join(entry.message for entry in findings)
    if not findings:
        before = "good backup" if len(past.rows) == 1 else f"{len(past.rows)} good backups"
        message = f"As in the {before} before." if past.rows else "No earlier good backup."
    return TableCheck(ANOMALY, not findings, blocking=False, message=message, numbers={"findings": len(findings)})


def _sizes(now: TableEntry, past: Past, rule: Anomalies) -> Iterator[AnomalyEntry]:
    """One finding at most: fewer rows are fewer bytes too, and other columns are other bytes."""
    if now.row_count == 0 and past.rows and min(past.rows) > 0:
        yield size_finding(now.name, AnomalyKind.EMPTIED, 0, median_low(past.rows), len(past.rows))
        return
    usual = unusual(now.row_count, past.rows, ratio=rule.ratio, floor=rule.floor_rows)
    if usual is not None:
        yield size_finding(now.name, AnomalyKind.ROWS, now.row_count, usual, len(past.rows))
    elif past.shape is None or _types(now) == past.shape.columns:
        usual = unusual(now.bytes, past.bytes, ratio=rule.ratio, floor=rule.floor_bytes)
        if usual is not None:
            yield size_finding(now.name, AnomalyKind.BYTES, now.bytes, usual, len(past.bytes))


def _columns(now: TableEntry, past: Past) -> Iterator[AnomalyEntry]:
    """Columns against those of the last backup, and changes that were told before and are still there.

    What the catalog began or ceased to leave out is no anomaly but a decision; what is back as it was, is none either.
    """
    if past.shape is None:
        return
    present, there = _types(now), past.shape.columns
    back = {(entry.subject, entry.usual) for entry in past.open}
    for name, pg_type in present.items():
        if there.get(name) == pg_type or (name, pg_type) in back:
            continue
        if name in there:
            yield _column(now, AnomalyKind.CHANGED_TYPE, name, pg_type, there[name])
        elif name not in past.shape.excluded:
            yield _column(now, AnomalyKind.NEW_COLUMN, name, pg_type, None)
    for name in [name for name in there if name not in present and name not in now.excluded_columns]:
        yield _column(now, AnomalyKind.VANISHED_COLUMN, name, None, there[name])
    yield from (entry for entry in past.open if _still(entry, present, now.excluded_columns))


def _still(entry: AnomalyEntry, present: Mapping[str, str], excluded: Mapping[str, str]) -> bool:
    """Whether a change of columns that was told before is still there."""
    match entry.kind:
        case AnomalyKind.NEW_COLUMN | AnomalyKind.CHANGED_TYPE:
            return present.get(entry.subject) == entry.now
        case AnomalyKind.VANISHED_COLUMN:
            return entry.subject not in present and entry.subject not in excluded
    return False


def _column(table: TableEntry, kind: AnomalyKind, name: str, now: str | None, usual: str | None) -> AnomalyEntry:
    change = {
        AnomalyKind.NEW_COLUMN: f"column {name} ({now}) is new",
        AnomalyKind.VANISHED_COLUMN: f"column {name} ({usual}) is gone",
        AnomalyKind.CHANGED_TYPE: f"column {name} was {usual} and is {now}",
    }[kind]
    return finding(table.name, kind, change, subject=name, now=now, usual=usual)


def _keys(now: TableEntry, past: Past) -> Iterator[AnomalyEntry]:
    """Keys that stand more than once, where each stood once in the last backup, or that is still in doubt."""
    failed = next((check for check in now.checks if check.name == KEY_UNIQUE and not check.passed), None)
    if failed is None:
        return
    was_well = past.shape is not None and past.shape.unique
    if was_well or any(entry.kind == AnomalyKind.DUPLICATE_KEYS for entry in past.open):
        change = failed.message.rstrip(".")
        yield finding(now.name, AnomalyKind.DUPLICATE_KEYS, change, usual="each key stands once")


def _types(table: TableEntry) -> dict[str, str]:
    return {column.name: column.pg_type for column in table.columns}


@dataclass(frozen=True)
class BackupContents:
    """What a backup holds and what it leaves out. `orphans` has, by reference, the rows that it leads nowhere.

    A reference is written `table(column) → other(column)`, and begins with the name of its table.
    """

    kind: Kind
    tables: tuple[TableEntry, ...]
    unlisted: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    orphans: Mapping[str, int] = field(default_factory=dict)

    def knows(self, relation: str) -> bool:
        """Whether somebody decided about the relation: it is read, stood for, or left out with a reason."""
        read = {table.relation for table in self.tables}
        covered = {".".join(name) for table in self.tables for name in table.covers}
        return relation in read | covered | set(self.excluded)


def judge_backup(now: BackupContents, history: History, catalog: Catalog) -> tuple[AnomalyEntry, ...]:
    """What is unusual against the last full backup. Tables are compared when this one is a full one too."""
    before = history.full
    if before is None or not catalog.anomalies.trailing:
        return ()
    earlier = history.open(before.anomalies)
    findings = list(_orphans(now, before, earlier, catalog))
    if now.kind is Kind.FULL:
        findings += [
            *_new_tables(now, before),
            *_vanished_tables(now, before),
            *(entry for entry in earlier if _still_orphaned(entry, now)),
        ]
    wanted = [entry for entry in findings if AnomalyKind(entry.kind) not in catalog.anomalies_of(entry.table).allow]
    return tuple(settled_against(entry, _of(earlier, entry.table), before.backup_id) for entry in wanted)


def _new_tables(now: BackupContents, before: Shape) -> Iterator[AnomalyEntry]:
    """Tables that nobody has decided about. One that the catalog listed or excluded until now is no new one."""
    known = {*before.unlisted, *before.excluded, *(table.relation for table in before.tables.values())}
    for relation in now.unlisted:
        if relation not in known:
            yield finding(relation, AnomalyKind.NEW_TABLE, f"table {relation} is new, and not in the backup", now="new")


def _vanished_tables(now: BackupContents, before: Shape) -> Iterator[AnomalyEntry]:
    present = {table.name for table in now.tables}
    for name, table in before.tables.items():
        if name not in present and not now.knows(table.relation):
            text = f"table {table.relation} ({table.rows:,} rows) is not in the backup any more"
            yield finding(name, AnomalyKind.VANISHED_TABLE, text, subject=table.relation, usual=table.rows)


def _still_orphaned(entry: AnomalyEntry, now: BackupContents) -> bool:
    """Whether what was told of a table before is still so."""
    match entry.kind:
        case AnomalyKind.NEW_TABLE:
            return entry.table in now.unlisted
        case AnomalyKind.VANISHED_TABLE:
            return not now.knows(entry.subject) and all(table.name != entry.table for table in now.tables)
    return False


def _orphans(
    now: BackupContents, before: Shape, earlier: tuple[AnomalyEntry, ...], catalog: Catalog
) -> Iterator[AnomalyEntry]:
    """Rows that refer to none, where there were none before, or far fewer; what was never counted is no change."""
    open_before = {entry.subject: entry.usual for entry in earlier if entry.kind == AnomalyKind.ORPHANS}
    for reference, rows in now.orphans.items():
        table = reference.partition("(")[0]
        usual = open_before.get(reference, before.orphans.get(reference))
        rule = catalog.anomalies_of(table)
        if not isinstance(usual, int) or rows <= usual:
            continue
        if usual == 0 or (usual <= rows * rule.ratio and rows - usual > rule.floor_rows):
            change = f"{rows:,} rows refer to no row: {reference}, usually {usual:,}"
            yield finding(table, AnomalyKind.ORPHANS, change, subject=reference, now=rows, usual=usual)


def _of(entries: tuple[AnomalyEntry, ...], table: str) -> tuple[AnomalyEntry, ...]:
    return tuple(entry for entry in entries if entry.table == table)
