"""What the soak knows to be true of a backup, whatever the program says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

GOOD = ("success", "success_with_warnings")


class WrongError(AssertionError):
    """Something is not as it must be: the soak has found a fault."""


@dataclass(frozen=True)
class Row:
    """A row of `backup_logs`, as it lies in the database."""

    backup_id: str
    kind: str
    status: str
    partition_date: date
    created_at: datetime
    started_at: datetime
    finished_at: datetime | None
    snapshot_at: datetime | None
    file_path: str | None
    file_size_bytes: int | None
    sha256: str | None
    record_count: int | None
    verification_level: int | None
    verification_passed: bool | None
    verified_at: datetime | None
    held_actor: str | None
    held_until: datetime | None
    table_counts: Mapping[str, int]
    tables_wanted: list[str]
    error_message: str | None

    @property
    def good(self) -> bool:
        """Whether the ledger says that there is a backup."""
        return self.status in GOOD

    @property
    def taken(self) -> datetime:
        """The instant that it shows."""
        return self.snapshot_at or self.started_at

    @property
    def red(self) -> bool:
        """Whether its verification failed."""
        return self.verification_passed is False

    @property
    def depth(self) -> int:
        """The level that was reached, -1 for none."""
        return -1 if self.verification_level is None else self.verification_level

    def held(self, now: datetime) -> bool:
        """Whether somebody holds it."""
        return self.held_actor is not None and (self.held_until is None or self.held_until > now)


class Harm(StrEnum):
    """What was done to the objects of a backup."""

    FLIP = "a bit of the bundle turned"
    CUT = "the bundle is shorter"
    OTHER = "the bundle is another backup's"
    NO_BUNDLE = "the bundle is gone"
    NO_MANIFEST = "the manifest is gone"
    SPOILT_MANIFEST = "the manifest was changed"
    REMOVING = "its removal was begun, and killed"


@dataclass
class Damage:
    """A damage: which object, how it was before, and the least level of a verification that can not miss it."""

    harm: Harm
    key: str
    before: bytes = field(repr=False)
    level: int


@dataclass
class Kept:
    """A backup that must be listed as good. Its snapshot shows the shop after a change from `first` to `last`.

    `told` is whether a verification found the damage since it was done.
    """

    backup_id: str
    tables: tuple[str, ...]
    folder: str
    bundle: str
    sha256: str
    first: int
    last: int
    held: bool = False
    damage: Damage | None = None
    told: bool = False

    @property
    def manifest(self) -> str:
        """The key of its manifest."""
        return f"{self.folder}manifest.json"

    def seen_at(self, level: int) -> bool:
        """Whether a verification of that level reads what is damaged."""
        return self.damage is not None and level >= self.damage.level

    @property
    def lost(self) -> bool:
        """Whether a rebuild of a lost ledger can not know it."""
        return self.damage is not None and self.damage.level == 0


@dataclass(frozen=True)
class Pending:
    """The attempt of a process that died: a backup if its manifest came into the store, else nothing."""

    backup_id: str
    manifest: str
    first: int
    last: int
