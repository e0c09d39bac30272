"""The sheet for people: every cell as a CSV reader finds it, the same bytes however the rows were paged."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import tempfile
import unicodedata
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.manifest import FileEntry
from backup_pipeline.core.plans import SheetColumn, SheetPlan, TablePlan
from backup_pipeline.formats.sheet import BOM, SheetWriter
from backup_pipeline_tests.formats.tables import many_rows, pages, tables

DHAKA = "Asia/Dhaka"
SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any)


def write(
    directory: Path, sheet: SheetPlan, parts: list[pa.Table], rows_per_file: int = 1_048_575
) -> tuple[FileEntry, ...]:
    with SheetWriter(directory, sheet, DHAKA, rows_per_file=rows_per_file) as writer:
        for part in parts:
            writer.write(part)
        return writer.close()


def written(table: pa.Table, sheet: SheetPlan | None = None) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), sheet or plain_sheet(table), [table])
        return (Path(name) / "sheet-00000.csv").read_bytes()


def plain_sheet(table: pa.Table) -> SheetPlan:
    return SheetPlan("Things", tuple(SheetColumn(name, name, "x") for name in table.column_names))


def records(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))


def column(values: pa.Array) -> list[str]:
    """The cells of `values`, beside a column that keeps NULL apart from an empty text."""
    lines = records(written(pa.table({"n": pa.array(range(len(values))), "v": values})))
    return [line[1] for line in lines[1:]]


def expected(value: object) -> str:  # noqa: PLR0911  one line a type
    """What a cell holds, worked out value by value by other means than the writer's."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case Decimal():
            return format(value, "f")
        case bytes():
            return "\\x" + value.hex()
        case datetime():
            local = value.astimezone(ZoneInfo(DHAKA)) if value.tzinfo else value
            return f"{local.year:04d}-{local:%m-%d %H:%M:%S}"
        case date():
            return value.isoformat()
        case time():
            return f"{value:%H:%M:%S}"
        case str():
            return "'" + value if runs(value) else value
        case _:
            return str(value)


def runs(text: str) -> bool:
    """Whether a spreadsheet may run `text`, in Python's own terms."""
    if re.fullmatch(r"[+-]\$?[0-9][0-9,]*(\.[0-9]*)?", text):
        return False
    first = next((sign for sign in text if not unseen(sign)), "")
    return text[:1] in {"\t", "\r", "\n"} or first in set("=+-@＝＋－＠")


def unseen(sign: str) -> bool:
    """Whether `sign` shows nothing: blanks, control and format signs (but for those of Arabic and Syriac script)."""
    known = ord(sign) <= 0xA0 or sign in "\xad\u061c\ufeff" or 0x1680 <= ord(sign) <= 0x3000
    return known and unicodedata.category(sign) in {"Cc", "Cf", "Zs", "Zl", "Zp"}


@settings(deadline=None, max_examples=80)
@given(tables(min_columns=2))
def test_python_reads_the_cells_that_were_meant(drawn: tuple[pa.Table, TablePlan]) -> None:
    table, plan = drawn
    lines = records(written(table, plan.sheet))
    assert lines[0] == [name.upper() for name in table.column_names]
    assert len(lines) - 1 == table.num_rows
    for number, values in enumerate(table.columns):
        cells = [line[number] for line in lines[1:]]
        if pa.types.is_floating(values.type):
            assert pa.array([float(cell) if cell else None for cell in cells], values.type).equals(
                values.combine_chunks()
            )
        else:
            assert cells == [expected(value) for value in values.to_pylist()]


@settings(deadline=None, max_examples=30)
@given(tables(min_columns=1))
def test_pandas_reads_the_same_cells(drawn: tuple[pa.Table, TablePlan]) -> None:
    table, plan = drawn
    data = written(table, plan.sheet)
    frame = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False, encoding="utf-8-sig")
    assert [list(frame.columns), *frame.values.tolist()] == records(data)


