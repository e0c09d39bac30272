"""Verification: the levels and what each of them proves, what was found, and how far it got."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from fractions import Fraction
from math import ceil

from backup_pipeline.core.errors import UsageError, VerificationError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import Manifest, StoredManifest
from backup_pipeline.core.manifest.outline import Outline
from backup_pipeline.core.schedule import in_words, is_future

DISTRUST = (
    "Do not use it: somebody changed the store, or put another backup's files there. Take another backup, or its copy "
    "(`--store second`), and see who can write to the store; `backup-pipeline verify ID` tells all that differs."
)
"""What to do about a backup whose parts contradict each other."""


def disagreements(row: Attempt, found: StoredManifest | Outline, sha256: str, seal_key: str | None) -> tuple[str, ...]:
    """What the manifest `found`, which lies in the store with that SHA-256 and seal, says otherwise than the row.

    What the row does not know is not compared: one of an attempt that runs knows nothing yet. That the manifest is of
    this backup at all, its place says.
    """
    differing = [f"{name}: the manifest says {theirs}, the ledger {ours}" for name, ours, theirs in _pairs(row, found)]
    if row.manifest_sha256 not in {None, sha256}:
        differing.append(f"manifest.json has the SHA-256 {sha256}, the ledger says {row.manifest_sha256}")
    if row.seal_key not in {None, seal_key}:
        now = f"is sealed with key {seal_key}" if seal_key else "has no seal"
        differing.append(f"manifest.json {now}, the ledger says that it is sealed with key {row.seal_key}")
    return tuple(differing)


def is_pinned(row: Attempt, sha256: str) -> bool:
    """Whether the row vouches for every byte of the manifest, and so for every file that the manifest names."""
    return row.manifest_sha256 == sha256


def inner_disagreement(inner: Manifest, outer: StoredManifest) -> str | None:
    """What the manifest inside a bundle says otherwise than the one beside it, or None."""
    beside = Manifest.model_validate(outer.model_dump(exclude={"bundle"}))
    if inner == beside:
        return None
    differ = [name for name in Manifest.model_fields if getattr(inner, name) != getattr(beside, name)]
    return f"differs from the manifest beside the bundle in: {', '.join(differ)}."


def _pairs(row: Attempt, found: StoredManifest | Outline) -> Iterator[tuple[str, object, object]]:
    """Whatever both know and do not say alike: name, the row's, the manifest's."""
    whole = found if isinstance(found, StoredManifest) else None
    taken_at = found.snapshot.taken_at if isinstance(found, StoredManifest) else found.snapshot_at
    pairs: dict[str, tuple[object, object]] = {
        "kind": (row.kind, found.kind),
        "snapshot": (row.snapshot_at, taken_at),
        "bundle": (row.file_name, found.bundle.name),
        "bundle's bytes": (row.file_size_bytes, found.bundle.bytes),
        "bundle's SHA-256": (row.sha256, found.bundle.sha256),
        "rows": (row.record_count, whole.totals.rows if whole else None),
    }
    for name, (ours, theirs) in pairs.items():
        if None not in {ours, theirs} and ours != theirs:
            yield name, ours, theirs


@dataclass(frozen=True)
class Sample:
    """A share of the tables, `10%`, another one for another seed; or a part of them, `2/7`: the second of seven.

    All parts together are all tables, whatever the seed.
    """

    text: str
    share: Fraction
    part: int | None = None

    def chosen(self, names: Sequence[str], *, of: str, seed: str) -> tuple[str, ...]:
        """The names of the sample, in their order. `of` is what they belong to, so that each backup has its own."""
        salt = of if self.part is not None else f"{of} {seed}"
        ranked = sorted(names, key=lambda name: hashlib.sha256(f"{salt} {name}".encode()).digest())
        if self.part is not None:
            taken = set(ranked[self.part - 1 :: self.share.denominator])
        else:
            taken = set(ranked[: ceil(self.share * len(ranked))])
        return tuple(name for name in names if name in taken)

    def __str__(self) -> str:
        return f"sample {self.text}"


def parse_sample(text: str) -> Sample:
    """The sample written as `text`; UsageError, saying what is allowed, when it is none."""
    if (percent := re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)%", text.strip())) and 0 < Fraction(percent[1]) <= 100:
        return Sample(text.strip(), Fraction(percent[1]) / 100)
    part = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text.strip())
    if part and 1 <= int(part[1]) <= int(part[2]):
        return Sample(text.strip(), Fraction(1, int(part[2])), int(part[1]))
    message = f"{text!r} is not a sample."
    raise UsageError(message, do="Write a share such as 10%, or a part such as 2/7: the second of seven.")


class Level(IntEnum):
    """How deep a check goes; each level includes those before it."""

    PRESENT = 0
    BYTES = 1
    CONTENTS = 2
    REFERENCES = 3
    RESTORED = 4

    @property
    def proves(self) -> str:
        """What is known of a backup that reached it, in one sentence."""
        return _PROVES[self]

    @property
    def leaves_open(self) -> str:
        """What is still not known then, in one sentence."""
        return _LEAVES_OPEN[self]

    def __str__(self) -> str:
        return f"{self.value} ({self.name.lower()})"


_PROVES = {
    Level.PRESENT: "The manifest is whole, and the bundle is in the store with the size that it names.",
    Level.BYTES: "The bytes in the store are those that were written: no bit has turned, nothing is cut off.",
    Level.CONTENTS: "Every file is there and can be decoded in full: rows, columns, values are those of the manifest, "
    "and the sheets show the rows of the Parquet files.",
    Level.REFERENCES: "The rows that rows refer to are in the backup, for every reference between tables of one "
    "snapshot.",
    Level.RESTORED: "The backup was restored into a scratch database, and came back as it was.",
}
_LEAVES_OPEN = {
    Level.PRESENT: "What the bundle holds was not looked at.",
    Level.BYTES: "Whether what was written can be decoded, and is what the manifest says, was not looked at.",
    Level.CONTENTS: "Whether the rows make sense together was not looked at.",
    Level.REFERENCES: "Whether PostgreSQL takes the rows back was not tried.",
    Level.RESTORED: "Whether your application works with it was not tried.",
}


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be: found at `level`, in `object` (a key, or a member as `key!member`)."""

    level: Level
    object: str
    message: str


