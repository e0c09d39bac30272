"""Functions that run when rows are written: checks, generated columns, defaults and indexes call them.

One that names tables without their schema finds them by the search path, which is empty in a dump, ours in a restore.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from backup_pipeline.core.restore_entries import Dump, Entry
from backup_pipeline.core.restore_target import TargetFacts
from backup_pipeline.core.restore_tokens import Kind
from backup_pipeline.core.restoring import Action, Name, Remark, SchemaSteps, Severity, TableRestore

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
        found = (entry for entry in entries if entry.kind in _FUNCTIONS and entry.defines and not _is_settled(entry))
        return cls({entry.defines: _names_in(entry) for entry in found if entry.defines})

    def called_by(self, entries: Iterable[Entry]) -> set[Name]:
        """Those that the entries call, and those that these call."""
        found = {name for entry in entries for name in entry.mentions if name in self.bodies}
        while more := {n for name in found for n in self.bodies if n[1] in self.bodies[name]} - found:
            found |= more
        return found


def reads_of(tables: Sequence[TableRestore], dump: Dump | None) -> Mapping[str, set[str]]:
    """By table the others that must have their rows before: its checks call functions that look there."""
    functions = Functions.of(dump)
    if dump is None or not functions.bodies:
        return {}
    found = {}
    for table in tables:
        own = [entry for entry in dump.entries if entry.kind in _WRITTEN and table.target in _about(entry)]
        names = {name for function in functions.called_by(own) for name in functions.bodies[function]}
        found[table.name] = {one.name for one in tables if one.target[1] in names and one.name != table.name}
    return found


def search_path(
    tables: Sequence[TableRestore], steps: SchemaSteps, dump: Dump | None, facts: TargetFacts
) -> tuple[str, list[Remark]]:
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
    return path, [Remark(Severity.WARNING, what, do=do)]


def _about(entry: Entry) -> set[Name | None]:
    return {entry.defines, entry.belongs_to}


def _is_settled(entry: Entry) -> bool:
    """Whether it needs no search path: it sets its own, is compiled, or was parsed when it was made."""
    words = list(pairwise(entry.tokens))
    own = any(a.is_word("SET") and b.text == "search_path" for a, b in words)
    compiled = any(a.is_word("LANGUAGE") and b.text in {"c", "internal"} for a, b in words)
    return own or compiled or any(a.is_word("BEGIN") and b.is_word("ATOMIC") for a, b in words)


def _names_in(entry: Entry) -> frozenset[str]:
    """Every identifier in the bodies of the function, as PostgreSQL folds it."""
    return frozenset(_identifiers(token.text for token in entry.tokens if token.kind is Kind.STRING))


def _identifiers(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for quoted, plain in _IDENTIFIER.findall(text):
            yield quoted.replace('""', '"') if quoted else plain.lower()


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'
