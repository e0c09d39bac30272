"""Charts as SVG, made on the server, each with the table of its numbers: nothing is only a picture.

Colours and fonts are those of the style sheet: a chart has classes, and no style of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from math import floor, log10
from zoneinfo import ZoneInfo

from markupsafe import Markup

from backup_pipeline.core.businesses.strips import Slot, SlotStretch, counts_of
from backup_pipeline.core.due import Day
from backup_pipeline.core.text import visible

_WIDTH, _HEIGHT = 520, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 12, 26
_TICKS = 4
_ENDS = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8)
_LONGEST_NAME = 17
"""Letters of a name before a lying bar: wide ones fit, too."""
_MOST_POINTS = 60
"""More points than these are a line without dots."""


@dataclass(frozen=True)
class Mark:
    """One number of a chart: where it stands (an instant, or a name), its value, and both in words.

    `tone` is a class of the style sheet: `failed`, `ahead`.
    """

    at: datetime | str
    value: float
    name: str
    text: str
    tone: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart: its title, what its marks are of (`Backup`, `Size`), and how a number on its axis is written.

    `note` is a sentence below the title. Marks stand in their order, which for instants is that of time.
    """

    title: str
    columns: tuple[str, str]
    marks: tuple[Mark, ...]
    axis: Callable[[float], str]
    note: str = ""
    empty: str = "There is nothing to draw yet."


def line_chart(chart: Chart) -> Markup:
    """A line over time; where nothing was, nothing is drawn nearer together."""
    if not chart.marks:
        return _figure(chart, Markup('<p class="quiet">{}</p>').format(chart.empty))
    instants = [mark.at.timestamp() for mark in chart.marks if isinstance(mark.at, datetime)]
    top = _nice(max(mark.value for mark in chart.marks))
    first, span = instants[0], (instants[-1] - instants[0]) or 1.0
    inner = _WIDTH - _LEFT - _RIGHT
    places = [
        (_LEFT + inner * ((at - first) / span if len(instants) > 1 else 0.5), _y(mark.value, top))
        for at, mark in zip(instants, chart.marks, strict=True)
    ]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    floor_y = _HEIGHT - _BOTTOM
    area = f"{path}L{places[-1][0]:.1f} {floor_y}L{places[0][0]:.1f} {floor_y}Z"
    radius = 3 if len(places) <= _MOST_POINTS else 0
    dots = Markup().join(
        Markup('<circle class="point {}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
            mark.tone, f"{x:.1f}", f"{y:.1f}", radius, f"{mark.name}: {mark.text}"
        )
        for (x, y), mark in zip(places, chart.marks, strict=True)
    )
    drawn = Markup('<path class="area" d="{}"/><path class="line" d="{}"/>{}').format(area, path, dots)
    return _figure(chart, _svg(chart, top, drawn + _ends(chart)))


def bar_chart(chart: Chart) -> Markup:
    """A bar for each mark, side by side."""
    if not chart.marks:
        return _figure(chart, Markup('<p class="quiet">{}</p>').format(chart.empty))
    top = _nice(max(mark.value for mark in chart.marks))
    step = (_WIDTH - _LEFT - _RIGHT) / len(chart.marks)
    width = min(step * 0.62, 64)
    return _figure(chart, _svg(chart, top, Markup().join(_bars(chart.marks, top, step, width))))


