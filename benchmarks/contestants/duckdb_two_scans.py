"""DuckDB with its postgres extension: of each table Parquet, then CSV, a scan each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import duckdb_extension_postgres_scanner  # type: ignore[import-not-found]  # only where the peers are installed
from clock import measured  # type: ignore[import-not-found]  # runs from this folder, in an environment of its own


def _extension() -> str:
    folder = Path(next(iter(duckdb_extension_postgres_scanner.__path__)))
    return str(next(folder.rglob("*.duckdb_extension")))


def export(url: str, tables: Sequence[str], folder: Path) -> int:
    """Write every table twice; the rows, of each table those of the scan that wrote fewer."""
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute(f"LOAD '{_extension()}'")
    connection.execute(f"ATTACH '{url}' AS source (TYPE postgres, READ_ONLY)")
    return sum(min(_copy(connection, table, folder, kind) for kind in ("PARQUET", "CSV")) for table in tables)


def _copy(connection: Any, table: str, folder: Path, kind: str) -> int:
    target = folder / f"{table}.{kind.lower()}"
    row = connection.execute(f"COPY source.public.{table} TO '{target}' (FORMAT {kind})").fetchone()
    return int(row[0])


if __name__ == "__main__":
    measured(lambda: export(sys.argv[1], sys.argv[2].split(","), Path(sys.argv[3])))
