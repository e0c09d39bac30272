"""An export without end, to be felt by others: every table of a database, again and again, until a line is typed.

`python -m benchmarks.contestants.exporting URL FOLDER WORKERS` prints `exporting` with the first page, and at the end
the rows a second that it exported since then.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

from pydantic import SecretStr

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Event, PageWritten
from backup_pipeline.core.schedule import local_date
from backup_pipeline.operations.attempts import Request, Work
from backup_pipeline.operations.export import export_tables
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.ports import open_ports, utc_now
from backup_pipeline_tests.actors import TESTER


class Counting:
    """The port `Progress`: counts the rows of the pages, and says when the first one came."""

    def __init__(self) -> None:
        self.rows = 0
        self.began = 0.0
        self._guard = threading.Lock()

    def tell(self, event: Event) -> None:
        """Count a page."""
        if not isinstance(event, PageWritten):
            return
        with self._guard:
            if not self.began:
                self.began = time.perf_counter()
                print("exporting", flush=True)
            self.rows += event.rows


def export_until(stop: threading.Event, work: Work) -> None:
    """Export the tables, over and over; a failed table is an error."""
    while not stop.is_set():
        with closing(export_tables(work)) as results:
            for result in results:
                if result.error is not None:
                    raise result.error
                if stop.is_set():
                    return


def main(url: str, folder: Path, workers: int) -> None:
    """Export until standard input has a line, or ends."""
    folder.mkdir(parents=True)
    settings = Settings(home=folder, source_url=SecretStr(url), store=(folder / "store").as_uri(), workers=workers)
    # pgbench's own tables are written all the time, and would be compared with what they were: they stay out.
    tables: dict[str, object] = {f"bench_part_{number}": {} for number in range(4)}
    catalog = Catalog.model_validate({"catalog": "bench", "timezone": "Asia/Dhaka", "tables": tables})
    now = utc_now()
    day = local_date(now, catalog.timezone)
    counting, stop = Counting(), threading.Event()
    request = Request(catalog, Kind.TABLES, tuple(tables), day, type=Trigger.MANUAL, actor=TESTER)
    attempt = Attempt(
        backup_id="burden",
        scope=request.scope,
        kind=request.kind,
        type=request.type,
        status=Status.RUNNING,
        partition_date=day,
        created_at=now,
        started_at=now,
        actor=request.actor,
    )
    threading.Thread(target=_wait_for_line, args=(stop,), daemon=True).start()
    with open_ports(settings, catalog.catalog, progress=counting) as ports:
        export_until(stop, Work(request, attempt, ports))
    print(round(counting.rows / (time.perf_counter() - counting.began)))
    shutil.rmtree(folder, ignore_errors=True)


def _wait_for_line(stop: threading.Event) -> None:
    sys.stdin.readline()
    stop.set()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
