"""A port whose settings are wrong: it says so when it is used, not when it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar, cast

from backup_pipeline.core.errors import BackupError

T = TypeVar("T")


class Unusable:
    """Stands in for a port that could not be made: every use raises the error that kept it from being made."""

    def __init__(self, error: BackupError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> NoReturn:
        raise self._error


def usable_later(make: Callable[[], T]) -> T:
    """What `make` makes; when it raises a BackupError, something that raises it at its first use."""
    try:
        return make()
    except BackupError as error:
        return cast(T, Unusable(error))
