"""What renderings are made from: the sheets and tables of a bundle, as streams."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from backup_pipeline.core.errors import VerificationError


@dataclass(frozen=True)
class SheetFiles:
    """A sheet of a bundle: its name, and its CSV files in order (more than one when it was rolled over), as bytes."""

    name: str
    files: Iterable[Iterable[bytes]]


@dataclass(frozen=True)
class TableRows:
    """A table of a bundle: its name, and its rows in order, piece by piece."""

    name: str
    pieces: Iterable[pa.Table]


def parquet_rows(chunks: Iterable[bytes]) -> Iterator[pa.Table]:
    """The row groups of the Parquet file that `chunks` make up; it is put into a temporary file, not into memory."""
    with tempfile.TemporaryFile() as spool:
        for chunk in chunks:
            spool.write(chunk)
        spool.seek(0)
        try:
            with pq.ParquetFile(spool) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group)
        except pa.ArrowException as error:
            message = f"A Parquet file of the bundle can not be read: {error}"
            raise VerificationError(
                message, do="Restore the bundle from another copy, or use another backup."
            ) from error
