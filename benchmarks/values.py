"""What was measured, as values: races (contestants side by side), the burden on the source, and on what machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OURS = "backup_pipeline"
DUCKDB = "DuckDB, two scans"
PSQL = "psql \\copy"
LIMIT = "COPY binary to /dev/null"
LARGE = "_large"
"""After the name of a race: the same with more rows, or tables."""
BARE = "bare export"
WHOLE = "whole backup"
EMPTY = "whole backup, empty"
DAGSTER = "Dagster alone"
VERIFY = "verification"
DRILL = "drill"
PG_DUMP = "pg_dump -Fc"
CONNECTORX = "connectorx"
DLT = "dlt with connectorx"
SLING = "sling"
PANDAS = "pandas chunks"
XLSX = "workbook, ours"
JSON = "JSON, ours"
RUST_XLSX = "rustpy-xlsxwriter"
PG_RESTORE = "pg_restore"
PG_RESTORE_JOBS = "pg_restore -j 2"
PG_RESTORE_TABLE = "pg_restore -t"
TICK = "a tick, 10 % changed"
IDLE = "a tick, nothing changed"
FIRST_TICK = "the first tick: a full of everybody"
COPY_EACH = "COPY of every business"


@dataclass(frozen=True)
class Facts:
    """Where and how something was measured: the machine, the versions, the command; `note` says what else matters."""

    measured_on: str
    command: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    note: str = ""


@dataclass(frozen=True)
class Timing:
    """One contestant: which files it writes, the rows it read, seconds over the rounds, its largest peak (MiB).

    `cpu_s` are medians of the CPU of client and server together, without imports; `written_mib` is what its files
    take. Both are None where they were not measured.
    """

    who: str
    writes: str
    rows: int
    median: float
    fastest: float
    slowest: float
    peak_mib: float
    rounds: int
    cpu_s: float | None = None
    written_mib: float | None = None


@dataclass(frozen=True)
class Race:
    """Contestants that took turns; `absent` says who could not, and why."""

    name: str
    facts: Facts
    timings: tuple[Timing, ...]
    absent: Mapping[str, str] = field(default_factory=dict)

    def of(self, who: str) -> Timing | None:
        """The timing of one contestant; None when it is not here."""
        return next((timing for timing in self.timings if timing.who == who), None)


@dataclass(frozen=True)
class Load:
    """pgbench beside an export with `workers` (0: without one): medians, and the rows a second that were exported."""

    workers: int
    tps: float
    latency_ms: float
    p95_ms: float
    exported_per_s: float
    rounds: int


@dataclass(frozen=True)
class Burden:
    """What an export costs the source's other users; `how` says what pgbench did."""

    facts: Facts
    how: str
    loads: tuple[Load, ...]

    def of(self, workers: int) -> Load | None:
        """The load beside so many workers; None when it was not measured."""
        return next((load for load in self.loads if load.workers == workers), None)


@dataclass(frozen=True)
class TickCost:
    """One way to back up many businesses: medians of seconds, of the clock and of the CPU of server and client.

    `rows` are those of all tables together; `peak_mib` is the client's.
    """

    who: str
    businesses: int
    rows: int
    seconds: float
    server_s: float
    client_s: float
    peak_mib: float
    rounds: int


@dataclass(frozen=True)
class Ticks:
    """Ticks of businesses beside the plain way; `how` says what changed between two.

    `events_mb` is what Dagster's storage grows by in a day of ticks, None where it was not measured. `loads` are
    pgbench without ticks (0 workers) and beside ticks without a pause (1).
    """

    facts: Facts
    how: str
    costs: tuple[TickCost, ...]
    events_mb: float | None = None
    loads: tuple[Load, ...] = ()

    def of(self, who: str, businesses: int) -> TickCost | None:
        """What a way costs for so many businesses; None when it was not measured."""
        return next((c for c in self.costs if (c.who, c.businesses) == (who, businesses)), None)


@dataclass(frozen=True)
class Results:
    """Everything that is there, from however many runs: races by name, the burden, and the ticks."""

    races: Mapping[str, Race]
    burden: Burden | None = None
    ticks: Ticks | None = None

    @property
    def all_facts(self) -> tuple[tuple[str, Facts], ...]:
        """The facts of each part, by its name."""
        races = tuple((name, race.facts) for name, race in self.races.items())
        others = (("burden", self.burden), ("businesses", self.ticks))
        return (*races, *((name, measured.facts) for name, measured in others if measured))
