"""What an alert says: which backup, which table, what happened, what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from backup_pipeline.core.visible import visible, visible_lines

LOG_CHANNEL = "log"
"""The channel of alerts that only the program's own log has, because no other is configured."""


def reaching(channels: Iterable[str]) -> Sequence[str]:
    """Those of the channels over which somebody is told: the log tells nobody."""
    return [channel for channel in channels if channel != LOG_CHANNEL]


class Severity(StrEnum):
    """How loud an alert is."""

    INFO = "info"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Alert:
    """One message to people. `tables` maps each table concerned to what happened to it.

    `topic` is the thread of the catalog that it belongs to (`core.threads`), empty for one that is always told;
    `failures` counts what it tells of, 0 when nothing new went wrong.
    """

    severity: Severity
    title: str
    what: str
    do: str
    catalog: str
    backup_id: str | None = None
    run_id: str | None = None
    run_url: str | None = None
    at: datetime | None = None
    tables: Mapping[str, str] = field(default_factory=dict)
    topic: str = ""
    failures: int = 1

    def body(self) -> str:
        """The message as plain text."""
        lines = [visible_lines(self.what), ""]
        lines += [f"  {visible(table)}: {visible(what)}" for table, what in self.tables.items()]
        lines += [""] if self.tables else []
        lines += [f"What to do: {visible_lines(self.do)}", ""]
        facts = {
            "Catalog": self.catalog,
            "Backup": self.backup_id,
            "Time": self.at.isoformat(timespec="seconds") if self.at else None,
            "Run": self.run_url or self.run_id,
        }
        return "\n".join(lines + [f"{name}: {value}" for name, value in facts.items() if value])


@dataclass(frozen=True)
class Delivery:
    """What became of an alert on one channel; `channel` is its URL without secrets, `error` None when delivered."""

    channel: str
    error: str | None = None
