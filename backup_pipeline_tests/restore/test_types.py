"""Every value of every type survives a restore: straight into a new table, and beside rows that are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.core.restore import Mode
from backup_pipeline_tests.exactness.kinds import GROUPS, OUR_OWN_SQL
from backup_pipeline_tests.exactness.test_types import fill
from backup_pipeline_tests.restore.bench import back_up, dump, everything, run


@pytest.mark.parametrize("group", GROUPS)
def test_the_edges_of_every_type(fresh_database: str, empty_database: str, tmp_path: Path, group: str) -> None:
    kinds = GROUPS[group]
    run(fresh_database, OUR_OWN_SQL)
    fill(fresh_database, kinds, [[None, *kind.edges, None] for kind in kinds])
    bench = back_up(fresh_database, tmp_path)
    before = everything(fresh_database)
    bench.restore(empty_database, Mode.NEW)
    assert everything(empty_database) == before

    for n in range(len(kinds)):
        run(fresh_database, f"UPDATE t{n} SET v = NULL, c = NULL WHERE id > 1; DELETE FROM t{n} WHERE id = 2")
    report = bench.restore(fresh_database, Mode.REPLACE)
    assert everything(fresh_database) == before
    # One row was removed from each table; the first, which nobody touched, is not written again.
    tables = [table for table in report.tables if table.name.startswith("t")]
    assert {(table.inserted, table.unchanged > 0) for table in tables} <= {(1, True), (1, False)}


def test_text_that_looks_like_something_else(fresh_database: str, empty_database: str, tmp_path: Path) -> None:
    run(
        fresh_database,
        r"""CREATE TABLE one (t text); INSERT INTO one VALUES (''), (NULL), ('\.'), (E'\r'), (E'\n'), (E'a\r\nb'),
        ('"'), (E'\\N'), ('NULL'), (E'\\.\n'), (',');
        CREATE TABLE number (n int); INSERT INTO number VALUES (NULL), (1), (NULL);
        CREATE TABLE two (a text, b bytea); INSERT INTO two VALUES (E'\\.', ''), ('', NULL), (NULL, '\x00');
        CREATE TABLE none (id int PRIMARY KEY)""",
    )
    back_up(fresh_database, tmp_path).restore(empty_database, Mode.NEW)
    assert dump(empty_database, "--data-only") == dump(fresh_database, "--data-only")
