"""Which entries of a backup's schema.sql a restore runs, before the rows and after them, and which it leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from backup_pipeline.core.restore_entries import POST_DATA, Dump, Entry
from backup_pipeline.core.restore_target import TargetFacts
from backup_pipeline.core.restoring import Name, SchemaSteps

_NEEDED = {"TYPE", "DOMAIN", "FUNCTION", "AGGREGATE", "PROCEDURE", "SEQUENCE", "COLLATION", "TABLE"}
_LATER = {"TRIGGER", "RULE", "POLICY"}
_WITH_ROWS = {"MATERIALIZED VIEW"}
_OF_TABLES = POST_DATA - {"INDEX ATTACH", "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA", "EVENT TRIGGER"}


@dataclass
class _Choice:
    """The entries chosen so far, by their number in the dump, and why others are not."""

    dump: Dump
    facts: TargetFacts
    relations: set[Name]
    chosen: set[int] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)

    def take(self, wanted: Callable[[Entry], bool]) -> None:
        """Choose what is `wanted`."""
        self.chosen |= {at for at, entry in enumerate(self.dump.entries) if wanted(entry)}

    def entries(self) -> Iterator[Entry]:
        """The chosen entries, in the dump's order."""
        return (self.dump.entries[at] for at in sorted(self.chosen))


def whole_schema(loaded: Iterable[Name], dump: Dump, facts: TargetFacts) -> SchemaSteps:
    """Every entry, for an empty database into whose tables `loaded` rows come.

    Left out is what needs a relation that the dump had to leave out, and what needs that; and a foreign key from a
    table with rows to one that stays empty, because the rows would not fit it.
    """
    left_out: list[str] = []
    entries: list[Entry] = []
    lost, filled = set[Name](), _with_parts(set(loaded), dump)
    for entry in dump.entries:
        unread, gone = sorted(entry.mentions & dump.left_out), sorted(entry.mentions & lost)
        if unread or gone:
            why = "which the backup role could not read" if unread else "which is left out too"
            left_out.append(f"{_called(entry)}: needs {_joined(unread or gone)}, {why}")
            lost |= {entry.defines} if entry.defines else set()
        elif entry.kind == "FK CONSTRAINT" and entry.belongs_to in filled and entry.parent not in filled:
            left_out.append(f"{_called(entry)}: {_joined([entry.parent])} is empty, the backup has no rows of it")
        elif not _there_already(entry, facts):
            entries.append(entry)
    refreshed = tuple(entry.defines for entry in entries if entry.kind in _WITH_ROWS and entry.defines)
    return _steps(entries, left_out, refreshed)


def schema_of(
    tables: Iterable[Name], dump: Dump, facts: TargetFacts, extensions: frozenset[str] = frozenset()
) -> SchemaSteps:
    """The entries that make `tables`: with their types, sequences, keys, indexes and triggers, and their partitions.

    `extensions` are those that some of the tables belong to. A foreign key is made when what it refers to is made too
    or is in the target; a trigger when its function is.
    """
    choice = _Choice(dump, facts, _with_parts(set(tables), dump))
    choice.take(lambda entry: entry.defines in choice.relations and entry.kind == "TABLE")
    choice.take(lambda entry: entry.belongs_to in choice.relations and entry.kind not in _OF_TABLES | {"COMMENT"})
    choice.take(lambda entry: _is_part_of(entry, choice))
    choice.take(lambda entry: entry.kind == "EXTENSION" and entry.tag in extensions - facts.extensions)
    _take_needed(choice)
    _take_indexes_and_comments(choice)
    _take_schemas(choice)
    return _steps(list(choice.entries()), choice.left_out)


def beside(dump: Dump, steps: SchemaSteps) -> list[str]:
    """What the dump makes and `steps` do not, for people."""
    run = {*steps.before, *steps.after}
    kinds = {"VIEW", "MATERIALIZED VIEW", "FUNCTION", "PROCEDURE", "TABLE", "FOREIGN TABLE", "EVENT TRIGGER"}
    return [_called(entry) for entry in dump.entries if entry.kind in kinds and entry.sql not in run]


def _with_parts(tables: set[Name], dump: Dump) -> set[Name]:
    """The tables and their partitions, and the partitions of those."""
    found = set(tables)
    while more := {part for part, whole in dump.parts.items() if whole in found} - found:
        found |= more
    return found


