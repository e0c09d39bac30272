"""Settings: the systems, the schedules and the service that runs them, what the doctor says, how this is installed.

Two tabs are for super admins alone: every backup with the switches of their schedules, and what is decided for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import Response

from backup_pipeline.core.access import Permission, check_permission
from backup_pipeline.core.doctor import Line, ok, problem, warning
from backup_pipeline.core.errors import BackupError, DagsterAwayError
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.ports.runs import Launcher
from backup_pipeline.core.runs import CodeLocation, DaemonState, ScheduleState
from backup_pipeline.core.schedule import cron_in_words
from backup_pipeline.core.text import redact_url
from backup_pipeline.operations.access import LOCAL_LOGIN, SECOND_FACTOR_ROLES
from backup_pipeline.operations.doctor import examine
from backup_pipeline.operations.payments.accounts import GRACE, METHODS
from backup_pipeline.presentation.health import doctor_document
from backup_pipeline.settings import Settings
from backup_pipeline.web.pages.backups import ListQuery, listed
from backup_pipeline.web.pages.users import policy_form
from backup_pipeline.web.people import Visitor, allowed, launcher_of
from backup_pipeline.web.rendering import page, redirect, systems_of
from backup_pipeline.wiring.addresses import store_url
from backup_pipeline.wiring.doctor import checks_of

router = APIRouter()


@dataclass(frozen=True)
class CronService:
    """What runs the schedules: whether it does, which are on, when the next one fires; `why` that is not known."""

    schedules: Sequence[ScheduleState] = ()
    daemons: Sequence[DaemonState] = ()
    locations: Sequence[CodeLocation] = ()
    why: str = ""

    @property
    def running(self) -> bool:
        """Whether the daemon that fires the schedules lives."""
        return any(daemon.name == "SCHEDULER" and daemon.healthy for daemon in self.daemons)

    @property
    def active(self) -> Sequence[ScheduleState]:
        """Those that are on."""
        return [schedule for schedule in self.schedules if schedule.running]

    @property
    def next_at(self) -> datetime | None:
        """When the next of them fires; None where none is on, or nothing fires them."""
        ticks = [schedule.next_ticks[0] for schedule in self.active if schedule.next_ticks]
        return min(ticks) if ticks and self.running else None

    @property
    def ill(self) -> Sequence[DaemonState]:
        """The daemons that are needed and give no sign."""
        return [daemon for daemon in self.daemons if daemon.silent]


def cron_service(launcher: Launcher) -> CronService:
    """The service as Dagster tells it; never raises: that it is away is an answer."""
    try:
        return CronService(launcher.schedules(), launcher.daemons(), launcher.locations())
    except BackupError as error:
        return CronService(why=error.what)


def in_words(schedule: ScheduleState) -> str:
    """When a schedule fires, for people."""
    try:
        return f"{cron_in_words(schedule.cron)}, {schedule.timezone}"
    except BackupError:
        return f"{schedule.cron}, {schedule.timezone}"


_BACKUPS, _SYSTEM = "backups", "system"
_TABS = (("", "Service", "settings"), (_BACKUPS, "Backups", "drive"), (_SYSTEM, "System", "users"))
"""Each with its name in the address, its title and its shape. Only the first is for people who change no settings."""
_WORDS = {
    SECOND_FACTOR_ROLES: "A second factor is compulsory for",
    LOCAL_LOGIN: "Signing in with a name and a password",
    GRACE: "Days after which a payment is overdue",
    METHODS: "Methods of payment that the form offers",
}


class SettingsQuery(ListQuery):
    """What the page is asked for; the filters are those of the tab with the backups."""

    tab: str = ""
    doctor: str = ""


@router.get("/settings")
def settings_page(
    request: Request,
    visitor: Annotated[Visitor, Depends(allowed(Permission.HANDLE_ALERTS))],
    query: Annotated[SettingsQuery, Query()],
) -> Response:
    """The page, or one of its tabs; with `doctor=now` it has a look at everything, which takes some seconds."""
    if query.tab in {_BACKUPS, _SYSTEM}:
        check_permission(visitor.user, Permission.MANAGE_SETTINGS)
        return (_backups_tab if query.tab == _BACKUPS else _system_tab)(request, visitor, query)
    launcher, systems = launcher_of(request), systems_of(request)
    lines: Sequence[Line] = ()
    if query.doctor == "now":
        checks = checks_of(
            visitor.settings, list(systems.values()), send=False, actor=visitor.actor, dagster=_dagster(launcher)
        )
        lines = examine(checks)
    return page(
        request,
        "settings.html",
        **_tabs(visitor, ""),
        **_cron(request, visitor),
        systems_shown=list(systems.values()),
        when={name: cron_in_words(each.schedule) if each.schedule else "no schedule" for name, each in systems.items()},
        doctor=doctor_document(lines) if lines else None,
        installed=list(_installed(visitor.settings)),
        command="backup-pipeline doctor",
        live=query.doctor != "now",
    )


def _backups_tab(request: Request, visitor: Visitor, query: SettingsQuery) -> Response:
    """All that was ever tried, unless a filter says less, and the switches of what makes it."""
    if "status" not in request.query_params:
        query = query.model_copy(update={"status": "all"})
    listing = listed(request, visitor, query)
    filtered = bool(set(request.query_params) - {"tab", "system"})
    values = {**listing, **_tabs(visitor, _BACKUPS), **_cron(request, visitor), "filtered": filtered}
    return page(request, "settings_backups.html", **values)


def _system_tab(request: Request, visitor: Visitor, _: SettingsQuery) -> Response:
    """What the ledger keeps as decided for everybody, and the form that decides it."""
    return page(
        request,
        "settings_system.html",
        **_tabs(visitor, _SYSTEM),
        **policy_form(visitor),
        kept=visitor.access.access.settings(),
        words=_WORDS,
        command="backup-pipeline audit list",
    )


def _tabs(visitor: Visitor, tab: str) -> Mapping[str, Any]:
    return {"tab": tab, "tabs": _TABS if visitor.user.may(Permission.MANAGE_SETTINGS) else _TABS[:1]}


def _cron(request: Request, visitor: Visitor) -> Mapping[str, Any]:
    """What `cron.html` shows."""
    may_switch = visitor.user.may(Permission.MANAGE_SETTINGS)
    return {"cron": cron_service(launcher_of(request)), "in_words": in_words, "may_switch": may_switch}


def _installed(settings: Settings) -> Iterator[tuple[str, str]]:
    yield "Store", redact_url(store_url(settings))
    yield "Second store", redact_url(settings.second_store) if settings.second_store else "none"
    ledger = settings.ledger_url
    yield "Ledger", redact_url(ledger.get_secret_value()) if ledger else "the PostgreSQL that comes along"
    yield "Encrypted to", settings.age_recipients or "nobody: whoever reads the store reads the backups"
    yield "A restore needs approval", "yes" if settings.restore_approval else "in the console; not at the command line"
    yield "Alert channels", str(len(settings.alert_urls)) if settings.alert_urls else "none: nobody hears of a failure"
    yield "Dagster", redact_url(settings.dagster_url)
    yield "Files in the making", str(settings.work_dir or settings.home / "work")


def _dagster(launcher: Launcher) -> Callable[[], Iterator[Line]]:
    def look() -> Iterator[Line]:
        try:
            ill = [daemon.name for daemon in launcher.daemons() if daemon.silent]
            broken = [location for location in launcher.locations() if location.error]
        except DagsterAwayError as away:
            yield problem("dagster", away.what, away.do)
            return
        for location in broken:
            yield problem("dagster", f"Code location {location.name}: {location.error}", "Correct it, and reload it.")
        if ill:
            yield warning("dagster", f"No sign of life from {', '.join(ill)}.", "Start the daemon.")
        elif not broken:
            yield ok("dagster", "The web server answers, the code is loaded, and every daemon lives.")

    return look


@router.post("/settings/schedules/{name}/{switch}")
def switch_schedule(
    request: Request,
    name: str,
    switch: str,
    visitor: Annotated[Visitor, Depends(allowed(Permission.MANAGE_SETTINGS))],
    next_: Annotated[str, Form(alias="next", max_length=500)] = "/settings",
) -> Response:
    """Start or stop a schedule in Dagster; the audit says who did."""
    launcher, on = launcher_of(request), switch == "start"
    (launcher.start_schedule if on else launcher.stop_schedule)(name)
    action = "schedule started" if on else "schedule stopped"
    visitor.ledger.audit(AuditEvent(visitor.ports.clock(), visitor.actor, action, None, {"schedule": name}))
    text = f"Schedule {name} is {'started' if on else 'stopped: it makes no backups until it is started again'}."
    return redirect(request, next_, text, tone="good" if on else "warning")
