"""The errors of backup_pipeline: what failed, with the values, and what to do next.

    BackupError                  1   failed
    ├── UsageError               2   the request itself is wrong
    │   ├── CatalogError             a catalog that does not validate, or does not fit its database
    │   └── SettingsError            a setting that is missing or malformed
    ├── PartialError             3   some of what was asked was done
    ├── NotFoundError           10   no such catalog, backup, table or object
    ├── LockedError             11   somebody else holds what is needed
    │   ├── LeaseHeldError           another run writes the catalog, and is alive
    │   └── LeaseLostError           this run may not write its catalog any more
    ├── DecryptError            12   wrong or missing key
    ├── VerificationError       20   the stored bytes are not what the manifest says
    ├── RefusedError            21   a rule forbids it; nothing was touched
    │   ├── ClockError               clocks differ so much that no date can be relied on
    │   └── PreflightRefusedError    a restore that would go wrong, or was not confirmed
    │       └── StalePlanError       what would be done is not what somebody saw, or approved
    ├── StaleError              22   the newest backup is too old
    ├── CanceledError          130   stopped on request
    ├── SourceError              1   the source database said no
    │   ├── SourceUnavailableError   transient: unreachable, restarting, too many connections
    │   ├── SnapshotLostError        transient: the holder is gone; the run's work is void
    │   └── SnapshotOutdatedError    transient: the table was changed since; only a new snapshot shows it
    ├── TargetError              1   the database that is restored into said no
    │   └── TargetUnavailableError   transient: unreachable, restarting, a lock that did not come
    ├── StoreError               1   the store said no
    │   ├── StoreDeniedError         whoever asks has no right to it
    │   └── StoreUnavailableError    transient: no answer, 503, throttled
    ├── LedgerError              1   the ledger said no
    │   ├── DecidedError             it stands otherwise by now: somebody was quicker, or it has ended
    │   └── LedgerUnavailableError   transient: unreachable, restarting, too many connections
    ├── DagsterAwayError         1   transient: Dagster's web server does not answer, or not in time
    │   └── LaunchUnsureError        a launch was sent, and no answer came: look before anything is sent again
    ├── DiskFullError            1   no room for the files in the making
    └── ExportFailedError        3   some tables failed (when all did: the first one's code)

`transient` tells a retry whether waiting can help. Exit codes are the design's (docs/cli.md lists them).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pydantic import ValidationError
from pydantic_core import ErrorDetails


class BackupError(Exception):
    """Something failed: `what` (with the values), and `do` (what to do next)."""

    exit_code = 1
    transient = False

    def __init__(self, what: str, *, do: str = "") -> None:
        super().__init__(what, do)
        self.what = what
        self.do = do

    def __str__(self) -> str:
        return f"{self.what}{_ADVICE}{self.do}" if self.do else self.what


_ADVICE = "\nWhat to do: "


def parse_advice(text: str) -> tuple[str, str]:
    """What happened and what to do, out of the text of an error; nothing to do where it does not say."""
    what, _, do = text.partition(_ADVICE)
    return what, do


class UsageError(BackupError):
    """The request itself is wrong: an unknown name, a value out of range."""

    exit_code = 2


class CatalogError(UsageError):
    """A catalog does not validate, or does not fit its database."""


class SettingsError(UsageError):
    """A setting is missing or malformed."""


class PartialError(BackupError):
    """Some of what was asked was done, and some was not."""

    exit_code = 3


class NotFoundError(BackupError):
    """There is no such catalog, backup, table or object."""

    exit_code = 10


class LockedError(BackupError):
    """Somebody else holds what is needed."""

    exit_code = 11
    transient = True


class LeaseHeldError(LockedError):
    """Another run writes this catalog, and is alive: trying again at once can not help."""

    transient = False


class LeaseLostError(LockedError):
    """This run may not write its catalog any more; what it has not published yet stays unpublished."""

    transient = False


class DecryptError(BackupError):
    """The key is wrong or missing."""

    exit_code = 12


class VerificationError(BackupError):
    """The stored bytes are not what the manifest says."""

    exit_code = 20


class RefusedError(BackupError):
    """A rule forbids it; nothing was touched."""

    exit_code = 21


class PreflightRefusedError(RefusedError):
    """A restore would go wrong, or is not confirmed: the target is as it was."""


class StalePlanError(PreflightRefusedError):
    """What would be done is not what somebody saw, or approved, any more."""


class ClockError(RefusedError):
    """Clocks differ so much that no date, no age and no due time can be relied on; nothing was touched."""


class StaleError(BackupError):
    """The newest backup is too old."""

    exit_code = 22


class CanceledError(BackupError):
    """Stopped on request."""

    exit_code = 130


class SourceError(BackupError):
    """The source database said no."""


class SourceUnavailableError(SourceError):
    """The source can not be reached now: no answer, restarting, too many connections."""

    transient = True


class SnapshotLostError(SourceError):
    """The snapshot's holder is gone; everything read so far is void."""

    transient = True


class SnapshotOutdatedError(SourceError):
    """The table's definition was changed after the snapshot was taken; only a new snapshot can show it."""

    transient = True


class TargetError(BackupError):
    """The database that is restored into said no; it is as it was."""


class TargetUnavailableError(TargetError):
    """The target can not be reached now, or somebody holds a lock on it; it is as it was."""

    transient = True


class StoreError(BackupError):
    """The store said no."""


class StoreDeniedError(StoreError):
    """Whoever asks the store has no right to it: a policy, a lock, or the permissions of a folder."""


class StoreUnavailableError(StoreError):
    """The store does not answer now: connection refused, 503, throttled."""

    transient = True


class LedgerError(BackupError):
    """The ledger said no."""


class DecidedError(LedgerError):
    """It stands otherwise by now: somebody else has decided, or it has ended."""


class LedgerUnavailableError(LedgerError):
    """The ledger can not be reached now: no answer, restarting, too many connections."""

    transient = True


class DagsterAwayError(BackupError):
    """Dagster's web server does not answer, or not in time; nothing was launched."""

    transient = True


class LaunchUnsureError(DagsterAwayError):
    """A launch was sent to Dagster, and no answer came: there may be a run. Look before anything is sent again."""


NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The errors of the operating system that mean that a disk, or somebody's share of it, is full."""


class DiskFullError(BackupError):
    """There is no room for the files in the making."""


@contextmanager
def full_disk_explained(message: str) -> Iterator[None]:
    """A full disk comes out as DiskFullError with this `message`; any other error as it is."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise DiskFullError(message, do="Make room, or set BACKUP_WORK_DIR to a larger disk.") from error


class ExportFailedError(BackupError):
    """Some tables of a run failed; the others are exported, but there is no bundle.

    `failed` maps each table to its error; `summary` is the message without them. The exit code is 3 when other tables
    were exported, else the first error's.
    """

    def __init__(self, failed: Mapping[str, BackupError], wanted: int) -> None:
        self.failed = dict(failed)
        self.summary = f"{len(failed)} of {wanted} tables failed, so there is no bundle."
        reasons = " ".join(f"{table}: {error.what}" for table, error in self.failed.items())
        super().__init__(f"{self.summary} {reasons}", do=self._advice())
        first = next(iter(self.failed.values()))
        self.exit_code = PartialError.exit_code if len(failed) < wanted else first.exit_code

    def _advice(self) -> str:
        """One piece of advice as it is; several with the tables that each is for."""
        tables: dict[str, list[str]] = {}
        for table, error in self.failed.items():
            tables.setdefault(error.do or "Correct the cause, then run the table again.", []).append(table)
        if len(tables) == 1:
            return next(iter(tables))
        return "\n".join(f"{', '.join(names)}: {do}" for do, names in tables.items())


_WHOLE, _NUMBER = "a whole number", "a number"
_WANTS = {
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "missing": "a value",
    "extra_forbidden": "no such field",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "date_type": "a date such as 2026-01-31",
    "date_from_datetime_parsing": "a date such as 2026-01-31",
    "datetime_type": "a time such as 2026-01-31T18:00:00Z",
    "datetime_from_date_parsing": "a time such as 2026-01-31T18:00:00Z",
    "datetime_parsing": "a time such as 2026-01-31T18:00:00Z",
    "timezone_aware": "a time with its distance from UTC",
}
_LIMITS = {"greater_than_equal": "{ge} or more", "less_than_equal": "{le} or less", "greater_than": "more than {gt}"}
_LIMITS |= {"less_than": "less than {lt}", "literal_error": "{expected}", "enum": "{expected}"}
_SHOWN = {_WHOLE, _NUMBER, "a finite number", "true or false"}


def wanted(detail: ErrorDetails) -> str:
    """What pydantic wanted in place of a value, in our words, and the value where it can not be a secret."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _LIMITS:
        return f"{_LIMITS[kind].format(**context)} (given: {detail['input']!r})"
    if kind in ("value_error", "assertion_error"):  # a rule of ours, in its own words
        return str(context.get("error", "another value"))
    words = _WANTS.get(kind, "another value")
    return f"{words} (given: {detail['input']!r})" if words in _SHOWN else words


def in_our_words(error: BaseException) -> str:
    """What an exception that nobody foresaw says: its kind and message, an OSError without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename is not None else error.strerror
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        return f"A value of {error.title}{f', {field},' if field else ''} is wrong: it wants {wanted(first)}"
    return f"{type(error).__name__}: {error}"
