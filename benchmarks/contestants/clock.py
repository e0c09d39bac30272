"""Times a contestant inside its own process, imports left out, and prints what a report needs as one JSON line."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path


def measured(work: Callable[[], int | None]) -> None:
    """Run `work`; print its seconds, those of its CPU, the peak memory in MiB, and the rows it says it wrote (null
    when it can not say).

    The peak is this process's, or that of the largest program it started, if that is more.
    """
    before, used = time.perf_counter(), cpu_seconds()
    rows = work()
    seconds, cpu = time.perf_counter() - before, cpu_seconds() - used
    peak = max(own_peak(), children_peak()) / 1024
    print(json.dumps({"seconds": seconds, "cpu_s": cpu, "peak_mib": peak, "rows": rows}))


def cpu_seconds() -> float:
    """User and system time of this process and of the programs that it started and that have ended."""
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def children_peak() -> int:
    """The peak memory, in KiB, of the largest program that this process started and that has ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def own_peak() -> int:
    # ru_maxrss starts with what the parent had before exec; VmHWM is this program's own.
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
