"""With which SQLSTATE a server refuses a connection: the driver keeps the words alone, which come in any language."""

from __future__ import annotations

import ctypes
import re
import select
import time
from collections.abc import Callable
from typing import Any

from backup_pipeline.postgres.libpq import function_address

_PATIENCE_S = 10.0
_FAILED, _READING, _WRITING, _OK = 0, 1, 2, 3  # libpq's PostgresPollingStatusType
_VERBOSE = 2  # libpq's PGVerbosity
# A server's severity and code, as libpq writes them at this verbosity: `FATAL:  28P01: password …`
_STATE = re.compile(r":  ([0-9A-Z]{5}): ")
# The severity has no spaces in it; what libpq says by itself has a single one behind its colon.
_ANSWERED = re.compile(r": [^\s:]+:  |^[^\s:]+:  ")


def server_answered(message: str) -> bool:
    """Whether the error of a connection holds the server's own words, as opposed to those of libpq or the network."""
    return bool(_ANSWERED.search(message))


def refusal_state(conninfo: str, patience_s: float = _PATIENCE_S) -> str:
    """The SQLSTATE with which the server refuses a connection; empty when it takes it, or none comes.

    A connection more is made for it, by libpq itself: only there can the code be asked for before the first answer.
    """
    start = _function("PQconnectStart", ctypes.c_void_p, ctypes.c_char_p)
    connection = start(conninfo.encode())
    if not connection:
        return ""
    try:
        _function("PQsetErrorVerbosity", ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(connection, _VERBOSE)
        if _polled(connection, time.monotonic() + patience_s) != _FAILED:
            return ""
        message = _function("PQerrorMessage", ctypes.c_char_p, ctypes.c_void_p)(connection) or b""
    finally:
        _function("PQfinish", None, ctypes.c_void_p)(connection)
    states = _STATE.findall(message.decode(errors="replace"))
    return str(states[-1]) if states else ""


def _polled(connection: int, deadline: float) -> int:
    """How the connection came out; _WRITING when it took too long."""
    poll = _function("PQconnectPoll", ctypes.c_int, ctypes.c_void_p)
    descriptor = _function("PQsocket", ctypes.c_int, ctypes.c_void_p)
    state = _WRITING
    while state in {_READING, _WRITING}:
        socket, left = descriptor(connection), deadline - time.monotonic()
        if left <= 0:
            return _WRITING
        if socket >= 0:
            select.select([socket] if state == _READING else [], [socket] if state == _WRITING else [], [], left)
        state = poll(connection)
    return state


def _function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    return ctypes.CFUNCTYPE(result, *arguments)(function_address(name))
