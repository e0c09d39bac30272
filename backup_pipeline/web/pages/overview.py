"""The overview: one sentence that is true, every system, what runs and what waits; and the report on one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Depends, Request, Response

from backup_pipeline.core.access import Permission
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.due import Day
from backup_pipeline.core.schedule import cron_in_words
from backup_pipeline.operations.overview import Overview, SystemState, overview
from backup_pipeline.operations.progress import WorkNow, work_now
from backup_pipeline.presentation.charts import strip
from backup_pipeline.presentation.overview import hero, name_of, on_the_clock, tone_of_state
from backup_pipeline.web.pages.backups import row_view
from backup_pipeline.web.pages.history import drawn_statistics
from backup_pipeline.web.people import Visitor, allowed, in_one_reading, signed_in, systems_seen
from backup_pipeline.web.rendering import chosen_system, page

router = APIRouter()

_DAYS = 90


@router.get("/admin")
def show_dashboard(
    request: Request, visitor: Annotated[Visitor, Depends(allowed(Permission.HANDLE_ALERTS))]
) -> Response:
    """The same at the address that the sources give it, where only administrators get in."""
    return show_overview(request, visitor)


@router.get("/")
def show_overview(request: Request, visitor: Annotated[Visitor, Depends(signed_in)]) -> Response:
    """How everything stands."""
    with in_one_reading(visitor) as reader:
        seen = _seen(request, reader)
        work = _work(reader, seen)
        totals = reader.ledger.listings.totals(_name(chosen_system(request)))
    return page(
        request,
        "overview.html",
        seen=seen,
        hero=hero(seen),
        cards=[_card(state, seen) for state in seen.systems],
        work=work,
        waiting=seen.waiting if visitor.user.may(Permission.APPROVE) else (),
        totals=totals,
        quick=_quick_actions(visitor),
        may_run=visitor.user.may(Permission.RUN_BACKUP),
        may_drill=visitor.user.may(Permission.DRILL),
        new_request=lambda: str(uuid4()),
        command="backup-pipeline check",
        live=True,
    )


QUICK: tuple[tuple[str, str, str, Permission], ...] = (
    ("/admin/backup", "Backup Management", "drive", Permission.HANDLE_ALERTS),
    ("/restore/new", "Restore", "restore", Permission.REQUEST_RESTORE),
    ("/report", "Report", "report", Permission.SEE),
)
"""What people come for, one click from the overview: an address, its word, its icon, what it takes."""


def _quick_actions(visitor: Visitor) -> Sequence[tuple[str, str, str]]:
    return [(path, word, icon) for path, word, icon, takes in QUICK if visitor.user.may(takes)]


@router.get("/report")
def show_report(request: Request, visitor: Annotated[Visitor, Depends(signed_in)]) -> Response:
    """The protection report, which prints on one page."""
    with in_one_reading(visitor) as reader:
        seen = _seen(request, reader)
        counted = {
            state.catalog.catalog: drawn_statistics(request, reader, state.catalog, seen.at, _DAYS).counted
            for state in seen.systems
        }
    return page(
        request,
        "report.html",
        seen=seen,
        hero=hero(seen),
        cards=[_card(state, seen) for state in seen.systems],
        counted=counted,
        days=_DAYS,
        command="backup-pipeline check && backup-pipeline stats",
    )


def _seen(request: Request, visitor: Visitor) -> Overview:
    second = visitor.settings.second_store
    return overview(
        systems_seen(request, visitor),
        visitor.ledger,
        visitor.ports.clock(),
        second=second.rstrip("/") if second else None,
    )


def _work(visitor: Visitor, seen: Overview) -> Sequence[WorkNow]:
    """What goes on or was asked for, of the systems that are shown; a restore with a request stands in its own line."""
    names = {state.catalog.catalog for state in seen.systems}
    return [each for each in work_now(visitor.ledger, seen.at) if each.scope.catalog in names]


def _name(catalog: Catalog | None) -> str | None:
    return catalog.catalog if catalog else None


def _card(state: SystemState, seen: Overview) -> dict[str, Any]:
    """What a system's card shows, in words."""
    tone, word = tone_of_state(state)
    due = state.freshness.next_due
    schedule = state.catalog.schedule
    counts = {day: sum(own is day for _, own in state.days) for day in Day}
    return {
        "state": state,
        "name": name_of(state),
        "catalog": state.catalog.catalog,
        "zone": state.catalog.timezone,
        "tone": tone.value,
        "word": word,
        "next": on_the_clock(due, state, seen.at) if due else "",
        "schedule": cron_in_words(schedule) if schedule else "no schedule",
        "verified": row_view(state.newest, seen.at).verified if state.newest else "",
        "strip": strip(state.days, state.before),
        "counts": [(day.value, count) for day, count in counts.items() if count and day is not Day.NONE],
        "gaps": [day for day, own in state.days if own is Day.MISSED],
    }
