"""The copies of backups that are gone: removed from every further store, and so written down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.layout import backups_prefix
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.prune_facts import sorted_folders
from backup_pipeline.core.removal import Left, Versions
from backup_pipeline.operations.prune_look import PrunePorts, PruneWish, Shelf, orphaned_copies


def remove_copies(wish: PruneWish, ports: PrunePorts) -> Iterator[Left]:
    """Remove the copies whose backup was removed; what is left of them. One that is locked stays a good copy.

    Every prune looks at all of them, so one that could not be removed goes with a later one.
    """
    for shelf in ports.others:
        for copy in orphaned_copies(wish, shelf, ports):
            yield from _remove(copy, shelf, wish.versions, ports)


def _remove(copy: Copy, shelf: Shelf, versions: Versions, ports: PrunePorts) -> Iterator[Left]:
    row = ports.ledger.get(copy.backup_id)
    assert row is not None  # noqa: S101  # it was there a moment ago, and rows never go
    prefix = f"{backups_prefix(copy.catalog)}backup_date={row.partition_date.isoformat()}/{copy.backup_id}/"
    folder = sorted_folders(copy.catalog, shelf.store.list(prefix)).get(copy.backup_id)
    keys = [stored.key for stored in folder.objects] if folder else []
    left = list(shelf.removals.locked(keys))
    if folder and not left:
        left = list(shelf.removals.remove(folder.pointers, versions))
        if all(each.hidden for each in left):
            left += shelf.removals.remove(folder.data, versions)
    if all(each.hidden for each in left):
        ports.ledger.copies.put(replace(copy, status=CopyStatus.DELETED))
        detail = {"store": shelf.url, "objects": len(keys)}
        ports.ledger.audit(AuditEvent(ports.clock(), ports.actor, "copy deleted", copy.backup_id, detail))
    yield from (replace(each, key=f"{shelf.url}/{each.key}") for each in left)
