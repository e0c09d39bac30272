"""dlt: its sql_database source with connectorx below, Parquet in a local folder. No CSV."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR", "DLT_DATA_DIR": sys.argv[3]}

import dlt  # type: ignore[import-not-found]  # reads the environment; only where the peers are installed
import pyarrow.parquet as pq
from clock import measured  # type: ignore[import-not-found]  # runs from this folder
from dlt.sources.sql_database import sql_table  # type: ignore[import-not-found]


def export(url: str, tables: Sequence[str], folder: Path) -> int:
    """Write every table through one new pipeline; the rows in its Parquet files."""
    sources = [_source(url, table) for table in tables]
    target = dlt.destinations.filesystem(bucket_url=(folder / "lake").as_uri())
    pipeline = dlt.pipeline("bench", destination=target, dataset_name="bench", pipelines_dir=str(folder / "pipelines"))
    pipeline.run(sources, loader_file_format="parquet", write_disposition="replace").raise_on_failed_jobs()
    files = (file for table in tables for file in (folder / "lake" / "bench" / table).glob("*.parquet"))
    return sum(pq.read_metadata(file).num_rows for file in files)


def _source(url: str, table: str) -> Any:
    return sql_table(
        credentials=url.replace("postgresql://", "postgresql+psycopg2://"),
        table=table,
        backend="connectorx",
        backend_kwargs={"return_type": "arrow_stream", "conn": url},
        chunk_size=100_000,
        reflection_level="full_with_precision",
    )


if __name__ == "__main__":
    measured(lambda: export(sys.argv[1], sys.argv[2].split(","), Path(sys.argv[3])))
