"""A schema.sql, as pg_dump writes it, cut into its entries: what each defines, what it belongs to, what it needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from backup_pipeline.core.limits import MOST_SCHEMA
from backup_pipeline.core.restore_tokens import (
    Kind,
    Token,
    mentioned,
    name_at,
    qualified_at,
    refuse_commands,
    significant,
    tokens,
)
from backup_pipeline.core.restoring import Name

_HEADER = re.compile(r"-- Name: (?P<tag>.*); Type: (?P<kind>[A-Z ]+); Schema: (?P<schema>.*); Owner: ?.*")
_END = re.compile(r"\n--\n-- PostgreSQL database dump complete\n--\s*\Z")
# pg_dump writes these behind an entry, for those that follow.
_TRAILING = re.compile(r"(?:^SET default_\w+ = [^;\n]*;\s*)+\Z", re.MULTILINE)
_LEFT_OUT = re.compile(r"\A-- Left out, because the backup role may not read them:\n((?:--   .*\n)+)")
# After the rows: what the server builds from them or checks against them.
POST_DATA = frozenset(
    {
        "CONSTRAINT", "FK CONSTRAINT", "CHECK CONSTRAINT", "INDEX", "INDEX ATTACH", "STATISTICS", "RULE", "TRIGGER",
        "EVENT TRIGGER", "ROW SECURITY", "POLICY", "PUBLICATION", "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA",
        "SUBSCRIPTION", "SUBSCRIPTION TABLE", "DEFAULT ACL",
    }
)  # fmt: skip
_DEFINING = ("TABLE", "TYPE", "DOMAIN", "FUNCTION", "PROCEDURE", "AGGREGATE", "VIEW", "SEQUENCE", "COLLATION")


@dataclass(frozen=True)
class Entry:
    """One object of a dump: pg_dump's `tag` and kind (`TABLE`, `FK CONSTRAINT`), its schema, its statements.

    `lines` are the first and the last line that it takes in the dump, counted from 1, its header included.
    """

    tag: str
    kind: str
    schema: str
    sql: str
    lines: tuple[int, int] = (0, 0)

    @cached_property
    def tokens(self) -> list[Token]:
        """Its tokens, without comments."""
        return significant(self.sql)

    @cached_property
    def mentions(self) -> frozenset[Name]:
        """Every qualified name in it."""
        return frozenset(mentioned(self.tokens))

    @cached_property
    def defines(self) -> Name | None:
        """The relation, type, function or index that it creates."""
        return _defined(self.tokens, self.kind)

    @cached_property
    def belongs_to(self) -> Name | None:
        """The relation that it is a part of: of a constraint, an index, a trigger, a comment."""
        return _owner(self.tokens, self.kind)

    @cached_property
    def home(self) -> str | None:
        """Of an extension the schema that it is made in."""
        at = _find(self.tokens, "SCHEMA") if self.kind == "EXTENSION" else None
        return self.tokens[at + 1].text if at is not None and at + 1 < len(self.tokens) else None

    @cached_property
    def sequence(self) -> Name | None:
        """The sequence that it makes; an identity's by ALTER TABLE … ADD GENERATED … (SEQUENCE NAME …)."""
        if self.kind != "SEQUENCE":
            return None
        words = enumerate(pairwise(self.tokens))
        at = next((at for at, (a, b) in words if a.is_word("SEQUENCE") and b.is_word("NAME")), None)
        return self.defines or (qualified_at(self.tokens, at + 2) if at is not None else None)

    @cached_property
    def parent(self) -> Name | None:
        """Of a foreign key the relation it refers to; of an attachment what is attached."""
        words = {"FK CONSTRAINT": "REFERENCES", "TABLE ATTACH": "PARTITION", "INDEX ATTACH": "PARTITION"}
        at = _find(self.tokens, words[self.kind]) if self.kind in words else None
        return None if at is None else qualified_at(self.tokens, at + 1)


@dataclass(frozen=True)
class Dump:
    """The entries of a dump in its order, and the relations it says it had to leave out."""

    entries: tuple[Entry, ...]
    left_out: frozenset[Name] = frozenset()

    @cached_property
    def tables(self) -> dict[Name, Entry]:
        """The entries that create tables, by name."""
        return {entry.defines: entry for entry in self.entries if entry.kind == "TABLE" and entry.defines}

    @cached_property
    def views(self) -> dict[Name, Entry]:
        """The entries that create views, by name."""
        return {entry.defines: entry for entry in self.entries if entry.kind == "VIEW" and entry.defines}

    @cached_property
    def parts(self) -> dict[Name, Name]:
        """Each partition -> what it is attached to."""
        attached = (entry for entry in self.entries if entry.kind == "TABLE ATTACH")
        return {entry.parent: entry.belongs_to for entry in attached if entry.parent and entry.belongs_to}


