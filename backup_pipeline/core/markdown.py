"""Markdown of texts that others chose: a name or a value is shown as it is, and is never markup, a link or HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from backup_pipeline.core.visible import visible

# An underscore inside a word is one; signs of lists and titles are signs at the beginning of a line.
_MARKUP = re.compile(r"([\\`*\[\]<>|~&]|(?<!\w)_|_(?!\w)|^[-+#])")
# A bare address becomes a link; what a browser fetches by itself needs markup, which is escaped above.
_ADDRESS = re.compile(r"(?i)\b(https?|ftp|mailto|www)(?=[:.])")


def plain(text: str) -> str:
    """`text` in one line, every sign escaped that Markdown or HTML would act on."""
    return _ADDRESS.sub(lambda found: f"{found[1]}\u2060", _MARKUP.sub(r"\\\1", visible(text)))


def bullets(lines: Iterable[str], otherwise: str = "none") -> str:
    """The lines as a list; `otherwise` when there is none."""
    return "\n".join(f"- {plain(line)}" for line in lines) or otherwise


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are escaped here."""
    lines = (f"| {' | '.join(map(plain, row))} |" for row in (titles, *rows))
    head, *body = lines
    return "\n".join([head, f"|{'---|' * len(titles)}", *body])
