"""Tests of what is made of the results: kept files, the report, the chart, the page in the docs."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline_tests.benchmarks.values import FACTS, race, results, timing
from benchmarks.chart import chart
from benchmarks.keep import keep_burden, keep_race, keep_ticks, read_results
from benchmarks.pages import KEPT, made
from benchmarks.report import BEGIN, BESIDE_MARKS, END, beside_table, report, with_tables
from benchmarks.values import DUCKDB, OURS, PSQL, WHOLE, Results

SVG = "{http://www.w3.org/2000/svg}"


def test_separate_runs_add_up(tmp_path: Path) -> None:
    whole = results()
    for one in reversed(tuple(whole.races.values())):
        keep_race(tmp_path / "kept", one)
    assert read_results(tmp_path / "kept") == Results(whole.races)
    assert whole.burden is not None
    keep_burden(tmp_path / "kept", whole.burden)
    assert whole.ticks is not None
    large = tuple(cost for cost in whole.ticks.costs if cost.businesses == 10_000)
    keep_ticks(tmp_path / "kept", whole.ticks)
    keep_ticks(tmp_path / "kept", replace(whole.ticks, costs=large, events_mb=None, loads=()))
    again = race("bench_uuid", timing(OURS, 9.0))
    keep_race(tmp_path / "kept", again)
    found = read_results(tmp_path / "kept")
    assert list(found.races) == list(whole.races)
    assert found == results(again)


def test_the_report_names_each_machine_once_and_who_is_absent() -> None:
    slower = replace(FACTS, machine={"CPU": "Slow"})
    page = report(results(replace(race("bench_uuid", timing(OURS, 9.0)), facts=slower, absent={"sling": "no wheel"})))
    assert page.count("Quick & Co") == 1
    assert "- `bench_uuid`: 2026-11-21, `python -m benchmarks`. CPU Slow." in page
    assert "- sling is absent: no wheel" in page


def test_the_report_compares_with_ours() -> None:
    page = report(results())
    assert (
        "| DuckDB, two scans | Parquet + CSV | 3,000,000 | 5.00 | 4.90 – 5.10 | 1.67 × | 600,000 | – | – | 300 | 5 |"
        in page
    )
    with_cpu = replace(timing(OURS, 9.0), cpu_s=12.345, written_mib=1024.4)
    assert "| 333,333 | 12.35 | 1,024 | 300 | 5 |" in report(results(race("bench_uuid", with_cpu)))
    assert "| 4 workers | 500 | 50 % | 8.00 | 12.00 | 500,000 | 5 |" in page
    assert "| 500 | 10,000,000 | a tick, 10 % changed | 30.00 | 2.00 | 10.0% | 6.00 | 600 | 5 |" in page
    assert "Dagster's storage grows by 9.5 MB in a day of 288 ticks." in page


def test_a_report_of_nothing_is_a_report() -> None:
    assert "not measured" in report(Results({}))
    assert chart(Results({})).startswith("<svg")


def test_the_verdicts_take_their_place_in_a_page_again_and_again() -> None:
    first, last = BESIDE_MARKS
    page = f"# Speed\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n{first}\nold\n{last}\nThe end.\n"
    made_once = with_tables(page, results())
    assert "old" not in made_once
    assert f"| met |\n\n{END}\n\nThe rest.\n" in made_once
    assert made_once.endswith(f"streams |\n\n{last}\nThe end.\n")
    assert with_tables(made_once, results()) == made_once
    for lacking in ("# Speed\n", f"{BEGIN}\n{END}\n"):
        with pytest.raises(ValueError, match="the page has no"):
            with_tables(lacking, results())


def test_a_tool_stands_with_what_it_costs_for_each_database_and_what_it_gives() -> None:
    one = race("beside_one", replace(timing(WHOLE, 9.0), cpu_s=11.5), timing(PSQL, 2.0))
    few = race("beside_512", timing(WHOLE, 15.0, rows=10_240))
    head, _, *rows = beside_table(results(one, few))
    assert head == "| | one large table, 3,000,000 rows | 512 small tables, 10,240 rows | what there is then |"
    assert rows[0].startswith("| whole backup | 9.0 s, 11.5 s of CPU | 15.0 s | CSV, Parquet and a bundle")
    assert next(row for row in rows if row.startswith(f"| {PSQL}")).startswith(f"| {PSQL} | 2.0 s | – | CSV")


def bars(svg: str) -> list[tuple[str, float]]:
    found = [one for one in ET.fromstring(svg).iter(f"{SVG}rect") if one.get("height") == "16"]
    return [(one.get("class", ""), float(one.get("width", "0"))) for one in found]


def test_bars_are_as_long_as_the_seconds() -> None:
    (ours, duckdb) = bars(chart(Results({"bench_uuid": race("bench_uuid", timing(OURS, 2.0), timing(DUCKDB, 5.0))})))
    assert (ours[0], duckdb[0]) == ("ours", "both")
    assert ours[1] / duckdb[1] == pytest.approx(2 / 5, abs=0.001)


def test_a_bar_that_is_far_longer_is_cut_and_says_its_seconds() -> None:
    svg = chart(Results({"bench_uuid": race("bench_uuid", timing(OURS, 2.0), timing("snail & co", 80.0))}))
    (ours, snail) = bars(svg)
    assert ours[1] / snail[1] == pytest.approx(1 / 4, abs=0.001)
    assert svg.count('class="cut"') == 1
    assert "snail &amp; co" in svg
    assert "80.00 s (40.00 ×)" in svg


def test_the_pages_of_the_project_are_those_of_its_results() -> None:
    for path, text in made(KEPT).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python -m benchmarks --sections report"
