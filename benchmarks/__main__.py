"""`make bench`: both formats against DuckDB, psql and pandas on four tables; the report is benchmarks/report.md."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from backup_pipeline.demo.embedded import EmbeddedPostgres
from backup_pipeline.postgres.binaries import find_binaries
from backup_pipeline.settings import PROJECT
from benchmarks.peers import Peers, install_peers
from benchmarks.report import write_report
from benchmarks.run import Arena, Contestant, Timing, compete
from benchmarks.tables import TABLES, create_table

HERE = Path(__file__).parent
OURS = "backup_pipeline (Parquet + CSV)"
LIMIT = "COPY binary to /dev/null (limit)"


def main() -> None:
    """Measure, and write the report."""
    arguments = _arguments()
    peers = install_peers(PROJECT / ".backup_pipeline" / "bench-peers")
    binaries = find_binaries(needs=("psql",))
    results: dict[str, tuple[int, Mapping[str, Timing]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, EmbeddedPostgres(Path(folder) / "pg") as server:
        server.ensure_database("bench")
        arena = Arena(server.url("bench"), arguments.rounds, Path(folder) / "out", binaries.tool("psql"))
        for name in arguments.tables:
            rows = create_table(arena.url, TABLES[name], arguments.rows)
            print(f"{name}: {rows:,} rows", file=sys.stderr)
            timings = compete(_contestants(peers, arguments.slow), name, arena)
            results[name] = (rows, timings)
            for who, timing in timings.items():
                print(f"  {who:40} {timing.median:7.2f} s  {timing.peak_mib:6.0f} MiB", file=sys.stderr)
    write_report(arguments.report, results, peers.absent, machine=_machine(), command=" ".join(sys.argv[1:]))


def _contestants(peers: Peers, slow: bool) -> Sequence[Contestant]:
    peer = str(peers.python)
    found = [
        Contestant(OURS, (sys.executable, "-m", "benchmarks.contestants.ours")),
        Contestant("psql \\copy (CSV only)", (peer, str(HERE / "contestants" / "psql_copy.py"))),
        Contestant(LIMIT, (peer, str(HERE / "contestants" / "copy_limit.py"))),
    ]
    if "duckdb" not in peers.absent:
        script = str(HERE / "contestants" / "duckdb_two_scans.py")
        found.append(Contestant("DuckDB, two scans (Parquet + CSV)", (peer, script)))
    if slow and "pandas" not in peers.absent:
        found.append(
            Contestant("pandas chunks (Parquet + CSV)", (peer, str(HERE / "contestants" / "pandas_chunks.py")))
        )
    return found


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000_000, help="rows of the full-size tables")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; the median counts")
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--slow", action="store_true", help="pandas as well (about a minute a round)")
    parser.add_argument("--report", type=Path, default=HERE / "report.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
