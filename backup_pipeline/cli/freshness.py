"""How the catalogs stand, as a table in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from backup_pipeline.core.due_state import Freshness, State
from backup_pipeline.core.verified import age

_STYLES = {State.FRESH: "green", State.OVERDUE: "bold red", State.WAITING: "yellow", State.UNSCHEDULED: "dim"}


def freshness_table(stands: Sequence[Freshness]) -> Table:
    """A line for each catalog."""
    table = Table(box=None, pad_edge=False)
    for name in ("Catalog", "State", "Newest good", "Began", "Was due", "Due next"):
        table.add_column(name, no_wrap=True)
    for name in ("Missed", "Failed"):
        table.add_column(name, justify="right")
    for one in stands:
        table.add_row(
            one.catalog,
            Text(one.state, style=_STYLES[one.state]),
            one.newest or "",
            age(one.newest_at, one.at) if one.newest_at else "",
            _minute(one.due),
            _minute(one.next_due),
            str(len(one.missed)),
            str(one.failed),
        )
    return table


def _minute(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else ""
