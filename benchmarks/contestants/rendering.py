"""A sheet as a workbook, or its rows as JSON, in CPU seconds.

`python -m benchmarks.contestants.rendering WHAT URL ROWS FOLDER`: WHAT is `xlsx` or `json`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from backup_pipeline.formats.bundle import SheetFiles, TableRows, json_chunks
from backup_pipeline.formats.xlsx import write_xlsx
from benchmarks.contestants.clock import own_peak
from benchmarks.contestants.sheet_rows import NAMES, rows

_KINDS = ["int64", "string", "string", "decimal128(12, 2)", "bool", "timestamp[us]", "date32[day]", "string", "int64"]
_CHUNK = 1 << 20


def sheet(count: int) -> list[bytes]:
    """The CSV of the sheet, in chunks, as a bundle gives it."""
    lines = [",".join(NAMES)]
    for n, name, email, amount, ok, at, day, note, last in rows(count):
        lines.append(f'{n},"{name}","{email}",{amount:.2f},{str(ok).lower()},{at},{day},"{note}",{last}')
    data = ("\ufeff" + "\r\n".join(lines) + "\r\n").encode()
    return [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]


def work(what: str, count: int, folder: Path) -> Callable[[], None]:
    """What is timed; its input is at hand before."""
    if what == "xlsx":
        chunks = sheet(count)

        def to_workbook() -> None:
            with (folder / "out.xlsx").open("wb") as file:
                write_xlsx(file, [SheetFiles("A", [chunks], _KINDS)])

        return to_workbook
    table = pa.Table.from_pylist([dict(zip(NAMES, row, strict=True)) for row in rows(count)])

    def to_json() -> None:
        with (folder / "out.json").open("wb") as file:
            file.writelines(json_chunks({}, [TableRows("a", [table])]))

    return to_json


if __name__ == "__main__":
    kind, _, number, into = sys.argv[1:]
    run = work(kind, int(number), Path(into))
    before = time.process_time()
    run()
    taken = time.process_time() - before
    print(json.dumps({"seconds": taken, "peak_mib": own_peak() / 1024, "rows": int(number)}))
