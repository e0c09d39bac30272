"""Every timezone there is, those alike taken together, and when their clocks change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

FROM, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
_STEP = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Zone:
    """A timezone; `alike` have the same distances from UTC all the time. `changes` are exact to the minute."""

    name: str
    changes: tuple[datetime, ...]
    alike: tuple[str, ...]


@cache
def zones() -> Sequence[Zone]:
    """Each kind of timezone once, in the ten years from FROM to UNTIL."""
    kinds: dict[tuple[tuple[datetime, ...], *tuple[object, ...]], list[str]] = {}
    for name in sorted(available_timezones() - {"localtime"}):
        changes = _changes(ZoneInfo(name))
        offsets = (at.astimezone(ZoneInfo(name)).utcoffset() for at in (FROM, *changes))
        kinds.setdefault((changes, *offsets), []).append(name)
    return [Zone(names[0], changes, tuple(names)) for (changes, *_), names in kinds.items()]


def changing() -> Sequence[Zone]:
    """Those whose clocks change."""
    return [zone for zone in zones() if zone.changes]


def _changes(zone: ZoneInfo) -> tuple[datetime, ...]:
    found, at, old = [], FROM, FROM.astimezone(zone).utcoffset()
    while at < UNTIL:
        new = (at + _STEP).astimezone(zone).utcoffset()
        if new != old:
            found.append(_exactly(at, zone))
        at, old = at + _STEP, new
    return tuple(found)


def _exactly(before: datetime, zone: ZoneInfo) -> datetime:
    old = before.astimezone(zone).utcoffset()
    minutes = range(1, _STEP // MINUTE + 1)
    return next(at for at in (before + minute * MINUTE for minute in minutes) if at.astimezone(zone).utcoffset() != old)
