"""The very libpq that psycopg uses, for compiled code that works on psycopg's connections."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib import import_module
from typing import Any

import psycopg


@cache
def function_address(name: str) -> int:
    """The address of libpq's function `name`."""
    found = ctypes.cast(getattr(_libpq(), name), ctypes.c_void_p).value
    if found is None:
        message = f"libpq has no function {name}."
        raise LookupError(message)
    return found


def connection_address(connection: psycopg.Connection[Any]) -> int:
    """The address of libpq's connection (PGconn)."""
    address: int = connection.pgconn.pgconn_ptr  # type: ignore[attr-defined]  # every implementation of pq has it
    return address


@cache
def _libpq() -> ctypes.CDLL:
    if psycopg.pq.__impl__ == "binary":
        # Names are looked up in the extension module, then in what it was linked with.
        return ctypes.CDLL(import_module("psycopg_binary.pq").__file__)
    return ctypes.CDLL(psycopg.pq.misc.find_libpq_full_path() or "libpq.so.5")
