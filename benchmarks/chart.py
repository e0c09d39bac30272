"""The chart of the races as SVG: a panel for each table, a bar for each contestant, on light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.values import OURS, Race, Results, Timing

_PANELS = {
    "bench_bigint": "bigint key, 9 columns",
    "bench_uuid": "uuid key in random order, 9 columns",
    "bench_wide": "60 columns",
    "bench_narrow": "3 columns",
}
_WIDTH, _LABELS, _VALUES, _MARGIN = 860, 300, 120, 24
_ROW, _BAR, _HEAD, _TOP, _FOOT = 26, 16, 46, 74, 48
_LONGEST = 4.0
"""A bar that is longer than so many of ours is cut off, and marked as such: else nobody could compare the others."""

_STYLE = """
svg { color-scheme: light dark; font: 13px system-ui, sans-serif; }
.card { fill: #ffffff; stroke: #d0d7de; } text { fill: #1f2328; } .soft { fill: #59636e; }
.title { font-size: 17px; font-weight: 600; } .head { font-weight: 600; } .axis { stroke: #d0d7de; }
.ours { fill: #0969da; } .both { fill: #6e7781; } .one { fill: #b5bcc4; } .cut { stroke: #ffffff; stroke-width: 3; }
@media (prefers-color-scheme: dark) {
.card { fill: #151b23; stroke: #3d444d; } text { fill: #f0f6fc; } .soft { fill: #9198a1; } .axis { stroke: #3d444d; }
.ours { fill: #4493f8; } .both { fill: #9198a1; } .one { fill: #5a626b; } .cut { stroke: #151b23; } }
"""


def chart(results: Results) -> str:
    """The SVG; a table that was not measured has no panel."""
    races = [results.races[name] for name in _PANELS if name in results.races and results.races[name].of(OURS)]
    height = _TOP + sum(_height(race) for race in races) + _FOOT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
            "<title>Seconds to export one PostgreSQL table, by tool</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="card" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>',
            *_heading(),
            *_panels(races),
            _text(_MARGIN, height - 18, _footer(races), "soft"),
            "</svg>",
            "",
        ]
    )


def _heading() -> Iterator[str]:
    yield _text(_MARGIN, 34, "Seconds to export one table (shorter is better)", "title")
    legend = (("ours", OURS), ("both", "others that write Parquet and CSV"), ("one", "writes one format, or none"))
    x = _MARGIN
    for style, text in legend:
        yield f'<rect class="{style}" x="{x}" y="50" width="12" height="12" rx="2"/>'
        yield _text(x + 18, 61, text, "soft")
        x += 40 + 7 * len(text)


def _footer(races: Sequence[Race]) -> str:
    text = "Medians of the rounds. Each table has its own scale; a bar with a cut is longer than it is drawn."
    machine = races[0].facts.machine if races else {}
    return " ".join([text, *(f"{name}: {machine[name]}." for name in ("CPU", "cores") if name in machine)])


def _panels(races: Sequence[Race]) -> Iterator[str]:
    y = _TOP
    for race in races:
        yield from _panel(race, y)
        y += _height(race)


def _height(race: Race) -> int:
    return _HEAD + _ROW * len(race.timings)


def _panel(race: Race, y: int) -> Iterator[str]:
    our = race.of(OURS) or race.timings[0]
    end = min(max(timing.median for timing in race.timings), our.median * _LONGEST)
    yield _text(_MARGIN, y + 26, f"{_PANELS[race.name]}: {our.rows:,} rows", "head")
    axis = _MARGIN + _LABELS
    yield f'<line class="axis" x1="{axis}" x2="{axis}" y1="{y + _HEAD - 8}" y2="{y + _height(race) - 4}"/>'
    for number, timing in enumerate(race.timings):
        yield from _bar(timing, our, end, y + _HEAD + number * _ROW)


def _bar(timing: Timing, our: Timing, end: float, y: int) -> Iterator[str]:
    start, room = _MARGIN + _LABELS, _WIDTH - 2 * _MARGIN - _LABELS - _VALUES
    length = max(room * min(timing.median / end, 1.0), 1.0)
    style = "ours" if timing.who == OURS else "both" if timing.writes == our.writes else "one"
    yield _text(start - 10, y + 8, f"{timing.who} ({timing.writes})", "", end=True)
    yield f'<rect class="{style}" x="{start}" y="{y - 5}" width="{length:.1f}" height="{_BAR}" rx="2"/>'
    if timing.median > end:
        x = start + length - 14
        yield f'<line class="cut" x1="{x - 4:.1f}" y1="{y + 14}" x2="{x + 4:.1f}" y2="{y - 8}"/>'
    ratio = "" if timing is our else f" ({timing.median / our.median:.2f} ×)"
    yield _text(start + length + 8, y + 8, f"{timing.median:.2f} s{ratio}", "head" if timing is our else "")


def _text(x: float, y: float, text: str, style: str, *, end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    named = f' class="{style}"' if style else ""
    return f'<text x="{x:.0f}" y="{y:.0f}"{named}{anchor}>{escape(text)}</text>'
