"""What is made of a bundle on demand: a workbook, one CSV, one JSON document."""

from __future__ import annotations

import csv
import gc
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import openpyxl
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.utils.datetime import from_excel

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.formats import xlsx
from backup_pipeline.formats.bundle import (
    SheetFiles,
    TableRows,
    combined_csv,
    json_chunks,
    json_values,
    parquet_rows,
)
from backup_pipeline.formats.cells import RecordReader, csv_cells
from backup_pipeline.formats.parquet import GroupLimit, ParquetWriter
from backup_pipeline.formats.sheet import SheetWriter
from backup_pipeline.formats.xlsx import sheet_title, write_xlsx
from backup_pipeline_tests.formats.tables import many_rows, tables


def cut(data: bytes, size: int) -> Iterator[bytes]:
    yield from (data[at : at + size] for at in range(0, len(data), size))


def sheet_files(directory: Path, name: str, table: pa.Table, plan: TablePlan, rows_per_file: int = 1_000) -> SheetFiles:
    directory.mkdir(exist_ok=True)
    with SheetWriter(directory, plan.sheet, "Asia/Dhaka", rows_per_file=rows_per_file) as writer:
        writer.write(table)
        entries = writer.close()
    return SheetFiles(name, [list(cut((directory / entry.name).read_bytes(), 7)) for entry in entries])


def workbook(sheets: list[SheetFiles], **options: int) -> Any:
    target = io.BytesIO()
    write_xlsx(target, sheets, **options)
    return openpyxl.load_workbook(target)


@settings(deadline=None, max_examples=50)
@given(tables(min_columns=2), st.integers(1, 40))
def test_cells_are_those_of_pythons_csv_reader(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[pa.Table, TablePlan], size: int
) -> None:
    table, plan = drawn
    directory = tmp_path_factory.mktemp("sheet")
    (chunks,) = sheet_files(directory, "A", table, plan).files
    data = b"".join(chunks)
    records = list(csv_cells(cut(data, size)))
    plain = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert [len(record) for record in records] == [len(record) for record in plain]
    texts = [n for n, name in enumerate(table.column_names) if table[name].type == pa.string()]
    for record, line in zip(records[1:], plain[1:], strict=True):
        assert [record[n] or "" for n in texts] == [line[n] for n in texts]


def test_a_sheet_that_is_cut_off_is_damaged() -> None:
    with pytest.raises(VerificationError, match="middle of a record"):
        list(csv_cells([b'a,b\r\n1,"cut o']))


def test_cells_keep_their_kind_in_excel(tmp_path: Path) -> None:
    line = '"id","007","=1+1",-5.25,12345678901234567,true,2026-11-21 00:00:00,2026-11-21,,"",1850-01-01\r\n'
    book = workbook([SheetFiles("A", [[b"\xef\xbb\xbf" + b"a,b,c,d,e,f,g,h,i,j,k\r\n", line.encode()]])])
    values = [cell.value for cell in book["A"][2]]
    assert values[:6] == ["id", "007", "=1+1", -5.25, "12345678901234567", True]
    assert values[6:9] == [datetime(2026, 11, 21), datetime(2026, 11, 21), None]  # noqa: DTZ001
    assert values[10] == "1850-01-01"
    assert book["A"]["C2"].data_type == "s"


def test_every_row_of_every_sheet_is_in_the_workbook(tmp_path: Path) -> None:
    table, plan = many_rows(250)
    sheets = [
        sheet_files(tmp_path / "a", "Orders/2026", table, plan, 100),
        sheet_files(tmp_path / "b", "B", table[:0], plan),
    ]
    target = tmp_path / "all.xlsx"
    with target.open("wb") as file:
        write_xlsx(file, sheets, max_rows=120)
    frames = pd.read_excel(target, sheet_name=None)
    assert {name: len(frame) for name, frame in frames.items()} == {
        "Orders_2026": 119,
        "Orders_2026 (2)": 119,
        "Orders_2026 (3)": 12,
        "B": 0,
    }
    joined = pd.concat(list(frames.values())[:3])
    assert joined["ID"].tolist() == list(range(250))
    assert joined["NOTE"].str.startswith("=row").all(), "guarded in the CSV, not in a cell"


def test_excel_gets_only_what_its_format_allows() -> None:
    line = b'"a\x01b","' + "আ".encode() * 40_000 + b'"\r\n'
    (row,) = list(workbook([SheetFiles("A", [[b"x,y\r\n", line]])])["A"].iter_rows(min_row=2, values_only=True))
    assert row[0] == "a\ufffdb"
    assert len(row[1]) == 32_767
    assert row[1].endswith("… (cut: 40,000 signs)")