@dataclass(frozen=True)
class Remark:
    """Something worth knowing that makes a backup no worse: what could not be compared, and why."""

    level: Level
    object: str
    message: str


@dataclass(frozen=True)
class LevelReport:
    """What one level saw: the objects it looked at, those it left out and why, what it found."""

    level: Level
    looked_at: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    why_left_out: str = ""
    findings: tuple[Finding, ...] = ()
    remarks: tuple[Remark, ...] = ()

    @property
    def full(self) -> bool:
        """Whether it looked at all there is."""
        return not self.left_out


@dataclass(frozen=True)
class VerifyReport:
    """What a verification saw. `wanted` is the level that was asked for; `bytes` what the bundle holds in the store.

    `sample` is what to say of a sample that left tables out: `sample 10%`.
    """

    backup_id: str
    place: str
    wanted: Level
    levels: tuple[LevelReport, ...]
    bytes: int
    seconds: float
    sample: str | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that was found wrong."""
        return tuple(finding for level in self.levels for finding in level.findings)

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """Everything else worth knowing."""
        return tuple(remark for level in self.levels for remark in level.remarks)

    @property
    def passed(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.findings

    @property
    def objects(self) -> int:
        """How many objects were looked at: manifest, bundle, and members of the bundle."""
        return len({name for level in self.levels for name in level.looked_at})

    @property
    def level(self) -> Level | None:
        """The deepest level that was reached in full and without a finding; None when there is none."""
        reached = [report.level for report in self._good() if report.full]
        partial = [report.level for report in self._good() if not report.full]
        return max((level for level in reached if not partial or level < min(partial)), default=None)

    @property
    def partial(self) -> LevelReport | None:
        """The deepest level beyond `level` of which only a part was looked at, without a finding."""
        return next((report for report in reversed([*self._good()]) if not report.full), None)

    @property
    def reached(self) -> str:
        """How far it got, for people: `level 2 (contents)`, `level 1 (sample 10%)`, `no level`."""
        told = "no level" if self.level is None else f"level {self.level}"
        part = self.partial
        if part is None:
            return told
        if self.sample is not None and part.why_left_out == self.sample:
            return f"level {part.level.value} ({part.why_left_out})"
        return f"{told}, and a part of level {part.level} ({part.why_left_out})"

    @property
    def whole(self) -> bool:
        """Whether the wanted level was reached in full."""
        return self.level is not None and self.level >= self.wanted

    def _good(self) -> Iterator[LevelReport]:
        for report in self.levels:
            if report.findings:
                return
            yield report

    def error(self) -> VerificationError:
        """One error, naming the first finding, for whoever must fail on them."""
        first = self.findings[0]
        more = f" ({len(self.findings)} findings in all)" if len(self.findings) > 1 else ""
        message = f"Backup {self.backup_id} did not verify: level {first.level}, {first.object} {first.message}{more}"
        return VerificationError(message, do="Do not rely on it: use another backup, and make a new one now.")

    def as_json(self) -> dict[str, object]:
        """Everything, as JSON has it."""
        return {
            "backup_id": self.backup_id,
            "place": self.place,
            "passed": self.passed,
            "wanted": self.wanted.value,
            "level": None if self.level is None else self.level.value,
            "reached": self.reached,
            "sample": self.sample,
            "objects": self.objects,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "findings": [_said(finding) for finding in self.findings],
            "remarks": [_said(remark) for remark in self.remarks],
            "levels": [_level_json(report) for report in self.levels],
        }


def _level_json(report: LevelReport) -> dict[str, object]:
    return {
        "level": report.level.value,
        "name": report.level.name.lower(),
        "proves": report.level.proves,
        "leaves_open": report.level.leaves_open,
        "full": report.full,
        "looked_at": list(report.looked_at),
        "left_out": list(report.left_out),
        "why_left_out": report.why_left_out,
        "findings": len(report.findings),
    }


def _said(told: Finding | Remark) -> dict[str, object]:
    return {"level": told.level.value, "object": told.object, "message": told.message}


FAILED = "FAILED"


@dataclass(frozen=True)
class Verified:
    """A row's `verification_level` and `verified_at`.

    The level is `2` when level 2 was reached in full; `1 FAILED` when level 1 was, and something was found at the next;
    None, with a time, when something was found at level 0.
    """

    level: str | None
    at: datetime | None

    @property
    def failed(self) -> bool:
        """Whether something was found wrong."""
        return self.at is not None and (self.level is None or self.level.endswith(FAILED))

    @property
    def depth(self) -> int:
        """The level that is known to be good, -1 when none is."""
        return int(self.level.split()[0]) if self.level else -1


def passed(level: Level, at: datetime) -> Verified:
    """What a row says when `level` was reached."""
    return Verified(str(level.value), at)


def newly_verified(before: Verified, report: VerifyReport, now: datetime) -> Verified | None:
    """What the row should say after `report`; None to leave it as it is.

    A finding is always written down. A check without one never takes the place of a deeper one, nor of a failure that
    it did not get as far as; a part of a level (a sample, or when the time was over) never counts as the level.
    """
    reached = -1 if report.level is None else report.level.value
    if not report.passed:
        return Verified(f"{reached} {FAILED}" if reached >= 0 else None, now)
    needed = before.depth + 1 if before.failed else before.depth
    return Verified(str(reached), now) if reached >= max(needed, 0) else None


def told(verified: Verified, now: datetime) -> str:
    """Level and age for people: `2, 3 days ago`; `FAILED 2026-11-21 after level 1`; nothing when never verified."""
    if verified.at is None:
        return ""
    if verified.failed:
        after = f" after level {verified.depth}" if verified.depth >= 0 else ""
        return f"{FAILED} {verified.at:%Y-%m-%d}{after}"
    return f"{verified.level}, {age(verified.at, now)}"


def age(at: datetime, now: datetime) -> str:
    """How long ago that was, in its largest unit: `3 days ago`, `1 hour ago`, `just now`; or `3 days ahead`."""
    if is_future(at, now):
        return f"{in_words(at - now)} ahead"
    return ago(now - at)


def ago(span: timedelta) -> str:
    """A length of time as an age, in its largest unit."""
    seconds = span.total_seconds()
    for name, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // size)) > 0:
            return f"{count:,} {name}{'s' if count > 1 else ''} ago"
    return "just now"
