"""The state of keys: what a tick reads of a large system does not stay in memory until its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from backup_pipeline.formats.business_state import DuckKeyStates

ROWS, BATCHES = 5_000, 40


def keys() -> Iterator[pa.RecordBatch]:
    """Batches of their own memory, as a snapshot gives them."""
    for number in range(BATCHES):
        names = [f"{number:05d}-{row:08d}" for row in range(ROWS)]
        columns = {"business": [f"b{number}"] * ROWS, "key": names, "version": [number] * ROWS}
        yield pa.RecordBatch.from_pydict(columns)


def test_keys_that_were_taken_are_let_go_before_the_tick_ends(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    with DuckKeyStates(tmp_path).open("large") as state:
        state.begin(["sales"], [])
        state.fresh("sales", keys())
        state.compare("sales", keys())
        state.missing("sales", [f"b{number}" for number in range(BATCHES)], keys())
        held = pa.total_allocated_bytes() - before
        assert held < 2 * next(keys()).nbytes, f"{held:,} bytes of Arrow are still there"
        assert state.expected("sales") == ROWS * BATCHES
        assert state.changes("sales") == {}
