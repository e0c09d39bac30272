"""Dates and times beyond year 32767, which Arrow's own calendar can not print, and PostgreSQL can hold.

The Gregorian calendar repeats every 400 years (146,097 days, whole weeks): such an instant is moved into our
millennium, rendered there, and its year put back. A timezone's present rules then hold for ever.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from backup_pipeline.core.epochs import DAYS_BEFORE_2000, US_PER_DAY

_CYCLE_YEARS = 400
_CYCLE_DAYS = 146_097
_FAR_YEAR = 32_000
_FAR_DAYS = (_FAR_YEAR - 2_000) // _CYCLE_YEARS * _CYCLE_DAYS + DAYS_BEFORE_2000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_far(values: pa.Array) -> pa.BooleanArray | None:
    """Which of `values` are too far for Arrow's calendar; None when none is, or when they are no dates."""
    if pa.types.is_timestamp(values.type):
        limit, number = _FAR_DAYS * US_PER_DAY, pa.int64()
    elif pa.types.is_date32(values.type):
        limit, number = _FAR_DAYS, pa.int32()
    else:
        return None
    far = pc.greater_equal(values.view(number), limit)
    return pc.fill_null(far, False) if pc.any(far).as_py() else None  # noqa: FBT003  a value, not a flag


def far_texts(values: pa.Array, timezone: str, *, fractions: bool = False) -> pa.StringArray:
    """`values` (dates, or timestamps in µs) in the form of `cells`, with µs if `fractions`; right in any year AD."""
    day_only = pa.types.is_date32(values.type)
    numbers = values.view(pa.int32() if day_only else pa.int64()).to_pylist()
    form = "-%m-%d" if day_only else f"-%m-%d %H:%M:%S{'.%f' if fractions else ''}"
    unit = US_PER_DAY if day_only else 1
    zone = ZoneInfo(timezone) if not day_only and values.type.tz else UTC
    texts = (None if number is None else _text(number * unit, zone, form) for number in numbers)
    return pa.array(texts, pa.string())


def _text(microseconds: int, zone: tzinfo, form: str) -> str:
    cycles = max(microseconds // US_PER_DAY // _CYCLE_DAYS, 0)
    near = (_EPOCH + timedelta(microseconds=microseconds - cycles * _CYCLE_DAYS * US_PER_DAY)).astimezone(zone)
    return f"{near.year + cycles * _CYCLE_YEARS:04d}{near:{form}}"
