"""Spots: where in a backup something can happen, by what the proxies hear of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from backup_pipeline_tests.faults.fault import After, Answering, Before, Effect, Fault, Moment, Sending
from backup_pipeline_tests.faults.soak.site import Site
from backup_pipeline_tests.faults.soak.turn import Turn

STAGES: Mapping[str, Mapping[str, str]] = {
    "ledger": {
        "ledger row": r"INSERT INTO backup_logs",
        "lease": r"INSERT INTO leases",
        "ledger end": r"UPDATE backup_logs SET file_name",
        "audit": r"INSERT INTO backup_audit",
        "anything of the ledger": r"",
    },
    "source": {
        "snapshot": r"pg_export_snapshot",
        "joining the snapshot": r"SET TRANSACTION SNAPSHOT",
        "COPY": r"^COPY",
        "counting": r"count\(\*\)",
        "anything of the source": r"",
    },
    "store": {
        "schema": r"^PUT .*schema\.sql",
        "partition file": r"^PUT .*/tables/.*(parquet|csv)",
        "partition record": r"^PUT .*partition\.json",
        "bundle": r"^(PUT|POST) .*\.zip",
        "bundle read back": r"^GET .*\.zip",
        "manifest": r"^(PUT|POST) .*/manifest\.json",
        "anything of the store": r"",
    },
}
"""The stages of a backup, by the proxy that hears of them."""


@dataclass(frozen=True)
class Spot:
    """Where something happens to a backup: at the `nth` time that the proxy `name` hears of a stage."""

    name: str
    stage: str
    moment: Moment
    nth: int = 1

    def fault(self, effect: Effect, times: int | None = 1) -> Fault:
        """What happens there."""
        return Fault(effect, STAGES[self.name][self.stage], self.moment, self.nth, times)

    def __str__(self) -> str:
        return f"{type(self.moment).__name__.lower()} {self.stage}"


def some_stage(turn: Turn) -> tuple[str, str]:
    """A stage, and the proxy that hears of it."""
    name = turn.chance.choice(sorted({name for name, _ in turn.site.said}))
    return name, turn.chance.choice(sorted(stage for of, stage in turn.site.said if of == name))


def some_spot(turn: Turn) -> Spot:
    """One by chance, of those that the last backup without a fault came by."""
    chance = turn.chance
    name, stage = some_stage(turn)
    moments: list[Moment] = [Before(), After()]
    if stage in ("COPY", "bundle", "partition file") and chance.random() < 0.4:
        inside = chance.randint(1, 5000)
        moments = [Answering(inside) if stage == "COPY" else Sending(inside)]
    return Spot(name, stage, chance.choice(moments), chance.randint(1, turn.site.said[name, stage]))


def met(site: Site) -> dict[tuple[str, str], int]:
    """How often each stage was met since `Site.hear_anew`."""
    found: Counter[tuple[str, str]] = Counter()
    for name, proxy in site.proxies.items():
        for said in proxy.said:
            for stage, pattern in STAGES[name].items():
                found[name, stage] += bool(re.search(pattern, f"{said.text}\n{said.values}"))
    return {stage: count for stage, count in found.items() if count}


def last_said(site: Site) -> str:
    """The stage that was heard of last."""
    said = [
        (one.seconds, name, f"{one.text}\n{one.values}") for name, proxy in site.proxies.items() for one in proxy.said
    ]
    if not said:
        return "before anything was said"
    _, name, text = max(said)
    stages = [stage for stage, pattern in STAGES[name].items() if re.search(pattern, text)]
    return f"after {stages[0]}"
