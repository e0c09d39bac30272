"""Backup ids and file names: `20261120T180000Z-full-1f3a9c2e`, `full_backup_2026-11-21_00-00.zip`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from backup_pipeline.core.errors import UsageError

KINDS = ("full", "selective", "tables")
"""`full`: a bundle of every table; `selective`: a bundle of chosen tables; `tables`: partitions only, no bundle."""

_PATTERN = re.compile(r"(?P<at>[0-9]{8}T[0-9]{6}Z)-(?P<kind>[a-z]+)-(?P<salt>[0-9a-f]{8})")


@dataclass(frozen=True, order=True)
class BackupId:
    """When (UTC, whole seconds), which kind, and eight hex digits that keep two of the same second apart."""

    at: datetime
    kind: str
    salt: str

    def __str__(self) -> str:
        return f"{self.at:%Y%m%dT%H%M%SZ}-{self.kind}-{self.salt}"


def new_backup_id(now: datetime, kind: str, salt: int) -> BackupId:
    """The id of a backup that starts at `now`; `salt` is a random number, of which 32 bits count."""
    if kind not in KINDS:
        message = f"There is no kind of backup {kind!r}."
        raise UsageError(message, do=f"Use one of {', '.join(KINDS)}.")
    return BackupId(now.astimezone(UTC).replace(microsecond=0), kind, f"{salt & 0xFFFFFFFF:08x}")


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
    return BackupId(at, match["kind"], match["salt"])


def bundle_template(template: str, kind: str) -> str:
    """The template of a bundle's file name for a backup of `kind`, from the catalog's, which is that of full ones.

    A selective bundle must not pose as a full one: its name begins with `selective_`, in place of a leading `full_`.
    """
    return f"selective_{template.removeprefix('full_')}" if kind == "selective" else template


def local_name(template: str, at: datetime, timezone: str) -> str:
    """`template` (strftime) filled in with `at` in `timezone`: file names as the source documents give them."""
    return at.astimezone(ZoneInfo(timezone)).strftime(template)
