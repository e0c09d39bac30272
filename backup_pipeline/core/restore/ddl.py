"""The DDL of a restore: which entries of the dump are run, with which search path, for which roles and sequences.

Checks, generated columns, defaults and indexes call functions when rows are written. One that names tables without
their schema finds them by the search path, which is empty in a dump, ours in a restore.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from backup_pipeline.core.manifest import OtherSequenceEntry
from backup_pipeline.core.names import Kind
from backup_pipeline.core.restore import (
    Action,
    Mode,
    Name,
    RemarkSeverity,
    RestoreRemark,
    SchemaSteps,
    SequenceRestore,
    TableRestore,
    TargetFacts,
)
from backup_pipeline.core.restore.dump import POST_DATA, Dump, DumpEntry, TokenKind
from backup_pipeline.core.restore.tables import TablesBasis

_FUNCTIONS = {"FUNCTION", "PROCEDURE"}
_WRITTEN = {"TABLE", "INDEX", "CONSTRAINT", "CHECK CONSTRAINT", "MATERIALIZED VIEW", "DOMAIN", "DEFAULT"}
"""What calls functions while rows are written, indexes are built and materialized views are filled."""
_IDENTIFIER = re.compile(r'"((?:[^"]|"")+)"|([A-Za-z_][\w$]*)')


@dataclass(frozen=True)
class Functions:
    """The functions of a dump that find what they name by the search path, and the names in their bodies."""

    bodies: Mapping[Name, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, dump: Dump | None) -> Functions:
        """Those of the dump."""
        entries = dump.entries if dump else ()
        unsettled = (
            entry for entry in entries if entry.kind in _FUNCTIONS and entry.defines and not _is_settled(entry)
        )
        return cls({entry.defines: _names_in(entry) for entry in unsettled if entry.defines})

    def called_by(self, entries: Iterable[DumpEntry]) -> set[Name]:
        """Those that the entries call, and those that these call."""
        called = {name for entry in entries for name in entry.mentions if name in self.bodies}
        while more := {n for name in called for n in self.bodies if n[1] in self.bodies[name]} - called:
            called |= more
        return called


def reads_of(tables: Sequence[TableRestore], dump: Dump | None) -> Mapping[str, set[str]]:
    """By table the others that must have their rows before: its checks call functions that look there."""
    functions = Functions.of(dump)
    if dump is None or not functions.bodies:
        return {}
    reads = {}
    for table in tables:
        own = [entry for entry in dump.entries if entry.kind in _WRITTEN and table.target in _about(entry)]
        names = {name for function in functions.called_by(own) for name in functions.bodies[function]}
        reads[table.name] = {other.name for other in tables if other.target[1] in names and other.name != table.name}
    return reads


def search_path(
    tables: Sequence[TableRestore], steps: SchemaSteps, dump: Dump | None, facts: TargetFacts
) -> tuple[str, list[RestoreRemark]]:
    """The search path with which rows are written where such functions run, else the empty text; what to say of it."""
    called = {name for table in tables for name in facts.callers.get(table.target, ())}
    if dump is not None and any(table.action is Action.CREATE for table in tables):
        run = {*steps.before, *steps.after}
        called |= Functions.of(dump).called_by(e for e in dump.entries if e.sql in run and e.kind in _WRITTEN)
    if not called:
        return "", []
    schemas = dict.fromkeys(_quoted(table.target[0]) for table in tables)
    path = ", ".join(["pg_catalog", facts.search_path, *(name for name in schemas if name not in facts.search_path)])
    what = (
        f"Checks, generated columns, defaults or indexes call functions that have no search path of their own: "
        f"{', '.join(sorted('.'.join(name) for name in called))}. They run with this one: {path}."
    )
    do = "To have them independent of it: ALTER FUNCTION … SET search_path = … in the source."
    return path, [RestoreRemark(RemarkSeverity.WARNING, what, do=do)]


def _about(entry: DumpEntry) -> set[Name | None]:
    return {entry.defines, entry.belongs_to}


def _is_settled(entry: DumpEntry) -> bool:
    """Whether it needs no search path: it sets its own, is compiled, or was parsed when it was made."""
    words = list(pairwise(entry.tokens))
    own = any(a.is_word("SET") and b.text == "search_path" for a, b in words)
    compiled = any(a.is_word("LANGUAGE") and b.text in {"c", "internal"} for a, b in words)
    return own or compiled or any(a.is_word("BEGIN") and b.is_word("ATOMIC") for a, b in words)


def _names_in(entry: DumpEntry) -> frozenset[str]:
    """Every identifier in the bodies of the function, as PostgreSQL folds it."""
    return frozenset(_identifiers(token.text for token in entry.tokens if token.kind is TokenKind.STRING))


def _identifiers(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for quoted, plain in _IDENTIFIER.findall(text):
            yield quoted.replace('""', '"') if quoted else plain.lower()


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


_NO_ROLES = ("PUBLIC", "CURRENT_USER", "CURRENT_ROLE", "SESSION_USER", "USER")


def roles_of(entries: Iterable[DumpEntry]) -> frozenset[str]:
    """The roles that policies and user mappings name."""
    return frozenset(name for entry in entries for name in _named(entry))


def create_roles_sql(roles: Iterable[str]) -> str:
    """What makes the roles: none of them may log in until somebody says so."""
    return " ".join(f"CREATE ROLE {_quoted_roles(role)} NOLOGIN;" for role in sorted(roles))


def _named(entry: DumpEntry) -> Iterator[str]:
    word = {"POLICY": "TO", "USER MAPPING": "FOR"}.get(entry.kind)
    if word is None:
        return
    tokens = entry.tokens
    start = next((index for index, token in enumerate(tokens) if token.is_word(word)), len(tokens))
    for token in tokens[start + 1 :]:
        if token.is_word("USING", "WITH", "SERVER") or token.text == ";":
            return
        if token.is_name and not token.is_word(*_NO_ROLES):
            yield token.text


def _quoted_roles(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_UNRECORDED = {"1.0", "1.1", "1.2"}
_SHOWN = 10


def other_sequences(basis: TablesBasis, steps: SchemaSteps) -> tuple[tuple[SequenceRestore, ...], list[RestoreRemark]]:
    """What becomes of each: set where the restore makes it; moved on where it is there and everything is restored."""
    created = _created(basis, steps)
    whole = not (basis.request.tables or basis.request.moves) and basis.manifest.kind is Kind.FULL
    there = basis.facts.sequences if whole else {}
    wanted = [
        sequence for sequence in basis.manifest.sequences if sequence.sequence in created or sequence.sequence in there
    ]
    known = [sequence for sequence in wanted if sequence.last_value is not None]
    set_ = tuple(
        SequenceRestore(sequence.sequence, sequence.last_value, sequence.is_called, made=sequence.sequence in created)
        for sequence in known
        if sequence.last_value is not None and _settable(sequence, created, basis)
    )
    return set_, list(_remarks(basis, created, wanted, whole=whole))


def _created(basis: TablesBasis, steps: SchemaSteps) -> set[Name]:
    """The sequences that the definitions make."""
    run = set(steps.before)
    entries = basis.dump.entries if basis.dump else ()
    return {entry.sequence for entry in entries if entry.sequence and entry.sql in run}


def _settable(sequence: OtherSequenceEntry, created: set[Name], basis: TablesBasis) -> bool:
    """One that is there and cycles stays as it is: no number of it is further than another."""
    return sequence.sequence in created or (basis.facts.sequences[sequence.sequence] and not sequence.cycles)


def _remarks(
    basis: TablesBasis, created: set[Name], wanted: Sequence[OtherSequenceEntry], *, whole: bool
) -> Iterator[RestoreRemark]:
    if whole and basis.manifest.format_version in _UNRECORDED:
        what = "The backup is of a format before 1.3: sequences that no column's default names start anew where made."
        yield RestoreRemark(
            RemarkSeverity.WARNING, what, do="Set those that a trigger or your application uses with setval()."
        )
    if unread := [sequence for sequence in wanted if sequence.last_value is None]:
        what = f"Where these sequences stood is not in the backup, its role could not read them: {_names(unread)}."
        yield RestoreRemark(
            RemarkSeverity.WARNING, what, do="Set them with setval() behind the largest number that was given."
        )
    moved = [sequence for sequence in wanted if sequence.sequence not in created and sequence.last_value is not None]
    if locked := [sequence for sequence in moved if not basis.facts.sequences[sequence.sequence]]:
        what = f"Role {basis.facts.role} may not set these sequences, which stay where they are: {_names(locked)}."
        do = "GRANT SELECT, UPDATE on them to the role first; else numbers that the backup's rows have can come again."
        yield RestoreRemark(RemarkSeverity.WARNING, what, do=do)
    if cycling := [sequence for sequence in moved if sequence.cycles and basis.facts.sequences[sequence.sequence]]:
        yield RestoreRemark(RemarkSeverity.INFO, f"These sequences cycle, and stay where they are: {_names(cycling)}.")
    if not whole and basis.request.mode is not Mode.NEW and basis.manifest.sequences:
        what = f"Sequences that no column's default names stay where they are: {_names(basis.manifest.sequences)}."
        do = "Where a trigger or your application draws from one, move it on with setval(); manifest.json has them."
        yield RestoreRemark(RemarkSeverity.INFO, what, do=do)
    if whole and (lacking := [sequence for sequence in basis.manifest.sequences if sequence not in wanted]):
        what = f"These sequences are not in the target, and are not made: {_names(lacking)}."
        yield RestoreRemark(
            RemarkSeverity.WARNING, what, do="Make them as your application does, and set them; manifest.json has them."
        )


def _names(sequences: Sequence[OtherSequenceEntry]) -> str:
    more = f" and {len(sequences) - _SHOWN} more" if len(sequences) > _SHOWN else ""
    return ", ".join(".".join(sequence.sequence) for sequence in sequences[:_SHOWN]) + more


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

    def take(self, wanted: Callable[[DumpEntry], bool]) -> None:
        """Choose what is `wanted`."""
        self.chosen |= {number for number, entry in enumerate(self.dump.entries) if wanted(entry)}

    def entries(self) -> Iterator[DumpEntry]:
        """The chosen entries, in the dump's order."""
        return (self.dump.entries[number] for number in sorted(self.chosen))


