"""Restores as people see them: the plan, what was done, and requests with what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.restore import (
    SECOND,
    Action,
    Mode,
    RemarkSeverity,
    RestorePlan,
    RestoreRemark,
    RestoreReport,
    RowChange,
    TableRestore,
)
from backup_pipeline.core.restore.businesses import BusinessPlan, BusinessReport, RowExample, TableDiff
from backup_pipeline.core.restore.requests import Plan, RestoreRow, RestoreStatus, kept_plan, kept_report
from backup_pipeline.presentation import (
    Block,
    Item,
    Minute,
    Note,
    Number,
    Part,
    ReportDocument,
    Section,
    Sentence,
    Span,
    Table,
    Tone,
    document,
    facts,
    item,
    line,
    numbers,
    prose,
    size,
    text_of,
    texts,
)

_ACTIONS = {
    Action.CREATE: "is created, with the backup's rows",
    Action.INSERT_MISSING: "gets the rows whose key it lacks; what is there stays",
    Action.UPSERT: "gets missing rows; rows with the same key are set to the backup's values",
    Action.REPLACE: "then holds exactly the backup's rows; others are removed",
}
_SEVERITIES = {
    RemarkSeverity.REFUSAL: ("REFUSED", Tone.FAILURE),
    RemarkSeverity.WARNING: ("Warning", Tone.WARNING),
    RemarkSeverity.INFO: ("Note", Tone.PLAIN),
}
_STATUSES = {
    RestoreStatus.DONE: Tone.GOOD,
    RestoreStatus.RUNNING: Tone.ACTIVE,
    RestoreStatus.REQUESTED: Tone.WARNING,
    RestoreStatus.APPROVED: Tone.WARNING,
    RestoreStatus.FAILED: Tone.FAILURE,
    RestoreStatus.REJECTED: Tone.WRONG,
}
MODES = {
    Mode.NEW: ("Create the tables", "They are not there yet. Where one is, the plan is refused."),
    Mode.INSERT_MISSING: ("Create missing", "Rows whose key is not there are added. What is there stays as it is."),
    Mode.UPSERT: (
        "Create missing, update existing",
        "Missing rows are added, and rows with the same key get the backup's values. Nothing is removed.",
    ),
    Mode.REPLACE: (
        "Create missing, update existing, delete new",
        "The tables then hold exactly the backup's rows: what came since is removed.",
    ),
    Mode.DIFFERENCE: (
        "Bring one business back",
        "Its rows are then as they were: what differs is created, updated and deleted. No other business changes.",
    ),
}
"""What each mode does to the rows that are there: its name for people, and a sentence."""
_NOTES = 4
"""So many notes with the same advice are shown: a plan that nobody reads to its end warns nobody."""


def plan_document(
    plan: Plan,
    target: str,
    *,
    request: int | None,
    safety_backup: bool,
    attended: bool = True,
    values: bool = True,
) -> ReportDocument:
    """What will happen, refusals first; then what is fetched, protected, and asked of the person.

    `request` is the number of the request, None where nothing but the plan is wanted. `attended` says that a person
    is there to type the database's name. Without `values` examples of rows are left out.
    """
    if isinstance(plan, BusinessPlan):
        return _business_plan(plan, request, values=values)
    about = "dry run: nothing is touched" if request is None else f"request {request}"
    others = (remark for remark in plan.remarks if remark not in plan.refusals)
    end = _safety(plan, safety_backup=safety_backup, attended=attended) if not plan.refused else ()
    sections = (
        (
            line(Span(f"Restore of backup {plan.backup_id} ({about})", Tone.STRONG)),
            line("Its rows are those of ", plan.snapshot_at),
            line("Into database ", Span(plan.database, Tone.STRONG), f", {target}"),
            *_remarks(plan.refusals),
        ),
        (_plan_table(plan), *(item(f"  {table.name}: {text}") for table in plan.tables for text in _details(table))),
        (
            *_remarks([*others]),
            *(item(f"Left out: {text}") for text in plan.steps.left_out),
            line(f"{size(plan.bytes)} are fetched from the store."),
            *end,
        ),
    )
    return ReportDocument(tuple(map(Section, sections)))


def status_tone(status: RestoreStatus) -> Tone:
    """The tone of a status."""
    return _STATUSES.get(status, Tone.PLAIN)


def kept_plan_document(
    kept: Mapping[str, Any], *, request: int | None, safety_backup: bool, values: bool = False
) -> ReportDocument:
    """A plan as the ledger keeps it; in short, where another version wrote it. With `values` examples of rows too."""
    try:
        plan = kept_plan(kept)
    except UsageError as error:
        return document(Note("Note", Tone.WARNING, error.what, do=error.do), *_planned(kept))
    return plan_document(plan, plan.target, request=request, safety_backup=safety_backup, attended=False, values=values)


def kept_report_document(request: int, kept: Mapping[str, Any]) -> ReportDocument:
    """What was done, as the ledger keeps it; in short, where another version wrote it."""
    try:
        return report_document(request, kept_report(kept))
    except UsageError:
        return document(*_done(kept))


def asked_document(row: RestoreRow, plan: Plan) -> ReportDocument:
    """That a request waits, and what comes next."""
    return document(
        line(Span(f"Request {row.id} waits, with the plan {plan.digest[:12]}. Nothing was touched.", Tone.STRONG)),
        line(f"Another person than {row.actor.for_people} approves it: backup-pipeline restores approve {row.id}"),
        line(f"Then: backup-pipeline restore --request {row.id}, or Dagster's restore job with request: {row.id}"),
    )


def report_document(request: int, report: RestoreReport | BusinessReport, *, undo: str = "") -> ReportDocument:
    """What was done, table by table, and how to go back: with the command `undo`."""
    if isinstance(report, BusinessReport):
        return _business_report(request, report, undo)
    columns = (
        *texts("Table", "Restored into"),
        *numbers("Loaded", "Inserted", "Updated", "Deleted", "Unchanged", "Seconds"),
    )
    rows = (
        (
            *(done.name, ".".join(done.target)),
            *(done.loaded, done.inserted, done.updated, done.deleted, done.unchanged),
            Number(done.seconds, digits=1),
        )
        for done in report.tables
    )
    text = f"Restored in {report.seconds:.1f} s; {size(report.bytes_fetched)} fetched. Request {request}."
    notes = (Note("Note", Tone.WARNING, note) for note in report.notes)
    return document(Table(columns, tuple(rows)), line(Span(text, Tone.GOOD)), *notes, *_way_back(report, undo))


_CHANGES = {RowChange.CREATE: "created", RowChange.UPDATE: "updated", RowChange.DELETE: "deleted"}


def _business_plan(plan: BusinessPlan, request: int | None, *, values: bool) -> ReportDocument:
    """What a restore of a business would do, with what is in the way; then rows as examples."""
    about = "only a plan: nothing is touched" if request is None else f"request {request}"
    columns = (*texts("Table"), *numbers("Create", "Update", "Delete"), prose("Columns that get other values"))
    changing = [table for table in plan.diff.tables if table.create or table.update or table.delete]
    same = ", ".join(table.name for table in plan.diff.tables if table not in changing)
    selection = plan.selection
    left_out = [change for change in RowChange if change not in selection.changes]
    known = facts(
        (
            ("Business", f"{plan.name} ({plan.catalog}/{plan.diff.business})"),
            ("Wanted", selection.at),
            ("Rows of", plan.snapshot_at),
            ("Right until", plan.confirmed_until if plan.confirmed_until > plan.snapshot_at else ""),
            ("Backup", plan.backup_id),
            ("Tables", ", ".join(plan.request.tables)),
            ("Rows", "; ".join(f"{name}: {', '.join(keys)}" for name, keys in selection.rows.items())),
            ("But not", "; ".join(f"{name}: {', '.join(keys)}" for name, keys in selection.but.items())),
            ("Left out", ", ".join(f"rows are not {_CHANGES[change]}" for change in left_out)),
            ("Plan", plan.digest[:12]),
        )
    )
    others = f"{sum(plan.diff.others.values()):,} rows of {len(plan.diff.others)} tables are compared before and after"
    sections: tuple[tuple[Block, ...], ...] = (
        (line(Span(f"{plan.name} is brought back ({about})", Tone.STRONG)), known, *_remarks(plan.remarks)),
        (
            *((Table(columns, tuple(map(_table_diff, changing)), title="What changes"),) if changing else ()),
            *((line(f"As they were then: {same}."),) if same else ()),
        ),
        tuple(_examples(plan.diff.tables)) if values else (),
        (
            line(
                "First a manual backup of how it is now." if plan.safety_backup else "Rows are only added: all stays."
            ),
            line(f"Then one transaction, or nothing. {others}: none of them changes."),
        ),
    )
    return ReportDocument(tuple(Section(blocks) for blocks in sections if blocks))


def _table_diff(table: TableDiff) -> tuple[Part, ...]:
    columns = ", ".join(f"{name} ({count:,})" for name, count in table.columns.items())
    return (table.name, table.create, table.update, table.delete, columns)


def _examples(tables: Sequence[TableDiff]) -> Iterator[Block]:
    rows = [(table.name, row) for table in tables for row in table.examples]
    if rows:
        columns = (*texts("Table", "Change", "Row"), prose("Now → then"))
        examples = tuple(
            (name, Span(row.change.value, _TONES[row.change]), row.key, _values(row)) for name, row in rows
        )
        yield Table(columns, examples, title="Some of these rows")


_TONES = {RowChange.CREATE: Tone.GOOD, RowChange.UPDATE: Tone.WARNING, RowChange.DELETE: Tone.WRONG}
_SHOWN_VALUES = 6


def _values(row: RowExample) -> str:
    texts_of = []
    for name, (now, then) in row.values.items():
        if row.change is RowChange.UPDATE:
            texts_of.append(f"{name}: {_value(now)} → {_value(then)}")
        elif (value := then if row.change is RowChange.CREATE else now) is not None:
            texts_of.append(f"{name}: {value}")
    more = f", and {len(texts_of) - _SHOWN_VALUES} more" if len(texts_of) > _SHOWN_VALUES else ""
    return ", ".join(texts_of[:_SHOWN_VALUES]) + more


def _value(text: str | None) -> str:
    return "nothing" if text is None else text


def _business_report(request: int, report: BusinessReport, undo: str) -> ReportDocument:
    columns = (*texts("Table"), *numbers("Created", "Updated", "Deleted"))
    changed = [each for each in report.tables if each.created or each.updated or each.deleted]
    rows = tuple((each.name, each.created, each.updated, each.deleted) for each in changed)
    text = f"{report.name} is as it was, in {report.seconds:.1f} s. Request {request}."
    others = f"{sum(report.others.values()):,} rows of {len(report.others)} tables, of others or not chosen"
    back = report.safety_backup_id
    return document(
        Table(columns, rows),
        line(Span(text, Tone.GOOD)),
        line("Its rows are those of ", report.snapshot_at),
        line(f"Compared before and after, and unchanged: {others}."),
        *((line(f"How it was before: backup {back}"),) if back else (line("Rows were only added."),)),
        *((line(f"To look at what bringing that back would do: {undo}"),) if back and undo else ()),
    )


def requests_document(rows: Sequence[RestoreRow]) -> ReportDocument:
    """A row for each request: which backup, into what, how, who asked, and how it ended."""
    if not rows:
        return document(line("There are no restore requests."))
    columns = (*numbers("N"), *texts("Asked for", "Status", "Backup", "Mode", "Into", "By"))
    return document(Table((*columns, prose("Tables, reason or error")), tuple(map(_request, rows))))


def request_document(row: RestoreRow, audits: Sequence[AuditEvent]) -> ReportDocument:
    """What was asked and decided, how it ended, what was planned, and the audit."""
    events = ((event.at, event.actor.for_people, event.action, _without_request(event.detail)) for event in audits)
    audit = Table((*texts("", "", ""), prose("")), tuple(events))
    sections = (
        Section((facts(_facts(row)),)),
        Section(tuple(_planned(row.plan or {})), title="Planned"),
        Section(tuple(_done(row.report or {})), title="Done"),
        Section((audit,) if audits else ()),
    )
    return ReportDocument(tuple(section for section in sections if section.blocks))


def _plan_table(plan: RestorePlan) -> Table:
    fate = "What would happen to it" if plan.refused else "What happens to it"
    columns = (*texts("Table", "Goes to"), *numbers("Rows now", "Rows then"), prose(fate))
    rows = (
        (
            table.name,
            table.target_name,
            "not there" if table.rows_now is None else table.rows_now,
            rows_after(table),
            _ACTIONS[table.action],
        )
        for table in plan.tables
    )
    return Table(columns, tuple(rows))


def rows_after(table: TableRestore) -> str:
    """How many rows a table will have."""
    now, given = table.rows_now or 0, table.rows_in_backup
    if table.action in {Action.CREATE, Action.REPLACE}:
        return f"{given:,}"
    return f"{max(now, given):,} to {now + given:,}" if now and given else f"{now + given:,}"


def _details(table: TableRestore) -> Iterator[str]:
    yield from (f"column {column}: {why}" for column, why in table.kept.items())
    yield from (f"column {column} of the backup is not written: {why}" for column, why in table.ignored.items())
    yield from (f"column {column} is set to {value!r} in new rows" for column, value in table.filled.items())
    if table.triggers:
        yield f"these triggers do not fire meanwhile: {', '.join(table.triggers)}"


def _remarks(remarks: Sequence[RestoreRemark]) -> Iterator[Note]:
    """Each refusal and warning with its way out; the notes last, those with the same advice together."""
    yield from (_remark(remark, remark.do) for remark in remarks if remark.severity is not RemarkSeverity.INFO)
    notes = [remark for remark in remarks if remark.severity is RemarkSeverity.INFO]
    for do in dict.fromkeys(note.do for note in notes):
        together = [note for note in notes if note.do == do]
        shown = [_remark(note, "") for note in together[:_NOTES]]
        if len(together) > _NOTES:
            more = f"and {len(together) - _NOTES} more of the kind; --json has them all."
            shown.append(Note("Note", Tone.PLAIN, more))
        last = shown.pop()
        yield from shown
        yield Note(last.word, last.tone, last.text, last.about, do)


def _remark(remark: RestoreRemark, do: str) -> Note:
    word, tone = _SEVERITIES[remark.severity]
    return Note(word, tone, remark.message, remark.table or "", do)


def _safety(plan: RestorePlan, *, safety_backup: bool, attended: bool) -> Iterator[Block]:
    if plan.safety_backup and safety_backup:
        yield line(
            "Before the first change, these tables are backed up as they are now, but for columns that no backup holds."
        )
    elif plan.safety_backup:
        text = "NO SAFETY BACKUP (--no-safety-backup): what is overwritten or removed can not be brought back."
        yield line(Span(text, Tone.FAILURE))
    yield line("All of it happens in one transaction: whatever goes wrong, the database is as it was.")
    if plan.confirm_name and not attended:
        yield line(Span(f"Rows that are there in {plan.database} can change.", Tone.STRONG))
    elif plan.confirm_name and not plan.confirmed:
        text = f"It can change rows that are there, so the database's name has to be typed: {plan.confirm_name}"
        yield line(Span(text, Tone.STRONG))


def _way_back(report: RestoreReport, undo: str) -> Iterator[Sentence]:
    if report.safety_backup_id:
        yield line(f"The tables as they were before: backup {report.safety_backup_id}")
    if report.safety_backup_id and undo:
        yield line(f"To look at what bringing them back would do: {undo}")


def _request(row: RestoreRow) -> tuple[Part, ...]:
    return (
        str(row.id),
        Minute(row.created_at),
        Span(row.status, _STATUSES.get(row.status, Tone.PLAIN)),
        row.backup_id,
        row.mode,
        row.database + (f", schema {row.into_schema}" if row.into_schema else ""),
        row.actor.for_people,
        "; ".join(_about(row)),
    )


def _about(row: RestoreRow) -> Iterator[str]:
    if row.tables:
        yield ", ".join(row.tables)
    if row.error_message:
        yield row.error_message.splitlines()[0]
    elif row.reason:
        yield row.reason


def _facts(row: RestoreRow) -> Iterator[tuple[str, Part]]:
    yield "Request", str(row.id)
    yield "Status", Span(row.status, _STATUSES.get(row.status, Tone.PLAIN))
    yield "Error", Span(row.error_message, Tone.WRONG)
    yield "Backup", row.backup_id
    yield "Catalog", str(row.scope)
    yield "Tables", ", ".join(row.tables) or "all of the backup"
    yield "Mode", row.mode
    yield "Into", f"database {row.database}, {row.target}"
    yield "Schema", row.into_schema
    yield "Renamed", _pairs(row.rename)
    yield "Filled", _pairs(row.fill)
    yield "Store", "the second" if row.store == SECOND else None
    yield "Safety", None if row.safety_backup else "NO SAFETY BACKUP is made"
    yield "Asked by", f"{row.actor.for_people}, {text_of(row.created_at)}"
    yield "Reason", row.reason
    yield "Plan", str((row.plan or {}).get("digest", ""))[:12]
    decided = row.decided_actor
    yield "Decided by", f"{decided.for_people}, {text_of(row.decided_at)}" if decided else None
    yield "Because", row.decision_reason
    yield "Started", row.started_at
    yield "Finished", row.finished_at
    yield "Run", row.run_id


def _pairs(given: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in given.items())


def _planned(plan: Mapping[str, Any]) -> Iterator[Item]:
    """The plan as it was stored: a newer version may have written other fields."""
    for table in plan.get("diff", {}).get("tables", ()):
        counts = ", ".join(f"{table.get(change, 0):,} to {change}" for change in RowChange)
        yield item(f"  {table.get('name')}: {counts}")
    for conflict in plan.get("diff", {}).get("conflicts", ()):
        yield item(f"  in the way: {conflict.get('message')}")
    for table in plan.get("tables", ()):
        now = table.get("rows_now")
        there = "not there" if now is None else f"{now:,} rows"
        into = ".".join(table.get("target", ()))
        given = f"{table.get('rows_in_backup', 0):,} in the backup"
        yield item(f"  {table.get('name')} into {into}: {table.get('action')}, {there} now, {given}")
    for remark in plan.get("remarks", ()):
        if remark.get("severity") != "info":
            yield item(f"  {remark['severity']}: {remark.get('table') or ''} {remark['message']}")


def _done(report: Mapping[str, Any]) -> Iterator[Item]:
    """The report as it was stored."""
    for table in report.get("tables", ()) if "business" in report else ():
        counts = ", ".join(f"{table.get(name, 0):,} {name}" for name in _CHANGES.values())
        yield item(f"  {table['name']}: {counts}")
    for table in report.get("tables", ()) if "business" not in report else ():
        counts = ", ".join(f"{table.get(name, 0):,} {name}" for name in ("inserted", "updated", "deleted", "unchanged"))
        yield item(f"  {table['name']}: {counts}")
    if report.get("safety_backup_id"):
        yield item(f"  as it was before: backup {report['safety_backup_id']}")


def _without_request(detail: Mapping[str, object]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in detail.items() if name != "request")
