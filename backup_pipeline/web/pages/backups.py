"""Backups: the list with its tiles, filters and pages, and everything about one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median_low
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from backup_pipeline.core.access import Permission
from backup_pipeline.core.access.downloads import is_small
from backup_pipeline.core.anomalies import Shape
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.content import metrics_of
from backup_pipeline.core.errors import BackupError, NotFoundError
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.ledger import GOOD, Attempt, Status
from backup_pipeline.core.listing import GONE, SHOWN, BackupFilter, parse_position
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.runs import RequestStatus, RunRequest, RunVerb
from backup_pipeline.core.schedule import day_end
from backup_pipeline.core.text import first_sentence
from backup_pipeline.core.verification import Level, age, has_failed
from backup_pipeline.operations.browse import stored_manifest
from backup_pipeline.operations.download import rendered_file
from backup_pipeline.operations.rows import may_look
from backup_pipeline.presentation import duration, text_of
from backup_pipeline.presentation.backup import copy_marks, event_detail
from backup_pipeline.web.pages.contents import ContentsView, communication_in_short, contents_of
from backup_pipeline.web.pages.legacy import legacy_view
from backup_pipeline.web.people import Visitor, allowed, signed_in
from backup_pipeline.web.rendering import chosen_system, page
from backup_pipeline.wiring.addresses import work_dir

router = APIRouter()

ROWS = 25
_USUAL = 9
"""So many good full backups before are the usual."""

STATUSES: Mapping[str, tuple[str, tuple[Status, ...]]] = {
    "": ("All but removed", SHOWN),
    "completed": ("Completed", tuple(sorted(GOOD))),
    "running": ("In progress", (Status.RUNNING,)),
    "failed": ("Failed", (Status.FAILED,)),
    "missed": ("Missed", (Status.MISSED,)),
    "canceled": ("Canceled", (Status.CANCELED,)),
    "expected": ("Expected", (Status.EXPECTED,)),
    "deleted": ("Removed", GONE),
    "all": ("Everything", tuple(Status)),
}
"""The filter of the page: its value in the URL, its word, and the statuses that it means."""

WORDS: Mapping[Status, tuple[str, str, str]] = {
    Status.EXPECTED: ("Expected", "quiet", "clock"),
    Status.RUNNING: ("In Progress", "active", "active"),
    Status.SUCCESS: ("Completed", "good", "check"),
    Status.SUCCESS_WITH_WARNINGS: ("Completed", "good", "check"),
    Status.FAILED: ("Failed", "failure", "cross"),
    Status.MISSED: ("Missed", "failure", "dash"),
    Status.CANCELED: ("Canceled", "quiet", "dash"),
    Status.EXPIRED: ("Expired", "quiet", "retention"),
    Status.DELETED: ("Deleted", "quiet", "cross"),
}
"""Each status as a word, a tone and a shape."""


class ListQuery(BaseModel):
    """The filters in the URL; what does not fit filters nothing. `after` is a position of the list."""

    status: str = ""
    type: str = ""
    since: str = ""
    until: str = ""
    q: str = Field(default="", max_length=200)
    after: str = ""

    def filter(self, catalog: str | None, zone: str) -> BackupFilter:
        """Which rows are wanted; days are those of `zone`."""
        return BackupFilter(
            catalog=catalog,
            statuses=STATUSES.get(self.status, STATUSES[""])[1],
            type=Trigger(self.type) if self.type in set(Trigger) else None,
            since=_day_start(self.since, zone),
            until=_day_after(self.until, zone),
            text=self.q.strip(),
        )

    @property
    def filters(self) -> bool:
        """Whether anything is left out."""
        return any((self.status, self.type, self.since, self.until, self.q, self.after))


KINDS: Mapping[Kind, str] = {
    Kind.FULL: "Full system backup (all data)",
    Kind.SELECTIVE: "Chosen tables",
}
"""What a backup is of, as people call it."""


@router.get("/backups")
def list_backups(
    request: Request, visitor: Annotated[Visitor, Depends(signed_in)], query: Annotated[ListQuery, Query()]
) -> Response:
    """The list, newest first, a page at a time."""
    return page(request, "backups.html", **listed(request, visitor, query))


@router.get("/admin/backup")
def manage_backups(
    request: Request,
    visitor: Annotated[Visitor, Depends(allowed(Permission.HANDLE_ALERTS))],
    query: Annotated[ListQuery, Query()],
) -> Response:
    """The same list at the address that the sources give it, where only administrators get in."""
    return list_backups(request, visitor, query)


def listed(request: Request, visitor: Visitor, query: ListQuery) -> Mapping[str, Any]:
    """What `backup_list.html` and `backup_now.html` show: the page of the list that the filters want."""
    chosen = chosen_system(request)
    zone = chosen.timezone if chosen else _zone(request)
    wanted = query.filter(chosen.catalog if chosen else None, zone)
    after = parse_position(query.after) if query.after else None
    part = visitor.ledger.listings.page(wanted, after=after, limit=ROWS)
    now = visitor.ports.clock()
    second = visitor.settings.second_store
    copies = visitor.ledger.copies.list(scope=None) if second and part.rows else ()
    marks = copy_marks(part.rows, copies, second.rstrip("/") if second else None)
    sent = _communication(request, part.rows, visitor)
    return {
        "rows": [row_view(row, now, marks.get(row.backup_id, ""), sent.get(row.backup_id, "")) for row in part.rows],
        "following": part.following,
        "totals": visitor.ledger.listings.totals(wanted.catalog),
        "manual": Trigger.MANUAL,
        "automatic": Trigger.AUTOMATIC,
        "statuses": [(value, word) for value, (word, _) in STATUSES.items()],
        "status_shown": query.status,
        "filtered": query.filters,
        "may_run": visitor.user.may(Permission.RUN_BACKUP),
        "may_download": visitor.user.may(Permission.DOWNLOAD),
        "may_delete": visitor.user.may(Permission.DELETE),
        "new_request": lambda: str(uuid4()),
        "usual_duration": _usual_duration(request, visitor),
        "command": _twin(wanted, query.status),
        "live": after is None,
        **(legacy_view(request, visitor) if not query.filters else {"legacy": ()}),
    }


def _usual_duration(request: Request, visitor: Visitor) -> str:
    """How long a backup of the system takes that a click would back up: the median of its last full ones."""
    systems: Mapping[str, Catalog] = request.app.state.systems.declared()
    target = chosen_system(request) or next(iter(systems.values()), None)
    if target is None:
        return ""
    wanted = BackupFilter(target.catalog, tuple(sorted(GOOD)), kind=Kind.FULL)
    rows = visitor.ledger.listings.page(wanted, limit=_USUAL).rows
    seconds = [(row.finished_at - row.started_at).total_seconds() for row in rows if row.finished_at]
    if not seconds:
        return "Usually it takes seconds."
    return f"Usually it takes {duration(median_low(seconds))}: the median of the last {len(seconds)}."


def _communication(request: Request, rows: Sequence[Attempt], visitor: Visitor) -> Mapping[str, str]:
    """By backup id a line of what was sent; the ledger is asked only about systems that tell of communication."""
    systems: Mapping[str, Catalog] = request.app.state.systems.declared()
    telling = {name for name, catalog in systems.items() if catalog.communication is not None}
    backup_ids = [row.backup_id for row in rows if row.status.good and row.scope.catalog in telling]
    known = visitor.ledger.shapes.communication(backup_ids) if backup_ids else {}
    return {backup_id: communication_in_short(metrics_of(entries)) for backup_id, entries in known.items()}


@dataclass(frozen=True)
class RowView:
    """A row as lists show it, in words. `note` is why it was made or, `wrong`, why nothing came of it.

    `communication` is what its rows say was sent.
    """

    row: Attempt
    name: str
    status: tuple[str, str, str]
    tables: int | None
    verified: str
    damaged: bool
    held: bool
    note: str
    wrong: bool
    copied: str
    communication: str
    kind: str

    @property
    def there(self) -> bool:
        """Whether there is a bundle to be had."""
        return self.row.status.good and self.row.kind.bundled

    @property
    def warned(self) -> bool:
        """Whether it was made with warnings."""
        return self.row.status is Status.SUCCESS_WITH_WARNINGS


def row_view(row: Attempt, now: datetime, copied: str = "", communication: str = "") -> RowView:
    """The row in words, seen `now`; `copied` says whether it is in the second store, `communication` what was sent."""
    error, wanted = row.error_message, "" if row.due_at else row.reason
    return RowView(
        row=row,
        name=row.file_name or row.backup_id,
        status=WORDS[row.status],
        tables=len(row.table_counts) or None,
        verified=_verified(row, now),
        damaged=has_failed(row.verification),
        held=row.hold is not None and row.hold.lasts(now),
        note=first_sentence(error) if error else wanted,
        wrong=bool(error),
        copied=copied,
        communication=communication,
        kind=KINDS.get(row.kind, row.kind.value.capitalize()),
    )


_DEPTHS = {
    Level.PRESENT: "its objects",
    Level.BYTES: "every byte",
    Level.CONTENTS: "contents",
    Level.REFERENCES: "references",
    Level.RESTORED: "restored",
}


def _verified(row: Attempt, now: datetime) -> str:
    """How deep it was verified and when: `contents, 3 days ago`."""
    verification = row.verification
    if not row.status.good or verification is None:
        return ""
    depth = "nothing" if verification.level is None else _DEPTHS[verification.level]
    return f"{depth if verification.passed else 'damaged'}, {age(verification.at, now)}"


def _twin(wanted: BackupFilter, status: str) -> str:
    parts = ["backup-pipeline list"]
    if wanted.catalog:
        parts.append(f"--catalog {wanted.catalog}")
    parts += [f"--status {each}" for each in wanted.statuses] if status not in {"", "all"} else []
    return " ".join(parts)


def _zone(request: Request) -> str:
    systems = request.app.state.systems.declared()
    return next((catalog.timezone for catalog in systems.values()), "UTC")


def _day_start(text: str, zone: str) -> datetime | None:
    day = _day(text)
    return day_end(day - timedelta(days=1), zone) if day else None


def _day_after(text: str, zone: str) -> datetime | None:
    day = _day(text)
    return day_end(day, zone) if day else None


def _day(text: str) -> date | None:
    """What is typed into the URL by hand and is no day filters nothing."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if date(1971, 1, 1) < day < date(9000, 1, 1) else None


