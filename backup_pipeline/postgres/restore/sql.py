"""The statements that put rows in place. `t` is the table, `s` the staging table with the backup's rows.

Staging tables are temporary ones, made in the restore's own transaction: nobody else sees them, they make no WAL, and
whoever dies, this program or the server, they are gone with the transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from backup_pipeline.core.plans import type_name
from backup_pipeline.core.restore import Name, PlainTable, TableRestore
from backup_pipeline.core.restore.columns import NUMBER, RANDOM
from backup_pipeline.postgres.session import identifier, literal, relation_sql


def names(columns: Iterable[str], alias: str = "") -> str:
    """Column names, comma-separated."""
    dot = f"{alias}." if alias else ""
    return ", ".join(f"{dot}{identifier(column)}" for column in columns)


def copy_sql(table: str, columns: Iterable[str], *, binary: bool, freeze: bool) -> str:
    """COPY of rows in the server's binary form, or as CSV, where an empty cell without quotes is NULL."""
    form = "binary" if binary else "csv"
    return f"COPY {table} ({names(columns)}) FROM STDIN (FORMAT {form}{', FREEZE' if freeze else ''})"


def staging_sql(staging: str, table: TableRestore) -> str:
    """Make the staging table: the loaded columns in the target's own types, nothing enforced."""
    columns = names(column.target for column in table.columns)
    source = f"SELECT {columns} FROM {relation_sql(table.target)}"  # noqa: S608
    return f"CREATE TEMPORARY TABLE {staging} ON COMMIT DROP AS {source} WITH NO DATA"


def same_key(table: TableRestore) -> str:
    """The condition under which a row of `t` and one of `s` are the same row."""
    return " AND ".join(f"t.{identifier(key)} = s.{identifier(key)}" for key in table.key)


def differs(columns: Iterable[str]) -> str:
    """The condition under which they hold different values, in any bit: 1.0 is not 1.00."""
    columns = list(columns)
    return f"ROW({names(columns, 't')})::record OPERATOR(pg_catalog.*<>) ROW({names(columns, 's')})::record"


def bad_keys_sql(staging: str, table: TableRestore) -> str:
    """How many keys of the backup's rows are NULL somewhere, or stand more than once."""
    keys = [identifier(key) for key in table.key]
    null = " OR ".join(f"{key} IS NULL" for key in keys)
    inner = f"SELECT FROM {staging} GROUP BY {', '.join(keys)} HAVING count(*) > 1 OR bool_or({null})"
    return f"SELECT count(*) AS n FROM ({inner}) AS bad"  # noqa: S608


def delete_absent_sql(staging: str, rows: str, table: TableRestore) -> str:
    """Remove the rows that the backup has not; without a key all of them."""
    if not table.key:
        return f"DELETE FROM {rows} AS t"  # noqa: S608
    return f"DELETE FROM {rows} AS t WHERE NOT EXISTS (SELECT FROM {staging} AS s WHERE {same_key(table)})"  # noqa: S608


def update_sql(staging: str, rows: str, table: TableRestore, columns: Sequence[str]) -> str:
    """Give rows with the same key the backup's values of `columns`, where they differ."""
    values = ", ".join(f"{identifier(column)} = s.{identifier(column)}" for column in columns)
    condition = f"{same_key(table)} AND {differs(columns)}"
    return f"UPDATE {rows} AS t SET {values} FROM {staging} AS s WHERE {condition}"  # noqa: S608


def differing_sql(staging: str, rows: str, table: TableRestore, columns: Sequence[str]) -> str:
    """How many rows with the same key differ in `columns`."""
    condition = f"{same_key(table)} AND {differs(columns)}"
    return f"SELECT count(*) AS n FROM {rows} AS t JOIN {staging} AS s ON {condition}"  # noqa: S608


def changed_sql(changed: str, staging: str, rows: str, table: TableRestore) -> str:
    """Keep the rows that will change, as they will be: the backup's values, and those of the columns it has not."""
    loaded = [column.target for column in table.columns]
    columns = names(loaded, "s") + "".join(f", t.{identifier(column)}" for column in table.kept)
    source = f"SELECT {columns} FROM {rows} AS t JOIN {staging} AS s ON {same_key(table)} AND {differs(loaded)}"  # noqa: S608
    return f"CREATE TEMPORARY TABLE {changed} ON COMMIT DROP AS {source}"


def delete_changed_sql(changed: str, rows: str, table: TableRestore) -> str:
    """Remove the rows that will change."""
    return f"DELETE FROM {rows} AS t USING {changed} AS s WHERE {same_key(table)}"  # noqa: S608


