"""Tests of the small rules of the sections: what pgbench says, and the room that many rows need."""

from __future__ import annotations

import pytest

from benchmarks.contestants.restore_pg import wanted
from benchmarks.measure_scale import NoRoomError, check_room
from benchmarks.pgbench import Felt, felt

SAID = "number of failed transactions: 0\nlatency average = 2.919 ms\ntps = 1369.9 (without initial connection time)\n"


def test_pgbench_is_read_with_the_95th_percentile_of_all_its_logs() -> None:
    first, second = ("".join(f"0 {n} {n * 1000} 0 1795271583 5\n" for n in ns) for ns in (range(1, 51), range(51, 101)))
    assert felt(SAID, [second, first]) == Felt(1369.9, 2.919, 96.0)


@pytest.mark.parametrize(("said", "logs"), [("", ["0 1 2000 0 1 5\n"]), (SAID, [""])])
def test_a_pgbench_that_says_something_else_is_an_error(said: str, logs: list[str]) -> None:
    with pytest.raises(ValueError, match="did not say what was expected"):
        felt(said, logs)


def test_thirty_million_rows_are_not_begun_on_a_small_disk() -> None:
    check_room(30_000_000, 21_000_000_000)
    with pytest.raises(NoRoomError, match=r"30,000,000 rows need about 20 GiB of disk, and 9\.3 GiB are free"):
        check_room(30_000_000, 10_000_000_000)


def test_of_a_dump_pg_restore_is_given_a_table_its_rows_and_its_key() -> None:
    chosen = (
        "221; 1259 16401 TABLE public bench_bigint postgres\n"
        "3441; 0 16401 TABLE DATA public bench_bigint postgres\n"
        "3290; 2606 16408 CONSTRAINT public bench_bigint bench_bigint_pkey postgres\n"
    )
    others = "; Archive of bench_bigint\n;\n222; 1259 16409 TABLE public bench_narrow postgres\n"
    comment = "3442; 0 0 COMMENT public TABLE bench_bigint postgres\n"
    assert wanted(others + chosen + comment, "bench_bigint") == chosen
