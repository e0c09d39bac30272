"""What is to be done about clocks that differ, and about rows of the ledger that a wrong clock has written.

The time of a backup is the ledger's: `wiring.clock` reads it from there. What a snapshot shows has the source's time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from backup_pipeline.core.errors import ClockError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.statuses import Status

TOLERATED = timedelta(minutes=1)
"""By so much clocks may differ before anybody is told; later than that is the future."""
REFUSED = timedelta(hours=1)
"""A machine, or a source, that differs by more makes no backup and removes none."""
_SET_IT = "Set the clock that is wrong, and let both machines keep time by NTP (timedatectl status, chronyc tracking)."
_DAY = timedelta(days=1)


def is_future(at: datetime, now: datetime) -> bool:
    """Whether `at` has not come yet, beyond what clocks may differ."""
    return at > now + TOLERATED


def of_future(row: Attempt, now: datetime) -> bool:
    """Whether a clock that was wrong has written the row: it began later than now. What is expected lies ahead."""
    return row.status is not Status.EXPECTED and is_future(row.created_at, now)


def until_now(rows: Sequence[Attempt], now: datetime) -> Sequence[Attempt]:
    """The rows without those of the future: none of them is fresh, newest, or to be compared with."""
    return [row for row in rows if not of_future(row, now)]


def is_missed(row: Attempt, now: datetime) -> bool:
    """Whether nothing came of a due time: a clock that was ahead missed it before its time, and that counts not."""
    return row.status is Status.MISSED and not is_future(row.finished_at or row.created_at, now)


def differing(ours: str, by: timedelta, theirs: str) -> str | None:
    """A sentence when the clock of `ours` is ahead of that of `theirs` by too much, or behind it; None when not."""
    if abs(by) <= TOLERATED:
        return None
    ahead = "ahead of" if by > timedelta(0) else "behind"
    return f"The clock of {ours} is {in_words(abs(by))} {ahead} that of {theirs}."


def check_difference(ours: str, by: timedelta, theirs: str) -> str | None:
    """As `differing`; ClockError when it is so much that no date, no retention and no schedule can be relied on."""
    sentence = differing(ours, by, theirs)
    if sentence is not None and abs(by) > REFUSED:
        message = f"{sentence} Nothing was touched."
        raise ClockError(message, do=_SET_IT)
    return sentence


def check_rows(rows: Sequence[Attempt], now: datetime) -> None:
    """ClockError when a backup that is there began later than now: either that clock was wrong, or this one is."""
    ahead = [row for row in rows if row.status.good and of_future(row, now)]
    if not ahead:
        return
    newest = max(ahead, key=lambda row: row.created_at)
    message = (
        f"Backup {newest.backup_id} began {in_words(newest.created_at - now)} later than it is now,"
        f" {now:%Y-%m-%d %H:%M} UTC. Nothing was touched."
    )
    ids = " ".join(row.backup_id for row in ahead[:3])
    do = (
        f"If the clock is behind now, set it. If it was ahead then, make a backup and delete those of the future:"
        f" {ids} (`backup-pipeline delete ID`)."
    )
    raise ClockError(message, do=do)


def in_words(span: timedelta) -> str:
    """A length of time for people, in its largest unit."""
    for name, unit in (("day", _DAY), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if count := span // unit:
            return f"{count:,} {name}{'s' if count > 1 else ''}"
    return f"{span.total_seconds():.0f} seconds"
