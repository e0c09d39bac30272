"""Documents in a terminal, and the consoles that print them: no text of others acts on it or styles itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table as RichTable
from rich.text import Text

from backup_pipeline.core.text import visible_lines
from backup_pipeline.presentation import (
    Block,
    Checks,
    DayGrid,
    Facts,
    Hide,
    Item,
    Note,
    Part,
    ReportDocument,
    Sentence,
    Table,
    TableColumn,
    Tone,
    Wrap,
    shown_whole,
    text_of,
    tone_of,
)

_WIDE = 200
"""Columns where nobody watches: a line of a table stays one line for grep."""
_NARROW = 180
"""Columns of a terminal below which columns are stacked."""
_STATE = 8
"""Columns for the state of a check, where it is not longer."""
_FEWEST_DAYS = 7

_STYLES = {
    Tone.PLAIN: "",
    Tone.STRONG: "bold",
    Tone.QUIET: "dim",
    Tone.PROVEN: "bold green",
    Tone.GOOD: "green",
    Tone.ACTIVE: "cyan",
    Tone.PARTIAL: "magenta",
    Tone.WARNING: "yellow",
    Tone.WRONG: "red",
    Tone.FAILURE: "bold red",
}


class SafeConsole(Console):
    r"""A console for texts that others chose: they neither style themselves nor reach the terminal's own commands.

    What is printed has no markup and no emoji codes; styles are given by objects. Controls and marks that turn the
    direction of a text show as `\x1b`, `\u202e`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"highlight": False, "markup": False, "emoji": False, **options})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """What is shown, piece by piece; pieces that are not text, such as moves of the cursor, are rich's own."""
        for piece in super().render(renderable, options):
            clean = piece.text if piece.control else visible_lines(piece.text)
            yield piece if clean == piece.text else Segment(clean, piece.style)


def result_console() -> Console:
    """Where results go."""
    return SafeConsole(width=None if sys.stdout.isatty() else _WIDE)


def note_console() -> Console:
    """Where notes and progress go."""
    return SafeConsole(stderr=True, soft_wrap=True)


def draw(document: ReportDocument, console: Console | None = None, hide: Hide = shown_whole) -> None:
    """Print the document, as a result unless a console is given; `hide` takes out what is secret."""
    out = console or result_console()
    for number, section in enumerate(document.sections):
        if number:
            out.print()
        if section.title:
            out.print(Text(hide(section.title), style="bold"), soft_wrap=True)
        for block in section.blocks:
            for shown in _drawn(block, out.width, hide):
                out.print(shown, soft_wrap=isinstance(shown, Text))


def _drawn(block: Block, width: int, hide: Hide) -> Iterator[Text | RichTable]:
    match block:
        case Sentence() | Item():
            yield _words(block.parts, hide)
        case Note():
            yield from _note(block, hide)
        case Checks():
            yield from (text for note in block.notes for text in _check(note, hide))
        case Facts():
            yield _grid(block, hide)
        case Table():
            yield _table(block, width, hide)
        case DayGrid():
            yield from _days(block, width, hide)


def _text(part: Part, hide: Hide) -> Text:
    return Text(hide(text_of(part)), style=_STYLES[tone_of(part)])


def _words(parts: Sequence[Part], hide: Hide) -> Text:
    return Text().join(_text(part, hide) for part in parts)


def _note(note: Note, hide: Hide) -> Iterator[Text]:
    about = f"{note.about}: " if note.about else ""
    yield Text.assemble((f"{note.word}: ", _STYLES[note.tone]), hide(f"{about}{note.text}"))
    if note.do:
        yield Text(f"  What to do: {hide(note.do)}")


def _check(note: Note, hide: Hide) -> Iterator[Text]:
    state = (f"{note.word} ".ljust(_STATE), _STYLES[note.tone])
    yield Text.assemble(state, (hide(note.about), "bold"), ": ", hide(note.text))
    if note.do:
        yield Text(f"{'':{_STATE}} do: {hide(note.do)}")


def _grid(facts: Facts, hide: Hide) -> RichTable:
    grid = RichTable.grid(padding=(0, 2))
    for fact in facts.facts:
        grid.add_row(Text(fact.name, style="bold"), _text(fact.value, hide))
    return grid


def _table(table: Table, width: int, hide: Hide) -> RichTable:
    """The table; one with a total has lines, so that the total does not look like one row more."""
    groups = _groups(table.columns, stacked=width < _NARROW)
    shown = RichTable() if table.total else RichTable(box=None, pad_edge=False)
    shown.show_header = any(column.title for column in table.columns)
    shown.title, shown.title_justify = Text(hide(table.title)) if table.title else None, "left"
    for group in groups:
        first = table.columns[group[0]]
        kept = first.wrap is Wrap.NEVER or (first.wrap is Wrap.STACKED and width >= _NARROW)
        titles = "\n".join(table.columns[place].title for place in group)
        justify: Literal["left", "right"] = "right" if first.right else "left"
        shown.add_column(Text(titles), justify=justify, no_wrap=kept, overflow="ellipsis" if kept else "fold")
    for row in table.rows:
        shown.add_row(*_cells(row, groups, hide))
    if table.total:
        shown.add_section()
        shown.add_row(*_cells(table.total, groups, hide))
    return shown


def _groups(columns: Sequence[TableColumn], *, stacked: bool) -> Sequence[Sequence[int]]:
    """The places of the columns that stand below each other; where all have room, each by itself."""
    if not stacked:
        return [[place] for place in range(len(columns))]
    groups = {place: [place] for place, column in enumerate(columns) if not column.below}
    tops = {columns[place].title: group for place, group in groups.items()}
    for place, column in enumerate(columns):
        if column.below:
            tops[column.below].append(place)
    return list(groups.values())


def _cells(row: Sequence[Part], groups: Sequence[Sequence[int]], hide: Hide) -> Iterator[Text]:
    return (Text("\n").join(_text(row[place], hide) for place in group) for group in groups)


def _days(grid: DayGrid, width: int, hide: Hide) -> Iterator[Text]:
    """Rows longer than the terminal is wide are broken into parts."""
    widest = max(len(name) for name, _ in grid.rows)
    fits = max((width - widest - 2) // 3, _FEWEST_DAYS)
    for start in range(0, len(grid.days), fits):
        part = slice(start, start + fits)
        days = grid.days[part]
        yield Text(f"{hide(grid.name)}, {days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}", style="bold")
        yield Text(" " * widest + "".join(f" {day:%d}" for day in days), style="dim")
        for name, letters in grid.rows:
            yield Text.assemble(
                hide(name).ljust(widest), *(Text("  ").append_text(_text(each, hide)) for each in letters[part])
            )
        yield Text()
