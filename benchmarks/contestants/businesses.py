"""The businesses of a shop system: a tick, everything of everybody, or the plain way, in a process of its own.

`python -m benchmarks.contestants.businesses WHAT HOME URL LEDGER POSTMASTER`: WHAT is `tick`, `full` (everything of
every business, as a first tick makes it), `copy` (each table of each business by COPY, in one snapshot, kept nowhere),
`ticking` (ticks without a pause until a line is typed; how many a second) or `events` (bytes that a tick adds to the
storage of the Dagster instance of the environment). POSTMASTER is the id of the first process of the source's server;
the ledger has another. Printed are seconds of the clock, and of the CPU of the source's server and of this process.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import psycopg
from pydantic import SecretStr

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.operations.businesses import TickReport, TickRequest, run_tick
from backup_pipeline.orchestration.definitions import assemble
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import chosen_catalog
from backup_pipeline.wiring.ports import open_key_states, open_ports
from backup_pipeline_tests.actors import TESTER
from benchmarks.contestants.clock import own_peak
from benchmarks.run import server_seconds

_RUNS = 12
_DIRECT = ("products", "customers", "workers", "sales")
_OF_SALES = ("sale_items", "payments")


def installation(home: Path, url: str, ledger: str) -> Settings:
    """Where ticks are made, with the retail catalog."""
    store = (home / "store").as_uri()
    return Settings(home=home, source_urls={"retail": SecretStr(url)}, ledger_url=SecretStr(ledger), store=store)


def ticked(settings: Settings, *, full: bool = False) -> TickReport:
    """A tick, or everything of everybody, which may take an hour."""
    catalog = chosen_catalog("retail", settings)
    if full:
        catalog = _patient(catalog)
    with open_ports(settings, "retail", create=True) as ports:
        return run_tick(TickRequest(catalog, TESTER, full=full), open_key_states(settings), ports)


def _patient(catalog: Catalog) -> Catalog:
    assert catalog.businesses is not None
    slow = catalog.businesses.model_copy(update={"every": "60 minutes", "deadline": "59 minutes"})
    return catalog.model_copy(update={"businesses": slow})


def copied(url: str) -> int:
    """Every table of every active business by COPY in one snapshot; how many bytes came."""
    size = 0
    with psycopg.connect(url) as session:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        keys = [key for (key,) in session.execute("SELECT id FROM businesses WHERE status = 'active'").fetchall()]
        for key in keys:
            for sql in (
                f"SELECT * FROM businesses WHERE id = '{key}'",
                *(f"SELECT * FROM {table} WHERE business_id = '{key}'" for table in _DIRECT),
                *(f"SELECT t.* FROM {t} t JOIN sales s ON s.id = t.sale_id WHERE s.business_id = '{key}'"
                  for t in _OF_SALES),
            ):  # fmt: skip
                with session.cursor().copy(f"COPY ({sql}) TO STDOUT (FORMAT binary)".encode()) as rows:
                    size += sum(map(len, rows))
    return size


def _measure(work: Callable[[], dict[str, object]], postmaster: int) -> None:
    before, clock = server_seconds(postmaster), time.perf_counter()
    own = resource.getrusage(resource.RUSAGE_SELF)
    facts = work()
    now, seconds = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - clock
    time.sleep(0.5)  # a session of the server ends a moment after its client, and only then counts
    facts |= {
        "seconds": seconds,
        "server_s": server_seconds(postmaster) - before,
        "client_s": now.ru_utime + now.ru_stime - own.ru_utime - own.ru_stime,
        "peak_mib": own_peak() / 1024,
    }
    print(json.dumps(facts))


def _facts(report: TickReport) -> dict[str, object]:
    tick = report.tick
    if tick.status != "success":
        sys.exit(f"the tick ended as {tick.status}: {tick.message} {tick.misses[:3]}")
    return {"due": tick.due, "changed": tick.changed, "fulls": tick.fulls, "rows": tick.rows, "bytes": tick.bytes}


def _tick_until_told(settings: Settings) -> None:
    stop = threading.Event()
    threading.Thread(target=_wait_for_line, args=(stop,), daemon=True).start()
    count, clock = 0, time.perf_counter()
    while not stop.is_set():
        _facts(ticked(settings))
        if not count:
            print("at work", flush=True)
        count += 1
    print(count / (time.perf_counter() - clock))


def _wait_for_line(stop: threading.Event) -> None:
    sys.stdin.readline()
    stop.set()


def _event_bytes(settings: Settings) -> float:
    """Of each of some ticks through Dagster, after the first few."""
    definitions = assemble({"retail": chosen_catalog("retail", settings)}, settings)
    job = definitions.resolve_job_def("retail_tick")
    with dg.DagsterInstance.get() as instance:
        sizes = []
        for _ in range(2):
            for _ in range(_RUNS):
                if not job.execute_in_process(instance=instance, raise_on_error=False).success:
                    sys.exit("a tick through Dagster failed")
            sizes.append(_storage_bytes(os.environ["DAGSTER_PG_URL"]))
    return (sizes[1] - sizes[0]) / _RUNS


def _storage_bytes(url: str) -> int:
    with psycopg.connect(url) as session:
        size = "SELECT sum(pg_total_relation_size(oid))::int8 FROM pg_class WHERE relkind = 'r'"
        row = session.execute(size).fetchone()
    return int(row[0]) if row else 0


def main(what: str, home: Path, url: str, ledger: str, postmaster: int) -> None:
    """Do it, and print what it took."""
    settings = installation(home, url, ledger)
    if what == "ticking":
        _tick_until_told(settings)
    elif what == "events":
        print(_event_bytes(settings))
    elif what == "copy":
        _measure(lambda: {"bytes": copied(url)}, postmaster)
    else:
        _measure(lambda: _facts(ticked(settings, full=what == "full")), postmaster)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]))
