"""Columns that no row can be without and that a backup does not hold: a value for them, or none needed any more."""

from __future__ import annotations

import re
from collections.abc import Iterator

from backup_pipeline.core.restore_entries import Dump
from backup_pipeline.core.restore_table_sql import items
from backup_pipeline.core.restore_tokens import Token, significant
from backup_pipeline.core.restoring import Name

_ENFORCING = {"CONSTRAINT", "FK CONSTRAINT", "CHECK CONSTRAINT", "INDEX"}
_CONSTANTS = {
    "text": "-", "character varying": "-", "character": "-", "bpchar": "-", "name": "-",
    "smallint": "0", "integer": "0", "bigint": "0", "numeric": "0", "real": "0", "double precision": "0",
    "boolean": "false", "date": "2000-01-01", "interval": "0", "bytea": "\\x",
    "timestamp without time zone": "2000-01-01 00:00:00", "timestamp with time zone": "2000-01-01 00:00:00+00",
    "time without time zone": "00:00:00", "time with time zone": "00:00:00+00",
    "uuid": "00000000-0000-0000-0000-000000000000", "json": "null", "jsonb": "null",
    "inet": "127.0.0.1", "cidr": "127.0.0.0/8", "macaddr": "00:00:00:00:00:00",
}  # fmt: skip
_LIMIT = re.compile(r"\([-\d, ]+\)")


def constant(pg_type: str) -> str | None:
    """A value of the type that is good enough for a scratch database; None when none is known."""
    if pg_type.endswith("[]"):
        return "{}"
    return _CONSTANTS.get(" ".join(_LIMIT.sub("", pg_type).split()))


def alone(column: str, table: Name, dump: Dump) -> bool:
    """Whether nothing but its own type and NOT NULL says what `column` may hold: then every row may have one value."""
    of_table = [entry for entry in dump.entries if entry.belongs_to == table and entry.kind in _ENFORCING]
    if any(_names(column, entry.tokens) for entry in of_table):
        return False
    made = dump.tables.get(table)
    others = [item for item in items(made.tokens) if item[0].text != column] if made else []
    own = next((item for item in items(made.tokens) if item[0].text == column), []) if made else []
    checked = any(token.is_word("CHECK", "REFERENCES", "UNIQUE", "PRIMARY") for token in own)
    return not checked and not any(_names(column, item) for item in others)


def nullable(sql: str, column: str) -> str:
    """The CREATE TABLE `sql` in which `column` may be NULL."""
    for start, end in _not_null(sql, column):
        sql = sql[:start] + " " * (end - start) + sql[end:]
    return sql


def _not_null(sql: str, column: str) -> Iterator[tuple[int, int]]:
    """Where the column's NOT NULL stands, with the name of that constraint where it has one."""
    item = next((item for item in items(significant(sql)) if item[0].text == column), [])
    for at in range(1, len(item) - 1):
        if item[at].is_word("NOT") and item[at + 1].is_word("NULL"):
            named = at > 2 and item[at - 2].is_word("CONSTRAINT")
            yield item[at - 2 if named else at].start, item[at + 1].end


def _names(column: str, found: list[Token]) -> bool:
    return any(token.is_name and token.text == column for token in found)
