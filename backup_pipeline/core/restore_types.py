"""Whether values of one PostgreSQL type can be written, as text, into a column of another without being altered."""

from __future__ import annotations

import re
from enum import IntEnum

_INTEGERS = {"smallint": 5, "integer": 10, "bigint": 19}
_TEXTS = {"text", "character varying", "character", "citext"}
_TIMES = {"date", "timestamp without time zone", "timestamp with time zone"}
_CLOCKS = {"time without time zone", "time with time zone", "interval"}
_FLOATS = {"real", "double precision"}
_LIMIT = re.compile(r"\((?P<limit>[-\d, ]+)\)")


class Conversion(IntEnum):
    """What becomes of values: they stay as they are; they are converted or stop the restore; some would be altered."""

    SAME = 0
    CHECKED = 1
    ALTERING = 2


def conversion(before: str, now: str) -> Conversion:
    """How values of the type `before` go, as text, into a column of the type `now` (both as PostgreSQL prints them).

    CHECKED only where PostgreSQL refuses what does not fit: a value that it would round or cut is ALTERING.
    """
    if before == now:
        return Conversion.SAME
    if before.endswith("[]") or now.endswith("[]"):
        both = before.endswith("[]") and now.endswith("[]")
        inner = conversion(before.removesuffix("[]"), now.removesuffix("[]")) if both else Conversion.ALTERING
        return Conversion.CHECKED if _is_text(now) else inner
    return Conversion.CHECKED if _checked(before, now) else Conversion.ALTERING


def _checked(before: str, now: str) -> bool:
    old, old_limit = _parts(before)
    new, new_limit = _parts(now)
    if _is_text(now):
        return True
    if new in _INTEGERS or new in _FLOATS:
        return _into_binary_number(old, new)
    if new == "numeric":
        return _into_numeric(old, old_limit, new_limit)
    if new in _TIMES or new in _CLOCKS:
        return _into_time((old, old_limit), (new, new_limit))
    return _from_text(old, new)


def _into_binary_number(old: str, new: str) -> bool:
    """Whole numbers among themselves, and into floats wide enough to hold each of them."""
    if new in _INTEGERS:
        return old in _INTEGERS or old in _TEXTS
    return (old, new) in {("smallint", new), ("integer", "double precision"), ("real", "double precision")}


def _from_text(old: str, new: str) -> bool:
    """Types that refuse a text which is not theirs: uuid, an enum that was made anew, json and jsonb, inet."""
    if new == "name":  # cuts what is too long
        return False
    own = "." in old and "." in new
    return old in _TEXTS or own or {old, new} == {"json", "jsonb"} or (old, new) == ("cidr", "inet")


def _into_numeric(old: str, old_limit: tuple[int, ...], limit: tuple[int, ...]) -> bool:
    """Whole numbers and those of no finer scale: what is too large is refused, nothing is rounded."""
    scale = limit[1] if len(limit) > 1 else 0
    if old in _INTEGERS:
        return not limit or scale >= 0
    if old == "numeric":
        return not limit or (len(old_limit) > 1 and 0 <= old_limit[1] <= scale)
    return old in _TEXTS and not limit


def _into_time(old: tuple[str, tuple[int, ...]], new: tuple[str, tuple[int, ...]]) -> bool:
    """The same kind of time with no fewer digits; a date as the midnight it begins with, where there is no zone."""
    finer = not new[1] or (bool(old[1]) and old[1][0] <= new[1][0])
    return (old[0] == new[0] and finer) or (old[0], new[0]) == ("date", "timestamp without time zone")


def _parts(pg_type: str) -> tuple[str, tuple[int, ...]]:
    """The type's name without its limits, and the limits."""
    found = _LIMIT.search(pg_type)
    limits = tuple(int(part) for part in found["limit"].split(",")) if found else ()
    name = (pg_type[: found.start()] + pg_type[found.end() :]) if found else pg_type
    return name.rpartition(".")[2] if name.endswith(".citext") else name, limits


def _is_text(pg_type: str) -> bool:
    return _parts(pg_type)[0] in _TEXTS
