"""Anomalies of a backup: found before its manifest is sealed; the last good one is held, and people are told."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.anomalies import BackupContents, History, Shape, TableShape, judge_backup, shape_of
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.comparison import Pointing, pointings
from backup_pipeline.core.errors import BackupError, LedgerError, NotFoundError
from backup_pipeline.core.ledger import GOOD, Attempt, Hold, Status
from backup_pipeline.core.manifest import AnomalyEntry, Manifest, TableEntry
from backup_pipeline.core.manifest.outline import Outline
from backup_pipeline.core.names import Kind
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.scope import PROGRAM, Scope
from backup_pipeline.operations.alerting import tell
from backup_pipeline.operations.browse import stored_manifest
from backup_pipeline.operations.retention.hold import hold_backup

logger = logging.getLogger(__name__)

_ROWS = 200
"""Good rows to look at: some are of selected tables, or have no bundle."""
_SHAPES = 5
"""Shapes to look at for a table that the newest do not hold."""


def load_history(attempt: Attempt, ports: Ports) -> History:
    """The good backups of the catalog before `attempt`; LedgerError when the ledger can not be read."""
    rows = ports.ledger.list(scope=attempt.scope, status=sorted(GOOD), limit=_ROWS)
    before = [row for row in rows if _comparable(row, attempt)]
    now = ports.clock()
    full = next((row for row in before if row.kind is Kind.FULL), None)
    return History(
        attempts=before,
        tables=dict(_tables(before, ports)),
        full=_shape(full, ports) if full else None,
        held=frozenset(row.backup_id for row in before if row.hold is not None and row.hold.lasts(now)),
    )


def _comparable(row: Attempt, attempt: Attempt) -> bool:
    """Whether the row is of an earlier backup of the same rows: one without counted tables has no bundle."""
    earlier = row.created_at < attempt.created_at and row.backup_id != attempt.backup_id
    return earlier and bool(row.table_counts) and row.scope == attempt.scope


def _tables(before: Sequence[Attempt], ports: Ports) -> Iterator[tuple[str, TableShape]]:
    """Each table as in the newest backup that holds it."""
    seen: set[str] = set()
    looked = 0
    for row in before:
        new = set(row.table_counts) - seen
        if not new or looked == _SHAPES:
            continue
        seen |= new
        looked += 1
        shape = _shape(row, ports)
        yield from ((name, table) for name, table in (shape.tables.items() if shape else ()) if name in new)


def _shape(row: Attempt, ports: Ports) -> Shape | None:
    """The backup's shape; None when neither the ledger nor the store tells: then its columns are not compared."""
    kept = ports.ledger.shapes.get(row.backup_id)
    if kept is not None:
        return kept
    try:
        return shape_of(stored_manifest(row, ports.store))
    except BackupError as error:
        logger.warning("Columns are not compared with those of backup %s: %s", row.backup_id, error)
        return None


CHEAP_ROWS = 1_000_000
"""Rows of both tables together up to which a reference is followed here; beyond, verification at level 3 does it."""


@dataclass(frozen=True)
class Counted:
    """How many rows each reference leads nowhere, of those that could be followed.

    `orphans` are those that the database lets be, 0 where there are none; `broken` those that it should enforce, where
    there are any.
    """

    orphans: Mapping[str, int] = field(default_factory=dict)
    broken: Mapping[str, int] = field(default_factory=dict)


def count_orphans(manifest: Manifest, spool: Path | None, ports: Ports) -> Counted:
    """Follow the references between files still in `spool`.

    Never raises for what it can not count: that reference is missing then.
    """
    if spool is None or ports.decoder is None:
        return Counted()
    wanted = list(_wanted(manifest, spool))
    orphans, broken = dict[str, int](), dict[str, int]()
    if not wanted:
        return Counted()
    try:
        with ports.decoder(spool).follower() as follow:
            for pointing, rows, targets in wanted:
                lost = follow(pointing, rows, targets).rows
                if not pointing.enforced:
                    orphans[str(pointing)] = lost
                elif lost:
                    broken[str(pointing)] = lost
    except BackupError as error:
        logger.warning("References are not followed to the end: %s", error)
    return Counted(orphans, broken)


def _wanted(manifest: Manifest, spool: Path) -> Iterator[tuple[Pointing, Sequence[Path], Sequence[Path]]]:
    """The references to follow, with the files of both their ends."""
    tables = {table.name: table for table in manifest.tables}
    for pointing in pointings(manifest, list(tables)):
        if pointing.why_not is not None:
            continue
        ends = (tables[pointing.table], tables[pointing.target])
        rows, targets = (_files(end, spool) for end in ends)
        if rows and targets and sum(end.row_count for end in ends) <= CHEAP_ROWS:
            yield pointing, rows, targets


def _files(table: TableEntry, spool: Path) -> list[Path]:
    """The table's Parquet files on this machine; none when one is missing."""
    files = [file for file in table.files if file.format == "parquet"]
    paths = [spool / table.name / file.name for file in files]
    complete = all(
        path.is_file() and path.stat().st_size == file.bytes for path, file in zip(paths, files, strict=True)
    )
    return paths if complete else []


