"""Honest dates: a SELECT reads now, so a backup belongs to the local date of its snapshot and to no other."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from backup_pipeline.core.errors import RefusedError


def local_date(at: datetime, timezone: str) -> date:
    """The calendar date of the instant `at` in `timezone`."""
    return at.astimezone(ZoneInfo(timezone)).date()


def day_end(day: date, timezone: str) -> datetime:
    """The instant at which `day` ends in `timezone`, in UTC: adding to it is not led astray by a change of clocks."""
    return datetime.combine(day + timedelta(days=1), time(), tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def is_late(day: date, *, now: datetime, timezone: str, grace: timedelta, late: bool) -> bool:
    """Whether a run that starts `now` for the partition `day` is a late one.

    False on the day itself and until `grace` after its end (a run that was queued over midnight). After that only a
    run that says `late` may file today's rows under a past date; without it, and for a date to come, RefusedError.
    """
    today = local_date(now, timezone)
    if day > today:
        message = f"The partition {day} lies ahead: it is {today} in {timezone}."
        raise RefusedError(message, do=f"Run the partition {today}.")
    if now <= day_end(day, timezone) + grace:
        return False
    if late:
        return True
    message = f"The partition {day} is over: it is {today} in {timezone}, and a backup reads the rows of now."
    raise RefusedError(
        message,
        do=f"Run the partition {today}. To file today's rows under {day} all the same, say `late: true`"
        " (`--late`): the manifest then says late, with the true time. The missed date can not be made up for.",
    )
