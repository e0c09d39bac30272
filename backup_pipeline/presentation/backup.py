"""Backups as people see them: one that was made, the list of all, everything about one, copies, the audit; as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from backup_pipeline.core.alerts import OutboxEntry, alert_json
from backup_pipeline.core.content import MessageMetrics, communication_metrics
from backup_pipeline.core.content.validation import worst_first
from backup_pipeline.core.copies import Copy, CopyDecision, CopyStatus
from backup_pipeline.core.ledger import Attempt, AuditEvent, Status, of_future
from backup_pipeline.core.legacy import LegacyFile, LegacyState
from backup_pipeline.core.manifest import Manifest, StoredManifest, TableEntry
from backup_pipeline.core.restore.requests import RestoreRow
from backup_pipeline.core.scope import Scope, as_people_read
from backup_pipeline.core.text import first_sentence
from backup_pipeline.core.verification import Verification, has_failed, in_short
from backup_pipeline.presentation import (
    Block,
    Bytes,
    Item,
    Note,
    Number,
    Part,
    ReportDocument,
    Section,
    Span,
    Table,
    TableColumn,
    Tone,
    Wrap,
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

if TYPE_CHECKING:
    from backup_pipeline.operations.query import Answer

_STATUSES = {
    Status.SUCCESS: Tone.GOOD,
    Status.SUCCESS_WITH_WARNINGS: Tone.WARNING,
    Status.RUNNING: Tone.ACTIVE,
    Status.FAILED: Tone.FAILURE,
    Status.MISSED: Tone.FAILURE,
    Status.CANCELED: Tone.WARNING,
}
_WHOLE = "report"
"""What only --json tells of an audit row: it is long, and the short of it stands beside."""
_LONGEST = 40
"""Letters of a reason or an error in a list: more is cut."""


def made_document(manifest: StoredManifest, places: Mapping[str, str]) -> ReportDocument:
    """A backup that was made: its tables, its warnings, and the places where it can be found."""
    seconds = (manifest.finished_at - manifest.started_at).total_seconds()
    table = Table(
        (*texts("Table", "Sheet"), *numbers("Rows", "Bytes", "Seconds")),
        tuple(map(_entry, manifest.tables)),
        title=f"Backup {manifest.backup_id}",
        total=("Total", "", manifest.totals.rows, Bytes(manifest.totals.bytes), Number(seconds, digits=2)),
    )
    where = (line(f"{name}: {place}") for name, place in places.items())
    return document(table, *content_blocks(manifest), *_warnings(manifest.warnings), *where)


def summary_document(manifest: StoredManifest) -> ReportDocument:
    """What a backup is that was made, beside its numbers: for a page that has those already."""
    pairs: Mapping[str, Part] = {
        "Status": Span(manifest.status, _STATUSES.get(Status(manifest.status), Tone.PLAIN)),
        "Snapshot": f"{'one instant' if manifest.consistent else 'mixed snapshots'}, LSN {manifest.snapshot.lsn}",
        "Made by": f"{manifest.created_by} ({manifest.type})",
        "Reason": manifest.reason or "none given",
        **communication_lines(manifest),
        **validation_lines(manifest),
    }
    return document(facts(pairs.items()))


def backups_document(
    rows: Sequence[Attempt], now: datetime, copies: Sequence[Copy] = (), second: str | None = None
) -> ReportDocument:
    """The list of `rows` seen `now`; where there is a store `second`, with whether each is copied to it."""
    if not rows:
        return document(line("There are no backups to list."))
    marks = copy_marks(rows, copies, second)
    listed = [_listed(row, now, marks.get(row.backup_id, "")) for row in rows]
    columns = [
        column for column in _LIST if column.title != "Expires" or any(text_of(row["Expires"]) for row in listed)
    ]
    return document(Table(tuple(columns), tuple(tuple(row[column.title] for column in columns) for row in listed)))


def backup_document(
    attempt: Attempt,
    manifest: StoredManifest | None,
    problem: str | None,
    audits: Sequence[AuditEvent],
    now: datetime,
    copies: Sequence[Copy] = (),
) -> ReportDocument:
    """The row, the tables of the manifest (or the `problem` with it), the warnings, and the audit."""
    known = (*_facts(attempt, manifest, now), *(("Copy", _copy(copy, now)) for copy in copies))
    held = [Table(_CONTENTS, tuple(map(_checked_entry, manifest.tables)))] if manifest else []
    lost = [Note("Manifest", Tone.WARNING, problem)] if manifest is None and attempt.status.good and problem else []
    contents: tuple[Block, ...] = (*held, *lost, *_warnings(attempt.warnings))
    audit = Table((*texts("", "", ""), prose("")), tuple(_event(event) for event in audits))
    told = tuple(content_blocks(manifest)) if manifest else ()
    sections = (Section((facts(known),)), Section(contents), Section(told), Section((audit,) if audits else ()))
    return ReportDocument(tuple(section for section in sections if section.blocks))


def legacy_document(files: Sequence[LegacyFile]) -> ReportDocument:
    """Files of an earlier program, each with its state; corrupted ones are marked, with what is wrong."""
    if not files:
        return document(line("There are no files of an earlier program."))
    columns = (
        TableColumn("File", wrap=Wrap.ALWAYS),
        *texts("Date (UTC)", "Version"),
        *numbers("Rows", "Size"),
        TableColumn("State", wrap=Wrap.STACKED),
        prose("What is in it, or wrong with it"),
    )
    rows = tuple(
        (
            file.key,
            file.at,
            file.version,
            sum(file.records.values()) if file.records else None,
            Bytes(file.size),
            Span(file.state, Tone.GOOD if file.state is LegacyState.GOOD else Tone.FAILURE),
            f"{file.message} {_records(file.records)}".strip(),
        )
        for file in files
    )
    return document(Table(columns, rows))


def _records(records: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {rows:,}" for name, rows in records.items())


def audit_document(events: Sequence[AuditEvent]) -> ReportDocument:
    """Who did what to which backup, a row each."""
    rows = ((*_event(event)[:3], event.backup_id, event_detail(event)) for event in events)
    return document(Table((*texts("When", "Who", "What", "Backup"), prose("Detail")), tuple(rows)))


def copy_marks(rows: Sequence[Attempt], copies: Sequence[Copy], second: str | None) -> Mapping[str, str]:
    """A mark for each good backup that says whether it is in the store `second`; none where there is no such store."""
    if second is None:
        return {}
    known = {copy.backup_id: copy for copy in copies if copy.store == second}
    kept = [row for row in rows if row.status.good and row.kind.bundled]
    return {row.backup_id: _copy_mark(known.get(row.backup_id)) for row in kept}


def _copy_mark(copy: Copy | None) -> str:
    if copy is None or copy.status is CopyStatus.FAILED:
        return "NOT copied"
    if copy.status is CopyStatus.GOOD:
        return "copied" if copy.good else "copy DAMAGED"
    return "copy deleted" if copy.status is CopyStatus.DELETED else "copying"


def _copy(copy: Copy, now: datetime) -> Span:
    return Span(f"{copy.store}: {copy.in_short(now)}", Tone.PLAIN if copy.good else Tone.WARNING)


def _warnings(warnings: Sequence[str]) -> Iterator[Note]:
    return (Note("Warning", Tone.WARNING, warning) for warning in warnings)


_LIST = (
    TableColumn("ID (UTC)"),
    TableColumn("Catalog"),
    TableColumn("Kind", wrap=Wrap.STACKED, below="Catalog"),
    TableColumn("Date", wrap=Wrap.STACKED),
    TableColumn("Status", wrap=Wrap.STACKED, below="Date"),
    TableColumn("Rows", right=True),
    TableColumn("Size", right=True, below="Rows"),
    TableColumn("Verified", wrap=Wrap.STACKED, below="ID (UTC)"),
    TableColumn("Expires", wrap=Wrap.STACKED, below="Catalog"),
    TableColumn("By", wrap=Wrap.STACKED),
    TableColumn("Marks", wrap=Wrap.STACKED, below="ID (UTC)"),
    TableColumn("Reason / error", wrap=Wrap.ALWAYS, below="By"),
)


def _listed(row: Attempt, now: datetime, copy: str) -> Mapping[str, Part]:
    return {
        "ID (UTC)": row.backup_id,
        "Catalog": str(row.scope),
        "Kind": row.kind,
        "Date": row.partition_date,
        "Status": Span(row.status.replace("_", " "), _STATUSES.get(row.status, Tone.PLAIN)),
        "Rows": row.record_count,
        "Size": None if row.file_size_bytes is None else Bytes(row.file_size_bytes),
        "Verified": _verified_in_short(row, now),
        "Expires": _expires(row, now),
        "By": row.actor.for_people,
        "Marks": ", ".join(mark for mark in (_marks(row, now), copy) if mark),
        "Reason / error": Span(_outcome(row), Tone.WRONG if row.error_message else Tone.PLAIN),
    }


def _outcome(attempt: Attempt) -> str:
    """The first sentence of what went wrong; where nothing did, the reason that was given. At most 40 letters."""
    error = attempt.error_message
    text = first_sentence(error) if error else " ".join(attempt.reason.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1].rstrip() + "…"


def _verified(attempt: Attempt, now: datetime) -> Span:
    """The level of the last verification and its age."""
    tone = Tone.FAILURE if has_failed(attempt.verification) else Tone.PLAIN
    return Span(in_short(attempt.verification, now), tone)


def _verified_in_short(row: Attempt, now: datetime) -> Span:
    """Level and age; of a failure the day alone."""
    whole = _verified(row, now)
    return Span(text_of(whole).partition(" after ")[0], whole.tone)


def _expires(attempt: Attempt, now: datetime) -> Part:
    """When the rules let a backup go at the earliest, or that somebody holds it; nothing for what is no backup."""
    if not attempt.status.good:
        return None
    if attempt.hold is not None and attempt.hold.lasts(now):
        return Span("held", Tone.STRONG)
    return attempt.expires_at.date() if attempt.expires_at else None


def _marks(attempt: Attempt, now: datetime) -> str:
    """What is special about a backup: `late`, `mixed`, `sealed`, `of the future`."""
    marks = {
        "late": attempt.late,
        "mixed": attempt.consistent is False,
        "sealed": attempt.seal_key is not None,
        "of the future": of_future(attempt, now),
    }
    return ", ".join(name for name, is_so in marks.items() if is_so)


def _facts(attempt: Attempt, manifest: StoredManifest | None, now: datetime) -> Iterator[tuple[str, Part]]:
    yield "Backup", attempt.backup_id
    yield "Status", Span(attempt.status, _STATUSES.get(attempt.status, Tone.PLAIN))
    yield "Error", Span(attempt.error_message, Tone.WRONG)
    if attempt.verification is not None:
        yield "Verified", _verified(attempt, now)
    if attempt.hold is not None:
        yield "Hold", Span(str(attempt.hold), Tone.STRONG if attempt.hold.lasts(now) else Tone.QUIET)
    if attempt.expires_at is not None and attempt.status.good:
        yield "Expires", f"{text_of(attempt.expires_at)} at the earliest"
    yield "Catalog", str(attempt.scope)
    yield "Date", attempt.partition_date
    yield "Marks", _marks(attempt, now)
    yield "Kind", f"{attempt.kind}, {attempt.type}"
    yield "By", attempt.actor.for_people
    yield "Reason", attempt.reason
    yield "Started", attempt.started_at
    yield "Finished", attempt.finished_at
    yield "Snapshot", attempt.snapshot_at
    yield "Rows", attempt.record_count
    yield "Size", None if attempt.file_size_bytes is None else Bytes(attempt.file_size_bytes)
    yield from _origins(attempt, manifest)


def _origins(attempt: Attempt, manifest: StoredManifest | None) -> Iterator[tuple[str, Part]]:
    """Where the backup lies, how it is protected, and what made it."""
    yield "Bundle", attempt.file_path
    yield "SHA-256", attempt.sha256
    yield "Of manifest", attempt.manifest_sha256
    yield "Sealed with", f"key {attempt.seal_key}" if attempt.seal_key else None
    if manifest is not None and manifest.encryption:
        yield "Encrypted to", ", ".join(manifest.encryption.recipients)
    yield "Run", attempt.run_id
    if manifest is not None:
        yield "Format", f"{manifest.format_version}, made by backup_pipeline {manifest.pipeline_version}"
        yield "Server", f"{manifest.snapshot.database}, {manifest.snapshot.server_version}"


_CONTENTS = (
    TableColumn("Table"),
    TableColumn("Sheet", wrap=Wrap.ALWAYS),
    *numbers("Rows", "Bytes", "Seconds"),
    prose("Checks and notes"),
)


def _entry(entry: TableEntry) -> tuple[Part, ...]:
    return entry.name, entry.sheet, entry.row_count, Bytes(entry.bytes), Number(entry.seconds, digits=2)


def _checked_entry(entry: TableEntry) -> tuple[Part, ...]:
    return *_entry(entry), "; ".join(_remarks(entry))


def _remarks(entry: TableEntry) -> Iterator[str]:
    """The checks in one word when all is well, the failed ones in full, then what is not exactly as in the database."""
    failed = [check for check in entry.checks if not check.passed]
    if entry.checks and not failed:
        yield f"{len(entry.checks)} checks passed"
    for check in failed:
        yield f"{check.name} FAILED: {check.message}"
    yield from entry.notes
    if entry.excluded_columns:
        yield f"without {', '.join(entry.excluded_columns)}"


def _event(event: AuditEvent) -> tuple[Part, ...]:
    return event.at, event.actor.for_people, event.action, event_detail(event)


def event_detail(event: AuditEvent) -> Part:
    """What an audit row says besides who, what and when."""
    if event.action == "alert":
        channel, error = event.detail.get("channel"), event.detail.get("error")
        return Span(f"{channel}: NOT delivered: {error}", Tone.WRONG) if error else f"{channel}: delivered"
    shown = {name: value for name, value in event.detail.items() if value not in ("", None, []) and name != _WHOLE}
    return as_people_read(", ".join(f"{name}: {value}" for name, value in shown.items()))


_MOST_RULES = 3
"""Rules that a line tells; --json and the manifest have all."""


def content_blocks(manifest: Manifest) -> Iterator[Block]:
    """The lines as one block of facts; nothing for a backup that says nothing of it."""
    if pairs := {**communication_lines(manifest), **validation_lines(manifest)}:
        yield facts(pairs.items())


def communication_lines(manifest: Manifest) -> Mapping[str, Part]:
    """What was sent, made and said."""
    metrics = communication_metrics(manifest.tables)
    lines: dict[str, Part] = {}
    if metrics.sms is not None:
        lines["SMS"] = _messages(metrics.sms)
    if metrics.email is not None:
        lines["E-mails"] = _messages(metrics.email)
    if (documents := metrics.documents) is not None:
        downloads = f", {documents.downloads:,} downloads" if documents.downloads is not None else ""
        templates = f" ({_counts(documents.templates)})" if documents.templates else ""
        lines["Documents"] = f"{documents.total:,}, {documents.generated:,} generated{downloads}{templates}"
    if metrics.channels:
        lines["Communication"] = _counts(metrics.channels)
    return lines


def validation_lines(manifest: Manifest) -> Mapping[str, Part]:
    """A line for each table whose rows are judged."""
    return {f"Customers in {table.name}": _judged(table) for table in manifest.tables if table.validation is not None}


def _judged(table: TableEntry) -> Part:
    entry = table.validation
    if entry is None or not entry.invalid:
        return "every row can be true"
    worst = worst_first(entry)
    told = ", ".join(f"{each.column}: {each.rule} {each.rows:,}" for each in worst[:_MOST_RULES])
    more = f" and {len(worst) - _MOST_RULES} more" if len(worst) > _MOST_RULES else ""
    rows = f"{entry.invalid:,} of {entry.rows:,} rows can not be true ({told}{more})"
    return Span(rows, Tone.WARNING)


def _messages(messages: MessageMetrics) -> str:
    if messages.success_rate is None:
        return "none"
    read = {"opens": messages.opens, "clicks": messages.clicks, "bounces": messages.bounces}
    more = "".join(f", {count:,} {name}" for name, count in read.items() if count is not None)
    return f"{messages.total:,}, {messages.success_rate} % sent ({_counts(messages.statuses)}){more}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def decisions_document(decisions: Sequence[CopyDecision]) -> ReportDocument:
    """Each good backup, whether it would be copied, and why."""
    if not decisions:
        return document(line("There are no good backups."))
    verbs = {True: "copy ", False: "leave"}
    return document(*(item(f"{verbs[each.wanted]} {each.attempt.backup_id}: {each.reason}") for each in decisions))


def copies_document(copies: Sequence[Copy], decisions: Sequence[CopyDecision]) -> ReportDocument:
    """What became of each copy, and why it was made."""
    if not copies:
        return document(line(f"Nothing is missing: {len(decisions)} good backups, each with its copy."))
    reasons = {each.attempt.backup_id: each.reason for each in decisions}
    return document(*(_copied(copy, reasons.get(copy.backup_id, "")) for copy in copies))


def _copied(copy: Copy, reason: str) -> Item:
    why = f" ({reason})" if reason else ""
    if copy.status is CopyStatus.GOOD:
        text = f" to {copy.store}, {size(copy.bytes or 0)}, every byte compared{why}"
        return item(f"{copy.backup_id}: ", Span("copied", Tone.GOOD), text)
    error = (copy.error_message or "").partition("\n")[0]
    return item(f"{copy.backup_id}: ", Span("NOT copied", Tone.FAILURE), f" to {copy.store}: {error}")


_LONGEST_CELL = 200


def result_document(answer: Answer, most: int, timezone: str) -> ReportDocument:
    """The first rows of a query, and what they are of."""
    rows = answer.rows.first(most + 1)
    columns = tuple(TableColumn(column.name, right=column.number, wrap=Wrap.ALWAYS) for column in answer.rows.columns)
    cells = tuple(tuple(_cell(text) for text in row) for row in rows[:most])
    shown = f"The first {most:,} rows; --rows, --csv, --json or --to FILE give more."
    count = shown if len(rows) > most else f"{len(rows):,} {'row' if len(rows) == 1 else 'rows'}."
    zone = f" Times in {timezone}."
    instants: dict[datetime, list[str]] = {}
    for source in answer.sources:
        instants.setdefault(source.entry.snapshot.taken_at, []).append(source.entry.name)
    as_of = "; ".join(f"{', '.join(names)} as of {text_of(at)}" for at, names in instants.items())
    return document(Table(columns, cells), line(Span(f"{count} {as_of}.{zone}", Tone.QUIET)))


def _cell(text: str | None) -> Span:
    if text is None:
        return Span("NULL", Tone.QUIET)
    return Span(text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…")


# As JSON, for programs: names that stay when fields and columns get others.


def attempt_json(row: Attempt, copies: Sequence[Copy] | None = None) -> dict[str, object]:
    """A row of `backup_logs`; with those of `copies` that are its own, when they are given."""
    hold = row.hold
    kept = {name: value for name, value in vars(row).items() if name not in {"scope", "actor", "verification", "hold"}}
    shown = {
        **kept,
        "business": None,
        **_scope_json(row.scope),
        "created_by": str(row.actor),
        **_verification_json(row.verification),
        "held_until": hold.until if hold else None,
        "held_reason": hold.reason if hold else None,
        "held_by": str(hold.actor) if hold else None,
    }
    if copies is None:
        return shown
    return {**shown, "copies": [copy_json(copy) for copy in copies if copy.backup_id == row.backup_id]}


def copy_json(copy: Copy) -> dict[str, object]:
    """A row of `backup_copies`."""
    kept = {name: value for name, value in vars(copy).items() if name not in {"scope", "verification"}}
    return {**kept, **_scope_json(copy.scope), **_verification_json(copy.verification)}


def restore_json(row: RestoreRow) -> dict[str, object]:
    """A row of `restore_requests`."""
    kept = {name: value for name, value in vars(row).items() if name not in {"scope", "actor", "decided_actor"}}
    decided = str(row.decided_actor) if row.decided_actor else None
    return {**kept, **_scope_json(row.scope), "requested_by": str(row.actor), "decided_by": decided}


def entry_json(entry: OutboxEntry) -> dict[str, object]:
    """A row of `alert_outbox`."""
    return {**vars(entry), "alert": alert_json(entry.alert)}


def _scope_json(scope: Scope) -> dict[str, object]:
    catalog: dict[str, object] = {"catalog": str(replace(scope, business=None))}
    return catalog if scope.business is None else {**catalog, "business": scope.business}


def _verification_json(verification: Verification | None) -> dict[str, object]:
    """`2` when level 2 was reached; `1 FAILED` when something was wrong at the next; a time alone when it was at 0."""
    if verification is None:
        return {"verification_level": None, "verified_at": None}
    failed = "" if verification.passed else " FAILED"
    level = None if verification.level is None else f"{verification.level.value}{failed}"
    return {"verification_level": level, "verified_at": verification.at}
