"""The section `beside`: the whole backup of three databases beside the tools that copy tables out of PostgreSQL.

One large table; the 24 tables of a business; 512 tables of twenty rows. Every contestant is given all tables at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import psycopg
from psycopg import sql

from backup_pipeline.demo import ISP, create_system
from benchmarks.bench import Bench, say, whole
from benchmarks.contestants.many import table_names
from benchmarks.measure_many import create_many
from benchmarks.measure_tables import not_run, peers
from benchmarks.run import Course, compete, run_once
from benchmarks.tables import TABLES, create_table
from benchmarks.values import LIMIT, PANDAS, Race

SMALL_TABLES, SMALL_ROWS = 512, 20
DEMO = "beside_24"
"""The race with the catalog of the demo, which leaves secrets out; the others copy them."""
_DEMO_SCALE = 4.0
"""Of the ISP's demo: a million rows in 24 tables, where the large table has three million."""
_FULL_ROWS = 3_000_000
_LEFT_OUT = (LIMIT, PANDAS)
"""One keeps nothing, the other takes one table with a key that is called id."""


def measure_beside(bench: Bench) -> Iterator[Race]:
    """A race for each of the three databases."""
    bench.make_storage()
    for name, course in _courses(bench):
        say(f"{name}: {course.rows:,} rows; the first run of ours is not counted")
        ours = whole(bench.folder / f"home-{name}", course, catalog=ISP.catalogs[0] if name == DEMO else "-")
        run_once(ours, bench.arena)
        field = [ours, *(peer for peer in peers(course, bench) if peer.name not in _LEFT_OUT)]
        timings, absent = compete(field, bench.arena)
        reasons: Mapping[str, str] = {**not_run(bench), **absent}
        yield Race(name, bench.facts, timings, {who: why for who, why in reasons.items() if who not in _LEFT_OUT})


def _courses(bench: Bench) -> Iterator[tuple[str, Course]]:
    """Each database as it is needed: they need not all be there at once."""
    url = bench.database("bench_beside_one")
    yield "beside_one", Course(url, "bench_bigint", create_table(url, TABLES["bench_bigint"], bench.rows))
    url = bench.database("bench_beside_24")
    create_system(url, ISP, scale=_DEMO_SCALE * bench.rows / _FULL_ROWS)
    yield DEMO, Course(url, ",".join(ISP.exported), _count(url, ISP.exported), "24 tables")
    url = bench.database("bench_beside_512")
    create_many(url, SMALL_TABLES, SMALL_ROWS)
    yield "beside_512", Course(url, ",".join(table_names(SMALL_TABLES)), SMALL_TABLES * SMALL_ROWS, "512 tables")


def _count(url: str, tables: Sequence[str]) -> int:
    """Of all the tables together."""
    parts = [sql.SQL("SELECT count(*) AS n FROM {}").format(sql.Identifier(table)) for table in tables]
    with psycopg.connect(url) as session:
        counted = sql.SQL("SELECT sum(n)::bigint FROM ({}) AS counts").format(sql.SQL(" UNION ALL ").join(parts))
        row = session.execute(counted).fetchone()
    return int(row[0]) if row else 0
