"""backup_pipeline: one table out of a bundle in the store, into an empty database: plan, fetch, compare, load, key.

`python -m benchmarks.contestants.restore_ours HOME STORE ROWS URL TABLE FOLDER`: HOME is the installation whose newest
backup of the catalog TABLE is restored. The bytes that came from the store go into HOME/fetched.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from backup_pipeline.core.restore import RestoreRequest
from backup_pipeline.operations.browse import find_backup
from backup_pipeline.operations.restore.transfer import plan_restore, run_restore
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.restore import named_target, open_restore
from benchmarks.contestants.restore import restored
from benchmarks.contestants.whole import environment

CATALOG = "bench_restore"


def restore(home: Path, url: str, catalog: str, table: str) -> None:
    """Restore `table` of the newest backup of `catalog` into the database at `url`."""
    with open_restore(Settings(), named_target(url), catalog) as (target, ports):
        newest = find_backup("latest", ports.ledger, catalog=catalog)
        request = RestoreRequest(newest.backup_id, (table,))
        plan = plan_restore(request, target.database, ports)
        report = run_restore(plan, target.database, ports, safety=None)
    (home / "fetched").write_text(str(report.bytes_fetched))


def main(home: Path, store: Path, rows: int, url: str, table: str) -> None:
    """Restore, and print what it took."""
    os.environ.update(environment(home, url, store))
    restored(lambda: restore(home, url, CATALOG, table), url, table, rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5])
