"""Files of the programs before this one, in the catalog's `legacy` folders of the store: listed, and taken out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import NotFoundError
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.legacy import MOST_LEGACY, LegacyFile, judge_legacy, too_large
from backup_pipeline.core.names import whole
from backup_pipeline.core.ports import Store
from backup_pipeline.operations.download import AuditTrail, Destination

LEGACY = "legacy:"
"""How the name of such a file begins where a backup id could stand."""


def legacy_files(catalog: Catalog, store: Store) -> Sequence[LegacyFile]:
    """Every file of the folders, newest first, each read whole and judged; nothing is changed."""
    files = [_looked_at(key, size, store) for key, size in _objects(catalog, store)]
    return sorted(files, key=lambda file: (file.at is not None, file.at, file.key), reverse=True)


def _objects(catalog: Catalog, store: Store) -> Iterator[tuple[str, int]]:
    for folder in catalog.legacy:
        for each in store.list(f"{folder}/"):
            yield each.key, each.size


def _looked_at(key: str, size: int, store: Store) -> LegacyFile:
    if size > MOST_LEGACY:
        return too_large(key, size)
    return judge_legacy(key, whole(store.stream(key), MOST_LEGACY, f"{store.url}/{key}"))


def download_legacy(key: str, to: Destination, catalog: Catalog, *, store: Store, audit: AuditTrail) -> Path:
    """The file under `key` at `to`, as it lies in the store, whatever state it is in; its path.

    NotFoundError when the folders of the catalog have no such file: other objects of the store are not taken out so.
    """
    wanted = key.removeprefix(LEGACY)
    known = dict(_objects(catalog, store))
    if wanted not in known:
        message = f"There is no file {wanted} in the legacy folders of {catalog.catalog}."
        raise NotFoundError(
            message, do=f"`backup-pipeline list --legacy --catalog {catalog.catalog}` shows those there."
        )
    path = to.path(wanted.rpartition("/")[2])
    with to.appearing(path) as file:
        # The audit comes before the bytes, as with a backup.
        detail = {"key": wanted, "bytes": known[wanted], "catalog": catalog.catalog}
        audit.ledger.audit(AuditEvent(audit.clock(), audit.actor, "download", None, detail))
        file.writelines(store.stream(wanted))
    return path
