"""What a restore request reaches the world through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backup_pipeline.core.ledger import Owner
from backup_pipeline.core.ports import Alerter, Clock, Ledger, RestorePorts, RestoreTarget
from backup_pipeline.core.restore_requests import RestoreRow
from backup_pipeline.core.restoring import RestorePlan

Safety = Callable[[RestoreRow, RestorePlan], str]
"""Backs up what the plan may overwrite; the id of that backup."""


@dataclass(frozen=True)
class Address:
    """Where a target is, for people: its URL without the password, and the database's name."""

    url: str
    database: str


@dataclass(frozen=True)
class Access:
    """The ports of a restore, its target, and who runs it.

    `hide` takes everything secret of the target out of a text. `needs_approval` is the installation's rule. `attended`
    says that a person waits for the answer: a refusal, which touches nothing, is then told to them alone.
    """

    ports: RestorePorts
    alerter: Alerter
    target: RestoreTarget
    address: Address
    safety: Safety
    hide: Callable[[str], str]
    owner: Owner
    needs_approval: bool = False
    attended: bool = True
    run_id: str | None = None
    run_url: str | None = None

    @property
    def ledger(self) -> Ledger:
        """Where the request's row is."""
        return self.ports.ledger

    @property
    def clock(self) -> Clock:
        """The present instant."""
        return self.ports.clock
