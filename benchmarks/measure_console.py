"""The console over 20,000 backups and a million calls: each page's milliseconds on the server, first paint, memory.

    python -m benchmarks.measure_console                 # each page 30 times
    python -m benchmarks.measure_console --requests 10000  # and whether memory stays flat over so many

Pages are asked of the application in this process as a browser asks, signed in, so that a page's time has everything
but the network: session, role, queries, template, compression. What a page works, here and in PostgreSQL, is what it
takes on a machine that has nothing else to do; the clock beside it is that of this machine with all it does.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import psycopg
from fastapi import FastAPI

from backup_pipeline.catalogs import load_catalogs
from backup_pipeline.core.access import NewUser, Role
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.retention.prune import Versions
from backup_pipeline.core.scope import Actor, ActorKind
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.access.users import create_user
from backup_pipeline.settings import given_settings
from backup_pipeline.web import create_app
from backup_pipeline.web.follower import Forecaster
from backup_pipeline.wiring.access import access_ports
from backup_pipeline.wiring.ports import ports_over
from benchmarks.bench import say
from benchmarks.run import server_seconds

BACKUPS = 20_000
CALLS = 1_000_000
MOST_MS = 100.0
"""A page takes no longer on the server, in the median."""
MOST_PAINT = 60_000
"""Bytes that a browser has to get before a page looks as it shall."""
_PAGES = ("/", "/backups", "/backups?status=failed", "/backups?q=update", "/calendar", "/charts", "/report",
          "/retention", "/drills", "/alerts", "/runs", "/requests", "/audit", "/settings?tab=backups",
          "/keys", "/keys/1", "/usage", "/usage?period=week", "/healthz/freshness")  # fmt: skip
_PASSWORD = "copper kettle rain 41"
_WARM_UP = 3


@dataclass(frozen=True)
class PageTime:
    """A page: how often it was asked, its milliseconds (median, 95th percentile), and its bytes as sent.

    `cpu_ms` is what this process worked in the median, the database aside: a busy machine changes it little;
    `server_ms` what PostgreSQL did for it, in the mean.
    """

    path: str
    rounds: int
    median_ms: float
    p95_ms: float
    cpu_ms: float
    server_ms: float
    sent: int

    @property
    def worked_ms(self) -> float:
        """What a page costs on both sides."""
        return self.cpu_ms + self.server_ms


def main() -> int:
    """Measure and print; 1 when a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backups", type=int, default=BACKUPS)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--requests", type=int, default=0, help="watch the memory over so many requests")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, EmbeddedPostgres(Path(folder) / "pg") as server:
        ledger = SqlLedger.create(server.url("ledger"))
        say(f"{arguments.backups:,} backups")
        fill_backups(server.url("ledger"), arguments.backups)
        _fill_calls(server.url("ledger"), arguments.calls)
        usage = ledger.as_person(PersonIdentity()).access.usage
        start = time.perf_counter()
        say(f"{arguments.calls:,} calls; {usage.add_up():,} sums of hours in {time.perf_counter() - start:.1f} s")
        with_app = _app(ledger, Path(folder))
        url = server.url("ledger")
        broken = asyncio.run(_measure(with_app, url, arguments.rounds, arguments.requests))
        ledger.close()
    return int(broken)


