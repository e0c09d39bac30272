"""The name of a type as PostgreSQL's format_type prints it, taken apart: nothing else can stand in its place."""

from __future__ import annotations

import re
from dataclasses import dataclass

from backup_pipeline.core.restore_tokens import Kind, Token, name_at, tokens
from backup_pipeline.core.sql_text import name_sql

_LONGEST = 500
# The types of more than one word: what may follow their first word, before and behind the limits.
_MORE = {
    "character": r"varying",
    "bit": r"varying",
    "double": r"precision",
    "time": r"with(?:out)? time zone",
    "timestamp": r"with(?:out)? time zone",
    "interval": r"(?:year|month|day|hour|minute|second)(?: to (?:month|hour|minute|second))?",
}
# Limits are numbers; those of extensions may be words: geometry(PointZ,4326).
_LIMITS = re.compile(r"\(\s*-?\w+(?:\s*,\s*-?\w+)*\s*\)", re.ASCII)


@dataclass(frozen=True)
class TypeName:
    """A type: its name's parts as they are (schema first, where there is one), the words behind, limits, arrays.

    `quoted` says of a name without a schema that it stands in quotes: `"char"` is another type than `char`.
    """

    name: tuple[str, ...]
    quoted: bool = False
    words: str = ""
    limits: str = ""
    arrays: int = 0

    def sql(self) -> str:
        """The type as SQL, in one line."""
        bare = len(self.name) == 1 and not self.quoted
        named = self.name[0] if bare else ".".join(map(name_sql, self.name))
        zoned = self.words.startswith("with")
        before, behind = ("", self.words) if zoned else (self.words, "")
        parts = (named, f" {before}" if before else "", self.limits, f" {behind}" if behind else "")
        return "".join(parts) + "[]" * self.arrays


def type_name(text: str) -> TypeName:
    """The type that `text` names, as format_type prints it; ValueError when it is anything else."""
    found = list(tokens(text)) if len(text) <= _LONGEST else []
    name, at = name_at(found, 0)
    if not 1 <= len(name) <= 2 or at != 2 * len(name) - 1:
        raise _no_type(text)
    words, limits, at = _words_and_limits(text, found, at)
    arrays = 0
    while [token.text for token in found[at : at + 2]] == ["[", "]"]:
        arrays, at = arrays + 1, at + 2
    quoted = len(name) == 1 and found[0].kind is Kind.NAME
    more = "" if quoted or len(name) > 1 else _MORE.get(name[0], "")
    if at != len(found) or (words and not re.fullmatch(more, words)):
        raise _no_type(text)
    return TypeName(name, quoted, words, limits, arrays)


def _words_and_limits(text: str, found: list[Token], at: int) -> tuple[str, str, int]:
    """The words behind the name, and the limits among them; the place of the next token."""
    words: list[str] = []
    limits = ""
    while at < len(found) and found[at].text != "[":
        if found[at].kind is Kind.WORD:
            words.append(found[at].text)
            at += 1
            continue
        end = next((place for place in range(at, len(found)) if found[place].text == ")"), None)
        if end is None or limits or not _LIMITS.fullmatch(text[found[at].start : found[end].end]):
            raise _no_type(text)
        limits, at = text[found[at].start : found[end].end], end + 1
    return " ".join(words), limits, at


def _no_type(text: str) -> ValueError:
    message = f"{text[:_LONGEST]!r} is not the name of a type as PostgreSQL prints it"
    return ValueError(message)
