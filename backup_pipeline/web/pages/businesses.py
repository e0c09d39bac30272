"""The businesses of a system: how each is protected, what its ticks gave it, and one of them with its backups.

GET /businesses                      of a system: its last ticks, then its businesses, a page at a time
GET /businesses/CATALOG/KEY          one of them: the last day, its backups, quota, features
GET /businesses/CATALOG/KEY/restore  the wizard that brings it back: to which moment, which changes, tables and rows
POST the same                        a run makes the plan; from there on as every restore (web/pages/restore.py)
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import quote
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import Response
from markupsafe import Markup
from pydantic import BaseModel, Field

from backup_pipeline.core.access import Permission
from backup_pipeline.core.businesses.strips import SlotStretch, TickWindow, strips
from backup_pipeline.core.businesses.ticks import BusinessMiss, Tick, TickStatus
from backup_pipeline.core.catalog.businesses import SHARED
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import NotFoundError, UsageError
from backup_pipeline.core.ledger import GOOD, Attempt, Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.payments.accounts import BusinessAccount, Feature, features_with
from backup_pipeline.core.ports.ticks import BusinessSort
from backup_pipeline.core.restore import EVERY_CHANGE, Mode, RowChange, Selection
from backup_pipeline.core.restore.businesses import parse_rows
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.businesses.protection import (
    BusinessProtection,
    Listing,
    ProtectionState,
    protection_page,
    protections_of,
    window_of,
)
from backup_pipeline.operations.businesses.restore import backup_of_moment
from backup_pipeline.operations.restore.decisions import RestoreWish
from backup_pipeline.presentation.businesses import TICK_TONES
from backup_pipeline.presentation.charts import slots_in_words, tick_strip
from backup_pipeline.web.pages.backups import visible_backup
from backup_pipeline.web.pages.restore import STEPS, planned_wish
from backup_pipeline.web.people import Visitor, allowed, in_one_reading, not_there
from backup_pipeline.web.rendering import chosen_system, page, systems_of
from backup_pipeline.wiring.restore import SOURCE

router = APIRouter()

_Seeing = Annotated[Visitor, Depends(allowed(Permission.SEE))]
_Asking = Annotated[Visitor, Depends(allowed(Permission.REQUEST_RESTORE))]
_MOMENTS = 25
"""Of its newest backups the wizard offers so many; any other moment is named by its time."""
_PAGE = 50
_LAST_TICKS = 4
_BACKUPS = 120
"""Of one business: more than three chains."""
_STATUSES = (Status.RUNNING, Status.SUCCESS, Status.SUCCESS_WITH_WARNINGS, Status.FAILED, Status.CANCELED)
_SORTS = (
    (BusinessSort.NAME.value, "Name"),
    (BusinessSort.MISSES.value, "Most misses today"),
    (BusinessSort.STORED.value, "Most stored"),
)
_TONES: Mapping[ProtectionState, str] = {
    ProtectionState.PROTECTED: "good",
    ProtectionState.MISSED: "failure",
    ProtectionState.NEVER: "failure",
    ProtectionState.PAUSED: "warning",
    ProtectionState.NOT_ACTIVE: "quiet",
}

_MISSED_ALL = frozenset({TickStatus.FAILED, TickStatus.SKIPPED, TickStatus.MISSED})
_RUNNABLE = frozenset({ProtectionState.PROTECTED, ProtectionState.MISSED, ProtectionState.NEVER})
"""Nothing is backed up of a business that is paused or not active."""


@dataclass(frozen=True)
class BusinessView:
    """A business as a row of the list shows it; without a strip nothing is known of its ticks."""

    row: BusinessProtection
    standing: ProtectionState
    tone: str
    strip: Markup | None
    in_words: str

    @property
    def address(self) -> str:
        """Of its page, without the page's name in front."""
        return f"{quote(self.row.catalog, safe='')}/{quote(self.row.business, safe='')}"


