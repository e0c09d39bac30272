"""backup_pipeline: both formats, from one snapshot, counted and hashed."""

from __future__ import annotations

import sys
from pathlib import Path

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.formats.files import FileFormats
from backup_pipeline.postgres.source import PostgresSource
from benchmarks.contestants.clock import measured


def export(url: str, table: str, folder: Path) -> int:
    """Export `table` into `folder`; the rows written."""
    catalog = Catalog.model_validate({"catalog": "bench", "timezone": "Asia/Dhaka", "tables": {table: {}}})
    with PostgresSource(url).snapshot() as snapshot:
        plan = plan_catalog(catalog, snapshot.database()).tables[table]
        writer = FileFormats().writer(plan, folder, catalog.timezone)
        for page in snapshot.read(plan):
            writer.write(page.rows)
        files = writer.close()
    return sum(file.rows for file in files if file.format == "parquet")


if __name__ == "__main__":
    measured(lambda: export(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