@settings(deadline=None, max_examples=50)
@given(tables(), SIZES, SIZES, st.integers(1, 12))
def test_files_do_not_depend_on_the_pages(
    drawn: tuple[pa.Table, TablePlan], one: list[int], other: list[int], rows: int
) -> None:
    table, plan = drawn
    with tempfile.TemporaryDirectory() as left, tempfile.TemporaryDirectory() as right:
        first = write(Path(left), plan.sheet, pages(table, one), rows)
        copies = [pa.Table.from_pylist(page.to_pylist(), page.schema) for page in pages(table, other)]
        assert write(Path(right), plan.sheet, copies, rows) == first


@pytest.mark.parametrize("size", [1, 2, 3, 999, 1_000, 1_001, 20_000])
def test_each_file_opens_on_its_own_and_none_loses_a_row(tmp_path: Path, size: int) -> None:
    table, plan = many_rows(2_500)
    entries = write(tmp_path, plan.sheet, pages(table, [size]), rows_per_file=1_000)
    assert [(entry.name, entry.rows) for entry in entries] == [
        ("sheet-00000.csv", 1_000),
        ("sheet-00001.csv", 1_000),
        ("sheet-00002.csv", 500),
    ]
    ids = []
    for entry in entries:
        data = (tmp_path / entry.name).read_bytes()
        assert data.startswith(BOM)
        assert (entry.bytes, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        lines = records(data)
        assert lines[0] == [name.upper() for name in table.column_names]
        assert len(lines) - 1 == entry.rows
        ids += [int(line[0]) for line in lines[1:]]
    assert ids == list(range(2_500))


def test_a_full_last_file_is_not_followed_by_an_empty_one(tmp_path: Path) -> None:
    table, plan = many_rows(20)
    assert [entry.rows for entry in write(tmp_path, plan.sheet, [table], rows_per_file=10)] == [10, 10]


def test_an_empty_table_has_one_file_with_its_titles(tmp_path: Path) -> None:
    _, plan = many_rows(1)
    (entry,) = write(tmp_path, plan.sheet, [])
    assert entry.rows == 0
    assert len(records((tmp_path / entry.name).read_bytes())) == 1


def test_the_bytes_are_those_that_excel_expects() -> None:
    table = pa.table({"নাম": ["আব্দুল 😀", 'say "hi", ok', "two\r\nlines", "", None], "n": [1, 2, 3, None, 5]})
    wanted = 'নাম,n\r\n"আব্দুল 😀",1\r\n"say ""hi"", ok",2\r\n"two\r\nlines",3\r\n"",\r\n,5\r\n'
    assert written(table) == b"\xef\xbb\xbf" + wanted.encode()


def test_columns_are_found_by_field_and_named_by_title() -> None:
    page = pa.table({"area_id": [7], "name": ["Rahim"], "look_up 1": ["Dhanmondi"]})
    sheet = SheetPlan(
        "Customers", (SheetColumn("Area", "look_up 1", "text"), SheetColumn('Full "name"', "name", "text"))
    )
    assert records(written(page, sheet)) == [["Area", 'Full "name"'], ["Dhanmondi", "Rahim"]]


def test_a_missing_field_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="lacks a column"):
        write(tmp_path, SheetPlan("S", (SheetColumn("A", "a", "text"),)), [pa.table({"b": [1]})])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\ufeff=1", "\u00a0=1",
     "\u200b+cmd|' /C calc'!A0", "＝1+1", "＋1", "－1+2", "＠x", "+880-1712-345678", "-", "=", "-Infinity", "- 5", "+"],
)  # fmt: skip
def test_a_text_that_would_run_is_guarded(text: str) -> None:
    assert column(pa.array([text, "harmless"])) == ["'" + text, "harmless"]


