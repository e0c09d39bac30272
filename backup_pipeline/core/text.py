"""Text of others, shown to people: what could act on a terminal, a page or a line of commands is made visible."""

from __future__ import annotations

import re
import unicodedata

from backup_pipeline.core.restore.model import Name

_JOINERS = "\u200c\u200d"
_ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str) -> str:
    r"""`text` in one line; controls, line breaks, and marks that turn the direction or hide show as `\x1b`, `\u202e`.

    Letters of every script stay as they are, with the joiners that Bangla and others write with, and so does a
    backslash: what is shown is for the eye.
    """
    return text if text.isprintable() else "".join(_shown(letter) if acts(letter) else letter for letter in text)


def acts(letter: str) -> bool:
    """Whether a letter could do more than stand there: controls, line breaks, marks of direction, half characters."""
    return not letter.isprintable() and letter not in _JOINERS and unicodedata.category(letter) in _ACTING


def visible_lines(text: str) -> str:
    """As `visible`, but line breaks stay: for messages of several lines, which are our own."""
    return "\n".join(map(visible, text.split("\n")))


def first_sentence(text: str) -> str:
    """The first sentence of `text`, which ends at a full stop before a space, or with the line."""
    line = text.strip().partition("\n")[0]
    return re.split(r"(?<=[.!?])\s", line, maxsplit=1)[0]


def _shown(letter: str) -> str:
    code = ord(letter)
    if letter in _SHORT:
        return _SHORT[letter]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


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
