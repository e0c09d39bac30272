"""What a drill is asked to do, what it reaches the world through, and what is at hand while it runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from backup_pipeline import __version__
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.comparison import NotComparableError
from backup_pipeline.core.drill import (
    Amendment,
    DrillFinding,
    DrillRemark,
    Fault,
    How,
    InsertTrial,
    Stages,
    TableDrill,
    permitted,
)
from backup_pipeline.core.drill.compare import (
    CSV,
    PARQUET,
    Pair,
    comparable_titles,
    drill_catalog,
    files_of,
    judged,
    same_bytes,
    with_other_program,
)
from backup_pipeline.core.drill.definitions import ServerNeeds, amended, beside, needs_of
from backup_pipeline.core.drill.objects import (
    Fingerprint,
    Fingerprints,
    Insert,
    Inserted,
    Inspected,
    Sandbox,
    Scratch,
    inspected,
    planned_insert,
)
from backup_pipeline.core.errors import CatalogError
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import FORMAT_VERSION, StoredManifest, TableEntry
from backup_pipeline.core.ports import Clock, Ports, Store
from backup_pipeline.core.restore import (
    Mode,
    Name,
    PackedFile,
    RemarkSeverity,
    RestorePlan,
    RestoreReport,
    RestoreRequest,
)
from backup_pipeline.core.restore.dump import Dump
from backup_pipeline.core.restore.tables import SequenceState, source_of
from backup_pipeline.core.scope import Actor
from backup_pipeline.operations.attempts import Request, Work
from backup_pipeline.operations.browse import opened_backup, place_of
from backup_pipeline.operations.export import TableResult, export_tables
from backup_pipeline.operations.restore.transfer import Fetching, plan_restore, run_restore


@dataclass(frozen=True)
class DrillRequest:
    """Which backup to drill, and who asks. `catalog` says how sheets look things up, where it is still there.

    `newest`: it was asked for as the latest, so it must be as new as its catalog's schedule promises. `fault` is
    injected into a copy, to see whether the drill notices.
    """

    attempt: Attempt
    actor: Actor
    catalog: Catalog | None = None
    newest: bool = False
    fault: Fault | None = None
    run_id: str | None = None
    run_url: str | None = None

    @property
    def place(self) -> BackupPlace:
        """Where the backup lies, in the store and in its copy."""
        return place_of(self.attempt)


@dataclass
class Stopwatch:
    """How long each stage of a drill takes."""

    clock: Clock
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def over(self, stage: str) -> Iterator[None]:
        """Count the time of the context as that of a stage."""
        started = self.clock()
        try:
            yield
        finally:
            took = (self.clock() - started).total_seconds()
            self.seconds[stage] = self.seconds.get(stage, 0.0) + took

    @property
    def stages(self) -> Stages:
        """The stages so far."""
        return Stages(**{stage: round(took, 3) for stage, took in self.seconds.items()})


@dataclass(frozen=True)
class DrillContext:
    """A drill at work: its request and ports, its folder, the copy of the backup there, and its watch."""

    request: DrillRequest
    ports: Ports
    sandbox: Sandbox
    copy: Store
    watch: Stopwatch

    @property
    def inside(self) -> Ports:
        """The ports to work on the copy with, in the drill's own folder."""
        return replace(self.ports, store=self.copy, spool=self.sandbox.folder)

    def folder(self, name: str) -> Path:
        """A folder of the drill's own."""
        path = self.sandbox.folder / name
        path.mkdir(exist_ok=True)
        return path


@dataclass(frozen=True)
class DrillSubject:
    """The backup in the copy, once it is known to be whole."""

    context: DrillContext
    manifest: StoredManifest


@dataclass(frozen=True)
class Restored:
    """What was restored: the definitions and how they differ from the backup's, the plan, what was done."""

    dump: Dump
    amendment: Amendment
    plan: RestorePlan
    report: RestoreReport

    @property
    def remarks(self) -> tuple[DrillRemark, ...]:
        """What is worth knowing: how the scratch database differs, and what the plan warned of."""
        warned = (remark for remark in self.plan.remarks if remark.severity is RemarkSeverity.WARNING)
        warnings = tuple(DrillRemark(remark.table or "the whole", remark.message) for remark in warned)
        return (*self.amendment.remarks, *warnings)


@dataclass(frozen=True)
class Definitions:
    """The definitions to restore with, how they differ from the backup's, and the server that they want."""

    dump: Dump
    amendment: Amendment
    needs: ServerNeeds


def definitions_of(subject: DrillSubject) -> Definitions:
    """Read the copy's definitions and make them fit a drill; raises what reading them raises."""
    context, ports, manifest = subject.context, subject.context.ports, subject.manifest
    opened = opened_backup(context.request.attempt, context.copy)
    fetching = Fetching(opened, (context.copy, ports.formats, ports.progress))
    own = fetching.dump() or Dump(())
    allowed = permitted(own, {source_of(entry) for entry in manifest.tables})
    dump, amendment = amended(manifest, allowed.dump)
    left_out = tuple(DrillRemark("schema.sql", reason) for reason in (*allowed.left_out, *beside(own)))
    needs = needs_of(own, manifest.snapshot.server_version)
    made_beforehand = tuple(entry for entry in dump.entries if entry.kind != "EXTENSION")
    dump = Dump(made_beforehand, dump.left_out)
    return Definitions(dump, replace(amendment, remarks=(*left_out, *amendment.remarks)), needs)


