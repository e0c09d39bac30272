"""The answer of `check` for Nagios, Icinga and their like: one line with performance data, and an exit code 0 to 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backup_pipeline.core.copies import CopyAge
from backup_pipeline.core.due_state import Freshness, State
from backup_pipeline.core.errors import BackupError, LedgerError
from backup_pipeline.core.secrets import redact
from backup_pipeline.core.unforeseen import in_our_words
from backup_pipeline.core.verified import age

OK, WARNING, CRITICAL, UNKNOWN = range(4)
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


def nagios_line(
    ask: Callable[[], Sequence[Freshness]], ask_second: Callable[[], Sequence[CopyAge]] = tuple
) -> tuple[str, int]:
    """The line and the exit code; an error is an answer too. A second store that is stale is a warning."""
    try:
        stands, second = ask(), ask_second()
        stale = [_one_line(one.stale.what) for one in second if one.stale]
    except LedgerError as error:
        return _line(CRITICAL, f"the ledger can not be read, so no backup can be made: {_one_line(error.what)}")
    except BackupError as error:
        return _line(UNKNOWN, _one_line(f"{error.what} {error.do}"))
    except Exception as error:  # noqa: BLE001  # a monitor takes 1, Python's own code, for a mere warning
        return _line(UNKNOWN, _one_line(in_our_words(error)))
    worst = max((_code(one) for one in stands), default=OK)
    told = [_told(one) for one in stands if _code(one) == worst and not (stale and worst == OK)]
    line, code = _line(max(worst, WARNING if stale else OK), " ".join([*told, *stale]) or "there is no catalog")
    return f"{line} | {' '.join([*map(_data, stands), *map(_second_data, second)])}", code


def _code(one: Freshness) -> int:
    if not one.overdue:
        return OK
    return WARNING if one.running else CRITICAL


def _told(one: Freshness) -> str:
    if one.state is State.FRESH and one.newest_at is not None:
        return f"{one.catalog}: the newest good backup began {age(one.newest_at, one.at)}."
    return one.what


def _line(code: int, text: str) -> tuple[str, int]:
    return f"BACKUP {_WORDS[code]} - {text.replace('|', '/')}", code


def _data(one: Freshness) -> str:
    """`label=value`; U is Nagios's own word for a value that is not known."""
    seconds = "U" if one.age_s is None else f"{one.age_s}s"
    return f"{one.catalog}_age={seconds} {one.catalog}_missed={len(one.missed)} {one.catalog}_failed={one.failed}"


def _second_data(one: CopyAge) -> str:
    seconds = "U" if one.age is None else f"{int(one.age.total_seconds())}s"
    return f"{one.catalog}_second_age={seconds} {one.catalog}_second_stale={int(one.stale is not None)}"


def _one_line(text: str) -> str:
    return redact(" ".join(text.split()))