def with_anomalies(manifest: Manifest, catalog: Catalog, history: History) -> Manifest:
    """The manifest with what is unusual about the backup as a whole; what is about one table, its entry says."""
    now = BackupContents(
        manifest.kind,
        manifest.tables,
        manifest.unlisted,
        {entry.table: entry.reason for entry in manifest.excluded},
        manifest.orphans,
    )
    findings = judge_backup(now, history, catalog)
    if not findings:
        return manifest
    warnings = (*manifest.warnings, *(f"{finding.table}: {finding.message}" for finding in findings))
    update = {"anomalies": findings, "warnings": warnings, "status": Status.SUCCESS_WITH_WARNINGS.value}
    return manifest.model_copy(update=update)


@dataclass(frozen=True)
class Unusual:
    """A backup, and what is unusual about it."""

    backup_id: str
    scope: Scope
    partition_date: date
    run_id: str | None
    taken_at: datetime
    findings: tuple[AnomalyEntry, ...]


def keep_shape(manifest: Manifest, ports: Ports) -> None:
    """Keep the backup's shape in the ledger, for the next one, and before its manifest is in the store.

    Where that is encrypted, the ledger alone can tell what was unusual, should the run die then.
    """
    try:
        ports.ledger.shapes.put(shape_of(manifest))
    except LedgerError as error:
        logger.warning("The shape of backup %s is not kept: %s", manifest.backup_id, error)


def act_on_anomalies(outcome: Unusual, ports: Ports, run_url: str | None = None) -> None:
    """Of each finding that is new, hold the backup it names, and alert.

    Called when the manifest is in the store, and again by whoever ends the row of a run that died: doing it twice does
    no more than a second alert. What fails here is logged and told, and never changes the backup's status.
    """
    new = [finding for finding in outcome.findings if not finding.standing]
    if new:
        problems = list(_hold(outcome.backup_id, new, ports))
        tell(anomaly_alert(outcome, new, problems, run_url), ports)


def unusual(manifest: Manifest) -> Unusual:
    """What is unusual about a backup whose manifest can be read."""
    taken = manifest.snapshot.taken_at
    named = (manifest.backup_id, manifest.scope, manifest.partition_date, manifest.run_id)
    return Unusual(*named, taken, manifest.findings)


def unusual_by_shape(outline: Outline, shape: Shape) -> Unusual:
    """The same of one whose manifest no key here opens, from what the ledger kept of it."""
    return Unusual(
        outline.backup_id, outline.scope, outline.partition_date, outline.run_id, outline.snapshot_at, shape.findings
    )


def anomaly_alert(
    outcome: Unusual, findings: Sequence[AnomalyEntry], problems: Sequence[str] = (), run_url: str | None = None
) -> Alert:
    """What people are told: each table, what is now against what is usual, and what to do next."""
    held = sorted({finding.held for finding in findings if finding.held})
    names = ", ".join(dict.fromkeys(finding.table for finding in findings))
    kept = f" {' and '.join(held)} {'are' if len(held) > 1 else 'is'} held until somebody releases it." if held else ""
    steps = " ".join(dict.fromkeys(finding.do for finding in findings))
    release = f" If it is meant to be so: `backup-pipeline release {held[0]}`." if held else ""
    return Alert(
        severity=Severity.INFO if all(finding.severity == "info" for finding in findings) else Severity.WARNING,
        title=f"Unusual backup: {outcome.scope} for {outcome.partition_date}: {names}",
        what=" ".join(["The backup is there and whole, but not as usual." + kept, *problems]),
        do=f"{steps}{release}",
        scope=outcome.scope,
        backup_id=outcome.backup_id,
        run_id=outcome.run_id,
        run_url=run_url,
        at=outcome.taken_at,
        tables=_by_table(findings),
    )


def _by_table(findings: Sequence[AnomalyEntry]) -> dict[str, str]:
    tables: dict[str, str] = {}
    for finding in findings:
        tables[finding.table] = (
            f"{tables[finding.table]} {finding.message}" if finding.table in tables else finding.message
        )
    return tables


def _hold(backup_id: str, findings: Sequence[AnomalyEntry], ports: Ports) -> Iterator[str]:
    """Hold what the findings name, unless it is held for ever already; a sentence for each that could not be."""
    for held in sorted({finding.held for finding in findings if finding.held}):
        about = "; ".join(f"{finding.table}: {finding.change}" for finding in findings if finding.held == held)
        try:
            _hold_backup(held, f"anomaly in {backup_id}: {about}", ports)
        except BackupError as error:
            logger.warning("Backup %s could not be held: %s", held, error)
            yield f"{held} could NOT be held: {error.what}"


def _hold_backup(held: str, reason: str, ports: Ports) -> None:
    """A hold without an end stays whose it is; one that would end is replaced, and its words are kept."""
    row = ports.ledger.get(held)
    if row is None or not row.status.good:
        message = f"it is {row.status if row else 'not in the ledger'}"
        raise NotFoundError(message, do="Hold another good backup by hand: `backup-pipeline hold ID --reason …`.")
    if row.hold is not None and row.hold.until is None:
        return
    before = f" (before: {row.hold})" if row.hold else ""
    hold_backup(row, Hold(PROGRAM, f"{reason}{before}"), ports)
