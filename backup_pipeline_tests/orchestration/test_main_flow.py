"""The main flow: a table and a bundle pass the functions that docs/architecture.md draws, in that order."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from backup_pipeline.formats.files import SideBySideWriter
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline_tests.docs.stations import PACKAGE, Station, asides, stations
from backup_pipeline_tests.orchestration.installation import Installation


def _calls(frame: FrameType | None) -> Iterator[Station]:
    """The functions of the package that are under way in a thread, the innermost first."""
    while frame is not None:
        code, path = frame.f_code, Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            yield Station(str(path.relative_to(PACKAGE)), code.co_name)
        frame = frame.f_back


def _before(calls: Iterable[Station], port: str) -> list[Station]:
    """What called the method `port` of a port for the first time, the innermost first."""
    inner = list(calls)
    last = max((place for place, call in enumerate(inner) if call.function == port), default=-1)
    return inner[last + 1 :]


class Way:
    """Who is under way, from a step to a port: the stack of this thread, behind that of the thread of the step."""

    def __init__(self, step: Station) -> None:
        self.step = step
        self.ways: set[tuple[Station, ...]] = set()

    def note(self, port: str) -> None:
        """Called from a port's method of that name."""
        own = _before(_calls(sys._getframe(1)), port)
        if self.step not in own:
            own += next(calls for calls in self._other_threads() if self.step in calls)
        self.ways.add(tuple(reversed(own[: own.index(self.step) + 1])))

    def _other_threads(self) -> Iterator[list[Station]]:
        this = threading.get_ident()
        return (list(_calls(frame)) for thread, frame in sys._current_frames().items() if thread != this)


def _watched(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, way: Way, ending: str = "") -> None:
    original = getattr(owner, method)

    def watching(self: object, subject: Any, *more: Any, **named: Any) -> Any:
        if not ending or str(subject).endswith(ending):
            way.note(method)
        return original(self, subject, *more, **named)

    monkeypatch.setattr(owner, method, watching)


def test_a_table_passes_what_is_drawn_and_nothing_else(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = stations("The way of a table")
    files, record, rows = Way(drawn[0]), Way(drawn[0]), Way(drawn[0])
    _watched(monkeypatch, DirectoryStore, "put_file", files)
    _watched(monkeypatch, DirectoryStore, "put", record, "partition.json")
    _watched(monkeypatch, SideBySideWriter, "write", rows)
    assert installation.run("customers").success
    assert files.ways == {tuple(drawn)}
    assert record.ways == {tuple(drawn)}
    assert rows.ways == {(*drawn[:-1], *asides("The way of a table"))}


def test_a_bundle_passes_what_is_drawn_and_nothing_else(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = stations("The way of a bundle")
    bundle, manifest = Way(drawn[0]), Way(drawn[0])
    _watched(monkeypatch, DirectoryStore, "keep", bundle, ".zip")
    _watched(monkeypatch, DirectoryStore, "keep", manifest, "manifest.json")
    assert installation.run().success
    assert bundle.ways == {tuple(drawn)}
    assert manifest.ways == {tuple(drawn[:-1])}
