"""The grammar of names that become folders and files: what may stand in one, wherever it came from.

Catalogs and manifests are held to it as they are read, so that a path made of their names stays where it belongs:
on this machine, in a store, and on the machine of whoever unpacks a bundle.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from backup_pipeline.core.errors import UsageError, VerificationError
from backup_pipeline.core.text import acts

MB = 1 << 20
MOST_DOCUMENT = 64 * MB
"""Bytes of a manifest, a record, an outline: ten thousand tables with twenty columns each take half of it."""
MOST_PARTS = 4_000_000
"""Values of such a document: each takes some room in memory, however short it is."""
MOST_SCHEMA = 64 * MB
"""Bytes of schema.sql that a restore reads; a backup warns of a larger one."""
MOST_TOKENS = 3_000_000
"""Of schema.sql, likewise."""
MOST_NOTE = MB
"""Bytes of a hold, or of what an encrypted bundle tells those without a key."""
MOST_DIRECTORY = 24 * MB
"""Bytes of the directory of a ZIP: some 150,000 members."""
_DO = "Somebody else made it: use another copy, or another backup."


def bounded(chunks: Iterable[bytes], most: int, what: str) -> Iterator[bytes]:
    """`chunks`; VerificationError, naming `what`, as soon as there are more than `most` bytes."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > most:
            message = f"{what} has more bytes than the {most:,} that it may have."
            raise VerificationError(message, do=_DO)
        yield chunk


def whole(chunks: Iterable[bytes], most: int, what: str) -> bytes:
    """The bytes of `chunks` together; VerificationError as `bounded` has it."""
    return b"".join(bounded(chunks, most, what))


def check_parts(document: bytes, where: str) -> None:
    """VerificationError when a JSON document is so large, or has so many values, that to read it would take all."""
    whole([document], MOST_DOCUMENT, where)
    parts = sum(document.count(sign) for sign in (b",", b"[", b"{"))
    if parts > MOST_PARTS:
        message = f"{where} has {parts:,} values, more than the {MOST_PARTS:,} that are read."
        raise VerificationError(message, do=_DO)


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


class Kind(StrEnum):
    """What a backup holds."""

    FULL = "full"
    """A bundle of every table."""
    SELECTIVE = "selective"
    """A bundle of chosen tables."""
    INCREMENTAL = "incremental"
    """A bundle of what changed of one business since the backup before it; nothing without those."""
    TABLES = "tables"
    """Partitions only, no bundle: rows of earlier versions. Every backup has a bundle since."""

    @property
    def bundled(self) -> bool:
        """Whether its backups have a bundle."""
        return self is not Kind.TABLES


class Trigger(StrEnum):
    """The `type` of a backup: whether somebody wanted it, or it was due."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"


_PATTERN = re.compile(rf"(?P<at>[0-9]{{8}}T[0-9]{{6}}Z)-(?P<kind>{'|'.join(Kind)})-(?P<salt>[0-9a-f]{{8}})")


@dataclass(frozen=True, order=True)
class BackupId:
    """When (UTC, whole seconds), which kind, and eight hex digits that keep two of the same second apart."""

    at: datetime
    kind: Kind
    salt: str

    def __str__(self) -> str:
        return f"{self.at:%Y%m%dT%H%M%SZ}-{self.kind}-{self.salt}"


def new_backup_id(now: datetime, kind: Kind, salt: int) -> BackupId:
    """The id of a backup that starts at `now`; `salt` is a random number, of which 32 bits count."""
    return BackupId(now.astimezone(UTC).replace(microsecond=0), kind, f"{salt & 0xFFFFFFFF:08x}")


_ROWS_OF_BACKUPS = UUID("6f1d9a36-3f0e-4f52-9d5e-2b1c0d8f7a41")


def backup_uuid(backup_id: str) -> UUID:
    """The `id` of a backup's row in the ledger: of its backup id, so that a rebuilt ledger has the same."""
    return uuid5(_ROWS_OF_BACKUPS, backup_id)


def parse_backup_id(text: str, *, latest: bool = True) -> BackupId:
    """The id written as `text`; UsageError when it is not one, which says whether `latest` could stand there."""
    do = "Ids look like 20261120T180000Z-full-1f3a9c2e; `backup-pipeline list` shows them"
    do += ", `latest` works too." if latest else ". Here `latest` is none: what it means changes with every backup."
    match = _PATTERN.fullmatch(text)
    if match is None:
        message = f"{text!r} is not a backup id."
        raise UsageError(message, do=do)
    try:
        at = datetime.strptime(match["at"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        message = f"{text!r} is not a backup id: there is no time {match['at']}."
        raise UsageError(message, do=do) from None
    return BackupId(at, Kind(match["kind"]), match["salt"])


def bundle_template(template: str, kind: Kind) -> str:
    """The template of a bundle's file name for a backup of `kind`, from the catalog's, which is that of full ones.

    What is not all of it must not pose as a full one: its name begins with its kind, in place of a leading `full_`.
    """
    return template if kind is Kind.FULL else f"{kind}_{template.removeprefix('full_')}"


_MILLISECONDS = "%3f"
_SIGNS = re.compile(r"%(?:3f|.)", re.DOTALL)


def local_name(template: str, at: datetime, timezone: str) -> str:
    """`template` (strftime) filled in with `at` in `timezone`: file names as the source documents give them.

    `%3f` is the milliseconds, which strftime has not; a template with it is filled in in UTC, whatever the timezone:
    such names end in `Z`.
    """
    signs = _SIGNS.findall(template)
    if _MILLISECONDS not in signs:
        return at.astimezone(ZoneInfo(timezone)).strftime(template)
    utc = at.astimezone(UTC)
    milliseconds = f"{utc.microsecond // 1000:03d}"
    return utc.strftime(_SIGNS.sub(lambda sign: milliseconds if sign[0] == _MILLISECONDS else sign[0], template))


def camel_case(name: str) -> str:
    """`sms_logs` as `smsLogs`: what follows an underscore is large; one at the beginning stays."""
    return re.sub(r"(?<=[^_])_+([^_])", lambda part: part[1].upper(), name)