@router.get("/businesses")
def businesses_page(
    request: Request,
    visitor: _Seeing,
    q: Annotated[str, Query(max_length=200)] = "",
    sort: BusinessSort = BusinessSort.NAME,
    after: Annotated[str, Query(max_length=500)] = "",
) -> Response:
    """Of the chosen system, or of the first that has businesses."""
    chosen, declaring = chosen_system(request), [each for each in systems_of(request).values() if each.businesses]
    catalog = chosen if chosen is not None else next(iter(declaring), None)
    if catalog is None or catalog.businesses is None:
        return page(request, "businesses.html", catalog=None, there=declaring, command="backup-pipeline demo retail")
    value, slash, key = after.rpartition("/")
    listing, now = Listing(sort, q.strip(), (value, key) if slash else None), visitor.ports.clock()
    with in_one_reading(visitor) as reader:
        listed = protection_page(catalog, reader.ledger, now, listing, limit=_PAGE)
        ticks = reader.ledger.ticks.list(catalog.catalog, limit=_LAST_TICKS, of=())
    of_system = f"--catalog {catalog.catalog}"
    return page(
        request,
        "businesses.html",
        catalog=catalog,
        there=declaring,
        ticks=ticks,
        tick_tones=TICK_TONES,
        rows=[_view(row, listed.strips, catalog, now) for row in listed.rows],
        following="/".join(listed.following) if listed.following else None,
        filtered=bool(q.strip()),
        sorts=_SORTS,
        sort=sort.value,
        sees_all=visitor.user.sees_every_business,
        may_see_accounts=visitor.user.may(Permission.MANAGE_PAYMENTS),
        live=True,
        command=f"backup-pipeline businesses ticks {of_system} && backup-pipeline businesses protection {of_system}",
    )


def _view(
    row: BusinessProtection,
    slots: Mapping[str, Sequence[SlotStretch]],
    catalog: Catalog,
    now: datetime,
) -> BusinessView:
    standing = row.standing(now, _interval(catalog))
    own = slots.get(row.business)
    strip = tick_strip(own, catalog.timezone) if own else None
    in_words = slots_in_words(own, catalog.timezone, most=2) if own else ""
    return BusinessView(row, standing, _TONES[standing], strip, in_words)


def _interval(catalog: Catalog) -> timedelta:
    if catalog.businesses is None:
        raise not_there()
    return catalog.businesses.interval


