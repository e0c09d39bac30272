"""What pgbench says: transactions a second, the average latency, and the 95th percentile from its logs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TPS = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)
_LATENCY = re.compile(r"^latency average = ([\d.]+) ms", re.MULTILINE)
_TIME_FIELD = 2
"""Of a line in a transaction log: client, number, microseconds, …"""


@dataclass(frozen=True)
class Felt:
    """What the application's clients felt."""

    tps: float
    latency_ms: float
    p95_ms: float


def felt(summary: str, logs: Iterable[str]) -> Felt:
    """The numbers in pgbench's summary and its transaction logs; ValueError when they are not there."""
    tps, latency = _TPS.search(summary), _LATENCY.search(summary)
    times = sorted(int(line.split()[_TIME_FIELD]) for log in logs for line in log.splitlines() if line)
    if not tps or not latency or not times:
        message = (
            f"pgbench did not say what was expected: {summary[-500:]!r}, and {len(times)} transactions in its logs"
        )
        raise ValueError(message)
    return Felt(float(tps[1]), float(latency[1]), times[min(int(len(times) * 0.95), len(times) - 1)] / 1000)
