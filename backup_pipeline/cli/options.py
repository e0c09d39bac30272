"""What commands share: arguments and options, the installation they work on, and how progress is shown."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, timedelta
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.text import Text

from backup_pipeline.core.errors import BackupError, UsageError
from backup_pipeline.core.ports import (
    BytesMoved,
    Event,
    PageWritten,
    StageStarted,
    TableFinished,
    TableStarted,
    Waiting,
)
from backup_pipeline.core.restore import FIRST, SECOND, Which
from backup_pipeline.core.retention.prune import Versions
from backup_pipeline.core.scope import Actor, Scope, parse_scope
from backup_pipeline.core.text import acts
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation import stage_name, table_name
from backup_pipeline.presentation.terminal import note_console
from backup_pipeline.settings import Settings

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from backup_pipeline.core.catalog.model import Catalog
    from backup_pipeline.core.ports import Ledger, Ports, Store
    from backup_pipeline.ledger.backups import SqlLedger

with lazily():
    from rich import progress as rich_progress

    from backup_pipeline.operations import download
    from backup_pipeline.wiring import addresses, embedded, stores
    from backup_pipeline.wiring import ports as wiring_ports


_NOT_PLAIN = re.compile(r"[^\n\x20-\x7e]")


def print_line(text: str) -> None:
    """One line of the result, exactly as it is."""
    sys.stdout.write(text + "\n")


def print_json(value: object) -> None:
    """The result as JSON: dataclasses as objects, times in ISO 8601 (UTC)."""
    sys.stdout.write(json_text(plain(value), indent=1) + "\n")


def json_text(value: object, *, indent: int | None = None) -> str:
    r"""JSON in which letters of every script are as they are, and what could act on a terminal is `\u001b`."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _NOT_PLAIN.sub(lambda found: json.dumps(found[0])[1:-1] if acts(found[0]) else found[0], text)


def plain(value: object) -> object:
    """`value` made of what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type | Actor):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, IntEnum):
        return value.value
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def moment(at: datetime | None) -> str:
    """A time for people, in UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else ""


class RunFailedError(BackupError):
    """A run of Dagster failed; it carries the exit code of the step that did."""

    def __init__(self, what: str, *, do: str, exit_code: int) -> None:
        super().__init__(what, do=do)
        self.exit_code = exit_code


_ID = "A backup id, or `latest`: the newest good full one."

Backup = Annotated[str, typer.Argument(help=_ID, metavar="ID")]
PerhapsBackup = Annotated[str | None, typer.Argument(help=_ID, metavar="ID")]
OfCatalog = Annotated[str | None, typer.Option(help="With `latest`: of this catalog.")]
BackupsOf = Annotated[str | None, typer.Option(help="Only backups of this catalog.")]
FromStore = Annotated[
    Which, typer.Option("--store", help="Which store to read: the first, or the second (BACKUP_SECOND_STORE).")
]
Limit = Annotated[int, typer.Option(help="At most so many, the newest.", min=1)]
LedgerReason = Annotated[str, typer.Option(help="Why; kept in the ledger.")]
AuditReason = Annotated[str, typer.Option(help="Why; kept in the audit.")]
EarlierVersions = Annotated[
    Versions | None,
    typer.Option(help="Earlier versions in a versioned bucket; default: BACKUP_PRUNE_VERSIONS, or report."),
]
RowsAsJson = Annotated[bool, typer.Option("--json", help="Print JSON: an array of ledger rows.")]
PlanAsJson = Annotated[bool, typer.Option("--json", help="Print plan and report as JSON, and nothing else.")]


_invocation: ContextVar[Settings | None] = ContextVar("invocation", default=None)


def forget_settings() -> None:
    """Begin an invocation: what an earlier one in this process read of the environment counts no more."""
    _invocation.set(None)


def invoked_settings() -> Settings:
    """The settings of this invocation, read when its command first needs them: help needs none.

    SettingsError for one that is wrong.
    """
    settings = _invocation.get() or Settings()
    _invocation.set(settings)
    return settings


def chosen_catalog(settings: Settings, name: str | None) -> Catalog:
    """The catalog of that name, else the one of the settings; NotFoundError when there is none."""
    wanted = settings.catalog if name is None else name
    return addresses.chosen_catalog(wanted, settings)


def check_known(settings: Settings, ledger: Ledger, name: str | None) -> None:
    """NotFoundError unless the catalog is declared, or the ledger knows it: it may have been declared once."""
    scope = named_scope(name)
    if name is None or (scope is not None and ledger.list(scope=scope, limit=1)):
        return
    addresses.chosen_catalog(scope.catalog if scope else name, settings)


@dataclass(frozen=True)
class Opened:
    """An installation whose ledger is open."""

    settings: Settings
    ledger: SqlLedger

    @cached_property
    def clock(self) -> addresses.LedgerClock:
        """The present, as the ledger has it."""
        return addresses.LedgerClock(self.ledger)

    @property
    def actor(self) -> Actor:
        """Who asks, as the audit will name them."""
        return addresses.os_user()

    def store(self, which: Which = FIRST) -> Store:
        """The store of the backups: the first, or the second.

        Of the second is said on stderr that it is read: what comes may be older than what the first one has.
        """
        if which == SECOND:
            second = stores.the_second(self.settings, stores.noted_in(self.ledger))
            note_console().print(f"From the second store, {second.url}.", markup=False)
            return second.store
        return stores.open_settings_store(self.settings, used=stores.noted_in(self.ledger))

    @cached_property
    def ports(self) -> Ports:
        """Everything that operations reach the world through; nobody watches their progress."""
        return wiring_ports.ports_over(self.ledger, self.settings)

    @property
    def has_dagster(self) -> bool:
        """Whether there is a Dagster that may be told what became known of a backup."""
        return (self.settings.dagster_home or self.settings.home / "dagster").is_dir()

    def audit(self) -> download.AuditTrail:
        """Where it is written down that somebody took a backup out."""
        return download.AuditTrail(self.ledger, self.clock, self.actor)