@router.get("/businesses/{catalog}/{business}")
def business_page(
    request: Request,
    visitor: _Seeing,
    catalog: str,
    business: str,
    backup: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """One business; `backup` is the one that the restore's command is shown for, else the newest good one."""
    spec, now = systems_of(request).get(catalog), visitor.ports.clock()
    if spec is None or spec.businesses is None:
        raise not_there()
    with in_one_reading(visitor) as reader:
        account = reader.ledger.businesses.get(catalog, business)
        if account is None:
            raise not_there()
        [row] = protections_of(spec, reader.ledger, [account])
        window = window_of(spec, reader.ledger, [business], now)
        attempts = reader.ledger.list(scope=Scope(catalog, business=business), status=_STATUSES, limit=_BACKUPS)
        features = features_with(reader.ledger.businesses.features(catalog, business))
    slots = strips(window, {business: account.registered_at}, () if row.backup_id else {business}) if window else {}
    view = _view(row, slots, spec, now)
    good = [each.backup_id for each in attempts if each.status.good]
    chosen = backup if backup in good else next(iter(good), "")
    restore = f"backup-pipeline businesses restore {shlex.quote(chosen)}" if chosen else ""
    return page(
        request,
        "business.html",
        catalog=spec,
        account=account,
        view=view,
        whole_words=slots_in_words(slots[business], spec.timezone) if business in slots else "",
        misses=_missed_by(window) if window else (),
        attempts=_with_chains(attempts),
        most=_BACKUPS,
        good=good,
        chosen=chosen,
        restore=restore,
        chosen_from=_choices(attempts, spec),
        features=features,
        may_restore=_may_restore(visitor, features),
        may_run=visitor.user.may(Permission.RUN_BACKUP) and view.standing in _RUNNABLE,
        may_see_accounts=visitor.user.may(Permission.MANAGE_PAYMENTS),
        new_request=uuid4,
        live=True,
        command=restore or f"backup-pipeline businesses protection --catalog {catalog}",
    )


def _missed_by(window: TickWindow) -> Sequence[tuple[Tick, BusinessMiss | None]]:
    """The ticks, newest first, that missed the business, and why; without a reason of its own it was all of them."""
    missed: list[tuple[Tick, BusinessMiss | None]] = []
    for tick in window.ticks:
        if (tick.missed_until or tick.scheduled_at) < window.since:
            continue
        if tick.misses:
            missed += [(tick, miss) for miss in tick.misses]
        elif tick.status in _MISSED_ALL:
            missed.append((tick, None))
    return missed


def _with_chains(attempts: Sequence[Attempt]) -> Sequence[tuple[Attempt, str]]:
    """The backups, newest first, each with where it stands in its chain: `full + 3`; nothing for one that has none."""
    places: dict[str, int] = {}
    for row in reversed(attempts):
        if row.status.good and row.type is Trigger.AUTOMATIC:
            if row.kind is Kind.FULL:
                places[row.backup_id] = 0
            elif row.goes_on_from in places:
                places[row.backup_id] = places[row.goes_on_from] + 1
    return [(row, _place_in_words(places.get(row.backup_id))) for row in attempts]


def _place_in_words(place: int | None) -> str:
    if place is None:
        return ""
    return f"full + {place}" if place else "begins a chain"


def _choices(attempts: Sequence[Attempt], catalog: Catalog) -> Sequence[tuple[str, str]]:
    """The backups that there are, by id, as a form offers them."""
    zone = ZoneInfo(catalog.timezone)
    return [
        (row.backup_id, f"{(row.snapshot_at or row.created_at).astimezone(zone):%d %b, %H:%M:%S} {row.backup_id}")
        for row in attempts
        if row.status.good
    ]


class BringBack(BaseModel):
    """What of a business is to come back. Without a `backup`, as it was `at` a time on the wall clock of the system.

    `rows` are `TABLE=KEY`, one a line, and `row` the same from boxes that were ticked: these alone, or all but these.
    """

    backup: str = Field(default="", max_length=200)
    at: str = Field(default="", max_length=40)
    change: list[RowChange] = Field(default_factory=lambda: list(EVERY_CHANGE))
    table: list[str] = Field(default_factory=list, max_length=1_000)
    rows: str = Field(default="", max_length=100_000)
    row: list[str] = Field(default_factory=list, max_length=1_000)
    how: Literal["only", "but"] = "only"

    def selection(self, at: datetime | None) -> Selection:
        """The same as a selection; UsageError for a text that names no row, or where nothing may change."""
        keys = parse_rows([line for line in (*self.rows.splitlines(), *self.row) if line.strip()])
        if not self.change:
            message = "Nothing is chosen that may be done with its rows."
            raise UsageError(message, do="Choose to create, to update or to delete.")
        changes = tuple(change for change in RowChange if change in self.change)
        return Selection(changes, keys if self.how == "only" else {}, keys if self.how == "but" else {}, at)


class BringBackForm(BringBack):
    """The same as it is sent: a box that is not ticked is not there. `request` sent twice is one run."""

    request: UUID
    change: list[RowChange] = Field(default_factory=list)


def _may_restore(visitor: Visitor, features: Mapping[Feature, bool]) -> bool:
    """Who has businesses asks for them unless that was switched off."""
    own = visitor.user.sees_every_business or features.get(Feature.RESTORE_SELF_SERVICE, True)
    return visitor.user.may(Permission.REQUEST_RESTORE) and own


def _restorable(request: Request, visitor: Visitor, catalog: str, business: str) -> tuple[Catalog, BusinessAccount]:
    spec = systems_of(request).get(catalog)
    if spec is None or spec.businesses is None:
        raise not_there()
    account = visitor.ledger.businesses.get(catalog, business)
    if account is None or not _may_restore(
        visitor, features_with(visitor.ledger.businesses.features(catalog, business))
    ):
        raise not_there()
    return spec, account


@router.get("/businesses/{catalog}/{business}/restore")
def bring_back_page(
    request: Request, visitor: _Asking, catalog: str, business: str, choice: Annotated[BringBack, Query()]
) -> Response:
    """To which moment, and what of it; nothing is read or touched yet."""
    spec, account = _restorable(request, visitor, catalog, business)
    return _bring_back(request, visitor, spec, account, choice)


@router.post("/businesses/{catalog}/{business}/restore")
def plan_bring_back(
    request: Request, visitor: _Asking, catalog: str, business: str, form: Annotated[BringBackForm, Form()]
) -> Response:
    """Let a run make the plan; what does not fit is said beside the form."""
    spec, account = _restorable(request, visitor, catalog, business)
    try:
        wish = _wish_of(form, spec, account, visitor)
    except (UsageError, NotFoundError) as error:
        return _bring_back(request, visitor, spec, account, form, problem=f"{error.what} {error.do}".strip())
    return planned_wish(request, visitor, form.request, wish)


def _wish_of(form: BringBackForm, spec: Catalog, account: BusinessAccount, visitor: Visitor) -> RestoreWish:
    at = None
    if form.backup:
        row = visible_backup(form.backup, visitor)
        if row.scope != Scope(spec.catalog, business=account.business) or not row.status.good:
            message = f"Backup {row.backup_id} is not a good one of this business."
            raise UsageError(message, do="Choose one of its backups.")
        backup_id = row.backup_id
    else:
        at = _moment(form.at, spec)
        backup_id = backup_of_moment(spec.catalog, account.business, at, visitor.ports).backup_id
    if unknown := sorted(set(form.table) - set(_own_tables(spec))):
        message = f"The system has no table {unknown[0][:80]} with rows of businesses."
        raise UsageError(message, do="Choose of those that are listed.")
    return RestoreWish(backup_id, SOURCE, Mode.DIFFERENCE, tuple(dict.fromkeys(form.table)), None, form.selection(at))


def _moment(text: str, spec: Catalog) -> datetime:
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text[:40]!r} is no time." if text else "To which moment is it to come back?"
        raise UsageError(message, do="Choose a backup, or name a date and a time.") from None
    return local if local.tzinfo else local.replace(tzinfo=ZoneInfo(spec.timezone))


