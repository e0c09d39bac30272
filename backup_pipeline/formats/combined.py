"""All sheets of a bundle as one CSV file, each under a heading of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backup_pipeline.formats.csv_rows import BOM, csv_title
from backup_pipeline.formats.render import SheetFiles


def combined_csv(sheets: Iterable[SheetFiles]) -> Iterator[bytes]:
    """The bytes of one CSV: for each sheet the line `### Name ###`, its titles and records, and an empty line."""
    yield BOM
    for number, sheet in enumerate(sheets):
        yield (("\r\n" if number else "") + csv_title(f"### {sheet.name} ###") + "\r\n").encode()
        for part, file in enumerate(sheet.files):
            chunks = _without(BOM, file)
            yield from _without_titles(chunks) if part else chunks


def _without(head: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    start = b""
    rest = iter(chunks)
    for chunk in rest:
        start += chunk
        if len(start) >= len(head):
            break
    yield start.removeprefix(head)
    yield from rest


def _without_titles(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """What follows the first line break outside quotes: a title may hold one too."""
    start = b""
    rest = iter(chunks)
    for chunk in rest:
        start += chunk
        if (end := _first_line(start)) is not None:
            yield start[end:]
            break
    yield from rest


def _first_line(data: bytes) -> int | None:
    end = data.find(b"\r\n")
    while end >= 0:
        if data.count(b'"', 0, end) % 2 == 0:
            return end + 2
        end = data.find(b"\r\n", end + 2)
    return None
