"""The very libpq that psycopg uses: for compiled code that works on its connections, and for programs that lack TLS."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
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
def library_file() -> Path | None:
    """The file of that libpq, where a program can be started with it in place of its own: on Linux."""
    if sys.platform != "linux":
        return None
    where = _Place()
    if not ctypes.CDLL(None).dladdr(ctypes.c_void_p(function_address("PQconnectdbParams")), ctypes.byref(where)):
        return None
    path = Path(where.file.decode()).resolve()
    return path if path.is_file() and path.name.startswith("libpq") else None


class _Place(ctypes.Structure):
    """dladdr's Dl_info: the file that an address belongs to."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )
    file: bytes


@cache
def _libpq() -> ctypes.CDLL:
    if psycopg.pq.__impl__ == "binary":
        # Names are looked up in the extension module, then in what it was linked with.
        return ctypes.CDLL(import_module("psycopg_binary.pq").__file__)
    return ctypes.CDLL(psycopg.pq.misc.find_libpq_full_path() or "libpq.so.5")
