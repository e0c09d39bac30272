"""Faults in a ledger: some methods of a real one do something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")


class _Faulty:
    def __init__(self, inner: object, instead: dict[str, Any]) -> None:
        self._inner, self._instead = inner, instead

    def __getattr__(self, name: str) -> Any:
        return self._instead.get(name) or getattr(self._inner, name)


def faulty(inner: T, **instead: Any) -> T:
    """`inner`, a ledger or one of its parts, with other methods (or parts) under the names that are given."""
    return cast(T, _Faulty(inner, instead))


def raising(error: BaseException) -> Callable[..., Any]:
    """A method that raises `error`, whatever it is given."""

    def method(*_: object, **__: object) -> Any:
        raise error

    return method