def _is_part_of(entry: Entry, choice: _Choice) -> bool:
    """Whether an entry behind the rows is made; when not, it is said why."""
    if entry.belongs_to not in choice.relations or entry.kind not in _OF_TABLES:
        return False
    if entry.kind == "FK CONSTRAINT" and entry.parent not in choice.relations | choice.facts.taken:
        choice.left_out.append(f"{_called(entry)}: {_joined([entry.parent])} is not there")
        return False
    if entry.kind in _LATER:
        return _has_what_it_calls(entry, choice)
    return True


def _has_what_it_calls(entry: Entry, choice: _Choice) -> bool:
    made = {other.defines for other in choice.dump.entries if other.defines}
    there = choice.relations | choice.facts.taken | choice.facts.functions | choice.facts.types
    lacking = sorted(name for name in entry.mentions & made if name not in there)
    if lacking:
        choice.left_out.append(f"{_called(entry)}: {_joined(lacking)} is not there")
    return not lacking


def _take_needed(choice: _Choice) -> None:
    """Choose what the chosen entries name, and what that names, as far as the target has not got it."""
    facts = choice.facts
    there = facts.types | facts.functions | facts.taken
    by_name = {entry.defines: at for at, entry in enumerate(choice.dump.entries) if entry.kind in _NEEDED}
    todo = set(choice.chosen)
    while todo:
        named = {name for at in todo for name in choice.dump.entries[at].mentions if name not in there}
        todo = {by_name[name] for name in named if name in by_name} - choice.chosen
        choice.chosen |= todo
    unknown = {name for entry in choice.entries() for name in entry.mentions} - there - by_name.keys()
    homes = {schema for schema, _ in unknown}
    choice.take(lambda entry: entry.kind == "EXTENSION" and entry.tag not in facts.extensions and entry.home in homes)


def _take_indexes_and_comments(choice: _Choice) -> None:
    """Choose what attaches a chosen index to another, and the comments on what is chosen."""
    made = {entry.defines for entry in choice.entries()} | choice.relations
    made.discard(None)
    made |= {(entry.schema, name) for entry in choice.entries() if (name := _constraint(entry))}
    choice.take(lambda entry: entry.kind == "INDEX ATTACH" and entry.parent in made)
    missed = {entry.tag for at, entry in enumerate(choice.dump.entries) if at not in choice.chosen}
    choice.take(lambda entry: entry.kind == "COMMENT" and entry.belongs_to in made and _subject(entry) not in missed)


def _constraint(entry: Entry) -> str | None:
    """The name of the constraint that an entry adds, which is also that of its index."""
    at = next((at for at, token in enumerate(entry.tokens) if token.is_word("CONSTRAINT")), None)
    return entry.tokens[at + 1].text if entry.kind == "CONSTRAINT" and at is not None else None


def _subject(comment: Entry) -> str:
    """The tag of what a comment such as `TRIGGER t ON films` is about: `films t`."""
    name, on, table = comment.tag.partition(" ")[2].rpartition(" ON ")
    return f"{table} {name}" if on else ""


def _take_schemas(choice: _Choice) -> None:
    chosen = list(choice.entries())
    needed = {entry.schema for entry in chosen} | {entry.home for entry in chosen if entry.home}
    needed -= choice.facts.schemas
    choice.take(lambda entry: entry.kind == "SCHEMA" and entry.tag in needed)


def _steps(entries: list[Entry], left_out: list[str], refreshed: tuple[Name, ...] = ()) -> SchemaSteps:
    """The entries on both sides of the rows: pg_dump keeps what comes after them together, at the end."""
    first = next((at for at, entry in enumerate(entries) if entry.kind in POST_DATA), len(entries))
    before, after = entries[:first], entries[first:]
    return SchemaSteps(
        before=tuple(entry.sql for entry in before),
        after=tuple(entry.sql for entry in after),
        left_out=tuple(left_out),
        refreshed=refreshed,
    )


def _there_already(entry: Entry, facts: TargetFacts) -> bool:
    """Whether a new database has it from the start; a comment on an extension needs its owner."""
    if entry.kind == "SCHEMA":
        return entry.tag in facts.schemas
    return entry.kind == "COMMENT" and entry.tag.startswith("EXTENSION ")


def _called(entry: Entry) -> str:
    return f"{entry.kind.lower()} {entry.tag}"


def _joined(names: Iterable[Name | None]) -> str:
    return ", ".join(".".join(name) for name in names if name)
