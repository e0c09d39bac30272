"""Views that show columns of one table and nothing else: what was read through them can be written into the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backup_pipeline.core.restore_tokens import Kind, Token, name_at, significant
from backup_pipeline.core.restoring import Name


@dataclass(frozen=True)
class PlainView:
    """A view that shows every row of `base`; `columns` maps its columns to the table's."""

    base: Name
    columns: Mapping[str, str]


def plain_view(sql: str) -> PlainView | None:
    """The view whose query, or whose CREATE VIEW, is `sql`; None when it does more than show columns of one table."""
    try:
        found = [token for token in significant(sql) if token.text != ";"]
    except ValueError:
        return None
    start = next((at for at, token in enumerate(found) if token.is_word("SELECT")), None)
    end = next((at for at, token in enumerate(found) if token.is_word("FROM")), None)
    if start is None or end is None or end < start or _more_than_a_name(found[end + 1 :]):
        return None
    columns = _columns(found[start + 1 : end])
    base, _ = name_at(found, end + 1)
    return PlainView((base[0], base[1]), columns) if columns and len(base) == 2 else None


def _more_than_a_name(found: Sequence[Token]) -> bool:
    """Whether something follows the name of a relation and its alias."""
    _, behind = name_at(found, 0)
    rest = found[behind:]
    return len(rest) > 1 or any(not token.is_name or token.is_word("WHERE", "GROUP", "LIMIT") for token in rest)


def _columns(found: Sequence[Token]) -> Mapping[str, str]:
    """Each column of the view -> that of the table; empty when one is not just a column."""
    columns: dict[str, str] = {}
    at = 0
    while at < len(found):
        source, at = name_at(found, at)
        if not source:
            return {}
        shown = source[-1]
        if at < len(found) and found[at].is_word("AS"):
            (shown, *_), at = name_at(found, at + 1)
        columns[shown] = source[-1]
        if at < len(found) and not _comma(found[at]):
            return {}
        at += 1
    # A column that is shown twice has two values to be written.
    return columns if len(set(columns.values())) == len(columns) else {}


def _comma(token: Token) -> bool:
    return token.kind is Kind.SYMBOL and token.text == ","