def _own_tables(spec: Catalog) -> Sequence[str]:
    return [name for name, table in spec.tables.items() if table.business not in {None, SHARED}]


def _bring_back(
    request: Request,
    visitor: Visitor,
    spec: Catalog,
    account: BusinessAccount,
    choice: BringBack,
    problem: str = "",
) -> Response:
    now, scope = visitor.ports.clock(), Scope(spec.catalog, business=account.business)
    with in_one_reading(visitor) as reader:
        [row] = protections_of(spec, reader.ledger, [account])
        window = window_of(spec, reader.ledger, [account.business], now)
        attempts = reader.ledger.list(scope=scope, status=sorted(GOOD), limit=_MOMENTS)
    slots = strips(window, {account.business: account.registered_at}, set()) if window else {}
    chosen = choice.backup or ("" if choice.at else next((each.backup_id for each in attempts), ""))
    command = "--at 2026-11-30T14:05 --business " + shlex.quote(account.business)
    return page(
        request,
        "business_restore.html",
        status=422 if problem else 200,
        steps=STEPS,
        catalog=spec,
        account=account,
        view=_view(row, slots, spec, now),
        attempts=attempts,
        chosen=chosen,
        choice=choice,
        problem=problem,
        tables=_own_tables(spec),
        changes=CHANGES,
        request_uuid=uuid4(),
        command=f"backup-pipeline businesses restore {shlex.quote(chosen) if chosen else command} --ask",
    )


CHANGES: Sequence[tuple[str, str, str]] = (
    (RowChange.CREATE.value, "Create missing", "Rows that are gone come back."),
    (RowChange.UPDATE.value, "Update existing", "Rows that are there get the values of then."),
    (RowChange.DELETE.value, "Delete new", "Rows that came later are removed."),
)
"""What may be done with the rows of a business: a name, and a sentence."""
