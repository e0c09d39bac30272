"""The report as Markdown: machines, verdicts, a table with bars for each race, and the burden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.values import (
    BARE,
    CONNECTORX,
    COPY_EACH,
    DLT,
    DUCKDB,
    OURS,
    PG_DUMP,
    PSQL,
    SLING,
    WHOLE,
    Burden,
    Facts,
    Race,
    Results,
    Ticks,
    Timing,
)
from benchmarks.verdicts import slower, verdicts

_BAR = 40
BEGIN = "<!-- verdicts: made by `python -m benchmarks`, not by hand -->"
END = "<!-- end of the verdicts -->"
BESIDE_MARKS = ("<!-- tools: made by `python -m benchmarks`, not by hand -->", "<!-- end of the tools -->")
_HEAD = """\
<!-- Made from results/*.json. Do not edit: run `python -m benchmarks --sections report`. -->

# Measurements

Seconds are medians of the rounds. The contestants take turns in each round, each in a process of its own; imports are
not counted, and files go to the same disk. A peak of memory is that of the contestant's largest process; the
server's is not in it."""
_TITLES = {
    "beside_one": "A database of one large table",
    "beside_24": "A database of 24 tables",
    "beside_512": "A database of 512 small tables",
    "bench_bigint": "A bigint key, nine columns",
    "bench_uuid": "A uuid key in random order, nine columns",
    "bench_wide": "Sixty columns",
    "bench_narrow": "Three columns",
    "scale": "Ten times the rows",
    "whole": "The whole backup beside the bare export",
    "whole_large": "The whole backup of four times the rows",
    "many": "Many small tables, in CPU seconds",
    "many_large": "Three times as many small tables, in CPU seconds",
    "restore": "One table restored, beside pg_restore",
    "renderings": "Renderings of a sheet, in CPU seconds",
}
_NOTES = {
    "beside_one": (
        "Ours is the command `backup-pipeline backup` from its start to its exit, with all that it does; of the others"
        " the imports are not counted. CPU seconds are those of client and server together."
    ),
    "beside_24": (
        "The demo of an ISP, with its catalog: ours leaves out the passwords and tokens that are in five columns of it,"
        " the others copy them."
    ),
    "scale": "Ours, on the table with the bigint key and on one of ten times the rows.",
    "whole": (
        "The bare export is the work alone: one snapshot, pages, Parquet and CSV. The whole backup is the command"
        " `backup-pipeline backup` from its start to its exit, with Python's own start, imports, Dagster, `pg_dump` of"
        " the schema, checks, partitions, the bundle read back, and the ledger. A first run, which sets up the ledger"
        " and Dagster's storage, is not counted. Dagster alone is a run of two assets that do nothing, with the same"
        " storage: below it nothing that goes through Dagster can come."
    ),
    "many": (
        "Seconds here are those of the CPU, user and system, of the client's processes and of the server's together:"
        " on the clock such a run mostly waits for the disk. Each table has four columns and ten rows. The command from"
        " its start to its exit, as above; the verification decodes every file and compares it with the manifest, the"
        " drill restores everything into a server of its own (whose seconds are in it) and compares each table."
    ),
    "renderings": (
        "CPU seconds of the process, files on the same disk. Ours are made out of the bytes of a sheet's CSV, or of"
        " Arrow columns, at hand in memory; the writers of others are given Python values, which nobody had to read"
        " first. Ours also makes each column as wide as it shows, keeps long numbers as texts, and lets no text become"
        " a formula."
    ),
    "restore": (
        "One table out of a backup of two, each time into a database that was just made. Ours: the plan, the table's"
        " files fetched from the store and compared with their SHA-256, the table, its rows, its key, `ANALYZE`."
        " pg_restore reads a dump of the custom format (`pg_dump -Fc`) on the same disk; it compares nothing and does"
        " not analyze, and with `-t` it leaves the key out, so it is given a list (`-L`) of table, rows and key."
    ),
}


def report(results: Results) -> str:
    """The whole page."""
    return "\n".join(_lines(results)) + "\n"


def verdict_table(results: Results) -> Sequence[str]:
    """The lines of the table of wishes."""
    rows = [f"| {verdict.wish} | {verdict.measured or '–'} | {verdict.word} |" for verdict in verdicts(results)]
    return ["| wanted | measured | |", "|---|---|---|", *rows]


def _lines(results: Results) -> Iterator[str]:
    yield from (_HEAD, "", "## Verdicts", "", *verdict_table(results), "")
    yield from ("## Where and when", "", *_machines(results.all_facts), "")
    for name, race in results.races.items():
        yield from (f"## {_TITLES.get(name, name)}", "", *_race(race))
    if results.burden:
        yield from ("## The burden on the source", "", *_burden(results.burden))
    if results.ticks:
        yield from ("", "## Ticks of businesses", "", *_ticks(results.ticks))


def _machines(all_facts: Sequence[tuple[str, Facts]]) -> Iterator[str]:
    """One item for each set of facts, with the parts that were measured so."""
    parts: dict[str, list[str]] = {}
    for name, facts in all_facts:
        machine, versions = (
            ", ".join(f"{key} {value}" for key, value in of.items()) for of in (facts.machine, facts.versions)
        )
        text = f"{facts.measured_on}, `{facts.command}`. {machine}. Versions: {versions}."
        parts.setdefault(f"{text} {facts.note}".strip(), []).append(name)
    for text, names in parts.items():
        yield f"- {', '.join(f'`{name}`' for name in names)}: {text}"


def _race(race: Race) -> Iterator[str]:
    if race.name in _NOTES:
        yield from (_NOTES[race.name], "")
    if race.timings:
        yield from (*_timings(race), "", "```", *_bars(race.timings), "```", "")
    if race.absent:
        yield from (*(f"- {who} is absent: {why}" for who, why in race.absent.items()), "")


def _timings(race: Race) -> Iterator[str]:
    base = race.of(OURS) or race.of(BARE) or race.timings[0]
    yield (
        f"| who | writes | rows | median s | fastest – slowest | against {base.who} | rows/s | CPU s | MiB written"
        " | peak MiB | rounds |"
    )
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    for row in race.timings:
        cpu, written = _known(row.cpu_s, 2), _known(row.written_mib, 0)
        yield (
            f"| {row.who} | {row.writes} | {row.rows:,} | {row.median:.2f} | {row.fastest:.2f} – {row.slowest:.2f}"
            f" | {row.median / base.median:.2f} × | {row.rows / row.median:,.0f} | {cpu} | {written}"
            f" | {row.peak_mib:.0f} | {row.rounds} |"
        )


def _known(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _bars(timings: Sequence[Timing]) -> Iterator[str]:
    longest = max(timing.median for timing in timings)
    width = max(len(timing.who) for timing in timings)
    for timing in timings:
        yield f"{timing.who:{width}} {'█' * max(round(_BAR * timing.median / longest), 1)} {timing.median:.2f} s"


def _burden(burden: Burden) -> Iterator[str]:
    alone = burden.of(0)
    yield from (f"{burden.how}. Load generator, server and export share the machine's cores.", "")
    yield "| export | transactions/s | fewer | latency ms | 95th percentile ms | rows/s exported | rounds |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for load in burden.loads:
        who = {0: "none", 1: "1 worker"}.get(load.workers, f"{load.workers} workers")
        fewer = slower(alone.tps, load.tps) if alone and load.workers else "–"
        yield (
            f"| {who} | {load.tps:,.0f} | {fewer} | {load.latency_ms:.2f} | {load.p95_ms:.2f}"
            f" | {load.exported_per_s:,.0f} | {load.rounds} |"
        )


def _ticks(ticks: Ticks) -> Iterator[str]:
    yield from (ticks.how, "")
    yield "| businesses | rows | who | s | CPU of the server s | of COPY's | CPU of the client s | peak MiB | rounds |"
    yield "|---:|---:|---|---:|---:|---:|---:|---:|---:|"
    for cost in ticks.costs:
        plain = ticks.of(COPY_EACH, cost.businesses)
        share = f"{cost.server_s / plain.server_s:.1%}" if plain else "–"
        yield (
            f"| {cost.businesses:,} | {cost.rows:,} | {cost.who} | {cost.seconds:.2f} | {cost.server_s:.2f} | {share}"
            f" | {cost.client_s:.2f} | {cost.peak_mib:.0f} | {cost.rounds} |"
        )
    if ticks.events_mb is not None:
        yield from ("", f"Dagster's storage grows by {ticks.events_mb:.1f} MB in a day of 288 ticks.")
    if ticks.loads:
        head = "| pgbench | transactions/s | latency ms | 95th percentile ms | rounds |"
        yield from ("", head, "|---|---:|---:|---:|---:|")
        for load in ticks.loads:
            who = "beside ticks without a pause" if load.workers else "alone"
            yield f"| {who} | {load.tps:,.0f} | {load.latency_ms:.2f} | {load.p95_ms:.2f} | {load.rounds} |"


_GIVES = {
    WHOLE: "CSV, Parquet and a bundle, counted, hashed, read back; secrets left out; history, checks, alerts, expiry;"
    " a table or a business restored with a plan and an approval; a drill that proves it",
    PG_DUMP: "everything PostgreSQL needs to make the database anew, indexes and rights too; nobody else reads it,"
    " nothing is counted or compared",
    PSQL: "CSV of the server's own text; each table at another instant",
    DUCKDB: "CSV and Parquet, typed; each scan at another instant",
    CONNECTORX: "Parquet with its own choice of types; not every type",
    DLT: "Parquet with a load package, its own schema and state",
    SLING: "CSV; configured by a file of streams",
}
"""What each gives."""
_BESIDE = {"beside_one": "one large table", "beside_24": "24 tables", "beside_512": "512 small tables"}


def beside_table(results: Results) -> Sequence[str]:
    """The lines of the table of tools: what each costs for three databases, and what there is afterwards."""
    races = {name: results.races[name] for name in _BESIDE if name in results.races}
    heads = (f"{_BESIDE[name]}, {_rows(race)} rows" for name, race in races.items())
    lines = [f"| | {' | '.join([*heads, 'what there is then'])} |", f"|---|{'---:|' * len(races)}---|"]
    for who, gives in _GIVES.items():
        costs = (_cost(race.of(who)) for race in races.values())
        lines.append(f"| {who} | {' | '.join([*costs, gives])} |")
    return lines


def _rows(race: Race) -> str:
    return f"{race.timings[0].rows:,}" if race.timings else "no"


def _cost(timing: Timing | None) -> str:
    if timing is None:
        return "–"
    return f"{timing.median:.1f} s" + (f", {timing.cpu_s:.1f} s of CPU" if timing.cpu_s is not None else "")


def with_tables(page: str, results: Results) -> str:
    """`page` with its verdicts and its table of tools made anew; ValueError when it lacks the marks of either."""
    for begin, end, lines in ((BEGIN, END, verdict_table(results)), (*BESIDE_MARKS, beside_table(results))):
        if begin not in page or end not in page:
            message = f"the page has no {begin!r} … {end!r}"
            raise ValueError(message)
        before, _, rest = page.partition(begin)
        page = "\n".join([before + begin, "", *lines, "", end]) + rest.partition(end)[2]
    return page
