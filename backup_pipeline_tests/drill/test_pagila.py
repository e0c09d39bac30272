"""Pagila drilled: partitions, triggers, functions, domains, views and materialized views of somebody else's making."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.core.drill import How
from backup_pipeline_tests.drill.rehearsing import backed_up, drafted, run
from backup_pipeline_tests.servers.pagila import load_pagila, needs_pagila


@pytest.mark.slow
@needs_pagila
def test_pagila_comes_back(fresh_database: str, tmp_path: Path) -> None:
    load_pagila(fresh_database)
    run(fresh_database, "REFRESH MATERIALIZED VIEW rental_by_category")
    pagila = backed_up(fresh_database, tmp_path, drafted(fresh_database))
    report = pagila.drill()
    assert report.findings == ()
    restored = [table for table in report.tables if table.restored]
    assert len(restored) == 15
    assert all(table.parquet in {How.BYTES, How.FINGERPRINT} for table in restored)
    assert all(one.wanted == one.valid for one in report.objects)
    not_tried = {trial.table for trial in report.inserts if trial.not_tried}
    assert not_tried == {"public.rental", "public.store"}  # whose other columns are unique as well
    assert all(trial.drawn for trial in report.inserts if not trial.not_tried)
    assert pagila.level() == (4, True)
