"""Pages: the templates, what each of them is given, its files, and the word that a page shows after a form was sent."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.staticfiles import StaticFiles

from backup_pipeline import __version__
from backup_pipeline.core.access import Permission
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError, NotFoundError
from backup_pipeline.core.schedule import in_words
from backup_pipeline.core.scope import Actor
from backup_pipeline.core.text import visible, visible_lines
from backup_pipeline.core.verification import age
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation import ReportDocument, duration, size
from backup_pipeline.presentation.html import UTC_ZONE, badge, html, icon, instant
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.ports import watched

with lazily():
    from backup_pipeline.wiring import history

STATIC = "/static"
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class NavEntry:
    """A page in the menu, for whoever has the permission."""

    path: str
    title: str
    icon: str
    permission: Permission = Permission.SEE
    group: str = ""


BUSINESSES = "/businesses"
NAV: tuple[NavEntry, ...] = (
    NavEntry("/", "Overview", "overview"),
    NavEntry("/backups", "Backups", "backups"),
    NavEntry("/calendar", "Calendar", "calendar"),
    NavEntry("/charts", "Charts", "charts"),
    NavEntry("/report", "Report", "report"),
    NavEntry(BUSINESSES, "Businesses", "businesses"),
    NavEntry("/restore/new", "Restore", "restore", Permission.REQUEST_RESTORE, "Recover"),
    NavEntry("/requests", "Restore requests", "requests", Permission.SEE, "Recover"),
    NavEntry("/drills", "Drills", "drill", Permission.SEE, "Recover"),
    NavEntry("/retention", "Retention", "retention", Permission.SEE, "Keep"),
    NavEntry("/alerts", "Alerts", "alerts", Permission.SEE, "Watch"),
    NavEntry("/runs", "Runs", "play", Permission.SEE, "Watch"),
    NavEntry("/accounts", "Accounts", "businesses", Permission.MANAGE_PAYMENTS, "Money"),
    NavEntry("/payments", "Payments", "check", Permission.MANAGE_PAYMENTS, "Money"),
    NavEntry("/plans", "Plans", "table", Permission.MANAGE_PAYMENTS, "Money"),
    NavEntry("/analytics", "Analytics", "charts", Permission.MANAGE_PAYMENTS, "Money"),
    NavEntry("/audit", "Audit", "audit", Permission.SEE_AUDIT, "Administration"),
    NavEntry("/users", "Users", "users", Permission.MANAGE_USERS, "Administration"),
    NavEntry("/keys", "API keys", "keys", Permission.MANAGE_KEYS, "Administration"),
    NavEntry("/usage", "Use of the API", "charts", Permission.MANAGE_KEYS, "Administration"),
    NavEntry("/webhooks", "Webhooks", "requests", Permission.MANAGE_KEYS, "Administration"),
    NavEntry("/settings", "Settings", "settings", Permission.HANDLE_ALERTS, "Administration"),
)
"""The menu, in its order. Entries of one group stand together, below its name."""


def serve_static_files(app: FastAPI) -> None:
    """The style sheet, the script and the pictures."""
    app.mount(STATIC, StaticFiles(directory=_HERE / "static"), name="static")
    app.state.systems = Systems(app.state.settings)


class Systems:
    """The catalogs that are declared, read again when a file of them has changed; safe from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._seen: object = None
        self._known: Mapping[str, Catalog] = {}

    def declared(self) -> Mapping[str, Catalog]:
        """By name; CatalogError when one of them is malformed."""
        folder = self._settings.catalogs
        files = [folder] if folder.is_file() else sorted(folder.glob("*.yaml"))
        seen = [(path, (stat := path.stat()).st_mtime_ns, stat.st_size) for path in files]
        with self._lock:
            if seen != self._seen:
                self._known = {catalog.catalog: catalog for catalog in watched(self._settings)}
                self._seen = seen
            return self._known


@dataclass(frozen=True)
class DemoPast:
    """What `demo history` made of systems that are shown: so many days, then."""

    titles: tuple[str, ...]
    days: int
    made_at: datetime


