"""The stages of a backup, as a proxy sees them: what changes or begins something, named alike from run to run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from backup_pipeline_tests.faults.fault import Said

_SAME = [
    (re.compile(r"\d{8}T\d{6}Z-\w+-[0-9a-f]{8}"), "ID"),
    (re.compile(r"\d{4}-\d{2}-\d{2}"), "DAY"),
    (re.compile(r"backup_DAY_\d\d-\d\d"), "backup_NOW"),
    (re.compile(r"uploadId=[^& ]+"), "uploadId=ID"),
    (re.compile(r"SNAPSHOT '[^']+'"), "SNAPSHOT"),
    (re.compile(r"/bucket-\d+"), "/BUCKET"),
    (re.compile(r"\s+"), " "),
]
_WRITES = re.compile(r"^ ?(INSERT|UPDATE|DELETE|PUT|POST) ?")
_BEGINS = re.compile(r"pg_export_snapshot|SET TRANSACTION SNAPSHOT|^ ?COPY|^LOCK TABLE|^startup|SELECT count\(\*\)")
_SHOWN = 120


@dataclass
class Teller:
    """Names what is said, in its order: `INSERT INTO backup_logs`, `COMMIT of …`; None for what changes nothing."""

    _written: dict[int, str] = field(default_factory=dict)
    _deletes: int = 0

    def name(self, said: Said) -> str | None:
        """The stage that begins with it."""
        text = said.text
        for pattern, alike in _SAME:
            text = pattern.sub(alike, text)
        text = text[:_SHOWN].strip()
        if text == "COMMIT" and said.connection in self._written:
            return f"COMMIT of {self._written.pop(said.connection)}"
        if text in ("BEGIN", "ROLLBACK", "COMMIT"):
            self._written.pop(said.connection, None)
            return None
        if text.endswith("?delete"):
            self._deletes += 1
            return f"{text} {self._deletes}"
        if _WRITES.search(text):
            if not text.startswith(("PUT", "POST", "DELETE /")):
                text = _statement(text, said)
                self._written[said.connection] = text
            return text
        return text if _BEGINS.search(text) else None


def _statement(text: str, said: Said) -> str:
    """A writing statement by its table; an end of a backup is another stage than its heartbeat."""
    verb, table = re.findall(r"INSERT INTO \w+|UPDATE \w+|DELETE FROM \w+", text)[0].rsplit(" ", 1)
    columns = re.search(r" SET (\w+)=", said.text)
    return f"{verb} {table}" + (f" SET {columns[1]}" if columns else "")


def stages(said: Iterable[Said]) -> Iterator[str]:
    """Each stage once, in its order."""
    teller = Teller()
    yield from dict.fromkeys(name for each in said if (name := teller.name(each)) is not None)


def at(stage: str) -> _At:
    """What finds that stage, for a fault."""
    return _At(stage)


class _At:
    """Keeps count of what is said, as whoever named the stages did."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._teller = Teller()

    def __call__(self, said: Said) -> bool:
        return self._teller.name(said) == self._stage

    def __repr__(self) -> str:
        return f"at({self._stage!r})"
