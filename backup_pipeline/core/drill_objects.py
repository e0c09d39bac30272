"""What a backup's definitions make beside what a scratch database has: every object there, and valid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from backup_pipeline.core.drill import Finding, ObjectCount, Remark
from backup_pipeline.core.restore_entries import Dump, Entry
from backup_pipeline.core.restore_table_sql import items
from backup_pipeline.core.restore_tokens import Token
from backup_pipeline.core.restoring import Name, SchemaSteps

Part = tuple[str, str, str]
"""A part of a relation: its schema, its name, and the name of the constraint or trigger."""

_RELATIONS = {
    "TABLE": "tables",
    "VIEW": "views",
    "MATERIALIZED VIEW": "materialized views",
    "FOREIGN TABLE": "foreign tables",
    "SEQUENCE": "sequences",
}
_PARTS = {
    "CONSTRAINT": "keys and other constraints",
    "FK CONSTRAINT": "foreign keys",
    "CHECK CONSTRAINT": "keys and other constraints",
    "TRIGGER": "triggers",
}
_DO = "Look at the entry in schema.sql and at the scratch server's message; restore the backup by hand into a new one."


@dataclass(frozen=True)
class MadeObjects:
    """What a database has: its relations and sequences, its indexes and constraints with whether each is valid."""

    relations: frozenset[Name] = frozenset()
    indexes: Mapping[Name, bool] = field(default_factory=dict)
    constraints: Mapping[Part, bool] = field(default_factory=dict)
    triggers: frozenset[Part] = frozenset()


@dataclass(frozen=True)
class Inspected:
    """What came of it."""

    counts: tuple[ObjectCount, ...]
    findings: tuple[Finding, ...]
    remarks: tuple[Remark, ...]


@dataclass(frozen=True)
class _Wanted:
    """One object that must be there: its kind, for people; its name; whether it may be not validated."""

    kind: str
    name: Name | Part
    not_valid: bool = False

    def __str__(self) -> str:
        return ".".join(self.name)


def inspected(dump: Dump, steps: SchemaSteps, made: MadeObjects) -> Inspected:
    """Every object that the entries of `dump` which were run (`steps`) make, looked for in `made`."""
    run = {*steps.before, *steps.after}
    wanted = [one for entry in dump.entries if entry.sql in run for one in _wanted(entry)]
    states = {one: _state(one, made) for one in wanted}
    findings = [Finding(str(one), _told(one, state), _DO) for one, state in states.items() if not _good(one, state)]
    remarks = [
        Remark(str(one), "is not validated in the source (NOT VALID or NOT ENFORCED), and is not here.")
        for one, state in states.items()
        if one.not_valid and state is False
    ]
    counts = Counter(one.kind for one in wanted)
    valid = Counter(one.kind for one, state in states.items() if state)
    shown = tuple(ObjectCount(kind, counts[kind], valid[kind]) for kind in dict.fromkeys(one.kind for one in wanted))
    return Inspected(shown, (*findings, *_invalid_indexes(made, wanted)), tuple(remarks))


def _wanted(entry: Entry) -> Iterator[_Wanted]:
    if entry.kind in _PARTS and entry.belongs_to and (name := _part_name(entry)):
        yield _Wanted(_PARTS[entry.kind], (*entry.belongs_to, name), _unchecked(entry.tokens))
    elif entry.kind == "INDEX" and entry.defines:
        yield _Wanted("indexes", entry.defines)
    elif entry.kind in _RELATIONS and (relation := entry.defines or entry.sequence):
        yield _Wanted(_RELATIONS[entry.kind], relation)
        yield from _checks(entry) if entry.kind == "TABLE" else ()


def _checks(entry: Entry) -> Iterator[_Wanted]:
    """The named constraints that a CREATE TABLE makes itself."""
    for item in items(entry.tokens):
        if entry.defines and len(item) > 2 and item[0].is_word("CONSTRAINT") and item[2].is_word("CHECK"):
            yield _Wanted(_PARTS["CHECK CONSTRAINT"], (*entry.defines, item[1].text), _unchecked(item))


def _part_name(entry: Entry) -> str | None:
    words = ("TRIGGER",) if entry.kind == "TRIGGER" else ("CONSTRAINT",)
    at = next((at for at, token in enumerate(entry.tokens) if token.is_word(*words)), None)
    return entry.tokens[at + 1].text if at is not None and at + 1 < len(entry.tokens) else None


def _unchecked(found: list[Token]) -> bool:
    """Whether rows may break the constraint: NOT VALID, or (since PostgreSQL 18) NOT ENFORCED."""
    return _words(found, "NOT", "VALID") or _words(found, "NOT", "ENFORCED")


def _words(found: list[Token], first: str, second: str) -> bool:
    return any(a.is_word(first) and b.is_word(second) for a, b in pairwise(found))


def _state(one: _Wanted, made: MadeObjects) -> bool | None:
    """Whether it is valid; None when it is not there."""
    if len(one.name) == 2:
        return made.indexes.get(one.name) if one.kind == "indexes" else (one.name in made.relations or None)
    if one.kind == "triggers":
        return one.name in made.triggers or None
    return made.constraints.get(one.name)


def _good(one: _Wanted, state: bool | None) -> bool:  # noqa: FBT001  # of three
    return bool(state) or (state is False and one.not_valid)


def _told(one: _Wanted, state: bool | None) -> str:  # noqa: FBT001  # of three
    kind = one.kind.removesuffix("s")
    return f"schema.sql makes it ({kind}), and it is not there." if state is None else f"it ({kind}) is not valid."


def _invalid_indexes(made: MadeObjects, wanted: Iterable[_Wanted]) -> Iterator[Finding]:
    """Indexes behind keys, which no entry of their own makes."""
    known = {one.name for one in wanted}
    for name, valid in made.indexes.items():
        if not valid and name not in known:
            yield Finding(".".join(name), "the index is not valid.", _DO)
