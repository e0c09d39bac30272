"""The section `businesses`: ticks of a shop system beside the plain way, and what they cost everybody else."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.demo import RETAIL, create_system, trade
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.postgres.programs import find_binaries
from backup_pipeline.settings import PROJECT
from benchmarks.bench import Bench, say
from benchmarks.measure_burden import Round, load, measure_once, prepare_pgbench
from benchmarks.measure_scale import check_room
from benchmarks.values import COPY_EACH, FIRST_TICK, IDLE, TICK, Load, TickCost, Ticks

_SHARE = 0.1
_WAYS = {IDLE: "tick", TICK: "tick", COPY_EACH: "copy"}
_TICKS_A_DAY = 288
_LIMIT_S = 7200


@dataclass(frozen=True)
class _Shops:
    """A database of businesses, with the installation that backs them up."""

    url: str
    home: Path
    ledger: str
    postmaster: int
    businesses: int
    rows: int

    def command(self, what: str) -> Sequence[str]:
        words = (what, str(self.home), self.url, self.ledger, str(self.postmaster))
        return (sys.executable, "-m", "benchmarks.contestants.businesses", *words)


def measure_businesses(bench: Bench, businesses: int, each: int, active: int | None = None) -> Ticks:
    """A first tick, then, in turn, ticks of everybody and COPY of everybody; what pgbench feels; what events take.

    Between two ticks a tenth of the businesses trade. Of so many `active` ones fulls are made at first, where that is
    too much for all; every row is looked at in each tick all the same. NoRoomError when the disk is too small.
    """
    check_room(businesses * each, shutil.disk_usage(bench.folder).free)
    url = bench.database("bench_businesses")
    say(f"businesses: making {businesses:,} of {each:,} rows")
    scale = each / sum(RETAIL.rows(1.0)[name] * times for name, times in _ROWS_OF.items())
    made = create_system(url, RETAIL, scale=scale, businesses=businesses)
    if active is not None:
        _suspend_others(url, active)
    with EmbeddedPostgres(bench.folder / "beside") as server:
        postmaster = bench.server.connection.pid
        shops = _Shops(url, bench.folder / "shops", server.url("bench_ledger"), postmaster, businesses, made.total)
        say("businesses: the first tick")
        runs: dict[str, list[Mapping[str, float]]] = {FIRST_TICK: [_run(shops, "full")], **{who: [] for who in _WAYS}}
        for number in range(bench.arena.rounds):
            for who, what in _WAYS.items():
                if who == TICK:
                    trade(url, RETAIL, number, max(1, round(businesses * _SHARE)))
                runs[who].append(_run(shops, what))
        events = _events_a_day(shops, server)
        loads = _loads(bench, shops)
    costs = tuple(_cost(who, shops, measured) for who, measured in runs.items())
    return Ticks(bench.facts, _HOW, costs, events, loads)


def _suspend_others(url: str, active: int) -> None:
    those = "SELECT id FROM businesses WHERE status = 'active' ORDER BY id LIMIT %s"
    with psycopg.connect(url) as session:
        session.execute(
            f"UPDATE businesses SET status = 'suspended' WHERE status = 'active' AND id NOT IN ({those})", [active]
        )


_ROWS_OF = {"products": 1, "customers": 1, "workers": 1, "sales": 1 + 2.5 + 10 / 11}
"""Of a business's rows of each table all that follow from them: items and payments of sales."""
_HOW = (
    "The demo `retail`, rows in the order of their businesses, which is kind to the plain way: COPY of each table of"
    " each active business, in binary form, in one snapshot, kept nowhere. Before each tick that finds changes a tenth"
    " of the businesses trade: sales with items and payments, stock that goes down, sales that are returned or struck"
    " out. The ledger has a server of its own, so CPU of the server is the source's alone. A tick is timed without"
    " imports and without Dagster's launch of a run."
)


def _run(shops: _Shops, what: str) -> Mapping[str, float]:
    done = subprocess.run(shops.command(what), check=True, stdout=subprocess.PIPE, text=True, timeout=_LIMIT_S)
    facts: dict[str, float] = json.loads(done.stdout.strip().rpartition("\n")[2])
    say(f"  {what:8} " + " ".join(f"{name} {value:,.2f}" for name, value in facts.items()))
    return facts


def _cost(who: str, shops: _Shops, runs: Sequence[Mapping[str, float]]) -> TickCost:
    def median(name: str) -> float:
        return round(statistics.median(run[name] for run in runs), 3)

    peak = round(max(run["peak_mib"] for run in runs), 1)
    times = median("seconds"), median("server_s"), median("client_s")
    return TickCost(who, shops.businesses, shops.rows, *times, peak, len(runs))


def _events_a_day(shops: _Shops, server: EmbeddedPostgres) -> float:
    """What ticks through Dagster add to its storage, in MB for each day: of a few, in this process's children."""
    server.ensure_database("bench_dagster")
    home = shops.home.parent / "dagster"
    home.mkdir()
    shutil.copy(PROJECT / "dagster.yaml", home)
    env = {**os.environ, "DAGSTER_HOME": str(home), "DAGSTER_PG_URL": server.url("bench_dagster")}
    command = shops.command("events")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=_LIMIT_S, env=env)
    size = float(done.stdout.strip().rpartition("\n")[2])
    say(f"businesses: {size:,.0f} bytes of Dagster's storage a tick")
    return round(size * _TICKS_A_DAY / 1e6, 2)


def _loads(bench: Bench, shops: _Shops) -> tuple[Load, ...]:
    """pgbench alone and beside ticks that follow each other without a pause; nothing where there is no pgbench."""
    try:
        pgbench = find_binaries(needs=("pgbench",)).tool("pgbench")
    except SettingsError as why:
        say(f"businesses: the source's users are left out: {why}")
        return ()
    url = bench.database("bench_users")
    prepare_pgbench(pgbench, url)
    rounds: dict[int, list[Round]] = {0: [], 1: []}
    for _ in range(bench.arena.rounds):
        for ticking, measured in rounds.items():
            measured.append(measure_once(bench, pgbench, url, shops.command("ticking") if ticking else ()))
            say(f"  ticks: {ticking}: {measured[-1].felt.tps:8.0f} tps {measured[-1].felt.latency_ms:7.2f} ms")
    return tuple(load(ticking, measured) for ticking, measured in rounds.items())
