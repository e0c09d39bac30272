"""Charts: each number of the picture stands in its table, and no name of others acts as markup."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from markupsafe import Markup

from backup_pipeline.core.due import Day
from backup_pipeline.presentation.charts import Chart, Mark, bar_chart, line_chart, ranked_chart, strip

AT = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'"
DRAWERS = [line_chart, bar_chart, ranked_chart]


def _chart(*values: float, name: str = "made") -> Chart:
    marks = tuple(
        Mark(AT + timedelta(days=number), value, f"{name} {number}", f"{value:,} rows")
        for number, value in enumerate(values)
    )
    return Chart(f"Rows {name}", ("Backup", name), marks, lambda value: f"{value:g}", f"note {name}", f"none {name}")


@pytest.mark.parametrize("draw", DRAWERS)
def test_every_number_of_the_picture_stands_in_its_table(draw: Callable[[Chart], Markup]) -> None:
    drawn = draw(_chart(5, 1000, 250))
    picture, _, table = drawn.partition("</svg>")
    for number, text in enumerate(["5 rows", "1,000 rows", "250 rows"]):
        assert f"made {number}: {text}</title>" in picture
        assert f'<td data-label="Backup">made {number}</td><td data-label="made" class="number">{text}</td>' in table


@pytest.mark.parametrize("draw", DRAWERS)
@pytest.mark.parametrize("values", [(), (0,), (7,), (0, 0), tuple(range(200))])
def test_what_is_drawn_is_well_formed_without_inline_style(
    draw: Callable[[Chart], Markup], values: tuple[int, ...]
) -> None:
    drawn = draw(_chart(*values, name=HOSTILE))
    ET.fromstring(drawn)
    assert "<script" not in drawn
    assert "style=" not in drawn
    assert "nan" not in drawn


def test_points_stand_by_their_time_so_that_gaps_stay() -> None:
    marks = tuple(Mark(AT + timedelta(days=day), 1.0, str(day), "1") for day in (0, 1, 9))
    tree = ET.fromstring(line_chart(Chart("t", ("a", "b"), marks, str)))
    first, second, last = (float(dot.attrib["cx"]) for dot in tree.iter("circle"))
    assert second - first == pytest.approx((last - first) / 9, abs=0.2)


def test_a_strip_tells_missed_late_and_before_the_start_apart() -> None:
    states = [Day.NONE, Day.NONE, Day.GOOD, Day.VERIFIED, Day.LATE, Day.MISSED, Day.PARTIAL, Day.EXPECTED]
    days = [(date(2026, 11, 1) + timedelta(days=number), state) for number, state in enumerate(states)]
    drawn = strip(days, lambda day: day < date(2026, 11, 2))
    tree = ET.fromstring(drawn)
    shapes = [tuple((cell.attrib["y"], cell.attrib["height"]) for cell in each.iter("rect")) for each in tree]
    assert len({*shapes}) == len(states) - 1  # verified is as high as good, and of another colour
    assert "2026-11-01: before the first backup" in drawn
    assert "2026-11-02: none, nothing was due" in drawn
    assert "2026-11-06: missed, due, and not there" in drawn
    assert tree.attrib["aria-label"] == "The last 8 days: 1 verified, 1 good, 1 late, 1 partial, 1 expected, 1 missed"


def test_each_day_of_a_strip_may_lead_somewhere() -> None:
    drawn = strip([(date(2026, 11, 1), Day.MISSED)], lambda _: False, lambda day: f"/backups?since={day}&x=<")
    assert '<a href="/backups?since=2026-11-01&amp;x=&lt;" aria-label="2026-11-01: missed">' in drawn
    assert 'role="group"' in drawn