def whole_schema(loaded: Iterable[Name], dump: Dump, facts: TargetFacts) -> SchemaSteps:
    """Every entry, for an empty database into whose tables `loaded` rows come.

    Left out is what needs a relation that the dump had to leave out, and what needs that; and a foreign key from a
    table with rows to one that stays empty, because the rows would not fit it.
    """
    left_out: list[str] = []
    entries: list[DumpEntry] = []
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
    family = set(tables)
    while more := {part for part, whole in dump.parts.items() if whole in family} - family:
        family |= more
    return family


def _is_part_of(entry: DumpEntry, choice: _Choice) -> bool:
    """Whether an entry behind the rows is made; when not, it is said why."""
    if entry.belongs_to not in choice.relations or entry.kind not in _OF_TABLES:
        return False
    if entry.kind == "FK CONSTRAINT" and entry.parent not in choice.relations | choice.facts.taken:
        choice.left_out.append(f"{_called(entry)}: {_joined([entry.parent])} is not there")
        return False
    if entry.kind in _LATER:
        return _has_what_it_calls(entry, choice)
    return True


def _has_what_it_calls(entry: DumpEntry, choice: _Choice) -> bool:
    defined = {other.defines for other in choice.dump.entries if other.defines}
    there = choice.relations | choice.facts.taken | choice.facts.functions | choice.facts.types
    lacking = sorted(name for name in entry.mentions & defined if name not in there)
    if lacking:
        choice.left_out.append(f"{_called(entry)}: {_joined(lacking)} is not there")
    return not lacking


