r"""SQL that people copy and files keep: every name and text in one line, without anything that is not printable.

PostgreSQL's `U&"…"` and `U&'…'` take any letter as `\XXXX` or `\+XXXXXX` (where standard_conforming_strings is on).
"""

from __future__ import annotations

import re

from backup_pipeline.core.restoring import Name

# A dollar could end a string of dollars, an exclamation mark means the history to an interactive shell.
_ESCAPED_TOO = "$!"
_ESCAPE = re.compile(r"\\(?:\\|\+(?P<long>[0-9A-Fa-f]{6})|(?P<short>[0-9A-Fa-f]{4}))")


def name_sql(name: str) -> str:
    """`name` as a quoted identifier."""
    return _quoted(name, '"')


def full_name_sql(name: Name) -> str:
    """Schema and name, each quoted."""
    return ".".join(map(name_sql, name))


def text_sql(text: str) -> str:
    """`text` as a string."""
    return _quoted(text, "'")


def without_escapes(text: str) -> str:
    """The name or text that stands between the quotes of a `U&"…"`, quotes no longer doubled."""
    return _ESCAPE.sub(lambda found: chr(int(found["long"] or found["short"] or "5c", 16)), text)


def _quoted(text: str, quote: str) -> str:
    doubled = text.replace(quote, 2 * quote)
    if text.isprintable() and not any(letter in text for letter in _ESCAPED_TOO):
        return f"{quote}{doubled}{quote}"
    return f"U&{quote}{''.join(map(_escaped, doubled))}{quote}"


def _escaped(letter: str) -> str:
    if letter == "\\":
        return r"\\"
    if letter.isprintable() and letter not in _ESCAPED_TOO:
        return letter
    return f"\\{ord(letter):04X}" if ord(letter) < 0x10000 else f"\\+{ord(letter):06X}"
