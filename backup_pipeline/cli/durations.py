"""Times as people type them: `90s`, `30m`, `1h`, `7d`."""

from __future__ import annotations

import re
from datetime import timedelta

from backup_pipeline.core.errors import UsageError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str) -> timedelta:
    """The time written as `text`; UsageError, saying what is allowed, when it is none."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text.strip())
    if match is None:
        message = f"{text!r} is not a time."
        raise UsageError(message, do="Write a number and s, m, h or d: 90s, 30m, 1h, 7d.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
