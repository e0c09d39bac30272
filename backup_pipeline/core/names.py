"""The grammar of names that become folders and files: what may stand in one, wherever it came from.

Catalogs and manifests are held to it as they are read, so that a path made of their names stays where it belongs:
on this machine, in a store, and on the machine of whoever unpacks a bundle.
"""

from __future__ import annotations

import re
import unicodedata

from backup_pipeline.core.visible import acts

FORBIDDEN_IN_FILE_NAMES = '<>:"/\\|?*'
LONGEST_FILE_NAME = 200
"""Bytes of UTF-8 that a file of a bundle may take: file systems allow 255, and a part's number and endings follow."""
_CATALOG = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_MOST_BYTES = 255
_MOST_PATH_BYTES = 1024
# Windows takes these for devices, whatever ending follows, in any case.
_DEVICES = re.compile(r"(?i)(?:con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³])\s*(?:\.|$)")


def catalog_folder(text: str) -> str:
    """`text`, if it can be a catalog's name: a folder in the store and a group in Dagster; else ValueError."""
    return _matching(text, _CATALOG, "a catalog's name", "up to 40 of a-z, 0-9 and _, a letter first")


def table_folder(text: str) -> str:
    """`text`, if it can be a table's name: a folder in the store and an asset in Dagster; else ValueError."""
    allowed = "up to 63 of A-Z, a-z, 0-9 and _, no digit first. Say with `relation` what is read"
    return _matching(text, _TABLE, "a table's name here", allowed)


def file_name(text: str) -> str:
    """`text`, if it names a file in a folder and nothing else; else ValueError."""
    fault = _fault(text)
    if fault:
        message = f"{text!r} is not a file name: {fault}"
        raise ValueError(message)
    return text


def bundle_path(text: str) -> str:
    """`text`, if it is the path of a file in a bundle: file names between single slashes; else ValueError."""
    fault = next(filter(None, map(_fault, text.split("/"))), None)
    if fault or len(text.encode()) > _MOST_PATH_BYTES:
        message = f"{text[:_MOST_PATH_BYTES]!r} is not a path in a bundle: {fault or 'it is too long'}"
        raise ValueError(message)
    return text


def windows_device(name: str) -> bool:
    """Whether Windows would take a file of this name for a device, such as `CON.csv`."""
    return _DEVICES.match(name) is not None


def safe_file_name(text: str) -> str:
    """`text` as the name of a file, without its ending, that every system and every ZIP tool takes.

    What acts (see `visible`) or means something to a file system becomes `_`; a device of Windows gets one in front.
    """
    plain = unicodedata.normalize("NFC", text)
    letters = ("_" if c in FORBIDDEN_IN_FILE_NAMES or acts(c) else c for c in plain)
    name = _cut("".join(letters), LONGEST_FILE_NAME).strip().rstrip(". ")
    return f"_{name}" if windows_device(name) else name or "sheet"


def same_file(name: str) -> str:
    """What two names have in common where a file system takes them for one: case, and how letters are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def sheet_file(sheet: str) -> str:
    """What two sheets have in common whose files would be one on some system, endings left aside."""
    return same_file(safe_file_name(sheet))


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def _fault(segment: str) -> str | None:
    try:
        size = len(segment.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if segment in {"", ".", ".."}:
        return f"{segment!r} leads elsewhere"
    if size > _MOST_BYTES:
        return f"it has more than {_MOST_BYTES} bytes"
    bad = next((c for c in segment if c in FORBIDDEN_IN_FILE_NAMES or unicodedata.category(c) == "Cc"), None)
    return None if bad is None else f"{bad!r} may not stand in one"


def _matching(text: str, pattern: re.Pattern[str], kind: str, allowed: str) -> str:
    if not pattern.fullmatch(text):
        message = f"{text!r} is not {kind}: {allowed}"
        raise ValueError(message)
    return text
