"""The report as Markdown: machines, verdicts, a table with bars for each race, and the burden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.values import BARE, COPY_EACH, OURS, Burden, Facts, Race, Results, Ticks, Timing
from benchmarks.verdicts import slower, verdicts

_BAR = 40
BEGIN = "<!-- verdicts: made by `python -m benchmarks`, not by hand -->"
END = "<!-- end of the verdicts -->"
_HEAD = """\
<!-- Made from results/*.json. Do not edit: run `python -m benchmarks --sections report`. -->

# Measurements

Seconds are medians of the rounds. The contestants take turns in each round, each in a process of its own; imports are
not counted, and files go to the same disk. A peak of memory is that of the contestant's largest process; the
server's is not in it."""
_TITLES = {
    "bench_bigint": "A bigint key, nine columns",
    "bench_uuid": "A uuid key in random order, nine columns",
    "bench_wide": "Sixty columns",
    "bench_narrow": "Three columns",
    "scale": "Ten times the rows",
    "whole": "The whole backup beside the bare export",
    "many": "Many small tables, in CPU seconds",
    "restore": "One table restored, beside pg_restore",
    "renderings": "Renderings of a sheet, in CPU seconds",
}
_NOTES = {
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
    yield f"| who | writes | rows | median s | fastest – slowest | against {base.who} | rows/s | peak MiB | rounds |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|"
    for row in race.timings:
        yield (
            f"| {row.who} | {row.writes} | {row.rows:,} | {row.median:.2f} | {row.fastest:.2f} – {row.slowest:.2f}"
            f" | {row.median / base.median:.2f} × | {row.rows / row.median:,.0f} | {row.peak_mib:.0f} | {row.rounds} |"
        )


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


def with_verdicts(page: str, results: Results) -> str:
    """`page` with the lines between BEGIN and END replaced by the verdicts; ValueError when it lacks these marks."""
    if BEGIN not in page or END not in page:
        message = f"the page has no {BEGIN!r} … {END!r}"
        raise ValueError(message)
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return "\n".join([before + BEGIN, "", *verdict_table(results), "", END]) + after
