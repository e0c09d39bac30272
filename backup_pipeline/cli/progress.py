"""The progress of a backup: a live bar per table where somebody watches, plain lines where nobody does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.text import Text

from backup_pipeline.core.ports import (
    BytesMoved,
    Event,
    PageWritten,
    StageStarted,
    TableFinished,
    TableStarted,
    Waiting,
)
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation import stage_name, table_name

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

with lazily():
    from rich import progress as rich_progress


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