def visible_backup(backup_id: str, visitor: Visitor) -> Attempt:
    """The row of an id; NotFoundError, the same for what is not there and for what is not the visitor's to see."""
    row = visitor.ledger.get(backup_id) if backup_id.isprintable() else None
    if row is None or not visitor.user.sees(row.scope.business):
        message = f"There is no backup {backup_id[:80]}."
        raise NotFoundError(message, do="The list of backups shows those that are there.")
    return row


@router.get("/backups/{backup_id}")
def show_backup(
    request: Request,
    backup_id: str,
    visitor: Annotated[Visitor, Depends(signed_in)],
    *,
    manifest: bool = False,
) -> Response:
    """Everything about one backup. Its manifest is read from the store only when somebody wants it."""
    row = visible_backup(backup_id, visitor)
    now = visitor.ports.clock()
    before = _before(row, visitor)
    shape = visitor.ledger.shapes.get(row.backup_id)
    stored = _from_store(row, visitor) if manifest else None
    events = visitor.ledger.audits(row.backup_id, limit=100)
    user = visitor.user
    return page(
        request,
        "backup.html",
        zone=_zone_of(request, row),
        row=row,
        view=row_view(row, now),
        tables=_tables(row, before),
        usual=len(before),
        findings=shape.findings if shape else (),
        stored=stored,
        contents=_contents(shape, stored),
        may_look=may_look(_catalog_of(request, row), whole=user.may(Permission.DOWNLOAD)),
        history=[(event, text_of(event_detail(event))) for event in events],
        readings=[reading for reading in visitor.ledger.readings.list() if reading.backup_id == row.backup_id],
        copies=[(copy, copy.in_short(now)) for copy in visitor.ledger.copies.list(backup_id=row.backup_id)],
        renderings=[(kind.value, FORM_WORDS[kind]) for kind in offered_forms(_catalog_of(request, row))],
        small=is_small(row),
        links=visitor.ledger.downloads.list(row.backup_id),
        made_by_runs=[(made, _is_at_hand(made, visitor, now)) for made in _rendered(row, visitor, now)],
        now_there=now,
        may={permission.value: user.may(permission) for permission in Permission},
        new_request=lambda: str(uuid4()),
        command=f"backup-pipeline show {row.backup_id}",
        live=row.status is Status.RUNNING,
    )


