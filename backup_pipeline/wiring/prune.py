"""What pruning, deleting and holding reach the world through, and what of a catalog they are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex

from backup_pipeline.core.actor import Actor
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.leases import Claim
from backup_pipeline.core.ledger import Owner
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.restore.requests import protected_name, safety_name
from backup_pipeline.ledger.connect import this_owner
from backup_pipeline.ledger.leases import Heartbeat
from backup_pipeline.operations.leases import HeldLease, take
from backup_pipeline.operations.prune.plan import PrunePorts, PruneWish, Shelf
from backup_pipeline.settings import Settings
from backup_pipeline.stores import removals_of
from backup_pipeline.stores.s3 import S3Settings
from backup_pipeline.wiring.addresses import (
    LedgerClock,
    utc_now,
)
from backup_pipeline.wiring.ports import is_alive_here
from backup_pipeline.wiring.stores import (
    open_second,
    open_settings_store,
)

_HOLDER = "prune"


def open_prune(settings: Settings, ledger: Ledger, actor: Actor, *, s3: S3Settings | None = None) -> PrunePorts:
    """The ports of pruning; nothing connects before it is used."""
    store = open_settings_store(settings, s3)
    second = open_second(settings)
    others = (Shelf(second.url, second.store, removals_of(second.store)),) if second else ()
    claimant, clock = _Claimant(ledger, is_alive_here), LedgerClock(ledger)
    return PrunePorts(
        store=store,
        removals=removals_of(store),
        ledger=ledger,
        clock=clock,
        drift=clock.drift,
        actor=actor,
        others=others,
        alone=lambda catalog: _alone(Claim(catalog, f"{_HOLDER} {token_hex(4)}", actor, this_owner()), claimant),
    )


def wishes_of(catalog: Catalog, settings: Settings) -> tuple[PruneWish, PruneWish]:
    """What a prune of a catalog is about: its backups, and the safety backups that restores of it made."""
    names = (catalog.catalog, safety_name(catalog.catalog))
    first, safety = (PruneWish(name, catalog.retention, catalog.timezone, settings.prune_versions) for name in names)
    return first, safety


def wish_of(name: str, catalogs: Mapping[str, Catalog], settings: Settings) -> PruneWish:
    """What is said of the backups filed under `name`, be it a catalog's own, that of its safety backups, or unknown."""
    known = catalogs.get(name) or catalogs.get(protected_name(name))
    if known is None:
        return PruneWish(name, versions=settings.prune_versions)
    return PruneWish(name, known.retention, known.timezone, settings.prune_versions)


@dataclass(frozen=True)
class _Claimant:
    ledger: Ledger
    alive: Callable[[Owner], bool]


@contextmanager
def _alone(claim: Claim, claimant: _Claimant) -> Iterator[Callable[[], None]]:
    lease = take(claim, claimant)
    held = HeldLease(lease, claimant.ledger.leases)
    try:
        with Heartbeat(held, claim.holder, clock=utc_now, every=held.every):
            yield lambda: held.check(ask=True)
    finally:
        claimant.ledger.leases.release(lease)
