"""Tests of the verdicts: each limit from both sides, and what was not measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backup_pipeline_tests.benchmarks.values import ROWS, race, results, ticks, timing
from benchmarks.values import (
    BARE,
    DRILL,
    DUCKDB,
    EMPTY,
    OURS,
    PG_RESTORE,
    PSQL,
    RUST_XLSX,
    VERIFY,
    WHOLE,
    XLSX,
    Race,
    Results,
    Ticks,
    Timing,
)
from benchmarks.verdicts import Verdict, verdicts


def of(found: Results, words: str) -> Verdict:
    (one,) = (verdict for verdict in verdicts(found) if words in verdict.wish)
    return one


def test_every_limit_may_be_reached() -> None:
    assert [(one.wish, one.met) for one in verdicts(results()) if one.met is not True] == []


def wide(*timings: Timing) -> Race:
    return race("bench_wide", *timings)


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        ("bigint keys: at most 0.6 ×", race("bench_bigint", timing(OURS, 3.01), timing(DUCKDB, 5.0))),
        ("uuid keys: at most 0.6 ×", race("bench_uuid", timing(OURS, 3.01), timing(DUCKDB, 5.0))),
        ("60 columns: at most 0.6 ×", wide(timing(OURS, 3.01, rows=300_000), timing(DUCKDB, 5.0, rows=300_000))),
        ("bigint keys: at most 1.05", race("bench_bigint", timing(OURS, 1.06), timing(PSQL, 1.0))),
        ("uuid keys: at most 1.05", race("bench_uuid", timing(OURS, 1.06), timing(PSQL, 1.0))),
        ("60 columns: at most 1.05", wide(timing(OURS, 1.06, rows=300_000), timing(PSQL, 1.0, rows=300_000))),
        ("1.2 ×", race("bench_uuid", timing(OURS, 3.61))),
        ("3 columns", race("bench_narrow", timing(OURS, 1.01), timing(DUCKDB, 1.0))),
        ("at 3,000,000 rows", race("scale", timing("a", 3.0, peak=351), timing("b", 30, rows=10 * ROWS))),
        ("at 30,000,000 rows", race("scale", timing("b", 30, rows=10 * ROWS, peak=351), timing("a", 3.0))),
        ("ten times the rows", race("scale", timing("a", 3.0), timing("b", 34.6, rows=10 * ROWS))),
        (
            "12 million rows",
            race("whole_large", timing(BARE, 5.0, rows=4 * ROWS), timing(WHOLE, 7.51, rows=4 * ROWS)),
        ),
        ("without that of none", race("whole", timing(BARE, 5.0), timing(WHOLE, 7.76), timing(EMPTY, 1.0, rows=0))),
        ("pg_restore", race("restore", timing(OURS, 4.01), timing(PG_RESTORE, 4.0))),
        (
            "writer in Rust",
            race("renderings", timing(XLSX, 3.01, rows=250_000), timing(RUST_XLSX, 1.0, rows=250_000)),
        ),
        ("3,000 tables of ten rows, drill", race("many_large", timing(DRILL, 207.1, rows=30_000))),
        ("1,000 tables of ten rows, whole", race("many", timing(WHOLE, 45.1, rows=10_000))),
        ("1,000 tables of ten rows, verification", race("many", timing(VERIFY, 15.1, rows=10_000))),
        ("1,000 tables of ten rows, drill", race("many", timing(DRILL, 60.1, rows=10_000))),
        ("empty database", race("whole", timing(EMPTY, 1.61, rows=0))),
    ],
)
def test_a_little_more_is_not_met(words: str, instead: Race) -> None:
    verdict = of(results(instead), words)
    assert verdict.met is False
    assert verdict.word == "**NOT met**"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("500 businesses of 20,000 rows", ticks(seconds=30.1)),
        ("10,000 businesses of 5,000 rows", ticks(most=300.1)),
        ("of COPY of every business", ticks(server=2.01)),
    ],
)
def test_a_tick_that_costs_a_little_more_is_not_met(words: str, found: Ticks) -> None:
    assert of(replace(results(), ticks=found), words).met is False
    few = of(replace(results(), ticks=replace(found, costs=ticks(rows=9_000_000).costs)), words)
    assert few.met is None
    assert ",000 rows" in few.measured.rpartition("but with ")[2]


def test_what_ticks_cost_others_is_stated() -> None:
    stated = of(results(), "ticks cost")
    assert stated.measured == "9.5 MB a day; fewer transactions a second while a tick is at work: 10 %"
    assert of(replace(results(), ticks=replace(ticks(), loads=())), "ticks cost").met is None


def test_the_numbers_stand_beside_the_verdict() -> None:
    assert of(results(), "bigint keys: at most 0.6 ×").measured == "3.00 s / 5.00 s = 0.60 ×"
    assert of(results(), "without that of none").measured == "(8.35 s - 1.60 s) / 5.00 s = 1.35 ×"
    assert of(results(), "3,000 tables of ten rows, drill").measured == "69.0 ms / 60.0 ms = 1.15 ×"
    assert of(results(), "ten times the rows").measured == "1.15 µs / 1.00 µs = 1.15 ×"
    assert (
        of(results(), "burden").measured
        == "fewer transactions a second with 1 worker: 10 %, 2 workers: 25 %, 4 workers: 50 %"
    )


def test_what_was_not_measured_has_no_verdict() -> None:
    assert {one.word for one in verdicts(Results({}))} == {"not measured"}
    assert of(results(burden=False), "burden").met is None
    assert of(results(race("bench_bigint", timing(OURS, 1.0))), "bigint keys: at most 0.6 ×").met is None


def test_a_trial_is_shown_and_not_judged() -> None:
    few = results(race("bench_bigint", timing(OURS, 1.0, rows=20_000), timing(DUCKDB, 5.0, rows=20_000)))
    assert of(few, "bigint keys: at most 0.6 ×") == Verdict(
        of(few, "bigint keys: at most 0.6 ×").wish, "1.00 s / 5.00 s = 0.20 ×, but with 20,000 rows", None
    )
    assert of(results(race("many", timing(DRILL, 1.0, rows=9_990))), "1,000 tables of ten rows, drill").met is None
    once = results(race("whole", timing(EMPTY, 1.0, rows=0, rounds=1)))
    assert of(once, "empty database").measured == "1.00 s, but rounds: 1"
    assert of(once, "empty database").met is None
