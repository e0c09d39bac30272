"""DuckDB with its postgres extension: Parquet, then CSV, a scan each."""

from __future__ import annotations

import sys
from pathlib import Path

from clock import measured  # type: ignore[import-not-found]  # runs from this folder, in an environment of its own


def _extension() -> str:
    import duckdb_extension_postgres_scanner  # type: ignore[import-not-found]  # only where the peers are installed

    folder = Path(next(iter(duckdb_extension_postgres_scanner.__path__)))
    return str(next(folder.rglob("*.duckdb_extension")))


def export(url: str, table: str, folder: Path) -> None:
    """Write `table` twice."""
    import duckdb

    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute(f"LOAD '{_extension()}'")
    connection.execute(f"ATTACH '{url}' AS source (TYPE postgres, READ_ONLY)")
    for kind in ("PARQUET", "CSV"):
        connection.execute(f"COPY source.public.{table} TO '{folder}/out.{kind.lower()}' (FORMAT {kind})")


if __name__ == "__main__":
    measured(lambda: export(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
