"""How far a run is: written now and then, never in the way of the run, and to its end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import uuid4

from backup_pipeline.core.errors import LedgerUnavailableError
from backup_pipeline.core.ports import (
    BytesMoved,
    Event,
    PageWritten,
    StageStarted,
    TableFinished,
    TablesPlanned,
    TableStarted,
    Waiting,
)
from backup_pipeline.core.runs import RunProgress, RunRequest, RunVerb
from backup_pipeline.core.scope import Scope
from backup_pipeline.operations.progress import SILENT_AFTER, RunWatch, work_now
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.ports import now
from backup_pipeline_tests.ledger.attempts import NOON
from backup_pipeline_tests.orchestration.installation import until
from backup_pipeline_tests.servers.ledgers import new_ledger

SHOP = Scope("shop")


@dataclass
class Rows:
    """The port `ProgressRows` of a ledger that may be slow, or away."""

    puts: list[RunProgress] = field(default_factory=list)
    away: bool = False
    slow_s: float = 0.0

    def put(self, progress: RunProgress) -> None:
        time.sleep(self.slow_s)
        if self.away:
            message = "The ledger can not be reached."
            raise LedgerUnavailableError(message)
        self.puts.append(progress)

    def list(self, *, running: bool = True) -> Sequence[RunProgress]:
        return [row for row in self.puts if not running or row.finished_at is None]

    def forget(self, before: object) -> int:
        return 0


def _told(rows: Rows, *events: Event) -> RunProgress:
    with RunWatch(lambda: rows, "r1", SHOP, now, every_s=0.01) as watch:
        for event in events:
            watch.tell(event)
    return rows.puts[-1]


def test_tables_rows_and_bytes_are_counted_also_when_a_table_begins_again() -> None:
    last = _told(
        Rows(),
        StageStarted("snapshot"),
        TablesPlanned(2, 900),
        TableStarted("goods", 600, "Goods"),
        PageWritten("goods", 100, 1_000),
        TableStarted("goods", 600, "Goods"),
        PageWritten("goods", 300, 3_000),
        TableStarted("sold", 300, "Sold"),
        PageWritten("sold", 50, 500),
        TableFinished("goods", "Goods", 600, 6_000, 1.0),
    )
    assert (last.stage, last.table, last.tables_done, last.tables_total) == ("tables", "sold", 1, 2)
    assert (last.rows, last.bytes, last.estimated_rows) == (650, 6_500, 900)
    assert last.finished_at is not None


def test_a_stage_begins_with_nothing_and_says_what_it_waits_for() -> None:
    before = (TablesPlanned(1, 10), PageWritten("goods", 10, 99), StageStarted("bundle", 1_000))
    last = _told(Rows(), *before, BytesMoved(400), BytesMoved(100), Waiting("a lock on goods"))
    assert (last.stage, last.bytes, last.total_bytes, last.message) == ("bundle", 500, 1_000, "a lock on goods")
    assert (last.rows, last.tables_total) == (0, None)


def test_a_ledger_that_is_slow_or_away_costs_the_run_nothing() -> None:
    for rows in (Rows(away=True), Rows(slow_s=0.3)):
        with RunWatch(lambda rows=rows: rows, "r1", SHOP, now, every_s=0.01) as watch:  # type: ignore[misc]
            began = time.perf_counter()
            for number in range(1_000):
                watch.tell(PageWritten("goods", 1, number))
            assert time.perf_counter() - began < 0.25


def test_it_is_written_at_most_so_often() -> None:
    rows = Rows()
    with RunWatch(lambda: rows, "r1", SHOP, now, every_s=0.2) as watch:
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            watch.tell(PageWritten("goods", 1, 1))
            time.sleep(0.001)
        assert len(rows.puts) <= 5
        until(lambda: len(rows.puts) >= 2, 5)


def test_work_is_what_is_asked_for_and_what_goes_on_by_itself() -> None:
    ledger = new_ledger()
    ledger.progress.put(RunProgress("scheduled", SHOP, NOON, NOON, tables_done=1, tables_total=3))
    ledger.progress.put(RunProgress("asked", SHOP, NOON, NOON, rows=7))
    request = RunRequest(id=uuid4(), scope=SHOP, verb=RunVerb.BACKUP, actor=RAHIM, created_at=NOON, run_id="asked")
    waiting = replace(request, id=uuid4(), run_id=None)
    for each in (request, waiting):
        ledger.run_requests.add(each)
    work = work_now(ledger, NOON + timedelta(seconds=1))
    assert {(each.request and each.request.id, each.in_words) for each in work} == {
        (request.id, "7 rows"),
        (waiting.id, ""),
        (None, "1 of 3 tables"),
    }
    silent = work_now(ledger, NOON + SILENT_AFTER)
    assert {each.request and each.request.id for each in silent} == {request.id, waiting.id}