@pytest.mark.parametrize("number", [*range(0x20), 0x7F, 0xFFFE, 0xFFFF])
def test_any_sign_gives_a_workbook_that_opens(number: int) -> None:
    sign = chr(number)
    line = f'"a{sign}b"\r\n'.encode()
    book = workbook([SheetFiles(f"A{sign}", [[f'"t{sign}"\r\n'.encode(), line]])])
    (title,), (value,) = book.worksheets[0].iter_rows(values_only=True)
    kept = {"\t": "\t", "\n": "\n", "\r": "\r", "\x7f": "\x7f", " ": " "}.get(sign, "\ufffd")
    assert (title, value) == (f"t{kept}".strip() if kept == " " else f"t{kept}", f"a{kept}b")


def test_what_looks_like_the_number_of_a_sign_stays_what_it_is() -> None:
    """A spreadsheet reads _x0041_ in a workbook as A."""
    texts = ["_x0041_", "x_x000D_y", "_x005F_x0041_", "_x41_", "_xZZZZ_", "__x0041_"]
    lines = "".join(f'"{text}"\r\n' for text in texts).encode()
    target = io.BytesIO()
    write_xlsx(target, [SheetFiles("A", [[b"t\r\n", lines]])])
    with zipfile.ZipFile(target) as archive:
        xml = archive.read("xl/worksheets/sheet1.xml").decode()
    written = re.findall(r"<t[^>]*>([^<]*)</t>", xml)[1:]
    assert [re.sub(r"_x([0-9A-Fa-f]{4})_", lambda found: chr(int(found[1], 16)), text) for text in written] == texts


def test_titles_are_bold_and_stay_in_sight_above_a_filter() -> None:
    page = workbook([SheetFiles("A", [[b"a,b\r\n", b"1,2\r\n3,4\r\n"]])])["A"]
    assert [cell.font.bold for cell in page[1]] == [True, True]
    assert not page["A2"].font.bold
    assert (page.freeze_panes, page.auto_filter.ref) == ("A2", "A1:B3")


def test_columns_are_as_wide_as_what_they_show() -> None:
    line = f'"{"x" * 500}","short",2026-11-21 00:00:00,"one\nlonger line"\r\n'.encode()
    page = workbook([SheetFiles("A", [[b"a,b,c,a much longer title\r\n", line]])])["A"]
    widths = [page.column_dimensions[letter].width for letter in "ABCD"]
    assert widths == [60, 6, 20, 23]


def test_numbers_show_the_decimals_of_their_column() -> None:
    kinds = ["decimal128(12, 2)", "int64", "double", "decimal128(38, 0)", "decimal128(5, -2)", "bool", ""]
    page = workbook([SheetFiles("A", [[b"a,b,c,d,e,f,g\r\n", b"1.50,7,0.1,8,200,true,9\r\n"]], kinds)])["A"]
    assert [cell.number_format for cell in page[2]] == ["0.00", "0", "General", "0", "0", "General", "General"]
    assert [cell.value for cell in page[2]] == [1.5, 7, 0.1, 8, 200, True, 9]


def test_dates_are_dates_and_texts_stay_texts_when_they_are_edited() -> None:
    line = b'2026-11-21,2026-11-21 10:20:30,"007","\'=1+1","\'quoted\'"\r\n'
    page = workbook([SheetFiles("A", [[b"a,b,c,d,e\r\n", line]])])["A"]
    assert [cell.number_format for cell in page[2]] == ["yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss", "@", "@", "@"]
    assert [cell.value for cell in page[2]][2:] == ["007", "=1+1", "'quoted'"]
    assert [bool(cell.quotePrefix) for cell in page[2]] == [False, False, False, True, False]
    assert {cell.data_type for cell in page[2]} == {"d", "s"}


def test_a_sheet_that_goes_on_is_laid_out_in_each_part() -> None:
    lines = "".join(f"{number}\r\n" for number in range(25)).encode()
    book = workbook([SheetFiles("A", [[b"a\r\n", lines]])], max_rows=10)
    pages = [book[name] for name in ("A", "A (2)", "A (3)")]
    assert [page.freeze_panes for page in pages] == ["A2"] * 3
    assert [page.auto_filter.ref for page in pages] == ["A1:A10", "A1:A10", "A1:A8"]
    assert [value for page in pages for (value,) in page.iter_rows(min_row=2, values_only=True)] == list(range(25))