def demo_past(settings: Settings, shown: Mapping[str, Catalog]) -> DemoPast | None:
    """The past of the systems that are shown, where it was made up; None where it was not."""
    mark = history.demo_history_of(settings) or {}
    try:
        names = [str(name) for name in list(mark["catalogs"]) if name in shown]  # type: ignore[call-overload]
        past = DemoPast(
            tuple(shown[name].title or name for name in names),
            int(str(mark["days"])),
            datetime.fromisoformat(str(mark["made_at"])),
        )
    except (KeyError, ValueError, TypeError):
        return None
    return past if names else None


def systems_of(request: Request) -> Mapping[str, Catalog]:
    """The catalogs by name; CatalogError when one of them is malformed."""
    systems: Systems = request.app.state.systems
    return systems.declared()


def chosen_system(request: Request) -> Catalog | None:
    """The catalog that the page is asked for (`?system=`), None for all; NotFoundError for one that is not there."""
    name = request.query_params.get("system") or None
    if name is None:
        return None
    declared = systems_of(request)
    if name not in declared:
        message = f"There is no system {visible(name)}."
        raise NotFoundError(message, do=f"There are {', '.join(declared)}.")
    return declared[name]


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """The whole page of a template. It is given `values`, and what every page has: see `_shell`."""
    context = {**_shell(request), **values}
    body = ENVIRONMENT.get_template(template).render(context).encode()
    headers = {"Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, 5, mtime=0)
        headers["Content-Encoding"] = "gzip"
    answer = HTMLResponse(body, status, headers)
    if context["flash"]:
        answer.delete_cookie(_FLASH, path="/", secure=is_over_https(request), httponly=True, samesite="lax")
    return answer


def redirect(request: Request, url: str, text: str = "", *, tone: str = "good") -> RedirectResponse:
    """Lead to a page of ours after a form was sent (303), which shows `text` once."""
    answer = RedirectResponse(local_path(url), 303)
    if text:
        value = base64.urlsafe_b64encode(json.dumps([tone, text[:_LONGEST_FLASH]]).encode()).decode()
        answer.set_cookie(
            _FLASH, value, max_age=60, path="/", secure=is_over_https(request), httponly=True, samesite="lax"
        )
    return answer


def is_over_https(request: Request) -> bool:
    """Whether the browser came over https: here, or to a proxy that says so or that BACKUP_CONSOLE_URL names."""
    settings: Settings = request.app.state.settings
    public = urlsplit(settings.console_url or "")
    return request.url.scheme == "https" or (public.scheme == "https" and public.hostname == request.url.hostname)


def console_address(request: Request) -> str:
    """Under which address people reach the console, without a slash at its end: the settings', else as they came."""
    settings: Settings = request.app.state.settings
    return (settings.console_url or str(request.base_url)).rstrip("/")


def split_address(url: str) -> SplitResult:
    """The parts of what a browser sent as an address; those of nothing where it is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def local_path(url: str, otherwise: str = "/") -> str:
    """`url` where it is a path of this console, else `otherwise`: nobody is led to another site."""
    parts = split_address(url.replace("\\", "/"))
    foreign = parts.scheme or parts.netloc or not parts.path or not url.startswith("/") or url.startswith(("//", "/\\"))
    return otherwise if foreign or any(ord(letter) < ord(" ") for letter in url) else url


# What a page shows after a form was sent travels in a cookie: a tone and a text, which every page escapes as any other.
_FLASH = "flash"
_LONGEST_FLASH = 600
_TONES = frozenset({"good", "warning", "failure", "active"})


def _flash(request: Request) -> tuple[str, str] | None:
    try:
        tone, text = json.loads(base64.urlsafe_b64decode(request.cookies.get(_FLASH, "")))
    except (ValueError, TypeError):
        return None
    return (tone, text) if tone in _TONES and isinstance(text, str) else None


def _shell(request: Request) -> dict[str, Any]:
    """What every page has: who looks, the menu, the systems, the clock, the request, and a word of the form before."""
    visitor = getattr(request.state, "visitor", None)
    user = visitor.user if visitor else None
    systems = _systems_or_none(request)
    name = request.query_params.get("system", "")
    system = systems.get(name) or next(iter(systems.values()), None)
    return {
        "request": request,
        "path": request.url.path,
        "query": request.query_params,
        "visitor": visitor,
        "user": user,
        "nav": [entry for entry in _menu(systems) if user is not None and user.may(entry.permission)],
        "systems": systems,
        "system": name if name in systems else "",
        "zone": system.timezone if system else UTC_ZONE,
        "now": datetime.now(UTC),
        "away": request.app.state.standing.away,
        "demo": demo_past(request.app.state.settings, {name: systems[name]} if name in systems else systems)
        if user
        else None,
        "flash": _flash(request),
        "request_id": getattr(request.state, "request_id", ""),
        "command": "",
        "live": False,
    }


def _menu(systems: Mapping[str, Catalog]) -> Iterator[NavEntry]:
    """The menu; businesses stand in it where a system has any."""
    many = any(catalog.businesses for catalog in systems.values())
    return (entry for entry in NAV if many or entry.path != BUSINESSES)


def _systems_or_none(request: Request) -> Mapping[str, Catalog]:
    """A malformed catalog costs the menu of systems, and no page: what needs the catalogs says what is wrong."""
    try:
        return systems_of(request)
    except (BackupError, OSError):
        return {}


def _hashed(name: str) -> str:
    """The address of a file of `static`, which changes with its bytes: a browser may keep it for ever."""
    return f"{STATIC}/{name}?v={hashlib.sha256((_HERE / 'static' / name).read_bytes()).hexdigest()[:12]}"


@pass_context
def _time(context: Context, at: datetime | None, zone: str | None = None, *, seconds: bool = False) -> Markup:
    return instant(at, zone or context["zone"], seconds=seconds)


@pass_context
def _day(context: Context, at: datetime | None, zone: str | None = None) -> Markup:
    """The day of an instant, with the instant as its title."""
    if at is None:
        return Markup()
    local = at.astimezone(ZoneInfo(zone or context["zone"]))
    shown = f"{local.day} {local:%b %Y}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(), f"{local:%H:%M}, {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC", shown
    )


@pass_context
def _age(context: Context, at: datetime | None, zone: str | None = None) -> Markup:
    """How long ago, with the instant as its title."""
    if at is None:
        return Markup()
    local = f"{at.astimezone(ZoneInfo(zone or context['zone'])):%d %b %Y, %H:%M} ({at.astimezone(UTC):%H:%M} UTC)"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(at.isoformat(), local, age(at, context["now"]))


@pass_context
def _ahead(context: Context, at: datetime | None) -> str:
    """`in 9 hours`; `now` when it has come."""
    if at is None:
        return ""
    return f"in {in_words(at - context['now'])}" if at > context["now"] else "now"


@pass_context
def _report(context: Context, document: ReportDocument, zone: str | None = None) -> Markup:
    return html(document, zone=zone or context["zone"])


def _who(actor: Actor) -> Markup:
    """Who acts, as people say it: a person by name, anything else as it is; its kind is the title."""
    return Markup('<span class="who" title="{}">{}</span>').format(
        actor.kind.value.replace("_", " "), visible(actor.for_people)
    )


@pass_context
def _with(context: Context, **changes: object) -> str:
    """The address of this page with other parameters; None takes one out."""
    kept = [(name, value) for name, value in context["query"].multi_items() if name not in changes]
    added = [(name, str(value)) for name, value in changes.items() if value not in (None, "")]
    query = urlencode([*kept, *added])
    return f"{context['path']}?{query}" if query else str(context["path"])


def _shown(value: object) -> object:
    """A value as a page shows it, wherever it stands."""
    if isinstance(value, Actor):
        return visible(value.for_people)
    return visible_lines(value) if type(value) is str else value


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "time": _time,
        "age": _age,
        "day": _day,
        "ahead": _ahead,
        "size": lambda count: "" if count is None else size(count),
        "number": lambda count: "" if count is None else f"{count:,}",
        "duration": lambda seconds: "" if seconds is None else duration(seconds),
        "report": _report,
        "shell": shlex.quote,  # one word of a command, whatever is in it: people copy it
        "who": _who,
        "visible": visible,
    }
    static = {name: _hashed(name) for name in ("console.css", "console.js", "icon.svg")}
    environment.globals |= {"badge": badge, "icon": icon, "static": static, "version": __version__, "here": _with}
    return environment


ENVIRONMENT = _environment()
