"""The columns that a CREATE TABLE of a dump makes, so that a plan knows a table before it is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from backup_pipeline.core.restore_entries import Dump, Entry
from backup_pipeline.core.restore_target import TargetColumn
from backup_pipeline.core.restore_tokens import Kind, Token, qualified_at
from backup_pipeline.core.restoring import Name

_CLAUSES = (
    "NOT",
    "NULL",
    "DEFAULT",
    "GENERATED",
    "CONSTRAINT",
    "COLLATE",
    "STORAGE",
    "COMPRESSION",
    "PRIMARY",
    "CHECK",
)
_NO_COLUMN = ("CONSTRAINT", "CHECK", "PRIMARY", "UNIQUE", "FOREIGN", "EXCLUDE", "LIKE", "NOT")
_OPENING, _CLOSING = "([", ")]"


def columns_of(table: Name, dump: Dump) -> tuple[TargetColumn, ...]:
    """The columns of a table that `dump` creates, those it inherits first; empty when the dump does not list them."""
    entry = dump.tables.get(table)
    if entry is None:
        return ()
    made = _made_elsewhere(table, dump)
    found = {column.name: column for parent in _parents(entry) for column in columns_of(parent, dump)}
    for item in items(entry.tokens):
        if not (item[0].kind is Kind.WORD and item[0].is_word(*_NO_COLUMN)):
            column = _column(item, entry.sql, made)
            found[column.name] = column
    return tuple(found.values())


def items(found: Sequence[Token]) -> Iterator[list[Token]]:
    """What stands between the commas of the first parentheses."""
    depth, item = 0, list[Token]()
    for token in found:
        depth -= _is(token, _CLOSING)
        if depth and not (depth == 1 and _is(token, ",")):
            item.append(token)
        elif item:
            yield item
            item = []
            if not depth:
                return
        depth += _is(token, _OPENING)


def _is(token: Token, symbols: str) -> bool:
    return token.kind is Kind.SYMBOL and token.text in symbols


def _column(item: Sequence[Token], sql: str, made: dict[str, str]) -> TargetColumn:
    clause = next((at for at, token in enumerate(item) if at and token.is_word(*_CLAUSES)), len(item))
    name = item[0].text
    words = _outer_words(item[clause:])
    return TargetColumn(
        name=name,
        pg_type=sql[item[1].start : item[clause - 1].end] if clause > 1 else "",
        nullable=not any(pair == ("NOT", "NULL") for pair in pairwise(words)),
        has_default="DEFAULT" in words or made.get(name) == "default",
        generated="GENERATED" in words,
        identity=made.get(name, "") if made.get(name) != "default" else "",
    )


def _outer_words(found: Sequence[Token]) -> list[str]:
    """The keywords that stand in no parentheses: what is inside them belongs to an expression."""
    depth, words = 0, []
    for token in found:
        depth += _is(token, _OPENING) - _is(token, _CLOSING)
        words.append(token.text.upper() if token.kind is Kind.WORD and not depth else "")
    return words


def _made_elsewhere(table: Name, dump: Dump) -> dict[str, str]:
    """Columns whose default or identity is an entry of its own."""
    found: dict[str, str] = {}
    for entry in dump.entries:
        if entry.kind not in {"SEQUENCE", "DEFAULT"} or entry.belongs_to != table:
            continue
        words = [token.text.upper() if token.kind is Kind.WORD else "" for token in entry.tokens]
        column = entry.tokens[words.index("COLUMN") + 1].text if "COLUMN" in words else ""
        identity = "always" if "ALWAYS" in words else "by default"
        found[column] = identity if entry.kind == "SEQUENCE" else "default"
    return found


def _parents(entry: Entry) -> Iterator[Name]:
    """The tables behind INHERITS."""
    found = entry.tokens
    at = next((at for at, token in enumerate(found) if token.is_word("INHERITS")), None)
    for place in range(at + 1, len(found)) if at is not None else ():
        name = qualified_at(found, place)
        if name and found[place - 1].text in {"(", ","}:
            yield name