Parsed = tuple[str, str, str, object]


def parsed(xml: bytes) -> list[list[Parsed]]:
    """The cells of rows: place, style, type, value."""
    rows = ET.fromstring(b"<rows>" + xml + b"</rows>")
    return [[_parsed(cell) for cell in row] for row in rows]


def _parsed(cell: ET.Element) -> Parsed:
    style, kind, text = cell.get("s", "0"), cell.get("t", "n"), "".join(cell.itertext())
    value = text if kind != "n" else from_excel(float(text)) if style == "3" else float(text)
    return cell.get("r", ""), style, kind, value


def in_python(data: bytes, styles: list[int]) -> list[list[Parsed]]:
    records = RecordReader().take(data.decode())
    xml = b"".join(
        xlsx._row(number, [xlsx._dressed(value, at, styles) for at, value in enumerate(record)])
        for number, record in enumerate(records, 2)
    )
    return parsed(xml)


_SIGNS = st.text(st.sampled_from("ab&<>_x0041_ \t\r\n'=+-@$19.\x01\u0995\ufffe\U0001f600\x7f"), max_size=12)
_QUOTED = _SIGNS.map(lambda text: '"' + text.replace('"', '""') + '"')
_PLAIN = st.one_of(
    st.sampled_from(
        ["", "true", "false", "1e-07", "007", "-0", "0.5", "-5.25", "12:30:00", "1850-01-01", "1900-12-31"]
    ),
    st.integers(-(10**17), 10**17).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(lambda number: f"{number:f}"),
    st.dates(date(1901, 1, 1)).map(str),
    st.datetimes(datetime(1901, 1, 1)).map(lambda at: f"{at:%Y-%m-%d %H:%M:%S}".rjust(19, "0")),  # noqa: DTZ001
)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(_QUOTED | _PLAIN, min_size=3, max_size=3), max_size=8), st.integers(1, 60))
def test_rows_made_in_c_are_those_of_python(records: list[list[str]], size: int) -> None:
    data = "".join(",".join(record) + "\r\n" for record in records).encode()
    styles = [6, 0]
    rows = parsed(b"".join(xml for xml, _ in xlsx._Records([[b"t\r\n", *cut(data, size)]]).rows(2, 100, styles)))
    assert rows == in_python(data, styles)


def test_a_usual_sheet_is_made_in_c_alone() -> None:
    """What is left to Python takes sixty times as long."""
    line = '1,"আব্দুল & <b>","=1","it is ""x""",-5.25,2026-11-21 10:20:30,2026-11-21,true,,123456789012345678\r\n'
    data = line.encode() * 1000
    xml, rows = zip(*xlsx._Records([[b"t\r\n", data]]).rows(2, 5000, []), strict=True)
    assert (len(xml), sum(rows)) == (1, 1000)
    assert parsed(xml[0]) == in_python(data, [])


def test_every_second_of_a_day_comes_back_exact() -> None:
    first = datetime(2026, 11, 21)  # noqa: DTZ001
    times = [first + timedelta(seconds=number) for number in range(86_400)]
    data = "".join(f"{at:%Y-%m-%d %H:%M:%S}\r\n" for at in times).encode()
    xml = b"".join(piece for piece, _ in xlsx._Records([[b"t\r\n", data]]).rows(2, 90_000, []))
    serials = [float(serial) for serial in re.findall(rb"<v>([^<]*)</v>", xml)]
    assert [from_excel(serial) for serial in serials] == times


def test_the_same_sheets_give_the_same_bytes() -> None:
    books = [io.BytesIO(), io.BytesIO()]
    for book in books:
        write_xlsx(book, [SheetFiles("A", [[b"a\r\n", b"1\r\n" * 5]])])
    assert books[0].getvalue() == books[1].getvalue()