def restore_copy(subject: DrillSubject, scratch: Scratch, definitions: Definitions) -> Restored:
    """Restore the copy into the scratch database; raises what a restore raises."""
    dump, amendment, ports = definitions.dump, definitions.amendment, subject.context.inside
    scratch.database.prepare(definitions.needs)
    wish = RestoreRequest(
        subject.manifest.backup_id, mode=Mode.NEW, fill=amendment.fill, actor=subject.context.request.actor
    )
    plan = plan_restore(wish, scratch.target, ports, amend=lambda _: dump)
    report = run_restore(plan, scratch.target, ports, safety=None, amend=lambda _: dump)
    return Restored(dump, amendment, plan, report)


def inspect_objects(scratch: Scratch, restored: Restored) -> Inspected:
    """Look for everything that was made."""
    return inspected(restored.dump, restored.plan.steps, scratch.database.objects())


def compare_sequences(scratch: Scratch, restored: Restored) -> Sequence[DrillFinding]:
    """The sequences that number no column stand where the backup has them; to be looked at before any insert."""
    wanted = {one.sequence: SequenceState(one.last_value, one.is_called) for one in restored.plan.sequences}
    there = scratch.database.standing(list(wanted))
    return [_stands(name, state, there.get(name)) for name, state in wanted.items() if there.get(name) != state]


def _stands(name: Name, wanted: SequenceState, there: SequenceState | None) -> DrillFinding:
    """A number that was given could be given again, or the sequence is not there at all."""
    now = "it is not there" if there is None else f"it stands at {_shown(there)}"
    what = f"the backup has this sequence at {_shown(wanted)}, and {now}: numbers could be given twice."
    return DrillFinding(".".join(name), what, "Set it with setval() after a restore; report this.")


def _shown(state: SequenceState) -> str:
    return f"{state.last_value}" if state.is_called else f"{state.last_value} (not given yet)"


def try_inserts(scratch: Scratch, restored: Restored) -> tuple[Sequence[InsertTrial], Sequence[DrillFinding]]:
    """Insert one row into each numbered table and take it back: what was tried, and the numbers that were taken."""
    trials, findings = [], []
    for table in scratch.database.numbered([one.target for one in restored.plan.tables]):
        wanted = planned_insert(table)
        done = Inserted() if wanted.why_not else scratch.database.insert(wanted)
        again = [column for column in done.taken if column in table.cycling]
        trials.append(InsertTrial(table.full_name, table.fed, done.drawn, _not_tried(wanted, done, again)))
        findings += [_taken(table.full_name, column) for column in done.taken if column not in again]
    return trials, findings


def _not_tried(wanted: Insert, done: Inserted, again: Sequence[str]) -> str:
    if again:
        return f"the sequence of {', '.join(again)} begins again (CYCLE): its next number is in use, as in the source"
    return wanted.why_not or (f"the server refused a made-up row: {done.refused}" if done.refused else "")


def _taken(table: str, column: str) -> DrillFinding:
    what = f"the next number of column {column} is taken: the first insert after a restore would fail or repeat it."
    return DrillFinding(
        table, what, "Set its sequence behind the largest value with setval() after a restore; report this."
    )


EXPORTED = "exported"


def export_again(subject: DrillSubject, scratch: Scratch) -> Mapping[str, TableResult]:
    """Export every table of the backup; the result of each.

    A table whose look-ups the database does not have (the catalog was changed since) is exported without any.
    """
    tables = tuple(entry.name for entry in subject.manifest.tables)
    results = _export(subject, scratch, tables, drill_catalog(subject.manifest, subject.context.request.catalog))
    unfit = tuple(name for name, result in results.items() if isinstance(result.error, CatalogError))
    if unfit and subject.context.request.catalog is not None:
        results |= _export(subject, scratch, unfit, drill_catalog(subject.manifest, None))
    return results


def exported_files(subject: DrillSubject, table: str) -> Path:
    """The folder of a table's files."""
    return subject.context.folder(EXPORTED) / subject.manifest.backup_id / table


def _export(
    subject: DrillSubject, scratch: Scratch, tables: tuple[str, ...], catalog: Catalog
) -> dict[str, TableResult]:
    context, attempt = subject.context, subject.context.request.attempt
    request = Request(
        catalog=catalog,
        kind=attempt.kind,
        tables=tables,
        day=subject.manifest.partition_date,
        type=attempt.type,
        actor=context.request.actor,
        late=True,
    )
    ports = replace(
        context.inside,
        source=scratch.source,
        formats=context.sandbox.formats,
        store=context.sandbox.store("again"),
        spool=context.folder(EXPORTED),
    )
    with closing(export_tables(Work(request, replace(attempt, late=True), ports))) as results:
        return {result.table: result for result in results}