def _bars(marks: Sequence[Mark], top: float, step: float, width: float) -> Iterable[Markup]:
    bar = Markup('<rect class="bar {}" x="{}" y="{}" width="{}" height="{}" rx="2"><title>{}</title></rect>')
    word = Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>')
    every = -(-len(marks) // 8)
    for number, mark in enumerate(marks):
        middle, y = _LEFT + step * (number + 0.5), _y(mark.value, top)
        height = max(_HEIGHT - _BOTTOM - y, 1.0)
        named = f"{mark.name}: {mark.text}"
        yield bar.format(mark.tone, f"{middle - width / 2:.1f}", f"{y:.1f}", f"{width:.1f}", f"{height:.1f}", named)
        if number % every == 0:
            yield word.format(
                f"{middle:.1f}", _HEIGHT - 8, visible(str(mark.at) if isinstance(mark.at, str) else mark.name)
            )


def ranked_chart(chart: Chart, *, most: int = 10) -> Markup:
    """A lying bar for each mark, the largest first; the table has them all."""
    marks = sorted(chart.marks, key=lambda mark: -mark.value)[:most]
    if not marks:
        return _figure(chart, Markup('<p class="quiet">{}</p>').format(chart.empty))
    top, row, left = max(mark.value for mark in marks) or 1.0, 22, 130
    height = row * len(marks) + 6
    pieces = Markup().join(_lying(mark, number, top, row, left) for number, mark in enumerate(marks))
    svg = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return _figure(chart, svg.format(_WIDTH, height, chart.title, pieces))


def _lying(mark: Mark, number: int, top: float, row: int, left: int) -> Markup:
    y, width = 4 + row * number, (_WIDTH - left - 160) * max(mark.value, 0) / top
    short = mark.name if len(mark.name) <= _LONGEST_NAME else f"{mark.name[: _LONGEST_NAME - 1]}…"
    whole = Markup(
        '<text x="{}" y="{}" text-anchor="end">{}</text><rect class="bar {}" x="{}" y="{}" width="{}" height="14" '
        'rx="2"><title>{}</title></rect><text x="{}" y="{}">{}</text>'
    )
    return whole.format(
        left - 8, y + 11, visible(short), mark.tone, left, y, f"{max(width, 1):.1f}",
        f"{mark.name}: {mark.text}", f"{left + max(width, 1) + 6:.1f}", y + 11, mark.text,
    )  # fmt: skip


def strip(
    days: Sequence[tuple[date, Day]], before: Callable[[date], bool], link: Callable[[date], str] | None = None
) -> Markup:
    """A cell for each day, the oldest first: its height and its colour say what became of it, its title in words.

    With a `link` each day leads there.
    """
    step = 10
    drawn = [_cell(number * step, day, state, known=not before(day)) for number, (day, state) in enumerate(days)]
    if link is not None:
        lead = Markup('<a href="{}" aria-label="{}">{}</a>')
        named = zip(days, drawn, strict=True)
        drawn = [lead.format(link(day), f"{day.isoformat()}: {state.value}", cell) for (day, state), cell in named]
    counts = {state: sum(own is state for _, own in days) for state in Day}
    words = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count and state is not Day.NONE)
    svg = Markup('<svg class="strip" viewBox="0 0 {} 34" preserveAspectRatio="none" role="{}" aria-label="{}">{}</svg>')
    label = f"The last {len(days)} days: {words or 'nothing yet'}"
    return svg.format(max(step * len(days) - 2, 1), "group" if link else "img", label, Markup().join(drawn))


_HEIGHTS = {Day.LATE: 24, Day.PARTIAL: 16, Day.RUNNING: 12, Day.EXPECTED: 12, Day.REMOVED: 8, Day.NONE: 4}


def _cell(x: int, day: date, state: Day, *, known: bool) -> Markup:
    if not known and state is Day.NONE:
        whole = Markup('<rect class="cell before" x="{}" y="31" width="8" height="2"><title>{}</title></rect>')
        return whole.format(x, f"{day.isoformat()}: before the first backup")
    title = f"{day.isoformat()}: {state.value}, {state.meaning}"
    if state is Day.MISSED:
        whole = Markup(
            '<g><title>{}</title><rect class="cell missed" x="{}" y="0" width="8" height="10"/>'
            '<rect class="cell missed" x="{}" y="24" width="8" height="10"/></g>'
        )
        return whole.format(title, x, x)
    height = _HEIGHTS.get(state, 34)
    whole = Markup('<rect class="cell {}" x="{}" y="{}" width="8" height="{}"><title>{}</title></rect>')
    return whole.format(state.value, x, 34 - height, height, title)


_SLOTS = {Slot.PROTECTED: (0, 34), Slot.SKIPPED: (18, 16), Slot.LEFT_OUT: (26, 8), Slot.NONE: (31, 2)}
"""Where a cell begins and how high it is; what is missing has a hole in it."""