def test_a_workbook_of_nothing_still_opens() -> None:
    assert workbook([]).sheetnames == ["Empty"]


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_workbook_that_is_not_finished_leaves_no_rows_in_temporary_files(spool: Path) -> None:
    def cut_off() -> Iterator[bytes]:
        yield b'a,b\r\n1,"secret"\r\n' * 100_000
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_xlsx(io.BytesIO(), [SheetFiles("A", [[b"a\r\n1\r\n"]]), SheetFiles("B", [cut_off()])])
    gc.collect()
    assert list(spool.iterdir()) == []


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_workbook_on_a_full_disk_is_one_error_and_leaves_nothing(spool: Path) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        write_xlsx(full, [SheetFiles("A", [[b"a\r\n1\r\n"]])])
    gc.collect()
    assert list(spool.iterdir()) == []


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8") | st.sampled_from(" '"), max_size=60), max_size=12))
def test_sheet_titles_are_legal_and_differ(names: list[str]) -> None:
    taken: set[str] = set()
    titles = [sheet_title(name, taken) for name in [*names, *names]]
    assert len({title.casefold() for title in titles}) == len(titles)
    for title in titles:
        assert 0 < len(title.encode("utf-16-le")) // 2 <= 31
        assert not set(title) & set("[]:*?/\\")
        assert title.strip("'").strip() == title
        assert title.casefold() != "history"


def test_one_csv_has_all_sheets_under_headings(tmp_path: Path) -> None:
    table, plan = many_rows(25)
    sheets = [
        sheet_files(tmp_path / "a", "Orders", table, plan, 10),
        sheet_files(tmp_path / "b", "Area, B", table[:1], plan),
    ]
    data = b"".join(combined_csv(sheets))
    assert data.count(b"\xef\xbb\xbf") == 1
    lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    titles = [name.upper() for name in table.column_names]
    assert lines[:2] == [["### Orders ###"], titles]
    assert [line[0] for line in lines[2:27]] == [str(number) for number in range(25)]
    assert lines[27:30] == [[], ["### Area, B ###"], titles]
    assert len(lines) == 31


def test_json_holds_exact_values(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([2**63 - 1, None]),
            "n": pa.array([5, None], pa.int32()),
            "amount": pa.array([Decimal("0.0000001"), None], pa.decimal128(20, 7)),
            "f": pa.array([float("nan"), -0.5]),
            "ok": pa.array([True, None]),
            "name": pa.array(['আ "q"\n', ""]),
            "made": pa.array([2**63 - 1, 1], pa.timestamp("us", "UTC")),
            "plain": pa.array([1_500_000, None], pa.timestamp("us")),
            "day": pa.array([date(2026, 11, 21), None]),
            "raw": pa.array([b"\x00\xff", None]),
            "uid": pa.array([bytes(16), None], pa.uuid()),
        }
    )
    rows = [TableRows("things", [table[:1], table[1:1], table[1:]]), TableRows("none", [])]
    document = json.loads(b"".join(json_chunks({"backup_id": "b"}, rows)))
    assert document["manifest"] == {"backup_id": "b"}
    assert document["tables"]["none"] == []
    first, second = document["tables"]["things"]
    assert first == {
        "id": "9223372036854775807",
        "n": 5,
        "amount": "0.0000001",
        "f": "NaN",
        "ok": True,
        "name": 'আ "q"\n',
        "made": "294247-01-10T04:00:54.775807Z",
        "plain": "1970-01-01T00:00:01.500000",
        "day": "2026-11-21",
        "raw": "\\x00ff",
        "uid": "00000000-0000-0000-0000-000000000000",
    }
    assert second["made"] == "1970-01-01T00:00:00.000001Z"
    assert [key for key, value in second.items() if value is None] == [
        "id",
        "n",
        "amount",
        "ok",
        "plain",
        "day",
        "raw",
        "uid",
    ]


@settings(deadline=None, max_examples=60)
@given(tables(min_columns=1))
def test_json_made_by_columns_is_that_of_each_row(drawn: tuple[pa.Table, TablePlan]) -> None:
    table, _ = drawn
    for batch in table.to_batches():
        columns = [json_values(column) for column in batch.columns]
        rows = [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]
        text = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False, default=str) for row in rows)
        (begin, made, *_) = [*json_chunks({}, [TableRows("t", [pa.Table.from_batches([batch])])])][2:]
        assert (begin, made.decode()) == (b"\n", text)


def test_parquet_is_read_group_by_group(tmp_path: Path) -> None:
    table, plan = many_rows(250)
    with ParquetWriter(tmp_path, plan, group_limit=GroupLimit(rows=100)) as writer:
        writer.write(table)
    data = (tmp_path / "part-00000.parquet").read_bytes()
    pieces = list(parquet_rows(cut(data, 1_000)))
    assert [piece.num_rows for piece in pieces] == [100, 100, 50]
    assert pa.concat_tables(pieces).to_pylist() == table.to_pylist()
    with pytest.raises(VerificationError, match="can not be read"):
        list(parquet_rows([data[:-20]]))
