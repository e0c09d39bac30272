"""Names for a drafted catalog: what a database calls its tables, made fit for the catalog, and readable for people."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_BETWEEN_WORDS = re.compile(r"[\x00-/:-@\[-`{-\x7f\s]+")
"""Blanks and ASCII's punctuation; marks of other scripts belong to their words."""
TABLE_LENGTH = 63
CATALOG_LENGTH = 40


def plain_name(text: str, *, fallback: str, length: int = TABLE_LENGTH) -> str:
    """`text` in ASCII letters, digits and underscores, not beginning with a digit, at most `length` long."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_]+", "_", ascii_only)
    name = name if name == text else name.strip("_")
    name = name if re.match(r"[A-Za-z_]", name) else "_".join(part for part in (fallback, name) if part)
    return name[:length]


def sheet_title(text: str) -> str:
    """`order_items`, `OrderItems` and `order-items` as `Order Items`."""
    words = _BETWEEN_WORDS.split(_HUMP.sub(" ", text))
    return " ".join(word[:1].upper() + word[1:] for word in words if word) or "Table"


def short_title(text: str, length: int) -> str:
    """The title of `text`, cut to `length` as spreadsheets count: in UTF-16, where an emoji is two."""
    return _cut(sheet_title(text), length)


def _cut(text: str, length: int) -> str:
    return text.encode("utf-16-le")[: 2 * length].decode("utf-16-le", errors="ignore").strip()


def distinct(
    name: str,
    taken: Collection[str],
    *,
    separator: str,
    length: int = TABLE_LENGTH,
    alike: Callable[[str], str] = str.casefold,
) -> str:
    """`name`, or `name` and the first number from 2 on with which it is like none of `taken`, which `alike` gave."""
    found, number = name, 1
    while alike(found) in taken:
        number += 1
        ending = f"{separator}{number}"
        found = _cut(name, length - len(ending)) + ending
    return found
