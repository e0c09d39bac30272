"""A dump of a schema taken apart: SQL into tokens, as PostgreSQL reads it, and what pg_dump wrote into its entries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import pairwise

from backup_pipeline.core.names import MOST_SCHEMA, MOST_TOKENS
from backup_pipeline.core.restore import Name, TargetColumn
from backup_pipeline.core.text import without_escapes

# The order matters: a word swallows the dollars inside it, and what a quote begins ends with its own quote.
_TOKEN = re.compile(
    r"""(?P<blank>\s+)
      | (?P<comment>--[^\n]*)
      | (?P<block>/\*)
      | (?P<string>[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | (?P<dollar>\$(?:[^\W\d]\w*)?\$).*?(?P=dollar))
      | (?P<name>(?:[uU]&)?"(?:[^"]|"")+")
      | (?P<word>(?![eE]'|[uU]&")[^\W\d][\w$]*)
      | (?P<symbol>\d[\w.]*|\$\d+|.)""",
    re.VERBOSE | re.DOTALL,
)
_OPEN = re.compile(r"""['"eE]|\$(?:[^\W\d]\w*)?\$""")
"""What would have begun a string or a name, had it an end."""
_BLOCK = re.compile(r"/\*|\*/")


class TokenKind(StrEnum):
    """What a token is. A `word` is not quoted: a keyword, or a name in lower case."""

    COMMENT = "comment"
    STRING = "string"
    NAME = "name"
    WORD = "word"
    SYMBOL = "symbol"


@dataclass(frozen=True, slots=True)
class Token:
    """A token: `text` as written, but a name without its quotes; where it starts and ends."""

    kind: TokenKind
    text: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these keywords, given in upper case."""
        return self.kind is TokenKind.WORD and self.text.upper() in words

    @property
    def is_name(self) -> bool:
        """Whether it may name something."""
        return self.kind in {TokenKind.NAME, TokenKind.WORD}


def tokens(sql: str) -> Iterator[Token]:
    """The tokens of `sql`, without what is blank; ValueError where a quote or a comment has no end."""
    start = count = 0
    while start < len(sql):
        count += 1
        if count > MOST_TOKENS:
            message = f"it has more than {MOST_TOKENS:,} words and signs"
            raise ValueError(message)
        match = _TOKEN.match(sql, start)
        if match is None:
            raise _without_end(sql, start)
        kind, end = match.lastgroup or "", match.end()
        if kind == "block":
            kind, end = "comment", _end_of_block(sql, start)
        if kind == "symbol" and _OPEN.match(sql, start):
            raise _without_end(sql, start)
        if kind != "blank":
            text = _bare(match[0]) if kind == "name" else sql[start:end]
            yield Token(TokenKind("string" if kind == "dollar" else kind), text, start, end)
        start = end


def _bare(quoted: str) -> str:
    name = quoted[quoted.index('"') + 1 : -1].replace('""', '"')
    return name if quoted.startswith('"') else without_escapes(name)


def significant(sql: str) -> list[Token]:
    """The tokens of `sql` without its comments."""
    return [token for token in tokens(sql) if token.kind is not TokenKind.COMMENT]


def refuse_commands(sql: str) -> None:
    """ValueError when `sql` has a command of psql: a backslash outside of quotes and comments, which is never SQL."""
    for token in tokens(sql) if "\\" in sql else ():
        if token.kind is TokenKind.SYMBOL and token.text == "\\":
            line = sql.count("\n", 0, token.start) + 1
            message = f"line {line} has a command of psql, not SQL: {sql[token.start : token.start + 40]!r}"
            raise ValueError(message)


def name_at(tokens: Sequence[Token], index: int) -> tuple[tuple[str, ...], int]:
    """The dotted name that begins at token `at`, and the number of the token behind it; () when there is none."""
    parts: list[str] = []
    while index < len(tokens) and tokens[index].is_name:
        parts.append(tokens[index].text)
        if index + 1 == len(tokens) or tokens[index + 1].text != "." or tokens[index + 1].kind is not TokenKind.SYMBOL:
            return tuple(parts), index + 1
        index += 2
    return tuple(parts), index


def qualified_at(tokens: Sequence[Token], index: int) -> Name | None:
    """The schema and name that begin at token `at`, or None; what follows a second dot (a column) is left aside."""
    parts, _ = name_at(tokens, index)
    return (parts[0], parts[1]) if len(parts) > 1 else None


def mentioned(tokens: Sequence[Token]) -> Iterator[Name]:
    """Every qualified name, also those inside strings that are names, as in nextval('public.s'::regclass)."""
    index = 0
    while index < len(tokens):
        if tokens[index].kind is TokenKind.STRING and tokens[index].text.startswith("'") and "." in tokens[index].text:
            yield from _in_string(tokens[index].text[1:-1].replace("''", "'"))
        parts, behind = name_at(tokens, index)
        if len(parts) > 1:
            yield parts[0], parts[1]
        index = max(behind, index + 1)


def _in_string(text: str) -> Iterator[Name]:
    try:
        tokens = significant(text)
    except ValueError:
        return
    parts, behind = name_at(tokens, 0)
    if len(parts) == 2 and behind == len(tokens):
        yield parts[0], parts[1]


def _end_of_block(sql: str, start: int) -> int:
    """Where the comment that begins at `start` ends: they nest."""
    depth = 0
    for mark in _BLOCK.finditer(sql, start):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return mark.end()
    raise _without_end(sql, start)


def _without_end(sql: str, start: int) -> ValueError:
    message = f"what begins in line {sql.count(chr(10), 0, start) + 1} has no end: {sql[start : start + 40]!r}"
    return ValueError(message)


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
class DumpEntry:
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
        index = _find(self.tokens, "SCHEMA") if self.kind == "EXTENSION" else None
        return self.tokens[index + 1].text if index is not None and index + 1 < len(self.tokens) else None

    @cached_property
    def sequence(self) -> Name | None:
        """The sequence that it makes; an identity's by ALTER TABLE … ADD GENERATED … (SEQUENCE NAME …)."""
        if self.kind != "SEQUENCE":
            return None
        words = enumerate(pairwise(self.tokens))
        index = next((index for index, (a, b) in words if a.is_word("SEQUENCE") and b.is_word("NAME")), None)
        return self.defines or (qualified_at(self.tokens, index + 2) if index is not None else None)

    @cached_property
    def parent(self) -> Name | None:
        """Of a foreign key the relation it refers to; of an attachment what is attached."""
        words = {"FK CONSTRAINT": "REFERENCES", "TABLE ATTACH": "PARTITION", "INDEX ATTACH": "PARTITION"}
        index = _find(self.tokens, words[self.kind]) if self.kind in words else None
        return None if index is None else qualified_at(self.tokens, index + 1)


@dataclass(frozen=True)
class Dump:
    """The entries of a dump in its order, and the relations it says it had to leave out."""

    entries: tuple[DumpEntry, ...]
    left_out: frozenset[Name] = frozenset()

    @cached_property
    def tables(self) -> dict[Name, DumpEntry]:
        """The entries that create tables, by name."""
        return {entry.defines: entry for entry in self.entries if entry.kind == "TABLE" and entry.defines}

    @cached_property
    def views(self) -> dict[Name, DumpEntry]:
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
    entries: list[DumpEntry] = []
    settings, line = "", 1 + sql.count("\n", 0, heads[0][0]) if heads else 1
    for (start, behind, head), end in zip(heads, ends, strict=True):
        body, trailing = _without_trailing(sql[behind:end])
        text = f"{settings}\n{body}".strip() if head["kind"] == "TABLE" else body
        first, line = line, line + sql.count("\n", start, end)
        entries.append(DumpEntry(head["tag"], head["kind"], head["schema"], text, (first, line - 1)))
        settings = trailing or settings
    unread = _LEFT_OUT.match(sql)
    return Dump(tuple(entries), frozenset(_left_out(unread[1])) if unread else frozenset())


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
        if token.kind is not TokenKind.COMMENT:
            open_statement = token.text != ";"
            before = []
            continue
        before = [*before[-2:], token]
        head = _HEADER.fullmatch(before[1].text) if len(before) == 3 and not open_statement else None
        if head and before[0].text == before[2].text == "--":
            yield before[0].start, token.end, head


def _without_trailing(text: str) -> tuple[str, str]:
    match = _TRAILING.search(text)
    return (text[: match.start()].strip(), match[0].strip()) if match else (text.strip(), "")


def _left_out(lines: str) -> Iterator[Name]:
    for line in lines.splitlines():
        name = qualified_at(significant(line.removeprefix("--")), 0)
        if name:
            yield name


def _find(tokens: Sequence[Token], *words: str, start: int = 0) -> int | None:
    return next((index for index in range(start, len(tokens)) if tokens[index].is_word(*words)), None)


def _behind(tokens: Sequence[Token], *words: str, start: int = 0) -> Name | None:
    """The qualified name behind the first of these keywords, `ONLY` and `IF NOT EXISTS` left aside."""
    index = _find(tokens, *words, start=start)
    if index is None:
        return None
    index += 1
    while index < len(tokens) and tokens[index].is_word("ONLY", "IF", "NOT", "EXISTS"):
        index += 1
    return qualified_at(tokens, index)


def _defined(tokens: Sequence[Token], kind: str) -> Name | None:
    start = _find(tokens, "CREATE")
    if start is None:
        return None
    if kind == "INDEX":
        index, on = _find(tokens, "INDEX", start=start), _behind(tokens, "ON")
        name, _ = name_at(tokens, index + 1) if index is not None else ((), 0)
        return (on[0], name[0]) if on and name else None
    return _behind(tokens, *_DEFINING, start=start) if kind not in POST_DATA else None


def _owner(tokens: Sequence[Token], kind: str) -> Name | None:
    if kind == "COMMENT":
        return _commented(tokens)
    if kind == "SEQUENCE OWNED BY":
        return _behind(tokens, "BY")
    if tokens and tokens[0].is_word("ALTER"):
        return _behind(tokens, "TABLE")
    word: Callable[[str], str | None] = {
        "INDEX": "ON", "TRIGGER": "ON", "POLICY": "ON", "RULE": "TO", "STATISTICS": "FROM",
    }.get  # fmt: skip
    wanted = word(kind)
    return _behind(tokens, wanted) if wanted else None


def _commented(tokens: Sequence[Token]) -> Name | None:
    """What a comment is about: the relation, or what it stands on."""
    start = _find(tokens, "ON")
    if start is None or start + 1 >= len(tokens):
        return None
    if tokens[start + 1].is_word("CONSTRAINT", "TRIGGER", "POLICY", "RULE"):
        return _behind(tokens, "ON", start=start + 2)
    index = start + 2
    while index < len(tokens) and tokens[index].is_word("VIEW", "TABLE"):
        index += 1
    return qualified_at(tokens, index)


_CLAUSES = (
    "NOT", "NULL", "DEFAULT", "GENERATED", "CONSTRAINT", "COLLATE", "STORAGE", "COMPRESSION", "PRIMARY", "CHECK",
)  # fmt: skip
_NO_COLUMN = ("CONSTRAINT", "CHECK", "PRIMARY", "UNIQUE", "FOREIGN", "EXCLUDE", "LIKE", "NOT")
_OPENING, _CLOSING = "([", ")]"


def columns_of(table: Name, dump: Dump) -> tuple[TargetColumn, ...]:
    """The columns of a table that `dump` creates, those it inherits first; empty when the dump does not list them."""
    entry = dump.tables.get(table)
    if entry is None:
        return ()
    elsewhere = _defined_elsewhere(table, dump)
    columns = {column.name: column for parent in _parents(entry) for column in columns_of(parent, dump)}
    for item in items(entry.tokens):
        if not (item[0].kind is TokenKind.WORD and item[0].is_word(*_NO_COLUMN)):
            column = _column(item, entry.sql, elsewhere)
            columns[column.name] = column
    return tuple(columns.values())


def items(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """What stands between the commas of the first parentheses."""
    depth, item = 0, list[Token]()
    for token in tokens:
        closes = _is(token, _CLOSING)
        depth -= closes
        if depth and not (depth == 1 and _is(token, ",")):
            item.append(token)
        elif item:
            yield item
            item = []
        if closes and not depth:
            return  # also where nothing stands between them: INHERITS (…) and WITH (…) follow
        depth += _is(token, _OPENING)


def _is(token: Token, symbols: str) -> bool:
    return token.kind is TokenKind.SYMBOL and token.text in symbols


def _column(item: Sequence[Token], sql: str, elsewhere: dict[str, str]) -> TargetColumn:
    clause = next((index for index, token in enumerate(item) if index and token.is_word(*_CLAUSES)), len(item))
    name = item[0].text
    words = _outer_words(item[clause:])
    return TargetColumn(
        name=name,
        pg_type=sql[item[1].start : item[clause - 1].end] if clause > 1 else "",
        nullable=not any(pair == ("NOT", "NULL") for pair in pairwise(words)),
        has_default="DEFAULT" in words or elsewhere.get(name) == "default",
        generated="GENERATED" in words,
        identity=elsewhere.get(name, "") if elsewhere.get(name) != "default" else "",
    )


def _outer_words(tokens: Sequence[Token]) -> list[str]:
    """The keywords that stand in no parentheses: what is inside them belongs to an expression."""
    depth, words = 0, []
    for token in tokens:
        depth += _is(token, _OPENING) - _is(token, _CLOSING)
        words.append(token.text.upper() if token.kind is TokenKind.WORD and not depth else "")
    return words


def _defined_elsewhere(table: Name, dump: Dump) -> dict[str, str]:
    """Columns whose default or identity is an entry of its own."""
    columns: dict[str, str] = {}
    for entry in dump.entries:
        if entry.kind not in {"SEQUENCE", "DEFAULT"} or entry.belongs_to != table:
            continue
        words = [token.text.upper() if token.kind is TokenKind.WORD else "" for token in entry.tokens]
        column = entry.tokens[words.index("COLUMN") + 1].text if "COLUMN" in words else ""
        identity = "always" if "ALWAYS" in words else "by default"
        columns[column] = identity if entry.kind == "SEQUENCE" else "default"
    return columns


def _parents(entry: DumpEntry) -> Iterator[Name]:
    """The tables behind INHERITS."""
    tokens = entry.tokens
    index = next((index for index, token in enumerate(tokens) if token.is_word("INHERITS")), None)
    for number in range(index + 1, len(tokens)) if index is not None else ():
        name = qualified_at(tokens, number)
        if name and tokens[number - 1].text in {"(", ","}:
            yield name


@dataclass(frozen=True)
class PlainView:
    """A view that shows every row of `base`; `columns` maps its columns to the table's."""

    base: Name
    columns: Mapping[str, str]


def plain_view(sql: str) -> PlainView | None:
    """The view whose query, or whose CREATE VIEW, is `sql`; None when it does more than show columns of one table."""
    try:
        tokens = [token for token in significant(sql) if token.text != ";"]
    except ValueError:
        return None
    start = next((index for index, token in enumerate(tokens) if token.is_word("SELECT")), None)
    end = next((index for index, token in enumerate(tokens) if token.is_word("FROM")), None)
    if start is None or end is None or end < start or _more_than_a_name(tokens[end + 1 :]):
        return None
    columns = _columns(tokens[start + 1 : end])
    base, _ = name_at(tokens, end + 1)
    return PlainView((base[0], base[1]), columns) if columns and len(base) == 2 else None


def _more_than_a_name(tokens: Sequence[Token]) -> bool:
    """Whether something follows the name of a relation and its alias."""
    _, behind = name_at(tokens, 0)
    rest = tokens[behind:]
    return len(rest) > 1 or any(not token.is_name or token.is_word("WHERE", "GROUP", "LIMIT") for token in rest)


def _columns(tokens: Sequence[Token]) -> Mapping[str, str]:
    """Each column of the view -> that of the table; empty when one is not just a column."""
    columns: dict[str, str] = {}
    index = 0
    while index < len(tokens):
        source, index = name_at(tokens, index)
        if not source:
            return {}
        shown = source[-1]
        if index < len(tokens) and tokens[index].is_word("AS"):
            (shown, *_), index = name_at(tokens, index + 1)
        columns[shown] = source[-1]
        if index < len(tokens) and not _is(tokens[index], ","):
            return {}
        index += 1
    # A column that is shown twice has two values to be written.
    return columns if len(set(columns.values())) == len(columns) else {}