FORM_WORDS: Mapping[Rendering, str] = {
    Rendering.XLSX: "Excel",
    Rendering.CSV: "CSV",
    Rendering.JSON: "JSON",
    Rendering.JSON_ZIP: "JSON files (ZIP)",
    Rendering.COMPREHENSIVE: "Comprehensive JSON",
    Rendering.QUARANTINE: "Rows in quarantine",
}
"""The forms of a backup as people call them."""


def offered_forms(catalog: Catalog | None) -> Sequence[Rendering]:
    """The forms that make sense for a system: two are of what only some systems declare."""
    left_out = set()
    if catalog is None or catalog.communication is None:
        left_out.add(Rendering.COMPREHENSIVE)
    if catalog is None or not any(table.validation for table in catalog.tables.values()):
        left_out.add(Rendering.QUARANTINE)
    return [kind for kind in Rendering if kind not in left_out]


def _catalog_of(request: Request, row: Attempt) -> Catalog | None:
    systems: Mapping[str, Catalog] = request.app.state.systems.declared()
    return systems.get(row.scope.catalog)


def _zone_of(request: Request, row: Attempt) -> str:
    catalog = _catalog_of(request, row)
    return catalog.timezone if catalog else "UTC"


def _before(row: Attempt, visitor: Visitor) -> Sequence[Attempt]:
    wanted = BackupFilter(row.scope.catalog, tuple(sorted(GOOD)), kind=Kind.FULL, until=row.created_at)
    before = visitor.ledger.listings.page(wanted, limit=_USUAL).rows
    return [each for each in before if each.scope == row.scope]


