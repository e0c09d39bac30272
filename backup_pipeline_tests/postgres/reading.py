"""What the source's tests share: statements, snapshots, plans for tables, and whole tables as Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pyarrow as pa
from psycopg.rows import tuple_row

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.planning import plan_table
from backup_pipeline.core.plans import NotNativeError, TablePlan
from backup_pipeline.core.relations import RelationKind
from backup_pipeline.postgres.session import relation_sql
from backup_pipeline.postgres.source import PostgresSnapshot, PostgresSource, SourceOptions


def run_sql(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements, each committed, in UTC; the rows of the last one."""
    with psycopg.connect(url, autocommit=True, row_factory=tuple_row) as session:
        session.execute("SET TimeZone = 'UTC'; SET lc_monetary = 'C'")
        for statement in statements:
            cursor = session.execute(statement)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def snapshot_of(url: str, **options: Any) -> Iterator[PostgresSnapshot]:
    with PostgresSource(url, options=SourceOptions(**options)).snapshot() as snapshot:
        yield snapshot


def plan_for(snapshot: PostgresSnapshot, name: str, spec: Mapping[str, Any] | None = None, **more: Any) -> TablePlan:
    """The plan of one table; `more` are further tables of the catalog."""
    relation = relation_sql((more.pop("schema", "public"), name))
    database = snapshot.database()
    tables = {"it": {"relation": relation, **(spec or {})}, **more}
    catalog = Catalog.model_validate({"catalog": "test", "timezone": "UTC", "tables": tables})
    found = database.get(catalog.relation_of("it"))
    if found is not None and found.kind not in {RelationKind.TABLE, RelationKind.PARTITIONED}:
        tables["it"]["kind"] = str(found.kind)
        catalog = Catalog.model_validate({"catalog": "test", "timezone": "UTC", "tables": tables})
    return plan_table(catalog, "it", database)


def read_table(snapshot: PostgresSnapshot, plan: TablePlan) -> pa.Table:
    return joined([page.rows for page in snapshot.read(plan)])


def joined(pages: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(pages) if pages else pa.table({})


def read_settled(snapshot: PostgresSnapshot, plan: TablePlan) -> tuple[TablePlan, pa.Table]:
    """Read as an operation does: again from the start, with the column as text, for each value that does not fit."""
    while True:
        try:
            return plan, read_table(snapshot, plan)
        except NotNativeError as error:
            plan = plan.as_text(error.column, error.value)
