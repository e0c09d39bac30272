"""Faults strike the call they are planned for, do what they say, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.core.errors import StoreError
from backup_pipeline_tests.doubles.stores import FaultyStore, MemoryStore, StoreFault

BROKEN = StoreError("broken")


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


def test_a_fault_strikes_from_its_call_on_and_as_often_as_planned(store: FaultyStore) -> None:
    store.on("put", StoreFault(nth=2, times=2, error=BROKEN))
    outcomes = []
    for number in range(5):
        try:
            store.put(f"k{number}", [b"1"])
            outcomes.append("ok")
        except StoreError:
            outcomes.append("broken")
    assert outcomes == ["ok", "broken", "broken", "ok", "ok"]
    assert store.calls["put"] == 5
    assert [each.key for each in store.list("")] == ["k0", "k3", "k4"]


def test_an_error_can_come_after_some_chunks(store: FaultyStore) -> None:
    store.on("put", StoreFault(error=BROKEN, after=2))
    with pytest.raises(StoreError, match="broken"):
        store.put("k", [b"1", b"2", b"3"])
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (StoreFault(truncate=0), b""),
        (StoreFault(truncate=3), b"abc"),
        (StoreFault(truncate=4), b"abcd"),
        (StoreFault(truncate=99), b"abcdef"),
        (StoreFault(flip=0), b"`bcdef"),
        (StoreFault(flip=8 * 5 + 1), b"abcded"),
        (StoreFault(flip=8 * 99), b"abcdef"),
    ],
)
def test_bytes_are_cut_or_flipped_on_their_way_in_and_out(
    store: FaultyStore, fault: StoreFault, expected: bytes, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"abcdef")
    store.on("put", fault).on("put_file", fault)
    store.put("in", [b"ab", b"", b"cd", b"ef"])
    store.put_file("file", tmp_path / "file")
    assert store.get("in") == store.get("file") == expected
    store.put("out", [b"abcdef"])
    store.on("get", fault).on("stream", fault)
    assert store.get("out") == b"".join(store.stream("out")) == expected
    assert store.get("out") == b"abcdef"


def test_something_can_happen_just_before_a_call(store: FaultyStore) -> None:
    store.put("k", [b"1"])
    store.on("get", StoreFault(before=lambda key: store.inner.put(key, [b"changed"])))
    assert store.get("k") == b"changed"
