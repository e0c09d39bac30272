"""How much memory something takes at its highest, beyond what was in use before."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

MB = 1 << 20
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Peak:
    """`bytes` are known when the context has ended."""

    bytes: int = 0


@contextmanager
def peak() -> Iterator[Peak]:
    """Measure this process; skips where the system does not tell it (Linux does)."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    try:
        _CLEAR.write_text("5")  # the peak is forgotten
    except OSError:
        pytest.skip("this system does not tell the peak of a process's memory")
    before, measured = _kilobytes("VmRSS"), Peak()
    yield measured
    measured.bytes = (_kilobytes("VmHWM") - before) * 1024


def _kilobytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])
