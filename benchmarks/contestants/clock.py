"""Times a contestant inside its own process, imports left out, and prints what a report needs as one JSON line."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable


def measured(work: Callable[[], object]) -> None:
    """Run `work`; print its seconds and the peak memory of the process in MiB."""
    before = time.perf_counter()
    work()
    seconds = time.perf_counter() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))
