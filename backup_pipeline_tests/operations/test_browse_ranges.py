"""Reading by ranges gives the same bytes as reading whole, with few requests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.ports import BytesMoved, Event, Silence
from backup_pipeline.operations.browse import Ranges
from backup_pipeline_tests.doubles.stores import FaultyStore, MemoryStore

CONTENT = bytes(range(256)) * 2


@given(
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 300)), max_size=12),
    st.integers(1, 200),
)
def test_any_range_gives_what_a_slice_gives(asked: list[tuple[int, int]], window: int) -> None:
    store = MemoryStore()
    store.put("object", [CONTENT])
    ranges = Ranges(store, "object", len(CONTENT), Silence(), window=window)
    for start, length in asked:
        assert ranges.read(start, length) == CONTENT[start : start + length]


def test_reading_on_in_small_steps_asks_the_store_once_a_window() -> None:
    inner = MemoryStore()
    inner.put("object", [CONTENT])
    store = FaultyStore(inner)
    ranges = Ranges(store, "object", len(CONTENT), Silence(), window=128)
    assert b"".join(ranges.read(at, 16) for at in range(0, len(CONTENT), 16)) == CONTENT
    assert store.calls["stream"] == len(CONTENT) // 128


@given(st.integers(1, 200), st.integers(1, 300))
def test_reading_through_in_steps_of_any_size_fetches_no_byte_twice(window: int, step: int) -> None:
    store = MemoryStore()
    store.put("object", [CONTENT])
    counted = Counting()
    ranges = Ranges(store, "object", len(CONTENT), counted, window=window)
    seen = b""
    while some := ranges.some(len(seen), step):
        seen += some
    assert seen == CONTENT
    assert counted.bytes == len(CONTENT)


class Counting:
    """The port `Progress`: counts the bytes that came from the store."""

    bytes = 0

    def tell(self, event: Event) -> None:
        assert isinstance(event, BytesMoved)
        self.bytes += event.bytes
