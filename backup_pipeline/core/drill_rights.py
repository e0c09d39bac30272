"""What a backup's definitions make that only a superuser may: a drill leaves it out.

Whatever comes from a backup runs in the scratch server as a role without such rights. So functions in C or in an
untrusted language, event triggers, servers of foreign data and the like are not made there, nor what needs them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from backup_pipeline.core.restore_entries import Dump, Entry
from backup_pipeline.core.restore_tokens import Token
from backup_pipeline.core.restoring import Name

_KINDS = frozenset(
    {
        "ACCESS METHOD", "EVENT TRIGGER", "FOREIGN DATA WRAPPER", "FOREIGN TABLE", "LANGUAGE", "OPERATOR CLASS",
        "OPERATOR FAMILY", "PROCEDURAL LANGUAGE", "PUBLICATION", "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA",
        "SECURITY LABEL", "SERVER", "SHELL TYPE", "SUBSCRIPTION", "SUBSCRIPTION TABLE", "TEXT SEARCH PARSER",
        "TEXT SEARCH TEMPLATE", "TRANSFORM", "USER MAPPING",
    }
)  # fmt: skip
_ROUTINES = frozenset({"FUNCTION", "PROCEDURE"})
_TRUSTED_LANGUAGES = frozenset({"sql", "plpgsql", "plperl", "pltcl", "plv8", "plrust", "pllua", "pljava"})


@dataclass(frozen=True)
class Permitted:
    """The definitions that a role without a superuser's rights may make, and why others are left out."""

    dump: Dump
    left_out: tuple[str, ...]


def permitted(dump: Dump, held: Collection[Name]) -> Permitted:
    """`dump` without what only a superuser may make, and without what needs that.

    A table among `held`, of which the backup has rows, that needs it goes too, but not what needs the table: it is
    made anew from the manifest.
    """
    kept: list[Entry] = []
    left_out: list[str] = []
    lost: set[Name] = set()
    for entry in dump.entries:
        needed = sorted(entry.mentions & lost)
        if not (needed or _for_superusers(entry)):
            kept.append(_without_promises(entry))
            continue
        left_out.append(_reason(entry, needed))
        if entry.defines and entry.defines not in held:
            lost.add(entry.defines)
    return Permitted(Dump(tuple(kept), dump.left_out), tuple(left_out))


def _reason(entry: Entry, needed: list[Name]) -> str:
    called = f"{entry.kind.lower()} {entry.tag} is not made: "
    if needed:
        return f"{called}it needs {', '.join('.'.join(name) for name in needed)}, which is not made."
    return f"{called}only a superuser may, and nothing that comes from a backup runs as one in a drill."


def _for_superusers(entry: Entry) -> bool:
    if entry.kind in _KINDS:
        return True
    if entry.kind in _ROUTINES:
        return not _languages(entry) <= _TRUSTED_LANGUAGES
    if entry.kind == "CAST":
        return any(token.is_word("WITHOUT") for token in entry.tokens)
    return entry.kind == "TYPE" and _is_base_type(entry)


def _languages(entry: Entry) -> set[str]:
    """The language of a routine as its definition names it."""
    options = list(_options(entry))
    return {named.text for token, named in pairwise(options) if token.is_word("LANGUAGE")}


def _options(entry: Entry) -> Iterator[Token]:
    """What stands behind a routine's arguments and before its body, without what stands in parentheses."""
    depth, behind = 0, False
    for token in entry.tokens:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and behind:
            if token.is_word("AS", "BEGIN", "RETURN"):
                return
            yield token
        behind = behind or token.text == ")"


def _is_base_type(entry: Entry) -> bool:
    """CREATE TYPE name; or CREATE TYPE name (INPUT = …): its values are read and shown by functions in C."""
    tokens = entry.tokens
    opened = next((at for at, token in enumerate(tokens) if token.text in {"(", ";"}), None)
    if opened is None or tokens[opened].text == ";":
        return opened is not None
    before = tokens[opened - 1]
    return not before.is_word("AS", "ENUM", "RANGE")


def _without_promises(entry: Entry) -> Entry:
    """A function without LEAKPROOF: only a superuser may promise that, and rows are the same without."""
    if entry.kind not in _ROUTINES:
        return entry
    sql = entry.sql
    for token in reversed([token for token in _options(entry) if token.is_word("LEAKPROOF")]):
        sql = f"{sql[: token.start]}{sql[token.end :]}"
    return replace(entry, sql=sql) if sql != entry.sql else entry
