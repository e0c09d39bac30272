"""Browse: one backup by its id or as `latest`, its place in the store, and its manifest."""

from __future__ import annotations

from backup_pipeline.core.clocks import until_now
from backup_pipeline.core.errors import NotFoundError, VerificationError
from backup_pipeline.core.ids import KINDS, parse_backup_id
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.outline import Outline
from backup_pipeline.core.ports import Ledger, Store
from backup_pipeline.core.restore_requests import FIRST, Which
from backup_pipeline.core.statuses import GOOD, Status
from backup_pipeline.core.verified import Verified
from backup_pipeline.operations.open_backup import OpenBackup, known_manifest, open_backup, open_unread

LATEST = "latest"
_FULL, _SELECTIVE, _WITHOUT_BUNDLE = KINDS


def find_backup(wanted: str, ledger: Ledger, *, catalog: str | None = None) -> Attempt:
    """The attempt with the id `wanted`; for `latest` the newest good full one (of `catalog`, where it is given).

    A selective backup is never the latest: it lacks tables, so it has to be asked for by its id. Nor is one of the
    future, which a wrong clock has dated.

    UsageError when `wanted` is neither, NotFoundError when there is no such backup.
    """
    if wanted == LATEST:
        return _latest(ledger, catalog)
    found = ledger.get(str(parse_backup_id(wanted)))
    if found is None or (catalog is not None and found.catalog != catalog):
        message = f"There is no backup {wanted}{_of(catalog)}."
        raise NotFoundError(message, do="`backup-pipeline list` shows those that are there.")
    return found


def find_sound_backup(wanted: str, ledger: Ledger, *, catalog: str | None = None, store: Which = FIRST) -> Attempt:
    """As `find_backup`, for whoever takes rows out: the latest is refused where it did not verify in the first store.

    An older one in its place would be older rows, which nobody asked for: VerificationError names it instead. A backup
    that is named by its id is a person's choice, and what is read of it is compared in any case.
    """
    found = find_backup(wanted, ledger, catalog=catalog)
    last = Verified(found.verification_level, found.verified_at)
    if wanted != LATEST or store != FIRST or not last.failed:
        return found
    message = f"The newest full backup{_of(catalog)}, {found.backup_id}, did not verify on {last.at:%Y-%m-%d}."
    raise VerificationError(message, do=_instead(found, ledger))


def _instead(lost: Attempt, ledger: Ledger) -> str:
    good = (row for row in ledger.list(catalog=lost.catalog, status=sorted(GOOD)) if row.kind == _FULL)
    older = (row for row in good if row.created_at < lost.created_at)
    sound = next((row for row in older if not Verified(row.verification_level, row.verified_at).failed), None)
    again = f"`backup-pipeline verify {lost.backup_id}` says so"
    if sound is None:
        return f"If it was mended, {again}. Its copy may be good: `--store second`. Make a new backup now."
    return (
        f"The newest that nothing was found wrong with is {sound.backup_id}, of {sound.partition_date}: name it by its "
        f"id if its rows will do. Or try the copy: `--store second`. If the newest was mended, {again}."
    )


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
    """The manifest beside the bundle, compared with the ledger; errors as in `open_backup`, the bundle's aside."""
    return known_manifest(attempt, bundle_place(attempt), store).manifest


def opened_backup(attempt: Attempt, store: Store) -> OpenBackup[StoredManifest]:
    """The backup of `attempt`, for reading it; errors as in `open_backup`, NotFoundError when it made none."""
    return open_backup(attempt, bundle_place(attempt), store)


def opened_unread(attempt: Attempt, store: Store) -> OpenBackup[StoredManifest | Outline]:
    """As `opened_backup`, for those who need no key."""
    return open_unread(attempt, bundle_place(attempt), store)


def _latest(ledger: Ledger, catalog: str | None) -> Attempt:
    rows = ledger.list(catalog=catalog, status=sorted(GOOD))
    good = until_now(rows, ledger.now())
    full = next((attempt for attempt in good if attempt.kind == _FULL), None)
    if full is not None:
        return full
    selective = next((attempt for attempt in good if attempt.kind == _SELECTIVE), None)
    do = "Run `backup-pipeline backup`; `backup-pipeline list` shows what was tried."
    if selective is not None:
        do += f" There are selective backups, which hold only some tables: name one by its id, {selective.backup_id}."
    if len(rows) > len(good):
        do += f" {rows[0].backup_id} is dated later than it is now, by a clock that was ahead: name it by its id."
    message = f"There is no good full backup yet{_of(catalog)}."
    raise NotFoundError(message, do=do)


def _of(catalog: str | None) -> str:
    return f" of catalog {catalog}" if catalog else ""
