"""Values that who may only look sees masked: account numbers, addresses, whatever the catalog calls sensitive."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Mapping

from backup_pipeline.core.access import Permission

_SHOWN = 2
"""Letters at the end that stay, so that people who know the value know it again."""
_LEAST = 6
"""Letters that a value has to have for that: of a shorter one two say too much."""
_DOT = "•"


def sees_whole(permissions: Collection[Permission]) -> bool:
    """Whether somebody sees sensitive values: whoever may take a whole backup out has them anyway."""
    return Permission.DOWNLOAD in permissions


def masked_value(value: object) -> str | None:
    """The value with its letters and digits as dots, but for the last two of six or more; None stays None.

    Blanks, dashes and other signs stay, so that one sees what it is: `••••••78`, `••-••-46`. Its length shows.
    """
    if value is None:
        return None
    text = str(value)
    signs = sum(map(_tells, text))
    hidden = signs - _SHOWN if signs >= _LEAST else signs
    return "".join(_masked(text, hidden))


def _tells(sign: str) -> bool:
    """A letter, a digit, or what stands on one: the vowels of Bangla are signs of their own."""
    return sign.isalnum() or unicodedata.category(sign).startswith("M")


def _masked(text: str, hidden: int) -> Iterator[str]:
    for sign in text:
        if not _tells(sign):
            yield sign
        elif hidden > 0:
            hidden -= 1
            yield _DOT
        else:
            yield sign


def masked_row(row: Mapping[str, object], sensitive: Collection[str], *, whole: bool) -> dict[str, object]:
    """The row as somebody may see it: with `whole` as it is, else with its `sensitive` columns masked."""
    if whole:
        return dict(row)
    return {name: masked_value(value) if name in sensitive else value for name, value in row.items()}
