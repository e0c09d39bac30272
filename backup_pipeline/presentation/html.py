"""Documents as HTML: every text is escaped here, and what a tone means is a class, a word and a shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from backup_pipeline.core.text import visible, visible_lines
from backup_pipeline.presentation import (
    Block,
    Checks,
    DayGrid,
    Facts,
    Hide,
    Item,
    Minute,
    Note,
    Part,
    ReportDocument,
    Section,
    Sentence,
    Table,
    TableColumn,
    Tone,
    Wrap,
    shown_whole,
    text_of,
    tone_of,
    value_of,
)

UTC_ZONE = "UTC"
ICONS = {
    Tone.PROVEN: "proven",
    Tone.GOOD: "check",
    Tone.ACTIVE: "active",
    Tone.PARTIAL: "half",
    Tone.WARNING: "warning",
    Tone.WRONG: "cross",
    Tone.FAILURE: "cross",
    Tone.QUIET: "dash",
    Tone.PLAIN: "dot",
    Tone.STRONG: "dot",
}
"""The shape of each tone: a symbol of the page's set of icons."""
_UNMARKED = frozenset({Tone.PLAIN, Tone.STRONG, Tone.QUIET})


def html(document: ReportDocument, hide: Hide = shown_whole, zone: str = UTC_ZONE) -> Markup:
    """The document as HTML, its times in `zone`; `hide` takes out what is secret, before anything is escaped."""
    return Markup("\n").join(_section(section, _Drawer(hide, zone)) for section in document.sections)


def icon(name: str, label: str = "") -> Markup:
    """A symbol of the page's set of icons; with a `label` it is read out, else it is decoration beside a word."""
    read = Markup('role="img" aria-label="{}"').format(label) if label else Markup('aria-hidden="true"')
    return Markup('<svg class="icon" {} focusable="false"><use href="#i-{}"/></svg>').format(read, name)


def badge(text: str, tone: str, shape: str = "") -> Markup:
    """A word with the shape and the colour of its tone; `tone` is a Tone, or `manual` or `automatic`."""
    known = Tone(tone) if tone in set(Tone) else None
    drawn = icon(shape or (ICONS[known] if known else tone))
    return Markup('<span class="badge {}">{}{}</span>').format(tone, drawn, visible(text))


def instant(at: datetime | None, zone: str = UTC_ZONE, *, seconds: bool = False) -> Markup:
    """An instant on the wall clock of `zone`, with UTC as its title; nothing for None."""
    if at is None:
        return Markup()
    utc = at.astimezone(UTC)
    local = at.astimezone(ZoneInfo(zone))
    shown = f"{local.day} {local:%b %Y, %H:%M:%S}" if seconds else f"{local.day} {local:%b %Y, %H:%M}"
    stated = f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(utc.isoformat(), stated, shown)


class _Drawer:
    """How texts and values are drawn in one document."""

    def __init__(self, hide: Hide, zone: str) -> None:
        self.hide = hide
        self.zone = zone

    def text(self, text: str) -> Markup:
        return escape(visible_lines(self.hide(text)))

    def value(self, part: Part) -> Markup:
        value = value_of(part)
        if isinstance(value, Minute):
            return instant(value.at, self.zone)
        if isinstance(value, datetime):
            return instant(value, self.zone, seconds=True)
        if isinstance(value, date):
            return Markup('<time datetime="{0}">{0}</time>').format(value.isoformat())
        return self.text(text_of(part))

    def part(self, part: Part) -> Markup:
        """A part of a sentence: a tone that means something has its shape before the word."""
        tone, drawn = tone_of(part), self.value(part)
        if tone is Tone.PLAIN or not drawn:
            return drawn
        shape = Markup() if tone in _UNMARKED else icon(ICONS[tone])
        return Markup('<span class="tone {}">{}{}</span>').format(tone.value, shape, drawn)

    def parts(self, parts: Sequence[Part]) -> Markup:
        return Markup().join(map(self.part, parts))


def _section(section: Section, drawer: _Drawer) -> Markup:
    title = Markup("<h2>{}</h2>").format(drawer.text(section.title)) if section.title else Markup()
    blocks = Markup("\n").join(_blocks(section.blocks, drawer))
    return Markup('<section class="report">{}{}</section>').format(title, blocks)


