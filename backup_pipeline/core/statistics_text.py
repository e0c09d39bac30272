"""Statistics as people read them: sizes, durations, and a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backup_pipeline.core.statistics import Growth, Statistics

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
_STEP = 1000
_MINUTE = 60
_SHOWN = 30
"""Tables on a page of Markdown."""


def size(count: float) -> str:
    """A number of bytes for people, in powers of a thousand: `1.4 GB`."""
    value, unit = abs(count), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    sign = "-" if count < 0 else ""
    return f"{sign}{value:,.0f} {_UNITS[unit]}" if unit == 0 else f"{sign}{value:,.1f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Seconds for people: `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def counted(counts: Mapping[str, int]) -> str:
    """`12 automatic, 3 manual`."""
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())


def facts(of: Statistics) -> Iterator[tuple[str, str]]:
    """The statistics but for the tables, a name and a value each."""
    held = f", {of.held} held" if of.held else ""
    split = "; ".join(part for part in (counted(of.by_type), counted(of.by_kind)) if part)
    yield "Backups there", f"{of.backups:,}{f' ({split}{held})' if split else ''}"
    if of.sizes:
        sizes = of.sizes
        yield "Bundles", f"{size(sizes.total)} in all; newest {size(sizes.newest)}, largest {size(sizes.largest)}"
    if of.stored is not None:
        parts = ", ".join(f"{name} {size(count)}" for name, count in of.stored.items())
        yield "In the store", f"{size(sum(of.stored.values()))} ({parts})"
    ends = f" ({counted(of.ends)})" if of.ends else ""
    yield f"Attempts, {of.days} days", f"{of.attempts:,}{ends}"
    yield "Success rate", "not known yet" if of.success_rate is None else f"{of.success_rate:.1%}"
    if of.durations:
        yield "Duration", f"median {duration(of.durations.median)}, 95% within {duration(of.durations.p95)}"
    for ahead in of.forecast:
        yield f"In {ahead.days} days", f"{size(ahead.bytes)} in {ahead.backups:,} backups"
    if of.forecast_basis:
        yield "Forecast", of.forecast_basis


def per_day(growth: float | None, *, as_bytes: bool = False) -> str:
    """`+120`, `-3.5`, `+1.2 MB`; empty before it can be said."""
    if growth is None:
        return ""
    if as_bytes:
        return f"{'+' if growth > 0 else ''}{size(growth)}"
    return f"{growth:+,.0f}" if float(growth).is_integer() else f"{growth:+,.1f}"


def markdown(of: Statistics) -> str:
    """The statistics as a page of Markdown."""
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts(of)), ""]
    lines += ["| table | rows | a day | bytes | a day |", "|---|---:|---:|---:|---:|"]
    lines += [_row(name, table) for name, table in list(of.tables.items())[:_SHOWN]]
    left = len(of.tables) - _SHOWN
    return "\n".join([*lines, *([f"\nand {left} more tables"] if left > 0 else [])])


def _row(name: str, table: Growth) -> str:
    size_now = "" if table.bytes is None else size(table.bytes)
    a_day, bytes_a_day = per_day(table.rows_per_day), per_day(table.bytes_per_day, as_bytes=True)
    return f"| {name} | {table.rows:,} | {a_day} | {size_now} | {bytes_a_day} |"
