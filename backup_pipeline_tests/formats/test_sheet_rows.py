"""The compiled printing of cells, against Python's own of the same values."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, localcontext
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_pipeline.formats.sheet import csv_rows

_DIGITS = st.lists(st.integers(0, 9), min_size=1, max_size=38)
_MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999))  # noqa: DTZ001  naive on purpose


def printed(array: pa.Array, timezone: str = "UTC") -> list[str]:
    """The cells of `array` as another program reads them, beside a column that keeps every line from being empty."""
    batch = pa.RecordBatch.from_arrays([pa.array(["-"] * len(array)), array], ["mark", "x"])
    text = b"".join(lines.to_pybytes() for lines in csv_rows(batch, timezone)).decode()
    assert text.endswith("\r\n")
    return [row[1] for row in csv.reader(io.StringIO(text, newline=""))]


@settings(deadline=None)
@given(st.integers(0, 38), st.lists(st.tuples(st.integers(0, 1), _DIGITS), min_size=1, max_size=20))
def test_decimals_are_plain_digits(scale: int, values: list[tuple[int, list[int]]]) -> None:
    with localcontext(prec=60):
        numbers = [Decimal((sign, tuple(digits), -scale)) for sign, digits in values]
        array = pa.array(numbers, pa.decimal128(38, scale))
        assert printed(array) == [f"{value:f}" for value in array.to_pylist()]


@settings(deadline=None)
@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1))
def test_integers(values: list[int]) -> None:
    assert printed(pa.array(values, pa.int64())) == [str(value) for value in values]


def test_the_edges_of_every_integer() -> None:
    for bits, kind in ((8, pa.int8()), (16, pa.int16()), (32, pa.int32()), (64, pa.int64())):
        edges = [-(1 << bits - 1), -1, 0, 9, 10, 99, 100, (1 << bits - 1) - 1]
        assert printed(pa.array(edges, kind)) == [str(value) for value in edges]


@settings(deadline=None)
@given(st.lists(_MOMENTS, min_size=1))
def test_timestamps_are_floored_to_the_second(moments: list[datetime]) -> None:
    assert printed(pa.array(moments, pa.timestamp("us"))) == [
        value.replace(microsecond=0).isoformat(" ") for value in moments
    ]


@settings(deadline=None)
@given(st.lists(st.dates(), min_size=1))
def test_dates(days: list[date]) -> None:
    assert printed(pa.array(days, pa.date32())) == [day.isoformat() for day in days]


@settings(deadline=None)
@given(st.lists(st.times(), min_size=1))
def test_times(times: list[time]) -> None:
    assert printed(pa.array(times, pa.time64("us"))) == [value.isoformat("seconds") for value in times]


def test_every_day_of_four_centuries() -> None:
    days = [date(1800, 1, 1) + timedelta(days=number) for number in range(146_097)]
    assert printed(pa.array(days, pa.date32())) == [day.isoformat() for day in days]


@pytest.mark.acceptance("1.13")
def test_instants_are_shown_on_the_clock_of_the_timezone() -> None:
    instants = [datetime(2026, 11, 20, 18, 0, tzinfo=UTC), datetime(2009, 7, 1, tzinfo=UTC)]
    array = pa.array(instants, pa.timestamp("us", tz="UTC"))
    # Dhaka had summer time once, in 2009.
    assert printed(array, "Asia/Dhaka") == ["2026-11-21 00:00:00", "2009-07-01 07:00:00"]


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.uuids()), min_size=1), st.integers(0, 9))
def test_slices_begin_where_they_begin(values: list[UUID | None], start: int) -> None:
    """An offset shifts values and the bits of NULLs alike."""
    padded = [None, UUID(int=0)] * 5 + values
    array = pa.array([value and value.bytes for value in padded], pa.binary(16))
    assert printed(array.slice(start)) == [str(value) if value else "" for value in padded[start:]]
