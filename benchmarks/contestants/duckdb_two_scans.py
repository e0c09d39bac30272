"""DuckDB with its postgres extension: Parquet, then CSV, a scan each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import duckdb
import duckdb_extension_postgres_scanner  # type: ignore[import-not-found]  # only where the peers are installed
from clock import measured  # type: ignore[import-not-found]  # runs from this folder, in an environment of its own


def _extension() -> str:
    folder = Path(next(iter(duckdb_extension_postgres_scanner.__path__)))
    return str(next(folder.rglob("*.duckdb_extension")))


def export(url: str, table: str, folder: Path) -> int:
    """Write `table` twice; the rows of the scan that wrote fewer."""
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute(f"LOAD '{_extension()}'")
    connection.execute(f"ATTACH '{url}' AS source (TYPE postgres, READ_ONLY)")
    return min(_copy(connection, f"source.public.{table}", folder, kind) for kind in ("PARQUET", "CSV"))


def _copy(connection: Any, table: str, folder: Path, kind: str) -> int:
    row = connection.execute(f"COPY {table} TO '{folder}/out.{kind.lower()}' (FORMAT {kind})").fetchone()
    return int(row[0])


if __name__ == "__main__":
    measured(lambda: export(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