def _take_needed(choice: _Choice) -> None:
    """Choose what the chosen entries name, and what that names, as far as the target has not got it."""
    facts = choice.facts
    there = facts.types | facts.functions | facts.taken
    by_name = {entry.defines: number for number, entry in enumerate(choice.dump.entries) if entry.kind in _NEEDED}
    todo = set(choice.chosen)
    while todo:
        named = {name for number in todo for name in choice.dump.entries[number].mentions if name not in there}
        todo = {by_name[name] for name in named if name in by_name} - choice.chosen
        choice.chosen |= todo
    unknown = {name for entry in choice.entries() for name in entry.mentions} - there - by_name.keys()
    homes = {schema for schema, _ in unknown}
    choice.take(lambda entry: entry.kind == "EXTENSION" and entry.tag not in facts.extensions and entry.home in homes)


def _take_indexes_and_comments(choice: _Choice) -> None:
    """Choose what attaches a chosen index to another, and the comments on what is chosen."""
    defined = {entry.defines for entry in choice.entries()} | choice.relations
    defined.discard(None)
    defined |= {(entry.schema, name) for entry in choice.entries() if (name := _constraint(entry))}
    choice.take(lambda entry: entry.kind == "INDEX ATTACH" and entry.parent in defined)
    missed = {entry.tag for number, entry in enumerate(choice.dump.entries) if number not in choice.chosen}
    choice.take(lambda entry: entry.kind == "COMMENT" and entry.belongs_to in defined and _subject(entry) not in missed)