@pytest.mark.parametrize(
    "text",
    ["-5", "+8801712345678", "-5.25", "+1,000.00", "-$5.00", "01712-345678", "a=b", "mail@example.com", "'=1", "", " ",
     "আব্দুল", "(+880)", "১২৩", "é", "  x", "\u200bx"],
)  # fmt: skip
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert column(pa.array([text, "=x"])) == [text, "'=x"]


def test_titles_are_harmless_too() -> None:
    assert records(written(pa.table({"=cmd()": [1], "b": [2]})))[0] == ["'=cmd()", "b"]


def test_numbers_stay_numbers() -> None:
    assert column(pa.array([-5, 2**63 - 1, None])) == ["-5", "9223372036854775807", ""]
    assert column(pa.array([Decimal("-0.0000001"), Decimal(0), None], pa.decimal128(10, 7))) == [
        "-0.0000001",
        "0.0000000",
        "",
    ]
    assert column(pa.array([Decimal("-0.000001"), Decimal(0)], pa.decimal128(10, 6))) == ["-0.000001", "0.000000"]


def test_times_are_the_catalogs() -> None:
    before = datetime(1969, 12, 31, 17, 59, 59, 999_999, tzinfo=UTC)
    values = pa.array([datetime(2026, 11, 20, 18, 0, 0, 999_999, tzinfo=UTC), before, None], pa.timestamp("us", "UTC"))
    assert column(values) == ["2026-11-21 00:00:00", "1969-12-31 23:59:59", ""]
    assert column(pa.array([datetime(1969, 12, 31, 23, 59, 59, 5)], pa.timestamp("us"))) == ["1969-12-31 23:59:59"]  # noqa: DTZ001


def test_far_dates_are_right_and_do_not_change_their_neighbours() -> None:
    last = 2**63 - 1  # the last instant that fits; PostgreSQL's own last days come as text
    values = pa.array([0, last, None, 0], pa.timestamp("us"))
    days = pa.array([0, 0, 2_932_897, 103_849_000], pa.int32()).cast(pa.date32())
    data = written(
        pa.table({"n": ["a", "b", "c", "d"], "t": values, "d": days, "z": values.cast(pa.timestamp("us", "UTC"))})
    )
    lines = records(data)
    assert [line[1] for line in lines[1:]] == [
        "1970-01-01 00:00:00",
        "294247-01-10 04:00:54",
        "",
        "1970-01-01 00:00:00",
    ]
    assert [line[2] for line in lines[1:]] == ["1970-01-01", "1970-01-01", "10000-01-01", "286298-11-27"]
    assert [line[3] for line in lines[1:]] == [
        "1970-01-01 06:00:00",
        "294247-01-10 10:00:54",
        "",
        "1970-01-01 06:00:00",
    ]
    assert b'"a",1970-01-01 00:00:00,1970-01-01,1970-01-01 06:00:00\r\n' in data


def test_bytes_and_uuids_have_their_usual_form_also_in_slices() -> None:
    uids = [UUID(int=n * 10**30) for n in range(5)]
    values = pa.array([uid.bytes if n != 3 else None for n, uid in enumerate(uids)], pa.uuid())
    assert column(values.slice(1)) == [str(uids[1]), str(uids[2]), "", str(uids[4])]
    assert column(pa.array([b"-", b"\x00\xff", None, b""]).slice(1)) == ["\\x00ff", "", "\\x"]


def test_a_null_alone_in_a_line_still_counts_as_a_record() -> None:
    data = written(pa.table({"only": ["a", None, "b"]}))
    assert records(data) == [["only"], ["a"], [""], ["b"]]
    assert len(pd.read_csv(io.BytesIO(data))) == 3


def test_abort_leaves_nothing_also_of_files_that_were_whole(tmp_path: Path) -> None:
    table, plan = many_rows(100)
    writer = SheetWriter(tmp_path, plan.sheet, DHAKA, rows_per_file=30)
    writer.write(table)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".csv", ".csv", ".tmp"]
    writer.abort()
    assert list(tmp_path.iterdir()) == []
