"""Text of others, shown to people: what could act on a terminal, a page or a line of commands is made visible."""

from __future__ import annotations

import unicodedata

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


def _shown(letter: str) -> str:
    code = ord(letter)
    if letter in _SHORT:
        return _SHORT[letter]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
