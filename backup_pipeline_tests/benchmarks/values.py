"""Results for tests: every wish met, one number away from not being met."""

from __future__ import annotations

from benchmarks.values import (
    BARE,
    COPY_EACH,
    DRILL,
    DUCKDB,
    EMPTY,
    OURS,
    PG_RESTORE,
    PSQL,
    RUST_XLSX,
    TICK,
    VERIFY,
    WHOLE,
    XLSX,
    Burden,
    Facts,
    Load,
    Race,
    Results,
    TickCost,
    Ticks,
    Timing,
)

FACTS = Facts("2026-11-21", "python -m benchmarks", {"CPU": "Quick & Co", "cores": "2"}, {"duckdb": "1.5.5"})
ROWS = 3_000_000
WIDE = ((OURS, 3.0), (PSQL, 2.86), (DUCKDB, 5.0))
MANY = ((WHOLE, 45.0), (VERIFY, 15.0), (DRILL, 60.0))


def timing(who: str, seconds: float, *, rows: int = ROWS, peak: float = 300, rounds: int = 5) -> Timing:
    writes = "CSV" if who == PSQL else "Parquet + CSV"
    return Timing(who, writes, rows, seconds, seconds - 0.1, seconds + 0.1, peak, rounds)


def race(name: str, *timings: Timing) -> Race:
    return Race(name, FACTS, timings)


def load(workers: int, tps: float) -> Load:
    return Load(workers, tps, 4000 / tps, 6000 / tps, 500_000.0 * bool(workers), 5)


def results(*instead: Race, burden: bool = True) -> Results:
    """Everything measured, each limit just kept; `instead` replaces races by their names."""
    races = (
        race("bench_bigint", timing(OURS, 3.0), timing(PSQL, 2.86), timing(DUCKDB, 5.0)),
        race("bench_uuid", timing(OURS, 3.6), timing(PSQL, 3.43), timing(DUCKDB, 6.0)),
        race("bench_wide", *(timing(who, seconds, rows=300_000) for who, seconds in WIDE)),
        race("bench_narrow", timing(OURS, 1.0), timing(DUCKDB, 1.0)),
        race("scale", timing("small", 3.0, peak=350), timing("large", 34.5, rows=10 * ROWS, peak=350)),
        race("whole", timing(BARE, 5.0), timing(WHOLE, 8.35), timing(EMPTY, 1.6, rows=0)),
        race("whole_large", timing(BARE, 20.0, rows=4 * ROWS), timing(WHOLE, 30.0, rows=4 * ROWS)),
        race("many", *(timing(who, limit, rows=10_000, rounds=1) for who, limit in MANY)),
        race("many_large", *(timing(who, limit * 3.45, rows=30_000, rounds=1) for who, limit in MANY)),
        race("restore", timing(OURS, 4.0), timing(PG_RESTORE, 4.0)),
        race("renderings", timing(XLSX, 3.0, rows=250_000), timing(RUST_XLSX, 1.0, rows=250_000)),
    )
    loads = (load(0, 1000), load(1, 900), load(2, 750), load(4, 500))
    by_name = {one.name: one for one in (*races, *instead)}
    return Results(by_name, Burden(FACTS, "pgbench 18", loads) if burden else None, ticks())


def ticks(*, seconds: float = 30.0, server: float = 2.0, most: float = 300.0, rows: int = 10_000_000) -> Ticks:
    """Ticks measured, each limit just kept."""
    costs = (
        TickCost(TICK, 500, rows, seconds, server, 6.0, 600, 5),
        TickCost(COPY_EACH, 500, rows, 40.0, 20.0, 3.0, 200, 5),
        TickCost(TICK, 10_000, 5 * rows, most, 10.0, 60.0, 900, 1),
    )
    return Ticks(FACTS, "a tenth trades", costs, 9.5, (load(0, 1000), load(1, 900)))