def _constraint(entry: DumpEntry) -> str | None:
    """The name of the constraint that an entry adds, which is also that of its index."""
    index = next((index for index, token in enumerate(entry.tokens) if token.is_word("CONSTRAINT")), None)
    return entry.tokens[index + 1].text if entry.kind == "CONSTRAINT" and index is not None else None


def _subject(comment: DumpEntry) -> str:
    """The tag of what a comment such as `TRIGGER t ON films` is about: `films t`."""
    name, on, table = comment.tag.partition(" ")[2].rpartition(" ON ")
    return f"{table} {name}" if on else ""


def _take_schemas(choice: _Choice) -> None:
    chosen = list(choice.entries())
    needed = {entry.schema for entry in chosen} | {entry.home for entry in chosen if entry.home}
    needed -= choice.facts.schemas
    choice.take(lambda entry: entry.kind == "SCHEMA" and entry.tag in needed)


def _steps(entries: list[DumpEntry], left_out: list[str], refreshed: tuple[Name, ...] = ()) -> SchemaSteps:
    """The entries on both sides of the rows: pg_dump keeps what comes after them together, at the end."""
    first = next((number for number, entry in enumerate(entries) if entry.kind in POST_DATA), len(entries))
    before, after = entries[:first], entries[first:]
    return SchemaSteps(
        before=tuple(entry.sql for entry in before),
        after=tuple(entry.sql for entry in after),
        left_out=tuple(left_out),
        refreshed=refreshed,
    )


def _there_already(entry: DumpEntry, facts: TargetFacts) -> bool:
    """Whether a new database has it from the start; a comment on an extension needs its owner."""
    if entry.kind == "SCHEMA":
        return entry.tag in facts.schemas
    return entry.kind == "COMMENT" and entry.tag.startswith("EXTENSION ")


def _called(entry: DumpEntry) -> str:
    return f"{entry.kind.lower()} {entry.tag}"


def _joined(names: Iterable[Name | None]) -> str:
    return ", ".join(".".join(name) for name in names if name)
