"""Documents as Markdown, for Dagster's pages. Everything is escaped here, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from backup_pipeline.core.text import visible
from backup_pipeline.presentation import (
    Block,
    Bytes,
    Checks,
    DayGrid,
    Facts,
    Hide,
    Item,
    Note,
    Number,
    Part,
    ReportDocument,
    Section,
    Sentence,
    Table,
    TableColumn,
    Tone,
    shown_whole,
    text_of,
    tone_of,
    value_of,
)

# An underscore inside a word is one; signs of lists and titles are signs at the beginning of a line.
_MARKUP = re.compile(r"([\\`*\[\]<>|~&]|(?<!\w)_|_(?!\w)|^[-+#])")
# A bare address becomes a link; what a browser fetches by itself needs markup, which is escaped above.
_ADDRESS = re.compile(r"(?i)\b(https?|ftp|mailto|www)(?=[:.])")
_NUMBERS = (int, Bytes, Number)
"""Never markup, whatever their sign."""
_BOLD = frozenset({Tone.STRONG, Tone.WRONG, Tone.FAILURE})


def markdown(document: ReportDocument, hide: Hide = shown_whole) -> str:
    """The document as Markdown; `hide` takes out what is secret, before anything is escaped."""
    return "\n\n".join(_section(section, hide) for section in document.sections)


def plain(text: str) -> str:
    """`text` in one line, every sign escaped that Markdown or HTML would act on."""
    return _ADDRESS.sub(lambda found: f"{found[1]}\u2060", _MARKUP.sub(r"\\\1", visible(text)))


def bullets(lines: Iterable[str], otherwise: str = "none") -> str:
    """The lines as a list; `otherwise` when there is none."""
    return "\n".join(f"- {plain(line)}" for line in lines) or otherwise


def _section(section: Section, hide: Hide) -> str:
    """The blocks, an empty line between them unless both are items of one list."""
    pieces = [f"**{plain(hide(section.title))}**"] if section.title else []
    listed = False
    for block in section.blocks:
        text = "\n".join(_block(block, hide))
        if not text:
            continue
        is_item = isinstance(block, Item | Note | Checks)
        if listed and is_item:
            pieces[-1] += f"\n{text}"
        else:
            pieces.append(text)
        listed = is_item
    return "\n\n".join(pieces)


def _block(block: Block, hide: Hide) -> Iterator[str]:
    match block:
        case Sentence():
            yield _words(block.parts, hide)
        case Item():
            yield f"- {_words(block.parts, hide)}"
        case Note():
            yield _note(block, hide)
        case Checks():
            yield from (_note(note, hide) for note in block.notes)
        case Facts():
            rows = [(fact.name, fact.value) for fact in block.facts]
            yield from _rows((TableColumn(""), TableColumn("")), rows, hide)
        case Table():
            yield from [_words((block.title,), hide), ""] if block.title else []
            total = [block.total] if block.total else []
            yield from _rows(block.columns, [*block.rows, *total], hide)
        case DayGrid():
            yield from _days(block, hide)


def _words(parts: Sequence[Part], hide: Hide) -> str:
    """The parts as one sentence; white space at the edge of a bold part would keep it from being bold."""
    pieces = []
    for part in parts:
        text = text_of(part) if isinstance(value_of(part), _NUMBERS) else plain(hide(text_of(part)))
        inner = text.strip()
        bold = f"**{inner}**" if inner and tone_of(part) in _BOLD else inner
        pieces.append(text.replace(inner, bold, 1) if inner else text)
    return "".join(pieces)


def _note(note: Note, hide: Hide) -> str:
    word = plain(note.word)
    about = f"{plain(hide(note.about))}: " if note.about else ""
    do = f" *What to do:* {plain(hide(note.do))}" if note.do else ""
    return f"- {f'**{word}**' if note.tone in _BOLD else word}: {about}{plain(hide(note.text))}{do}"


def _rows(columns: Sequence[TableColumn], rows: Iterable[Sequence[Part]], hide: Hide) -> Iterator[str]:
    yield f"| {' | '.join(plain(column.title) for column in columns)} |"
    yield f"|{'|'.join('---:' if column.right else '---' for column in columns)}|"
    yield from (f"| {' | '.join(_words((cell,), hide) for cell in row)} |" for row in rows)


def _days(grid: DayGrid, hide: Hide) -> Iterator[str]:
    """A column for each day; the head says from when to when."""
    heads = "".join(f" {day:%d} |" for day in grid.days)
    yield f"| {grid.days[0]:%Y-%m-%d} to {grid.days[-1]:%Y-%m-%d} |{heads}"
    yield f"|{'---|' * (len(grid.days) + 1)}"
    for name, letters in grid.rows:
        yield f"| {_words((name,), hide)} |" + "".join(f" {_words((letter,), hide)} |" for letter in letters)
