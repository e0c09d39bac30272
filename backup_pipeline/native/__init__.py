"""The compiled loops over rows, in C: `setup.py` builds them, and nothing else in the package needs a compiler."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from backup_pipeline.core.errors import SettingsError

_NAME = "_rows"
_BUILD = "Run `touch setup.py && make setup` in a checkout, or `pip install` the package again: that builds it."
_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64


@cache
def library() -> ctypes.CDLL:
    """The library; SettingsError when it was not built."""
    folder = Path(__file__).parent
    # `.so` is what is built; the longer names are those of earlier versions, which a checkout may still hold.
    path = next((path for suffix in reversed(EXTENSION_SUFFIXES) if (path := folder / (_NAME + suffix)).exists()), None)
    if path is None:
        message = f"The compiled part of backup_pipeline is missing in {folder}."
        raise SettingsError(message, do=_BUILD)
    try:
        return _declared(ctypes.CDLL(str(path)))
    except AttributeError as error:
        message = f"The compiled part of backup_pipeline in {folder} is of an earlier version: {error}."
        raise SettingsError(message, do=_BUILD) from error


def _declared(loaded: ctypes.CDLL) -> ctypes.CDLL:
    """With the types of its functions; AttributeError when it lacks one."""
    loaded.take_rows.argtypes = [_POINTER, _POINTER, _POINTER, _COUNT]
    loaded.take_rows.restype = _COUNT
    loaded.forget_row.argtypes = [_POINTER, _POINTER]
    loaded.forget_row.restype = None
    loaded.write_lines.argtypes = [_POINTER, _COUNT, _COUNT, _POINTER]
    loaded.write_lines.restype = _COUNT
    loaded.count_byte.argtypes = [_POINTER, _COUNT, _COUNT]
    loaded.count_byte.restype = _COUNT
    loaded.begins_with.argtypes = [_POINTER, _COUNT, _COUNT, _COUNT, _POINTER, _POINTER]
    loaded.begins_with.restype = _COUNT
    loaded.write_rows.argtypes = [_POINTER, _COUNT, _COUNT, _POINTER]
    loaded.write_rows.restype = _COUNT
    loaded.write_sheet.argtypes = [_POINTER]
    loaded.write_sheet.restype = None
    return loaded
