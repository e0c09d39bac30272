"""Bare writers of workbooks, given finished values, in CPU seconds: `xlsx_writers.py WHAT URL ROWS FOLDER`."""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from clock import own_peak  # type: ignore[import-not-found]  # runs from this folder, in an environment of its own
from sheet_rows import NAMES, rows  # type: ignore[import-not-found]


def with_rust(writer: Any, count: int, path: Path) -> None:
    """rustpy-xlsxwriter, rows by a generator: flat memory."""
    writer.write_worksheet((dict(zip(NAMES, row, strict=True)) for row in rows(count)), str(path), "A")


def with_python(writer: Any, count: int, path: Path) -> None:
    """XlsxWriter in its mode of constant memory, the method of each type called by its name."""
    book = writer.Workbook(str(path), {"constant_memory": True})
    page, moment = book.add_worksheet("A"), book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
    page.write_row(0, 0, NAMES)
    number, text, dated = page.write_number, page.write_string, page.write_datetime
    for line, row in enumerate(rows(count), 1):
        for column, (put, value) in enumerate(
            zip((number, text, text, number, page.write_boolean, dated, dated, text, number), row, strict=True)
        ):
            put(line, column, value, *((moment,) if put == dated else ()))
    book.close()


WRITERS = {"rustpy_xlsxwriter": with_rust, "xlsxwriter": with_python}

if __name__ == "__main__":
    what, _, number, into = sys.argv[1:]
    module = import_module(what)
    before = time.process_time()
    WRITERS[what](module, int(number), Path(into) / "out.xlsx")
    taken = time.process_time() - before
    print(json.dumps({"seconds": taken, "peak_mib": own_peak() / 1024, "rows": int(number)}))