_FILL = """
INSERT INTO backup_logs (backup_id, catalog, kind, type, reason, actor, partition_date, created_at, started_at,
    finished_at, status, table_counts, table_bytes, record_count, file_size_bytes, file_name, sha256, error_message,
    verification_level, verification_passed, verified_at)
SELECT to_char(at AT TIME ZONE 'UTC', 'YYYYMMDD"T"HH24MISS"Z"') || '-full-' || lpad(to_hex(n), 8, '0'),
    'isp', 'full', CASE WHEN n %% 20 = 7 THEN 'manual' ELSE 'automatic' END,
    CASE WHEN n %% 20 = 7 THEN 'before the update' ELSE '' END,
    CASE WHEN n %% 20 = 7 THEN 'person:karim' ELSE 'schedule' END,
    (at AT TIME ZONE 'Asia/Dhaka')::date, at, at, at + make_interval(secs => 9 + n %% 5),
    CASE WHEN failed THEN 'failed' ELSE 'success' END,
    CASE WHEN failed THEN '{}' ELSE counts END, CASE WHEN failed THEN '{}' ELSE counts END,
    CASE WHEN NOT failed THEN 240000 - n / 24 END, CASE WHEN NOT failed THEN 13000000 - n * 20 END,
    CASE WHEN NOT failed THEN 'full_backup_' || n || '.zip' END, CASE WHEN NOT failed THEN lpad(to_hex(n), 64, '0') END,
    CASE WHEN failed THEN 'The source can not be reached.' END,
    CASE WHEN NOT failed THEN 1 END, CASE WHEN NOT failed THEN true END, CASE WHEN NOT failed THEN at END
FROM (
    SELECT n, date_trunc('hour', now()) - make_interval(hours => n) AS at, n %% 50 = 49 AS failed, (
        SELECT jsonb_object_agg(name, 10000 - n / 24) FROM unnest(%(tables)s::text[]) AS name
    ) AS counts
    FROM generate_series(0, %(count)s - 1) AS n
) AS made
"""
"""One an hour, of which one in 50 failed and one in 20 was wanted by a person."""


def fill_backups(url: str, count: int) -> None:
    """So many backups of the catalog isp, one an hour, in the ledger at that URL."""
    names = list(load_catalogs(given_settings().catalogs)["isp"].tables)
    with psycopg.connect(url) as session:
        session.execute("SET session_replication_role = replica")  # a trigger that counts would take minutes
        session.execute(_FILL, {"tables": names, "count": count})
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("ANALYZE backup_logs")


_CALLS = """
INSERT INTO api_usage_logs (at, request_id, key_id, route, allowed, calls, status, ms, bytes, address)
SELECT now() - n * (interval '8 days' / %(count)s), to_hex(n), 1 + n %% 20, 'GET /api/v1/' || n %% 7, n %% 50 > 0, 1,
    CASE WHEN n %% 30 = 0 THEN 404 ELSE 200 END, n %% 200, 1000 + n %% 5000, '10.0.0.' || n %% 9
FROM generate_series(0, %(count)s - 1) AS n
"""
_KEYS = """
INSERT INTO api_keys (name, sha256, shown, permissions, created_at, actor)
SELECT 'key ' || n, encode(sha256(n::text::bytea), 'hex'), 'sk_12345', '[]', now(), 'person:karim'
FROM generate_series(1, 20) AS n
"""


def _fill_calls(url: str, count: int) -> None:
    """So many calls of twenty keys in eight days."""
    with psycopg.connect(url) as session:
        session.execute(_KEYS)
        session.execute(_CALLS, {"count": count})
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("ANALYZE api_usage_logs")


def _app(ledger: SqlLedger, home: Path) -> FastAPI:
    settings = given_settings(home=home)
    access = access_ports(settings, ledger.as_person(PersonIdentity()), lambda: datetime.now(UTC))
    create_user(NewUser("karim", Role.SUPER_ADMIN), access, Actor(ActorKind.PERSON, "bench"), _PASSWORD)
    return create_app(settings, ports_over(ledger, settings))


