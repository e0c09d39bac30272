"""What a backup's definitions want of the server besides a database: extensions, and roles that policies name."""

from __future__ import annotations

from collections.abc import Iterator

from backup_pipeline.core.restore_entries import Dump, Entry


def extensions(dump: Dump) -> frozenset[str]:
    """The extensions that the definitions want."""
    return frozenset(entry.tag for entry in dump.entries if entry.kind == "EXTENSION")


def roles(dump: Dump) -> frozenset[str]:
    """The roles that policies name: a dump does not make roles."""
    return frozenset(name for entry in dump.entries if entry.kind == "POLICY" for name in _granted(entry))


def _granted(entry: Entry) -> Iterator[str]:
    found = entry.tokens
    at = next((at for at, token in enumerate(found) if token.is_word("TO")), len(found))
    for token in found[at + 1 :]:
        if token.is_word("USING", "WITH") or token.text == ";":
            return
        if token.is_name and not token.is_word("PUBLIC", "CURRENT_USER", "CURRENT_ROLE", "SESSION_USER"):
            yield token.text
