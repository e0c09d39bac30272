"""Fingerprints of rows in any order: DuckDB hashes each row of Parquet and CSV files, and adds the hashes up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from backup_pipeline.core.drill_ports import Fingerprint
from backup_pipeline.formats.byte_reader import ByteReader
from backup_pipeline.formats.compare_columns import parsed
from backup_pipeline.formats.csv_rows import csv_header
from backup_pipeline.formats.duck import files_sql, name_sql, open_duck

_FLOATS = {"FLOAT", "DOUBLE"}
_SALT = "'another'"
_NOTHING = Fingerprint(0, 0, 0)


class FileFingerprints:
    """The port `Fingerprints`; what does not fit into memory goes into files under `spool`."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool

    def of_parquet(self, files: Sequence[Path], columns: Sequence[str]) -> Fingerprint:
        """Of the values of `columns` in all rows of these Parquet files. NULL is a value of its own."""
        with open_duck(self._spool) as database:
            source = files_sql(files)
            described = database.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608
            # By place: to DuckDB, names that differ only by capital letters are one name.
            names = pq.read_schema(files[0]).names
            return _fingerprint(database, [_value(*described[names.index(name)][:2]) for name in columns], source)

    def of_sheets(self, files: Sequence[Iterator[bytes]], titles: Sequence[str], wanted: Sequence[str]) -> Fingerprint:
        """Of the cells under the titles `wanted` in all records of these CSV files, which have `titles`."""
        found = _NOTHING
        for content in files:
            part = self._of_sheet(content, titles, [titles.index(title) for title in wanted])
            found = Fingerprint(found.rows + part.rows, found.total + part.total, found.folded ^ part.folded)
        return found

    def _of_sheet(self, content: Iterator[bytes], titles: Sequence[str], wanted: Sequence[int]) -> Fingerprint:
        reader, header = ByteReader(content), csv_header(titles)
        if reader.exactly(len(header)) != header:
            return _NOTHING
        schema = pa.schema([(f"f{number}", pa.string()) for number in wanted])
        records = _batches(parsed(reader, len(titles), wanted, 0))
        with open_duck(self._spool) as database:
            database.register("sheet", pa.RecordBatchReader.from_batches(schema, records))
            return _fingerprint(database, [name_sql(name) for name in schema.names], "sheet")


def _batches(tables: Iterable[pa.Table]) -> Iterator[pa.RecordBatch]:
    for table in tables:
        yield from table.to_batches()


def _fingerprint(database: duckdb.DuckDBPyConnection, values: Sequence[str], source: str) -> Fingerprint:
    row = ", ".join(values) or "0"
    sums = f"count(*), coalesce(sum(hash({row})), 0), coalesce(bit_xor(hash({_SALT}, {row})), 0)"
    found = database.execute(f"SELECT {sums} FROM {source}").fetchone()  # noqa: S608
    rows, total, folded = found or (0, 0, 0)
    return Fingerprint(int(rows), int(total), int(folded))


def _value(name: str, kind: str) -> str:
    """Floats by their text: to a hash, 0 and -0 are one value."""
    return f"{name_sql(name)}::VARCHAR" if kind in _FLOATS else name_sql(name)
