"""The checks of an exported table, as pure rules: what is compared, what passes, and what to tell people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from backup_pipeline.core.catalog import Shrinkage

ROW_COUNT = "row_count"
KEY_UNIQUE = "key_unique"
SHRINKAGE = "shrinkage"
READABLE = "readable_from_store"
ANOMALY = "anomaly"


@dataclass(frozen=True)
class Check:
    """The outcome of one check. A failed check that is `blocking` makes the table's export a failure."""

    name: str
    passed: bool
    blocking: bool
    message: str
    numbers: Mapping[str, int] = field(default_factory=dict)


def row_count(written: int, counted: int) -> Check:
    """Were as many rows written as `count(*)` finds in the same snapshot?"""
    passed = written == counted
    message = f"{written:,} rows written, {counted:,} counted in the snapshot."
    return Check(ROW_COUNT, passed, blocking=True, message=message, numbers={"written": written, "counted": counted})


def key_unique(key: tuple[str, ...], duplicates: int) -> Check:
    """Does each key stand once?"""
    if not key:
        return Check(KEY_UNIQUE, passed=True, blocking=False, message="The table has no key; nothing to compare.")
    name = ", ".join(key)
    message = f"{duplicates:,} keys ({name}) stand more than once." if duplicates else f"Each key ({name}) stands once."
    return Check(KEY_UNIQUE, duplicates == 0, blocking=False, message=message, numbers={"duplicates": duplicates})


def shrinkage(now: int, before: int | None, rule: Shrinkage) -> Check:
    """Are there far fewer rows than in the last good backup? Small losses (up to `rule.floor` rows) never count."""
    if before is None:
        return Check(
            SHRINKAGE,
            passed=True,
            blocking=False,
            message="No earlier good backup to compare with.",
            numbers={"rows": now},
        )
    lost = before - now
    least = before * Decimal(str(rule.ratio))  # exactly the ratio as it is written: 0.55 of 100 is 55
    passed = not (lost > rule.floor and now < least)
    share = f"{now / before:.0%} of" if before else "against"
    message = f"{now:,} rows, {share} the {before:,} of the last good backup."
    numbers = {"rows": now, "before": before, "lost": max(lost, 0)}
    return Check(SHRINKAGE, passed, blocking=False, message=message, numbers=numbers)