def _tables(row: Attempt, before: Sequence[Attempt]) -> Sequence[Mapping[str, Any]]:
    """Each table, the largest first, with what its rows differ from the median of the backups before by."""
    tables = []
    for name, rows in row.table_counts.items():
        earlier = [each.table_counts[name] for each in before if name in each.table_counts]
        usual = median_low(earlier) if earlier else None
        change = None if usual is None else rows - usual
        tables.append(
            {"name": name, "rows": rows, "bytes": row.table_bytes.get(name), "usual": usual, "change": change}
        )
    return sorted(tables, key=lambda table: (-table["rows"], table["name"]))


def _rendered(row: Attempt, visitor: Visitor, now: datetime) -> Sequence[RunRequest]:
    """The renderings that runs have made of the backup and that are still there."""
    done = visitor.ledger.run_requests.list(catalog=row.scope.catalog, status=[RequestStatus.DONE], limit=50)
    own = (made for made in done if made.verb is RunVerb.RENDER and made.detail.get("backup_id") == row.backup_id)
    return [made for made in own if made.result and datetime.fromisoformat(str(made.result["expires_at"])) > now]


def _is_at_hand(made: RunRequest, visitor: Visitor, now: datetime) -> bool:
    """Whether the rendering lies where this console looks: a run on another machine leaves it there."""
    try:
        rendered_file(work_dir(visitor.settings), made.id, now)
    except NotFoundError:
        return False
    return True


def _contents(shape: Shape | None, stored: Mapping[str, Any] | None) -> ContentsView:
    """What its rows say, as the ledger kept it; of a backup before it did, the manifest where somebody reads it."""
    known = contents_of(shape.tables) if shape else ContentsView()
    manifest: StoredManifest | None = stored["manifest"] if stored else None
    if known.communication or known.judged or manifest is None:
        return known
    return contents_of({table.name: table for table in manifest.tables})


def _from_store(row: Attempt, visitor: Visitor) -> Mapping[str, Any]:
    """The checks as the manifest in the store has them, or why it can not be had."""
    try:
        return {"manifest": stored_manifest(row, visitor.ports.store), "problem": ""}
    except BackupError as error:
        return {"manifest": None, "problem": error.what}