@contextmanager
def opened(catalog: str | None = None, *, connections: int | None = None) -> Iterator[Opened]:
    """Open the ledger, brought to this version where an earlier one made it.

    The embedded PostgreSQL, where it is the ledger's server, is started for as long as it takes.

    NotFoundError where `catalog` is neither declared nor in the ledger.
    """
    with (
        embedded.ledger_ready(invoked_settings()) as settings,
        wiring_ports.open_current_ledger(settings, connections=connections) as ledger,
    ):
        check_known(settings, ledger, catalog)
        yield Opened(settings, ledger)


def note_unreported(why: str | None) -> None:
    """Say on stderr why Dagster does not show what became known of a backup; nothing where it does."""
    if why is not None:
        note_console().print(f"Dagster does not show it: {why}", markup=False, soft_wrap=True)


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str) -> timedelta:
    """The time written as `text`; UsageError, saying what is allowed, when it is none."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text.strip())
    if match is None:
        message = f"{text!r} is not a time."
        raise UsageError(message, do="Write a number and s, m, h or d: 90s, 30m, 1h, 7d.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def named_scope(name: str | None) -> Scope | None:
    """The scope that `--catalog` names; None without one, and for a name that can be none."""
    try:
        return parse_scope(name) if name is not None else None
    except ValueError:
        return None


class LinesProgress:
    """One line when a table or a stage ends: for logs, cron and CI."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()

    def tell(self, event: Event) -> None:
        """Print the events that end something."""
        match event:
            case StageStarted():
                self._print(f"{stage_name(event)} ...")
            case Waiting():
                self._print(event.message)
            case TableFinished(error=None):
                numbers = f"{event.rows:,} rows, {decimal(event.bytes)}, {event.seconds:.1f} s"
                self._print(f"{table_name(event)}: {numbers}")
            case TableFinished():
                self._print(f"{table_name(event)}: FAILED: {event.error}")

    def _print(self, line: str) -> None:
        with self._lock:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class LiveProgress:
    """A bar per table (rows, MB, rows/s, time left), finished tables scrolling away above."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._rows: dict[str, int] = {}
        self._started: dict[str, float] = {}

    def tell(self, event: Event) -> None:
        """Move the bars."""
        with self._lock:
            match event:
                case TableStarted():
                    self._start(event)
                case PageWritten():
                    self._page(event)
                case TableFinished():
                    self._finish(event)
                case StageStarted():
                    self._stage(event)
                case Waiting():
                    self._bars.console.print(Text.assemble(("!", "yellow"), f" {event.message}"))
                case BytesMoved() if "stage" in self._tasks:
                    self._bars.advance(self._tasks["stage"], event.bytes)

    def _start(self, event: TableStarted) -> None:
        self._remove(event.table)
        self._rows[event.table] = 0
        self._started[event.table] = time.monotonic()
        total = event.estimated_rows if event.estimated_rows > 0 else None
        self._tasks[event.table] = self._bars.add_task(escape(table_name(event)), total=total, numbers="")

    def _page(self, event: PageWritten) -> None:
        rows = self._rows[event.table] = self._rows.get(event.table, 0) + event.rows
        seconds = max(time.monotonic() - self._started.get(event.table, 0.0), 0.001)
        numbers = f"{rows:>12,} rows  {decimal(event.bytes):>9}  {rows / seconds:>10,.0f} rows/s"
        self._bars.update(self._tasks[event.table], completed=rows, numbers=numbers)

    def _finish(self, event: TableFinished) -> None:
        self._remove(event.table)
        if event.error:
            self._bars.console.print(Text.assemble(("✗", "red"), f" {table_name(event)}: {event.error}"))
            return
        numbers = f"{event.rows:>12,} rows  {decimal(event.bytes):>9}  {event.seconds:>6.1f} s"
        self._bars.console.print(Text.assemble(("✓", "green"), f" {table_name(event):<32}{numbers}"))

    def _stage(self, event: StageStarted) -> None:
        self._remove("stage")
        name = stage_name(event)
        self._tasks["stage"] = self._bars.add_task(name, total=event.total_bytes or None, numbers="")

    def _remove(self, name: str) -> None:
        if name == "stage" or name in self._tasks:
            task = self._tasks.pop(name, None)
            if task is not None:
                self._bars.remove_task(task)
        if name != "stage":
            stage = self._tasks.pop("stage", None)
            if stage is not None:
                self._bars.remove_task(stage)


@contextmanager
def shown_progress(console: Console) -> Iterator[LiveProgress | LinesProgress]:
    """The progress that suits the console: live in a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield LinesProgress(console)
        return
    columns = (
        rich_progress.TextColumn("  {task.description:<32}"),
        rich_progress.BarColumn(bar_width=24),
        rich_progress.TextColumn("{task.fields[numbers]}"),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=console, transient=True) as bars:
        yield LiveProgress(bars)