_CHUNK = 1 << 20


@dataclass(frozen=True)
class TableComparison:
    """What comparing needs: the backup, what was restored, the way to the backup's files, and fingerprints."""

    subject: DrillSubject
    restored: Restored
    fetching: Fetching
    fingerprints: Fingerprints


def comparing(subject: DrillSubject, restored: Restored) -> TableComparison:
    """Get ready to compare."""
    context, ports = subject.context, subject.context.ports
    fetching = Fetching(
        opened_backup(context.request.attempt, context.copy), (context.copy, ports.formats, ports.progress)
    )
    return TableComparison(subject, restored, fetching, context.sandbox.fingerprints(context.folder("compare")))


def compare_table(entry: TableEntry, result: TableResult | None, comparison: TableComparison) -> TableDrill:
    """What became of one table."""
    held = {table.name for table in comparison.restored.plan.tables}
    if result is None or result.partition is None:
        return _not_exported(entry, result, restored=entry.name in held)
    pair = _pair(entry, result.partition.table, comparison, restored=entry.name in held)
    compared = judged(pair, _parquet(pair, comparison), _sheets(pair, comparison))
    return TableDrill(
        name=entry.name,
        rows=entry.row_count,
        rows_again=pair.again.row_count,
        parquet=compared.parquet,
        sheet=compared.sheet,
        restored=pair.restored,
        findings=compared.findings,
        remarks=compared.remarks,
    )


def _pair(entry: TableEntry, again: TableEntry, comparison: TableComparison, *, restored: bool) -> Pair:
    manifest = comparison.subject.manifest
    pair = Pair(
        before=entry,
        again=again,
        titles=comparable_titles(manifest, entry),
        redefined=comparison.restored.amendment.redefined.get(entry.name, ""),
        restored=restored,
    )
    written = (manifest.pipeline_version, manifest.format_version)
    return with_other_program(pair, written, (__version__, FORMAT_VERSION))


def _not_exported(entry: TableEntry, result: TableResult | None, *, restored: bool) -> TableDrill:
    why = result.error.what if result and result.error else "it was not exported"
    lost = TableDrill(entry.name, entry.row_count, None, How.NOT_COMPARED, How.NOT_COMPARED, restored)
    message = f"it could not be exported again: {why}"
    if restored:
        do = "Look at the message; restore the backup by hand into an empty database, and look at the table there."
        return replace(lost, findings=(DrillFinding(entry.name, message, do),))
    return replace(lost, remarks=(DrillRemark(entry.name, f"{message} It is a view, and holds no rows of its own."),))


def _parquet(pair: Pair, comparison: TableComparison) -> How:
    if same_bytes(pair, PARQUET):
        return How.BYTES
    if pair.before.row_count != pair.again.row_count:
        return How.DIFFERENT
    before = _fetched(pair, PARQUET, comparison)
    again = [exported_files(comparison.subject, pair.again.name) / file.name for file in files_of(pair.again, PARQUET)]
    of_before, of_again = (comparison.fingerprints.of_parquet(files, pair.columns) for files in (before, again))
    _forget(pair, comparison)
    return How.FINGERPRINT if of_before == of_again else How.DIFFERENT


def _sheets(pair: Pair, comparison: TableComparison) -> How:
    """Not compared where nothing can be made again, and where a record is too large to be read."""
    if same_bytes(pair, CSV):
        return How.BYTES
    if not pair.shown:
        return How.NOT_COMPARED
    if pair.before.row_count != pair.again.row_count:
        return How.DIFFERENT
    before = _fetched(pair, CSV, comparison)
    again = [exported_files(comparison.subject, pair.again.name) / file.name for file in files_of(pair.again, CSV)]
    try:
        of_before = _of_sheets(before, pair.before, pair, comparison)
        of_again = _of_sheets(again, pair.again, pair, comparison)
    except NotComparableError:
        return How.NOT_COMPARED
    finally:
        _forget(pair, comparison)
    return How.FINGERPRINT if of_before == of_again else How.DIFFERENT


def _of_sheets(files: list[Path], entry: TableEntry, pair: Pair, comparison: TableComparison) -> Fingerprint:
    return comparison.fingerprints.of_sheets([_chunks(file) for file in files], entry.sheet_columns, pair.shown)


def _fetched(pair: Pair, kind: str, comparison: TableComparison) -> list[Path]:
    """The backup's files of a format, fetched out of the copied bundle."""
    folder = comparison.subject.context.folder("compare") / pair.before.name
    folder.mkdir(exist_ok=True)
    paths = {sha256: path for path, sha256 in comparison.subject.manifest.entries.items()}
    fetched = []
    for file in files_of(pair.before, kind):
        packed = PackedFile(paths.get(file.sha256, file.name), file.rows, file.bytes, file.sha256)
        comparison.fetching.fetch(packed, folder / file.name)
        fetched.append(folder / file.name)
    return fetched


def _forget(pair: Pair, comparison: TableComparison) -> None:
    shutil.rmtree(comparison.subject.context.folder("compare") / pair.before.name, ignore_errors=True)


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk
