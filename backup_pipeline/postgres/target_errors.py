"""What the target's server says while a restore goes on, as errors of this project."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from backup_pipeline.core.errors import BackupError, PreflightRefusedError, TargetError, TargetUnavailableError
from backup_pipeline.postgres.connect import UnsuitableConnectionError
from backup_pipeline.postgres.endpoint import Endpoint
from backup_pipeline.postgres.errors import connection_lost, refusal_rule, refused_with, server_said, sqlstate_of

_AS_BEFORE = "The target is as it was."
_RULES: dict[str, tuple[type[BackupError], str]] = {
    "23503": (PreflightRefusedError, "Restore the table it refers to as well (--table), or use another backup."),
    "23502": (PreflightRefusedError, "Give new rows a value for that column with --fill TABLE.COLUMN=VALUE."),
    "42501": (TargetError, "Connect as the owner of the tables, or GRANT what is missing to the role."),
    "55P03": (TargetUnavailableError, "Somebody holds a lock on it (see pg_locks): run again when that is done."),
    "40P01": (TargetUnavailableError, "Two transactions waited for each other: run it again when less goes on."),
    "53100": (TargetError, "The server's disk is full: free space there."),
    "25006": (TargetError, "It is a standby or set read-only: connect to the primary."),
    "23505": (TargetError, "A row of the target has the same value: use --mode replace, or restore it beside."),
    "57014": (TargetError, "Somebody canceled it, or it ran longer than the statement timeout."),
}
# `COPY orders, line 7, column at: "…"`, in the server's language.
_COLUMN = re.compile(r"COPY .*?, \w+ (\d+)(?:, \w+ ([^:\n]+))?")


_AT_THE_DOOR: dict[str, tuple[type[TargetError], str]] = {
    "28": (TargetError, "Correct the user and the password in the target's URL, or pg_hba.conf on the server."),
    "3D000": (TargetError, "Create the database first, or correct its name in the target's URL."),
    "42501": (TargetError, "GRANT CONNECT on the database to the role of the target's URL."),
}


def connect_error(error: psycopg.Error, endpoint: Endpoint) -> TargetError:
    """Why the connection could not be made."""
    if isinstance(error, UnsuitableConnectionError):
        return TargetError(error.what, do=error.do)
    said, state = endpoint.redact(server_said(error)), refused_with(error, endpoint)
    rule, advice = refusal_rule(state, said)
    usual = (TargetUnavailableError if rule.transient else TargetError, advice)
    kind, do = _AT_THE_DOOR.get(state, usual)
    return kind(f"Can not connect to {endpoint}: {said}", do=do)


def target_error(error: psycopg.Error, endpoint: Endpoint, doing: str) -> BackupError:
    """Why a statement failed; `doing` is what it was for, such as `loading public.customers`."""
    said = endpoint.redact(server_said(error)) or "the connection was lost"
    where = _COLUMN.search(error.diag.context or "")
    if where:
        said += f" (row {where[1]}" + (f", column {where[2]})" if where[2] else ")")
    what = f"{doing[:1].upper()}{doing[1:]} failed in {endpoint}: {said}"
    if connection_lost(error):
        return TargetUnavailableError(what, do=f"{_AS_BEFORE} Look at the server's log, then run it again.")
    kind, do = _RULES.get(sqlstate_of(error), (TargetError, "Look at the message and the server's log."))
    return kind(what, do=f"{_AS_BEFORE} {do}")


@contextmanager
def told_as_target_errors(endpoint: Endpoint, doing: str) -> Iterator[None]:
    """Errors of psycopg come out as those of this project."""
    try:
        yield
    except psycopg.Error as error:
        raise target_error(error, endpoint, doing) from error
