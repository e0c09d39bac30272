"""Roles that definitions name: a dump does not make them, and a policy can not be made without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backup_pipeline.core.restore_entries import Entry

_NO_ROLES = ("PUBLIC", "CURRENT_USER", "CURRENT_ROLE", "SESSION_USER", "USER")


def roles_of(entries: Iterable[Entry]) -> frozenset[str]:
    """The roles that policies and user mappings name."""
    return frozenset(name for entry in entries for name in _named(entry))


def create_roles_sql(roles: Iterable[str]) -> str:
    """What makes the roles: none of them may log in until somebody says so."""
    return " ".join(f"CREATE ROLE {_quoted(role)} NOLOGIN;" for role in sorted(roles))


def _named(entry: Entry) -> Iterator[str]:
    word = {"POLICY": "TO", "USER MAPPING": "FOR"}.get(entry.kind)
    if word is None:
        return
    found = entry.tokens
    at = next((at for at, token in enumerate(found) if token.is_word(word)), len(found))
    for token in found[at + 1 :]:
        if token.is_word("USING", "WITH", "SERVER") or token.text == ";":
            return
        if token.is_name and not token.is_word(*_NO_ROLES):
            yield token.text


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
