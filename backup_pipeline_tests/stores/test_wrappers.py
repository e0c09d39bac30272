"""Retries: which errors, how often, how long between them, and where they go on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from backup_pipeline.core.errors import BackupError, DiskFullError, NotFoundError, StoreError, StoreUnavailableError
from backup_pipeline.stores.wrappers import RetryingStore
from backup_pipeline_tests.doubles.stores import FaultyStore, MemoryStore, Operation, StoreFault

GONE = StoreUnavailableError("no answer")
MB = 1 << 20


class _Case:
    """A retrying store over a faulty one over memory, and the seconds it has waited."""

    def __init__(self, attempts: int = 4, chance: float = 0.0) -> None:
        self.memory = MemoryStore()
        self.faulty = FaultyStore(self.memory)
        self.waits: list[float] = []
        self.store = RetryingStore(self.faulty, attempts, self.waits.append, lambda: chance)


def _do(case: _Case, operation: Operation, path: Path) -> object:
    path.write_bytes(b"1")
    operations: dict[Operation, Callable[[], object]] = {
        "put_file": lambda: case.store.put_file("k", path),
        "get": lambda: case.store.get("k"),
        "stream": lambda: b"".join(case.store.stream("k")),
        "head": lambda: case.store.head("k"),
        "list": lambda: list(case.store.list("")),
        "delete": lambda: case.store.delete(["k"]),
        "check": case.store.check,
    }
    return operations[operation]()


RETRIED: list[Operation] = ["put_file", "get", "stream", "head", "list", "delete", "check"]


@pytest.mark.parametrize("operation", RETRIED)
def test_a_transient_error_is_waited_out(operation: Operation, tmp_path: Path) -> None:
    case = _Case()
    case.memory.put("k", [b"1"])
    case.faulty.on(operation, StoreFault(times=3, error=GONE))
    _do(case, operation, tmp_path / "file")
    assert case.waits == [0.5, 1.0, 2.0]
    assert case.faulty.calls[operation] == 4


@pytest.mark.parametrize("operation", RETRIED)
def test_a_lasting_transient_error_comes_out_after_the_last_attempt(operation: Operation, tmp_path: Path) -> None:
    case = _Case()
    case.memory.put("k", [b"1"])
    case.faulty.on(operation, StoreFault(times=None, error=GONE))
    with pytest.raises(StoreUnavailableError) as caught:
        _do(case, operation, tmp_path / "file")
    assert caught.value is GONE
    assert case.faulty.calls[operation] == 4
    assert len(case.waits) == 3


@pytest.mark.parametrize("error", [StoreError("denied"), NotFoundError("missing"), DiskFullError("full")])
@pytest.mark.parametrize("operation", RETRIED)
def test_a_permanent_error_is_not_tried_again(operation: Operation, error: BackupError, tmp_path: Path) -> None:
    case = _Case()
    case.memory.put("k", [b"1"])
    case.faulty.on(operation, StoreFault(times=None, error=error))
    with pytest.raises(type(error)):
        _do(case, operation, tmp_path / "file")
    assert case.faulty.calls[operation] == 1
    assert case.waits == []


def test_a_signature_is_tried_again() -> None:
    case = _Case()
    case.faulty.on("sign", StoreFault(times=3, error=GONE))
    with pytest.raises(BackupError, match="no URL"):
        case.store.sign("k", expires=timedelta(hours=1), file_name="k")
    assert case.faulty.calls["sign"] == 4


def test_a_put_of_chunks_that_are_read_once_is_not_tried_again() -> None:
    case = _Case()
    case.faulty.on("put", StoreFault(error=GONE))
    with pytest.raises(StoreUnavailableError):
        case.store.put("k", iter([b"1"]))
    assert case.faulty.calls["put"] == 1
    assert case.waits == []


def test_chance_shortens_a_wait_by_up_to_half_and_the_longest_wait_bounds_it() -> None:
    case = _Case(attempts=10, chance=0.5)
    case.faulty.on("check", StoreFault(times=9, error=GONE))
    case.store.check()
    assert case.waits == [0.375, 0.75, 1.5, 3.0, 6.0, 12.0, 15.0, 15.0, 15.0]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_stream_goes_on_at_the_byte_it_reached(after: int) -> None:
    case = _Case()
    content = bytes(range(256)) * (3 * 4096)
    case.memory.put("k", [content])
    case.faulty.on("stream", StoreFault(times=2, error=GONE, after=after))
    assert b"".join(case.store.stream("k", start=7, length=2 * MB + 5)) == content[7 : 7 + 2 * MB + 5]
    assert len(case.waits) == (1 if after == 2 else 2)


def test_progress_renews_the_attempts_of_a_stream() -> None:
    case = _Case(attempts=2)
    content = bytes(10 * MB)
    case.memory.put("k", [content])
    case.faulty.on("stream", StoreFault(times=None, error=GONE, after=1))
    assert b"".join(case.store.stream("k", length=9 * MB)) == content[: 9 * MB]


def test_a_stream_does_not_go_on_in_another_object() -> None:
    case = _Case()
    case.memory.put("k", [bytes(3 * MB)])
    case.faulty.on("stream", StoreFault(error=GONE, after=1))
    chunks = case.store.stream("k")
    next(chunks)
    case.memory.put("k", [b"x" * 3 * MB])
    with pytest.raises(StoreError, match="replaced"):
        next(chunks)


def test_a_list_goes_on_where_it_was_and_names_each_object_once() -> None:
    case = _Case()
    for number in range(6):
        case.memory.put(f"k{number}", [b"1"])
    case.faulty.on("list", StoreFault(times=1, error=GONE, after=2)).on("list", StoreFault(nth=2, error=GONE, after=5))
    assert [each.key for each in case.store.list("k")] == [f"k{number}" for number in range(6)]
    assert case.faulty.calls["list"] == 3


def test_each_wait_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    case = _Case()
    case.faulty.on("check", StoreFault(error=GONE))
    case.store.check()
    assert caplog.messages == ["Attempt 1 of 4 failed, the next is in 0.5 s: no answer"]
