"""`make bench`: ours beside other tools, the whole backup, a restore, the burden on the source; a report."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.postgres.programs import find_binaries
from backup_pipeline.settings import PROJECT
from benchmarks.bench import Bench, say
from benchmarks.keep import keep_burden, keep_race, keep_ticks
from benchmarks.machine import facts
from benchmarks.measure_beside import measure_beside
from benchmarks.measure_burden import measure_burden
from benchmarks.measure_businesses import measure_businesses
from benchmarks.measure_many import measure_many
from benchmarks.measure_renderings import measure_renderings
from benchmarks.measure_restore import measure_restore
from benchmarks.measure_scale import NoRoomError, measure_scale
from benchmarks.measure_tables import measure_tables
from benchmarks.measure_whole import measure_whole
from benchmarks.pages import KEPT, Pages, trial, write_pages
from benchmarks.peers import Peers, install_peers
from benchmarks.run import Arena
from benchmarks.tables import TABLES
from benchmarks.values import Race
from benchmarks.verdicts import FULL_ROWS, ROUNDS

HOME = PROJECT / ".backup_pipeline"
SECTIONS = ("tables", "beside", "whole", "many", "burden", "scale", "restore", "renderings", "businesses", "report")


def main() -> None:
    """Measure the sections that are asked for, keep each result at once, and write the pages."""
    arguments = _arguments()
    sections = [*arguments.sections, *(["scale"] if arguments.large else [])]
    pages = _pages(arguments)
    if set(sections) - {"report"}:
        others = bool({"tables", "beside", "renderings"} & set(sections))
        peers = install_peers(HOME / "bench-peers") if others else Peers(Path(sys.executable), {}, {})
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, EmbeddedPostgres(Path(folder) / "pg") as server:
            bench = _bench(server, Path(folder), peers, arguments)
            size = arguments.businesses, arguments.each, arguments.active
            _measure(bench, sections, arguments.tables, size, pages)
    write_pages(pages)
    say(f"The report: {pages.report}")


def _measure(
    bench: Bench, sections: Sequence[str], tables: Sequence[str], businesses: tuple[int, int, int | None], pages: Pages
) -> None:
    several: Mapping[str, Callable[[], Iterator[Race]]] = {
        "tables": lambda: measure_tables(bench, tables),
        "beside": lambda: measure_beside(bench),
        "whole": lambda: measure_whole(bench),
        "restore": lambda: iter([measure_restore(bench)]),
        "renderings": lambda: iter([measure_renderings(bench)]),
        "many": lambda: measure_many(bench, bench.rows // 3000),
    }
    for name in several:
        for race in several[name]() if name in sections else ():
            keep_race(pages.results, race)
    others: Mapping[str, Callable[[], None]] = {
        "scale": lambda: keep_race(pages.results, measure_scale(bench)),
        "burden": lambda: keep_burden(pages.results, measure_burden(bench)),
        "businesses": lambda: keep_ticks(pages.results, measure_businesses(bench, *businesses)),
    }
    for name in others:
        if name in sections:
            with _left_out(name, NoRoomError, SettingsError):
                others[name]()


@contextmanager
def _left_out(section: str, *errors: type[Exception]) -> Iterator[None]:
    """Go on without a section that can not be measured here."""
    try:
        yield
    except errors as why:
        say(f"{section} is left out: {why}")


def _bench(server: EmbeddedPostgres, folder: Path, peers: Peers, arguments: argparse.Namespace) -> Bench:
    with psycopg.connect(server.url("postgres")) as session:
        postgresql = session.info.parameter_status("server_version") or "unknown"
    psql = find_binaries(needs=("psql",)).tool("psql")
    return Bench(
        server=server,
        folder=folder,
        arena=Arena(arguments.rounds, folder / "out", psql, server.connection.pid),
        peers=peers,
        facts=facts(" ".join(sys.argv[1:]), postgresql, peers.versions),
        rows=arguments.rows,
        slow=arguments.slow,
        seconds=arguments.seconds,
    )


def _pages(arguments: argparse.Namespace) -> Pages:
    """A trial with fewer rows or rounds must not replace what was measured in earnest."""
    if arguments.into:
        return trial(arguments.into)
    earnest = arguments.rows >= FULL_ROWS and arguments.rounds >= ROUNDS
    return KEPT if earnest else trial(HOME / "bench-trial")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=["tables", "whole", "burden", "restore"])
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES), help="of the section tables")
    parser.add_argument("--rows", type=int, default=FULL_ROWS, help="rows of the full-size tables")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds; the median counts")
    parser.add_argument("--seconds", type=int, default=20, help="how long pgbench runs in each round of the burden")
    parser.add_argument("--businesses", type=int, default=500, help="of the section businesses")
    parser.add_argument("--each", type=int, default=20_000, help="rows of each of these businesses")
    parser.add_argument("--active", type=int, help="how many of these businesses are backed up; default: nearly all")
    parser.add_argument(
        "--slow", action="store_true", help="sling and pandas as well, once each (a minute or two a table)"
    )
    parser.add_argument(
        "--large", action="store_true", help="the section scale as well: ten times the rows, 20 GiB of disk"
    )
    parser.add_argument(
        "--into",
        type=Path,
        help="a folder for results and report; default: the project's own, or for a"
        " run with fewer rows or rounds .backup_pipeline/bench-trial",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
