"""SQL taken apart into tokens, as PostgreSQL reads it: enough to know where a string, a name or a comment ends."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backup_pipeline.core.limits import MOST_TOKENS
from backup_pipeline.core.restoring import Name
from backup_pipeline.core.sql_text import without_escapes

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


class Kind(StrEnum):
    """What a token is. A `word` is not quoted: a keyword, or a name in lower case."""

    COMMENT = "comment"
    STRING = "string"
    NAME = "name"
    WORD = "word"
    SYMBOL = "symbol"


@dataclass(frozen=True, slots=True)
class Token:
    """A token: `text` as written, but a name without its quotes; where it starts and ends."""

    kind: Kind
    text: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these keywords, given in upper case."""
        return self.kind is Kind.WORD and self.text.upper() in words

    @property
    def is_name(self) -> bool:
        """Whether it may name something."""
        return self.kind in {Kind.NAME, Kind.WORD}


def tokens(sql: str) -> Iterator[Token]:
    """The tokens of `sql`, without what is blank; ValueError where a quote or a comment has no end."""
    at = count = 0
    while at < len(sql):
        count += 1
        if count > MOST_TOKENS:
            message = f"it has more than {MOST_TOKENS:,} words and signs"
            raise ValueError(message)
        match = _TOKEN.match(sql, at)
        if match is None:
            raise _without_end(sql, at)
        kind, end = match.lastgroup or "", match.end()
        if kind == "block":
            kind, end = "comment", _end_of_block(sql, at)
        if kind == "symbol" and _OPEN.match(sql, at):
            raise _without_end(sql, at)
        if kind != "blank":
            text = _bare(match[0]) if kind == "name" else sql[at:end]
            yield Token(Kind("string" if kind == "dollar" else kind), text, at, end)
        at = end


def _bare(quoted: str) -> str:
    name = quoted[quoted.index('"') + 1 : -1].replace('""', '"')
    return name if quoted.startswith('"') else without_escapes(name)


def significant(sql: str) -> list[Token]:
    """The tokens of `sql` without its comments."""
    return [token for token in tokens(sql) if token.kind is not Kind.COMMENT]


def refuse_commands(sql: str) -> None:
    """ValueError when `sql` has a command of psql: a backslash outside of quotes and comments, which is never SQL."""
    for token in tokens(sql) if "\\" in sql else ():
        if token.kind is Kind.SYMBOL and token.text == "\\":
            line = sql.count("\n", 0, token.start) + 1
            message = f"line {line} has a command of psql, not SQL: {sql[token.start : token.start + 40]!r}"
            raise ValueError(message)


def name_at(found: Sequence[Token], at: int) -> tuple[tuple[str, ...], int]:
    """The dotted name that begins at token `at`, and the number of the token behind it; () when there is none."""
    parts: list[str] = []
    while at < len(found) and found[at].is_name:
        parts.append(found[at].text)
        if at + 1 == len(found) or found[at + 1].text != "." or found[at + 1].kind is not Kind.SYMBOL:
            return tuple(parts), at + 1
        at += 2
    return tuple(parts), at


def qualified_at(found: Sequence[Token], at: int) -> Name | None:
    """The schema and name that begin at token `at`, or None; what follows a second dot (a column) is left aside."""
    parts, _ = name_at(found, at)
    return (parts[0], parts[1]) if len(parts) > 1 else None


def mentioned(found: Sequence[Token]) -> Iterator[Name]:
    """Every qualified name, also those inside strings that are names, as in nextval('public.s'::regclass)."""
    at = 0
    while at < len(found):
        if found[at].kind is Kind.STRING and found[at].text.startswith("'") and "." in found[at].text:
            yield from _in_string(found[at].text[1:-1].replace("''", "'"))
        parts, behind = name_at(found, at)
        if len(parts) > 1:
            yield parts[0], parts[1]
        at = max(behind, at + 1)


def _in_string(text: str) -> Iterator[Name]:
    try:
        found = significant(text)
    except ValueError:
        return
    parts, behind = name_at(found, 0)
    if len(parts) == 2 and behind == len(found):
        yield parts[0], parts[1]


def _end_of_block(sql: str, start: int) -> int:
    """Where the comment that begins at `start` ends: they nest."""
    depth = 0
    for mark in _BLOCK.finditer(sql, start):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return mark.end()
    raise _without_end(sql, start)


def _without_end(sql: str, at: int) -> ValueError:
    message = f"what begins in line {sql.count(chr(10), 0, at) + 1} has no end: {sql[at : at + 40]!r}"
    return ValueError(message)