def _blocks(blocks: Sequence[Block], drawer: _Drawer) -> Iterable[Markup]:
    """Items that follow each other are one list."""
    items: list[Markup] = []
    for block in blocks:
        if isinstance(block, Item):
            items.append(Markup("<li>{}</li>").format(drawer.parts(block.parts)))
            continue
        if items:
            yield Markup("<ul>{}</ul>").format(Markup().join(items))
            items = []
        yield _block(block, drawer)
    if items:
        yield Markup("<ul>{}</ul>").format(Markup().join(items))


def _block(block: Block, drawer: _Drawer) -> Markup:
    drawn = Markup()
    match block:
        case Sentence():
            drawn = Markup("<p>{}</p>").format(drawer.parts(block.parts))
        case Note():
            drawn = _note(block, drawer)
        case Checks():
            notes = Markup().join(_note(note, drawer) for note in block.notes)
            drawn = Markup('<div class="checks">{}</div>').format(notes)
        case Facts():
            drawn = _facts(block, drawer)
        case Table():
            drawn = _table(block, drawer)
        case DayGrid():
            drawn = _days(block, drawer)
    return drawn


def _note(note: Note, drawer: _Drawer) -> Markup:
    about = Markup("<strong>{}</strong>: ").format(drawer.text(note.about)) if note.about else Markup()
    do = Markup('<p class="do">What to do: {}</p>').format(drawer.text(note.do)) if note.do else Markup()
    whole = Markup('<div class="note {}">{}<div><p>{}{}</p>{}</div></div>')
    return whole.format(note.tone.value, badge(note.word, note.tone), about, drawer.text(note.text), do)


def _facts(facts: Facts, drawer: _Drawer) -> Markup:
    pair = Markup("<div><dt>{}</dt><dd>{}</dd></div>")
    pairs = (pair.format(drawer.text(fact.name), drawer.part(fact.value)) for fact in facts.facts)
    return Markup('<dl class="facts">{}</dl>').format(Markup().join(pairs))


def _table(table: Table, drawer: _Drawer) -> Markup:
    caption = Markup("<caption>{}</caption>").format(drawer.text(table.title)) if table.title else Markup()
    titled = any(column.title for column in table.columns)
    head = Markup("<thead>{}</thead>").format(_heads(table.columns, drawer)) if titled else Markup()
    rows = Markup().join(_row(table.columns, row, drawer) for row in table.rows)
    total = Markup("<tfoot>{}</tfoot>").format(_row(table.columns, table.total, drawer)) if table.total else Markup()
    whole = Markup('<div class="scroll" tabindex="0"><table class="cards">{}{}<tbody>{}</tbody>{}</table></div>')
    return whole.format(caption, head, rows, total)


def _heads(columns: Sequence[TableColumn], drawer: _Drawer) -> Markup:
    head = Markup('<th scope="col"{}>{}</th>')
    cells = (head.format(_class(column), drawer.text(column.title)) for column in columns)
    return Markup("<tr>{}</tr>").format(Markup().join(cells))


def _row(columns: Sequence[TableColumn], row: Sequence[Part], drawer: _Drawer) -> Markup:
    cell = Markup('<td data-label="{}"{}>{}</td>')
    pairs = zip(columns, row, strict=True)
    cells = (cell.format(drawer.text(column.title), _class(column), drawer.part(part)) for column, part in pairs)
    return Markup("<tr>{}</tr>").format(Markup().join(cells))


def _class(column: TableColumn) -> Markup:
    if column.right:
        return Markup(' class="number"')
    return Markup(' class="prose"') if column.wrap is Wrap.ALWAYS else Markup()


def _days(grid: DayGrid, drawer: _Drawer) -> Markup:
    day = Markup('<th scope="col"><time datetime="{0}" title="{0}">{1}</time></th>')
    heads = Markup().join(day.format(each.isoformat(), f"{each:%d}") for each in grid.days)
    rows = Markup().join(_day_row(name, letters, drawer) for name, letters in grid.rows)
    whole = Markup(
        '<div class="scroll" tabindex="0"><table class="days"><caption>{}</caption><thead><tr>'
        '<th scope="col">Table</th>{}</tr></thead><tbody>{}</tbody></table></div>'
    )
    span = f", {grid.days[0]:%Y-%m-%d} to {grid.days[-1]:%Y-%m-%d}" if grid.days else ""
    return whole.format(drawer.text(f"{grid.name}{span}"), heads, rows)


def _day_row(name: str, letters: Sequence[Part], drawer: _Drawer) -> Markup:
    cell = Markup('<td class="{}">{}</td>')
    cells = Markup().join(cell.format(tone_of(letter).value, drawer.value(letter)) for letter in letters)
    return Markup('<tr><th scope="row">{}</th>{}</tr>').format(drawer.text(name), cells)