def insert_changed_sql(changed: str, table: TableRestore) -> str:
    """Put the changed rows back."""
    columns = names([*(column.target for column in table.columns), *table.kept])
    into = f"INSERT INTO {relation_sql(table.target)} ({columns}) OVERRIDING SYSTEM VALUE"
    return f"{into} SELECT {columns} FROM {changed}"  # noqa: S608


def insert_sql(staging: str, rows: str, table: TableRestore, types: Mapping[str, str]) -> str:
    """Add the rows whose key the table lacks (without a key all), with the values for columns the backup has not."""
    loaded = [column.target for column in table.columns]
    number = f"((SELECT count(*) FROM {rows}) + row_number() OVER ())"  # noqa: S608
    values = "".join(f", {fill_sql(value, number)}::{types[name]}" for name, value in table.filled.items())
    into = f"INSERT INTO {relation_sql(table.target)} ({names([*loaded, *table.filled])}) OVERRIDING SYSTEM VALUE"
    missing = f" WHERE NOT EXISTS (SELECT FROM {rows} AS t WHERE {same_key(table)})" if table.key else ""
    return f"{into} SELECT {names(loaded, 's')}{values} FROM {staging} AS s{missing}"  # noqa: S608


def fill_sql(value: str, number: str) -> str:
    """The value of a column that the backup does not hold, as SQL; `number` gives that of a row."""
    filled = literal(value)
    if NUMBER in value:
        filled = f"replace({filled}, {literal(NUMBER)}, {number}::text)"
    if RANDOM in value:
        digits = "replace(gen_random_uuid()::text, '-', '')"
        filled = f"replace({filled}, {literal(RANDOM)}, {digits})"
    return filled


def losing_sql(
    child: str, columns: Sequence[str], parent: str, target_columns: Sequence[str], table: TableRestore, gone: str
) -> str:
    """How many rows of `child` refer to a row of `t` for which the condition `gone` holds."""
    pairs = zip(columns, target_columns, strict=True)
    refers = " AND ".join(f"c.{identifier(column)} = t.{identifier(other)}" for column, other in pairs)
    return f"SELECT count(*) AS n FROM {child} AS c JOIN {parent} AS t ON {refers} WHERE {gone}"  # noqa: S608


def gone_condition(staging: str, table: TableRestore, target_columns: Sequence[str], *, removes: bool) -> str:
    """The condition on `t` under which the values of `target_columns` go away: by removal, or by change."""
    if not table.key:
        return "true"
    conditions = []
    if removes:
        conditions.append(f"NOT EXISTS (SELECT FROM {staging} AS s WHERE {same_key(table)})")
    loaded = {column.target for column in table.columns}
    changing = [column for column in target_columns if column in loaded and column not in table.key]
    if changing:
        changed = f"{same_key(table)} AND {differs(changing)}"
        conditions.append(f"EXISTS (SELECT FROM {staging} AS s WHERE {changed})")
    return " OR ".join(conditions) or "false"


def orphans_sql(child: str, columns: Sequence[str], parent: str, target_columns: Sequence[str]) -> str:
    """How many rows of `child` refer to a row of `parent` that is not there, and the values of one of them."""
    pairs = zip(columns, target_columns, strict=True)
    refers = " AND ".join(f"c.{identifier(column)} = t.{identifier(other)}" for column, other in pairs)
    filled = " AND ".join(f"c.{identifier(column)} IS NOT NULL" for column in columns)
    example = f"min(concat_ws(', ', {names(columns, 'c')}))"
    missing = f"{filled} AND NOT EXISTS (SELECT FROM {parent} AS t WHERE {refers})"
    return f"SELECT count(*) AS n, {example} AS example FROM {child} AS c WHERE {missing}"  # noqa: S608


def create_plain_sql(table: PlainTable) -> str:
    """CREATE TABLE of a table that is made from the manifest; its key comes after the rows."""
    columns = [
        f"{identifier(column.name)} {type_name(column.pg_type).sql()}"
        + (" NOT NULL" if column.not_null else "")
        + (" GENERATED BY DEFAULT AS IDENTITY" if column.identity and column.not_null else "")
        for column in table.columns
    ]
    return f"CREATE TABLE {relation_sql(table.target)} ({', '.join(columns)})"


def plain_key_sql(table: PlainTable) -> str:
    """The key of a plain table."""
    return f"ALTER TABLE {relation_sql(table.target)} ADD PRIMARY KEY ({names(table.key)})"


def trigger_sql(table: Name, trigger: str, enabled: str | None) -> str:
    """Switch a trigger off (None), or on again as it was: `O` usually, `A` always."""
    how = {None: "DISABLE TRIGGER", "O": "ENABLE TRIGGER", "A": "ENABLE ALWAYS TRIGGER"}[enabled]
    return f"ALTER TABLE ONLY {relation_sql(table)} {how} {identifier(trigger)}"
