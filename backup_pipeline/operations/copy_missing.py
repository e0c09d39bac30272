"""Filling the gaps of the second store: every good backup that has no good copy there is copied, the newest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from backup_pipeline.core.copies import Copy, CopyDecision, decide_copies
from backup_pipeline.core.ledger import Owner
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.statuses import GOOD
from backup_pipeline.operations.copy import copy_backup, order_of, second_of


def missing_copies(
    ports: Ports, catalog: str | None, owner: Owner, alive: Callable[[Owner], bool]
) -> Sequence[CopyDecision]:
    """What is to be done about each good backup, with the reason; nothing is touched."""
    url = second_of(ports).url
    attempts = ports.ledger.list(catalog=catalog, status=sorted(GOOD))
    copies = ports.ledger.copies.list(catalog=catalog, store=url)
    return decide_copies(attempts, copies, now=ports.clock(), host=owner.host, alive=alive)


def copy_missing(decisions: Sequence[CopyDecision], ports: Ports, *, actor: str, owner: Owner) -> Iterator[Copy]:
    """Copy what is wanted, one after the other; each row as it ended. One that fails does not stop the others."""
    for decision in decisions:
        if decision.wanted:
            yield copy_backup(order_of(decision.attempt, actor, owner), ports)
