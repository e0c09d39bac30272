"""Cells that a spreadsheet would run as a formula, made harmless (after OWASP's advice on CSV injection).

A text is guarded by a leading apostrophe when its first sign, after any blanks, invisible signs or a byte order mark,
is = + - or @ (also in their full-width forms), or when it begins with TAB, CR or LF. A plain signed number such as
`-5` or `+8801712345678` can run nothing and stays as it is: phone numbers stay readable. `+880-1712-345678` is
guarded, because a spreadsheet would compute it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

GUARD = "'"
_UNSEEN = (
    r"[\x{00}-\x{20}\x{7F}-\x{A0}\x{AD}\x{61C}\x{1680}\x{180E}\x{2000}-\x{200F}\x{2028}-\x{202F}"
    r"\x{205F}-\x{2064}\x{2066}-\x{206F}\x{3000}\x{FEFF}]"
)
_SIGN = r"[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]"
_DANGEROUS = rf"^(?:[\t\r\n]|{_UNSEEN}*{_SIGN})"
_NUMBER = r"^[+-]\$?[0-9][0-9,]*(?:\.[0-9]*)?$"

_SUSPECT = np.zeros(256, dtype=np.bool_)
_SUSPECT[[*range(0x21), *b"=+-@\x7f", 0xC2, 0xD8, 0xE1, 0xE2, 0xE3, 0xEF]] = True
"""The first bytes (UTF-8) with which a dangerous text can begin; few texts do, so this is looked at first."""


def harmless(texts: pa.StringArray) -> pa.StringArray:
    """`texts`, each that a spreadsheet would run guarded by an apostrophe; NULLs stay."""
    if not _any_suspect(texts):
        return texts
    dangerous = pc.match_substring_regex(texts, _DANGEROUS)
    guarded = pc.and_not(dangerous, pc.match_substring_regex(texts, _NUMBER))
    if not pc.any(guarded).as_py():
        return texts
    return pc.if_else(guarded, pc.binary_join_element_wise(GUARD, texts, ""), texts)


def unguarded(text: str) -> str | None:
    """The text that was guarded to become `text`; None when it was not.

    One that had its apostrophe from the start, before a sign of danger, can not be told from a guarded one.
    """
    if not text.startswith(GUARD):
        return None
    bare = text.removeprefix(GUARD)
    return bare if harmless(pa.array([bare], pa.string()))[0].as_py() == text else None


def _any_suspect(texts: pa.StringArray) -> bool:
    _, offsets, data = texts.buffers()
    if data is None or not data.size or not len(texts):
        return False
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    starts = np.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts)].astype(np.intp)
    # An empty text begins where the next one does, or past the end: clipped, it is at worst looked at for nothing.
    return bool(_SUSPECT[np.take(np.frombuffer(data, np.uint8), starts, mode="clip")].any())