def tick_strip(stretches: Sequence[SlotStretch], zone: str) -> Markup:
    """The scheduled times of a day, the oldest first, those in a row that were alike as one cell as wide as they are.

    Its label says in words what it shows, each gap with its times on the clock of `zone`.
    """
    cells, x = [], 0
    for each in stretches:
        cells.append(_stretch(x, each, zone))
        x += each.count
    svg = Markup(
        '<svg class="strip ticks" viewBox="0 0 {} 34" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    )
    return svg.format(max(x, 1), f"The last {x} ticks: {slots_in_words(stretches, zone)}", Markup().join(cells))


def slots_in_words(stretches: Sequence[SlotStretch], zone: str, *, most: int = 12) -> str:
    """How many times of each sort, then when the gaps were, at most the newest so many."""
    counts = ", ".join(f"{count} {slot.value}" for slot, count in counts_of(stretches).items())
    gaps = [_named_stretch(each, zone) for each in stretches if each.slot.is_gap]
    more = f"{len(gaps) - most} more before" if len(gaps) > most else ""
    return "; ".join(part for part in (counts or "nothing yet", more, *gaps[-most:]) if part)


def _named_stretch(each: SlotStretch, zone: str) -> str:
    first, last = (f"{at.astimezone(ZoneInfo(zone)):%H:%M}" for at in (each.first, each.last))
    return f"{each.slot.value} {first}" if each.count == 1 else f"{each.slot.value} {first} to {last} ({each.count})"


def _stretch(x: int, each: SlotStretch, zone: str) -> Markup:
    title = _named_stretch(each, zone)
    name = each.slot.value.replace(" ", "-")
    if each.slot in {Slot.FAILED, Slot.MISSED}:
        whole = Markup(
            '<g><title>{}</title><rect class="cell {}" x="{}" y="0" width="{}" height="{}"/>'
            '<rect class="cell {}" x="{}" y="24" width="{}" height="10"/></g>'
        )
        return whole.format(title, name, x, each.count, 20 if each.slot is Slot.FAILED else 10, name, x, each.count)
    y, height = _SLOTS[each.slot]
    whole = Markup('<rect class="cell {}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>')
    return whole.format(name, x, y, each.count, height, title)


def strip_chart(chart: Chart, drawn: Markup) -> Markup:
    """A strip with the title and the numbers of a chart."""
    return _figure(chart, drawn)


def _figure(chart: Chart, drawn: Markup) -> Markup:
    note = Markup('<p class="quiet">{}</p>').format(chart.note) if chart.note else Markup()
    rows = Markup().join(
        Markup('<tr><td data-label="{}">{}</td><td data-label="{}" class="number">{}</td></tr>').format(
            chart.columns[0], visible(mark.name), chart.columns[1], mark.text
        )
        for mark in chart.marks
    )
    table = Markup(
        '<details><summary>Show the numbers</summary><div class="scroll" tabindex="0"><table class="cards">'
        '<caption class="unseen">{}</caption><thead><tr><th scope="col">{}</th><th scope="col" class="number">{}</th>'
        "</tr></thead><tbody>{}</tbody></table></div></details>"
    )
    numbers = table.format(chart.title, *chart.columns, rows) if chart.marks else Markup()
    whole = Markup('<figure class="card"><figcaption><h2>{}</h2>{}</figcaption>{}{}</figure>')
    return whole.format(chart.title, note, drawn, numbers)


def _svg(chart: Chart, top: float, drawn: Markup) -> Markup:
    grid = Markup().join(_tick(top * number / _TICKS, top, chart.axis) for number in range(_TICKS + 1))
    svg = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>')
    label = f"{chart.title}; the newest: {chart.marks[-1].text}"
    return svg.format(_WIDTH, _HEIGHT, label, grid, drawn)


def _tick(value: float, top: float, axis: Callable[[float], str]) -> Markup:
    y = _y(value, top)
    line = Markup('<path class="{}" d="M{} {}H{}"/><text x="{}" y="{}" text-anchor="end">{}</text>')
    name = "axis" if value == 0 else "rule"
    return line.format(name, _LEFT, f"{y:.1f}", _WIDTH - _RIGHT, _LEFT - 8, f"{y + 4:.1f}", axis(value))


def _ends(chart: Chart) -> Markup:
    """The first and the last instant below the line."""
    word = Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>')
    first, last = chart.marks[0], chart.marks[-1]
    if first is last:
        return word.format((_WIDTH + _LEFT) // 2, _HEIGHT - 8, "middle", first.name)
    return word.format(_LEFT, _HEIGHT - 8, "start", first.name) + word.format(
        _WIDTH - _RIGHT, _HEIGHT - 8, "end", last.name
    )


def _y(value: float, top: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / top)


def _nice(value: float) -> float:
    """The end of an axis, not below `value`, whose quarters are short numbers."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next((step * power for step in _ENDS if step * power >= value), 10 * power)
