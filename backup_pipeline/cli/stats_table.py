"""How the statistics of a catalog look in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from backup_pipeline.core.statistics import Statistics
from backup_pipeline.core.statistics_text import facts, per_day, size


def print_statistics(of: Statistics, console: Console) -> None:
    """Print the catalog's name, the facts, and a line for each table."""
    console.print(Text(of.catalog, style="bold"))
    grid = Table.grid(padding=(0, 2))
    for name, value in facts(of):
        grid.add_row(Text(name), Text(value))
    console.print(grid)
    if of.tables:
        console.print()
        console.print(_tables(of))


def _tables(of: Statistics) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("Table", no_wrap=True)
    for name in ("Rows", "A day", "Bytes", "A day"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, growth in of.tables.items():
        table.add_row(
            Text(name),
            f"{growth.rows:,}",
            per_day(growth.rows_per_day),
            "" if growth.bytes is None else size(growth.bytes),
            per_day(growth.bytes_per_day, as_bytes=True),
        )
    return table
