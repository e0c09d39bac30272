"""What every ledger promises about the shapes of backups: one suite over memory and PostgreSQL."""

from __future__ import annotations

import psycopg
import pytest

from backup_pipeline.core.anomalies import Shape, judge_table, table_shape
from backup_pipeline.core.catalog.model import Anomalies
from backup_pipeline.core.ports import Ledger, Shapes
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.core.entries import past, table

NEW = judge_table(table(rows=0), past(3), Anomalies())
SHAPE = Shape(
    backup_id="b1",
    tables={"payments": table_shape(table("payments", unique=False, excluded=["x"], anomalies=NEW))},
    unlisted=("public.new",),
    excluded=("public.old",),
    orphans={"a(b) → c(d)": 3},
    anomalies=NEW,
)


@pytest.fixture
def shapes(ledger: Ledger) -> Shapes:
    return ledger.shapes


def test_a_shape_comes_back_as_it_was_kept_and_the_last_one_counts(shapes: Shapes) -> None:
    assert shapes.get("b1") is None
    shapes.put(SHAPE.model_copy(update={"unlisted": ()}))
    shapes.put(SHAPE)
    assert shapes.get("b1") == SHAPE
    assert shapes.get("b2") is None


def test_a_shape_that_this_version_can_not_read_is_none(sql_ledger: SqlLedger, fresh_ledger: str) -> None:
    sql_ledger.shapes.put(SHAPE)
    with psycopg.connect(fresh_ledger) as session:
        session.execute("UPDATE backup_shapes SET shape = '{\"tables\": 7}'")
    assert sql_ledger.shapes.get("b1") is None
