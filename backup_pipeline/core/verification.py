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
from backup_pipeline.core.schedule import in_words, is_future


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
        whole = "no level" if self.level is None else f"level {self.level}"
        part = self.partial
        if part is None:
            return whole
        if self.sample is not None and part.why_left_out == self.sample:
            return f"level {part.level.value} ({part.why_left_out})"
        return f"{whole}, and a part of level {part.level} ({part.why_left_out})"

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
            "findings": [_finding_json(finding) for finding in self.findings],
            "remarks": [_finding_json(remark) for remark in self.remarks],
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


def _finding_json(finding: Finding | Remark) -> dict[str, object]:
    return {"level": finding.level.value, "object": finding.object, "message": finding.message}


@dataclass(frozen=True)
class Verification:
    """What the last verification of a backup, or of a copy, came to.

    `level` is the deepest that is known to be good, None when something was wrong at level 0 already; `passed` is false
    when something was wrong at the next one.
    """

    level: Level | None
    at: datetime
    passed: bool = True

    @property
    def depth(self) -> int:
        """The level that is known to be good, -1 when none is."""
        return -1 if self.level is None else self.level.value


def depth_of(verification: Verification | None) -> int:
    """The level that is known to be good, -1 when none is, or when nothing was verified yet."""
    return -1 if verification is None else verification.depth


def has_failed(verification: Verification | None) -> bool:
    """Whether a verification found something wrong."""
    return verification is not None and not verification.passed


def newly_verified(before: Verification | None, report: VerifyReport, now: datetime) -> Verification | None:
    """What the row should say after `report`; None to leave it as it is.

    A finding is always written down. A check without one never takes the place of a deeper one, nor of a failure that
    it did not get as far as; a part of a level (a sample, or when the time was over) never counts as the level.
    """
    if not report.passed:
        return Verification(report.level, now, passed=False)
    needed = depth_of(before) + 1 if has_failed(before) else depth_of(before)
    reached = -1 if report.level is None else report.level.value
    return Verification(report.level, now) if reached >= max(needed, 0) else None


def in_short(verification: Verification | None, now: datetime) -> str:
    """Level and age for people: `2, 3 days ago`; `FAILED 2026-11-21 after level 1`; nothing when never verified."""
    if verification is None:
        return ""
    if not verification.passed:
        after = f" after level {verification.depth}" if verification.depth >= 0 else ""
        return f"FAILED {verification.at:%Y-%m-%d}{after}"
    return f"{verification.depth}, {age(verification.at, now)}"


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
