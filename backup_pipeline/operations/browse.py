"""Browse: one backup by its id or as `latest`, its place in the store, and its manifest."""

from __future__ import annotations

from backup_pipeline.core.errors import DecryptError, NotFoundError
from backup_pipeline.core.ids import KINDS, parse_backup_id
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import StoredBundle, StoredManifest, read_manifest
from backup_pipeline.core.outline import Outline, read_outline
from backup_pipeline.core.ports import Ledger, Store
from backup_pipeline.core.statuses import GOOD, Status

LATEST = "latest"
_FULL, _SELECTIVE, _WITHOUT_BUNDLE = KINDS


def find_backup(wanted: str, ledger: Ledger, *, catalog: str | None = None) -> Attempt:
    """The attempt with the id `wanted`; for `latest` the newest good full one (of `catalog`, where it is given).

    A selective backup is never the latest: it lacks tables, so it has to be asked for by its id.

    UsageError when `wanted` is neither, NotFoundError when there is no such backup.
    """
    if wanted == LATEST:
        return _latest(ledger, catalog)
    found = ledger.get(str(parse_backup_id(wanted)))
    if found is None or (catalog is not None and found.catalog != catalog):
        message = f"There is no backup {wanted}{_of(catalog)}."
        raise NotFoundError(message, do="`backup-pipeline list` shows those that are there.")
    return found


def bundle_place(attempt: Attempt) -> BackupPlace:
    """Where the attempt's bundle and manifest lie; NotFoundError, with the reason, when it has none."""
    if attempt.status.good and attempt.kind != _WITHOUT_BUNDLE:
        return place_of(attempt)
    if attempt.status.good:
        message = f"Backup {attempt.backup_id} exported single tables ({', '.join(attempt.tables_wanted)}); no bundle."
    elif attempt.status in {Status.DELETED, Status.EXPIRED}:
        message = f"Backup {attempt.backup_id} is {attempt.status}: its bundle is gone."
    else:
        message = f"Backup {attempt.backup_id} is {attempt.status}: it has no bundle."
    raise NotFoundError(message, do="Take another: `backup-pipeline list --status success`, or `latest`.")


def place_of(attempt: Attempt) -> BackupPlace:
    """Where the attempt's backup lies, if it made one."""
    return BackupPlace(attempt.catalog, attempt.partition_date, attempt.backup_id)


def stored_manifest(attempt: Attempt, store: Store) -> StoredManifest:
    """The manifest beside the bundle; NotFoundError when it is missing, VerificationError when it is damaged.

    DecryptError, naming the recipients, when it is encrypted and no key here opens it.
    """
    place = bundle_place(attempt)
    try:
        data = store.get(place.manifest)
    except NotFoundError as error:
        message = f"Backup {attempt.backup_id} has no manifest in the store: {store.url}/{place.manifest} is missing."
        raise NotFoundError(message, do="Check that BACKUP_STORE is the store it was made in.") from error
    return read_manifest(data, f"{store.url}/{place.manifest}")


def manifest_or_outline(place: BackupPlace, store: Store) -> StoredManifest | Outline:
    """The manifest at `place` or, when it is encrypted and no key here opens it, what anybody may know of it.

    NotFoundError when it is missing, VerificationError when it is damaged.
    """
    where = f"{store.url}/{place.manifest}"
    try:
        return read_manifest(store.get(place.manifest), where)
    except DecryptError:
        return read_outline(b"".join(store.stream(place.manifest)), where)


def stored_bundle(attempt: Attempt, store: Store) -> StoredBundle:
    """The attempt's bundle as its manifest has it, for which no key is needed; errors as in `stored_manifest`."""
    try:
        return stored_manifest(attempt, store).bundle
    except DecryptError:
        return manifest_or_outline(bundle_place(attempt), store).bundle


def _latest(ledger: Ledger, catalog: str | None) -> Attempt:
    good = ledger.list(catalog=catalog, status=sorted(GOOD))
    full = next((attempt for attempt in good if attempt.kind == _FULL), None)
    if full is not None:
        return full
    selective = next((attempt for attempt in good if attempt.kind == _SELECTIVE), None)
    do = "Run `backup-pipeline backup`; `backup-pipeline list` shows what was tried."
    if selective is not None:
        do += f" There are selective backups, which hold only some tables: name one by its id, {selective.backup_id}."
    message = f"There is no good full backup yet{_of(catalog)}."
    raise NotFoundError(message, do=do)


def _of(catalog: str | None) -> str:
    return f" of catalog {catalog}" if catalog else ""