async def _measure(app: FastAPI, url: str, rounds: int, requests: int) -> bool:
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 50_000))
    headers = {"Accept": "text/html", "Accept-Encoding": "gzip"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3001", headers=headers) as client:
        answer = await client.post("/login", data={"name": "karim", "password": _PASSWORD})
        answer.raise_for_status() if answer.status_code != httpx.codes.SEE_OTHER else None
        newest = re.search(r'class="row-link" href="(/backups/[^"]+)"', (await client.get("/backups")).text)
        second = re.search(r'href="([^"]+)" rel="next"', (await client.get("/backups")).text)
        paths = [*_PAGES, *(found[1].replace("&amp;", "&") for found in (newest, second) if found)]
        times = [_told(await _timed(client, path, rounds)) for path in paths]
        times.append(_told(await _timed_after_a_change(client, app, url, rounds)))
        paint = await _paint(client)
        grown = await _grown(client, requests) if requests else None
    return _print(times, paint, grown)


async def _timed(client: httpx.AsyncClient, path: str, rounds: int) -> PageTime:
    taken, worked, sent, server = [], [], 0, 0.0
    for number in range(rounds + _WARM_UP):
        server = database_seconds() if number == _WARM_UP else server
        start, before = time.perf_counter(), time.process_time()
        answer = await client.get(path)
        if number >= _WARM_UP:
            taken.append((time.perf_counter() - start) * 1000)
            worked.append((time.process_time() - before) * 1000)
        answer.raise_for_status()
        sent = int(answer.headers["content-length"])
    taken.sort()
    of_server = (database_seconds() - server) * 1000 / rounds
    late = taken[int(len(taken) * 0.95)]
    return PageTime(path, rounds, statistics.median(taken), late, statistics.median(worked), of_server, sent)


def database_seconds() -> float:
    """What the database's processes have worked so far."""
    postgres = (each for each in psutil.Process().children(recursive=True) if each.name().startswith("postgres"))
    return server_seconds(next(postgres).pid)


async def _timed_after_a_change(client: httpx.AsyncClient, app: FastAPI, url: str, rounds: int) -> PageTime:
    """/retention, each time a moment after a backup was held or released, while the console reckons ahead."""
    taken, worked = [], []
    state, ports = app.state, app.state.ports
    with Forecaster(state.forecasts, state.systems.declared, ports, Versions.REPORT), psycopg.connect(url) as session:
        session.autocommit = True
        for _ in range(100):
            if state.forecasts.ahead and "reckoned anew" not in (await client.get("/retention")).text:
                break
            await asyncio.sleep(0.2)
        for _ in range(rounds):
            session.execute(_HOLD)
            start, before = time.perf_counter(), time.process_time()
            (await client.get("/retention")).raise_for_status()
            taken.append((time.perf_counter() - start) * 1000)
            worked.append((time.process_time() - before) * 1000)
            await asyncio.sleep(0.5)
    taken.sort()
    late = taken[int(len(taken) * 0.95)]
    name = "/retention, a moment after a change"
    return PageTime(name, rounds, statistics.median(taken), late, statistics.median(worked), 0.0, 0)


_HOLD = """
UPDATE backup_logs SET held_actor = CASE WHEN held_actor IS NULL THEN 'person:karim' END
WHERE backup_id = (SELECT max(backup_id) FROM backup_logs)
"""


async def _paint(client: httpx.AsyncClient) -> Mapping[str, int]:
    """The bytes of each file of the first paint of the list, the largest page."""
    page = await client.get("/backups")
    files = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)
    sizes = {"/backups": int(page.headers["content-length"])}
    for address in dict.fromkeys(files):
        answer = await client.get(address)
        sizes[address.partition("?")[0]] = int(answer.headers["content-length"])
    return sizes


async def _grown(client: httpx.AsyncClient, requests: int) -> tuple[int, int]:
    """Bytes of memory after a tenth of the requests, and after all."""
    process, after_a_tenth = psutil.Process(), 0
    for number, path in zip(range(requests), _around(("/", "/backups", "/calendar", "/retention")), strict=False):
        (await client.get(path)).raise_for_status()
        if number == requests // 10:
            after_a_tenth = process.memory_info().rss
    return after_a_tenth, process.memory_info().rss


def _around(paths: Sequence[str]) -> Iterator[str]:
    while True:
        yield from paths


def _told(page: PageTime) -> PageTime:
    took = f"{page.median_ms:7.1f} ms  p95 {page.p95_ms:7.1f} ms"
    work = f"works {page.worked_ms:6.1f} ms (here {page.cpu_ms:5.1f}, PostgreSQL {page.server_ms:5.1f})"
    say(f"{took}  {work}  {page.sent:7,} bytes  {page.path}")
    return page


def _print(times: Sequence[PageTime], paint: Mapping[str, int], grown: tuple[int, int] | None) -> bool:
    whole = sum(paint.values())
    say(f"First paint: {whole:,} bytes ({', '.join(f'{name} {size:,}' for name, size in paint.items())})")
    if grown is not None:
        say(f"Memory: {grown[0] / 1e6:,.1f} MB after a tenth of the requests, {grown[1] / 1e6:,.1f} MB after all")
    slow = [page.path for page in times if page.worked_ms > MOST_MS]
    if slow:
        say(f"Works longer than {MOST_MS:.0f} ms: {', '.join(slow)}")
    return bool(slow) or whole > MOST_PAINT


if __name__ == "__main__":
    sys.exit(main())
