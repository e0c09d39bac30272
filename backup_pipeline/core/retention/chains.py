"""What a backup of a business needs to be restored: itself, and all that it goes on from, back to its full.

A row says what its backup goes on from. One that was written before rows said so is taken to go on from the nearest
older automatic backup of the business: that may keep too much, and never too little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.scope import Purpose, Scope
from backup_pipeline.core.verification import has_failed

OF_BUSINESSES = frozenset({Kind.FULL, Kind.INCREMENTAL})
"""The kinds of backups of a business. Any of them, with its chain, is the whole business."""
LONGEST = 25
"""Backups of a chain: a full, and as many incremental ones as a catalog may ask for."""


@dataclass(frozen=True)
class Chain:
    """The backups that one needs, itself first; `lacking` is what is wrong with them, empty where they give it back."""

    links: tuple[Attempt, ...]
    lacking: str = ""


class Chains:
    """The chains of the good backups of some scopes, given the newest first.

    `broken` has a sentence for each backup that the store shows to be no good one any more.
    """

    def __init__(self, newest_first: Sequence[Attempt], broken: Mapping[str, str]) -> None:
        self._rows = newest_first
        self._known = {row.backup_id: row for row in newest_first}
        self._broken = broken
        self._previous = dict(_previous(newest_first))

    def of(self, row: Attempt) -> Chain:
        """The chain of one of the backups; of any but an incremental one it is that backup alone."""
        links = [row]
        while (last := links[-1]).kind is Kind.INCREMENTAL:
            before = self._previous.get(last.backup_id)
            if before is None or before not in self._known:
                return Chain(tuple(links), f"{before or 'its full'}, which {last.backup_id} goes on from, is not there")
            if len(links) == LONGEST:
                return Chain(tuple(links), f"its chain has more than {LONGEST} backups")
            links.append(self._known[before])
        return Chain(tuple(links), next(self._wrong(links[1:]), ""))

    def broken(self) -> Mapping[str, str]:
        """What was given, and the incremental backups whose chain does not give them back, with why."""
        chains = {row.backup_id: self.of(row) for row in self._rows if row.kind is Kind.INCREMENTAL}
        return {**{name: chain.lacking for name, chain in chains.items() if chain.lacking}, **self._broken}

    def needs(self, kept: Iterable[Attempt]) -> Mapping[str, str]:
        """By id what is to stay because of `kept`: all that these go on from, each with the id of one that does."""
        return {link.backup_id: row.backup_id for row in kept for link in self.of(row).links[1:]}

    def heads(self) -> frozenset[str]:
        """The backups that the next incremental ones go on from: of each business its newest automatic one."""
        newest: dict[Scope, str] = {}
        for row in self._rows:
            if _is_linked(row):
                newest.setdefault(row.scope, row.backup_id)
        return frozenset(newest.values())

    def rounds(self, going: Sequence[Attempt]) -> Iterator[list[Attempt]]:
        """`going`, newest first, in an order in which nothing goes before what goes on from it; many at a time."""
        places = {row.backup_id: 0 for row in going}
        for row in going:
            before = self._previous.get(row.backup_id)
            if before is not None and before in places:
                places[before] = max(places[before], places[row.backup_id] + 1)
        for place in range(max(places.values(), default=-1) + 1):
            yield [row for row in going if places[row.backup_id] == place]

    def _wrong(self, links: Sequence[Attempt]) -> Iterator[str]:
        for link in links:
            if link.backup_id in self._broken:
                yield f"{link.backup_id}, which it goes on from: {self._broken[link.backup_id]}"
            elif has_failed(link.verification):
                yield f"{link.backup_id}, which it goes on from, failed its verification"


def _is_linked(row: Attempt) -> bool:
    ours = row.scope.business is not None and row.scope.purpose is Purpose.BACKUP
    return ours and row.type is Trigger.AUTOMATIC and row.kind in OF_BUSINESSES


def _previous(newest_first: Sequence[Attempt]) -> Iterator[tuple[str, str]]:
    """What each incremental backup goes on from; `newest` is the automatic one of a business that came last."""
    newest: dict[Scope, str] = {}
    for row in reversed(newest_first):
        if row.kind is Kind.INCREMENTAL and (before := row.goes_on_from or newest.get(row.scope)):
            yield row.backup_id, before
        if _is_linked(row):
            newest[row.scope] = row.backup_id