def split_dump(sql: str) -> Dump:
    """The dump `sql` in entries; ValueError when it is not whole. A header inside a string or a function is none."""
    sql = _END.sub("\n", sql)
    heads = list(_heads(sql))
    ends = [*(start for start, _, _ in heads[1:]), len(sql)][: len(heads)]
    entries: list[Entry] = []
    settings, line = "", 1 + sql.count("\n", 0, heads[0][0]) if heads else 1
    for (start, behind, head), end in zip(heads, ends, strict=True):
        body, trailing = _without_trailing(sql[behind:end])
        text = f"{settings}\n{body}".strip() if head["kind"] == "TABLE" else body
        first, line = line, line + sql.count("\n", start, end)
        entries.append(Entry(head["tag"], head["kind"], head["schema"], text, (first, line - 1)))
        settings = trailing or settings
    found = _LEFT_OUT.match(sql)
    return Dump(tuple(entries), frozenset(_left_out(found[1])) if found else frozenset())


def dump_problem(sql: str) -> str | None:
    """Why no restore can use the dump `sql`: it is cut off, or more than SQL; None when it can."""
    if len(sql) > MOST_SCHEMA:
        return f"it has {len(sql):,} letters, more than the {MOST_SCHEMA:,} that a restore reads"
    try:
        refuse_commands(sql)
        split_dump(sql)
    except ValueError as error:
        return str(error)
    return None


def _heads(sql: str) -> Iterator[tuple[int, int, re.Match[str]]]:
    """Where each entry's header starts and ends: three lines of comment between two statements."""
    before: list[Token] = []
    open_statement = False
    for token in tokens(sql):
        if token.kind is not Kind.COMMENT:
            open_statement = token.text != ";"
            before = []
            continue
        before = [*before[-2:], token]
        head = _HEADER.fullmatch(before[1].text) if len(before) == 3 and not open_statement else None
        if head and before[0].text == before[2].text == "--":
            yield before[0].start, token.end, head


def _without_trailing(text: str) -> tuple[str, str]:
    found = _TRAILING.search(text)
    return (text[: found.start()].strip(), found[0].strip()) if found else (text.strip(), "")


def _left_out(lines: str) -> Iterator[Name]:
    for line in lines.splitlines():
        name = qualified_at(significant(line.removeprefix("--")), 0)
        if name:
            yield name


def _find(found: Sequence[Token], *words: str, start: int = 0) -> int | None:
    return next((at for at in range(start, len(found)) if found[at].is_word(*words)), None)


def _behind(found: Sequence[Token], *words: str, start: int = 0) -> Name | None:
    """The qualified name behind the first of these keywords, `ONLY` and `IF NOT EXISTS` left aside."""
    at = _find(found, *words, start=start)
    if at is None:
        return None
    at += 1
    while at < len(found) and found[at].is_word("ONLY", "IF", "NOT", "EXISTS"):
        at += 1
    return qualified_at(found, at)


def _defined(found: Sequence[Token], kind: str) -> Name | None:
    start = _find(found, "CREATE")
    if start is None:
        return None
    if kind == "INDEX":
        at, on = _find(found, "INDEX", start=start), _behind(found, "ON")
        name, _ = name_at(found, at + 1) if at is not None else ((), 0)
        return (on[0], name[0]) if on and name else None
    return _behind(found, *_DEFINING, start=start) if kind not in POST_DATA else None


def _owner(found: Sequence[Token], kind: str) -> Name | None:
    if kind == "COMMENT":
        return _commented(found)
    if kind == "SEQUENCE OWNED BY":
        return _behind(found, "BY")
    if found and found[0].is_word("ALTER"):
        return _behind(found, "TABLE")
    word: Callable[[str], str | None] = {
        "INDEX": "ON", "TRIGGER": "ON", "POLICY": "ON", "RULE": "TO", "STATISTICS": "FROM",
    }.get  # fmt: skip
    wanted = word(kind)
    return _behind(found, wanted) if wanted else None


def _commented(found: Sequence[Token]) -> Name | None:
    """What a comment is about: the relation, or what it stands on."""
    start = _find(found, "ON")
    if start is None or start + 1 >= len(found):
        return None
    if found[start + 1].is_word("CONSTRAINT", "TRIGGER", "POLICY", "RULE"):
        return _behind(found, "ON", start=start + 2)
    at = start + 2
    while at < len(found) and found[at].is_word("VIEW", "TABLE"):
        at += 1
    return qualified_at(found, at)
