"""Tables made from the manifest alone, for rows that go somewhere else than where they came from."""

from __future__ import annotations

from collections.abc import Iterator

from backup_pipeline.core.manifest import ColumnEntry, TableEntry
from backup_pipeline.core.restore_target import TargetFacts
from backup_pipeline.core.restore_tokens import qualified_at, significant
from backup_pipeline.core.restoring import Name, PlainColumn, PlainTable, Remark, Severity

_INTEGERS = {"smallint", "integer", "bigint"}


def plain_table(entry: TableEntry, target: Name, facts: TargetFacts) -> PlainTable:
    """The table `target` with the columns of `entry` that the backup has values of, and its key."""
    columns = plain_columns(entry, facts)
    names = {column.name for column in columns}
    return PlainTable(target, columns, entry.key if names.issuperset(entry.key) else ())


def plain_columns(entry: TableEntry, facts: TargetFacts) -> tuple[PlainColumn, ...]:
    """The columns; one of a type that the target has not is text. A serial is an identity of the new table's own."""
    fed = {found.column for found in entry.sequences}
    return tuple(
        PlainColumn(
            name=column.name,
            pg_type="text" if _lacks(column, facts) else column.pg_type,
            not_null=not column.nullable,
            identity=(column.identity or column.name in fed) and column.pg_type in _INTEGERS,
        )
        for column in entry.columns
        if not column.masked
    )


def plain_remarks(entry: TableEntry, target: Name, facts: TargetFacts) -> Iterator[Remark]:
    """What a plain table lacks."""
    what = f"{'.'.join(target)} is made with columns, NOT NULL, key and identity; without the rest of its definition."
    yield Remark(Severity.INFO, what, entry.name)
    if texts := [f"{column.name} ({column.pg_type})" for column in entry.columns if _lacks(column, facts)]:
        what = f"Columns become text, because the target lacks their types: {', '.join(texts)}."
        yield Remark(Severity.WARNING, what, entry.name)
    if masked := [column.name for column in entry.columns if column.masked]:
        what = f"Masked columns are left out: {', '.join(masked)}."
        yield Remark(Severity.INFO, what, entry.name)


def _lacks(column: ColumnEntry, facts: TargetFacts) -> bool:
    """Whether the target lacks the column's type: one with a schema is not PostgreSQL's own."""
    name = qualified_at(significant(column.pg_type), 0)
    return name is not None and name not in facts.types
