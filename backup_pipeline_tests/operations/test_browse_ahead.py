"""Tests of working ahead: the same items in the same order, errors in their place, and no thread left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from backup_pipeline.operations.browse import ahead


def threads() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


def test_everything_comes_in_order() -> None:
    assert list(ahead(iter(range(1000)), depth=3)) == list(range(1000))
    assert list(ahead(iter(()))) == []
    assert threads() == 0


def test_it_runs_ahead_but_not_far() -> None:
    made: list[int] = []

    def counts() -> Iterator[int]:
        for n in range(100):
            made.append(n)
            yield n

    items = ahead(counts(), depth=3)
    assert next(items) == 0
    time.sleep(0.2)
    assert 3 <= len(made) <= 6
    items.close()
    assert threads() == 0
    assert len(made) < 12


def test_an_error_comes_where_it_happened() -> None:
    def fails() -> Iterator[int]:
        yield 1
        yield 2
        message = "no more"
        raise OSError(message)

    items = ahead(fails())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(OSError, match="no more"):
        next(items)
    assert threads() == 0
