"""dlt: its sql_database source with connectorx below, Parquet in a local folder. No CSV."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR", "DLT_DATA_DIR": sys.argv[3]}

import dlt  # type: ignore[import-not-found]  # reads the environment; only where the peers are installed
import pyarrow.parquet as pq
from clock import measured  # type: ignore[import-not-found]  # runs from this folder
from dlt.sources.sql_database import sql_table  # type: ignore[import-not-found]


def export(url: str, table: str, folder: Path) -> int:
    """Write `table` through a new pipeline; the rows in its Parquet files."""
    source = sql_table(
        credentials=url.replace("postgresql://", "postgresql+psycopg2://"),
        table=table,
        backend="connectorx",
        backend_kwargs={"return_type": "arrow_stream", "conn": url},
        chunk_size=100_000,
        reflection_level="full_with_precision",
    )
    target = dlt.destinations.filesystem(bucket_url=(folder / "lake").as_uri())
    pipeline = dlt.pipeline("bench", destination=target, dataset_name="bench", pipelines_dir=str(folder / "pipelines"))
    pipeline.run(source, loader_file_format="parquet", write_disposition="replace").raise_on_failed_jobs()
    return sum(pq.read_metadata(file).num_rows for file in (folder / "lake").glob(f"bench/{table}/*.parquet"))


if __name__ == "__main__":
    measured(lambda: export(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
