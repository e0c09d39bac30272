"""Browse: one backup by its id or as `latest`, its place in the store, its manifest, and its bytes by ranges."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Generic, TypeVar

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.due import Calendar, calendar
from backup_pipeline.core.errors import DecryptError, NotFoundError, UsageError, VerificationError
from backup_pipeline.core.keys import seal_in
from backup_pipeline.core.layout import MANIFEST_PATH, PARTITION_NAME, BackupPlace, PartitionPlace
from backup_pipeline.core.ledger import GOOD, Attempt, Status, until_now
from backup_pipeline.core.manifest import (
    PartitionRecord,
    StoredBundle,
    StoredManifest,
    read_inner_manifest,
    read_manifest,
    read_partition,
)
from backup_pipeline.core.manifest.outline import (
    DISTRUST,
    Outline,
    disagreements,
    hidden,
    inner_disagreement,
    is_pinned,
    read_outline,
)
from backup_pipeline.core.names import MOST_DOCUMENT, Kind, parse_backup_id, whole
from backup_pipeline.core.ports import BytesMoved, Formats, Ledger, Progress, StageStarted, Store
from backup_pipeline.core.restore import FIRST, Which
from backup_pipeline.core.schedule import day_end, local_date
from backup_pipeline.core.scope import parse_scope
from backup_pipeline.core.verification import has_failed

T = TypeVar("T")
_END = object()


def ahead(items: Iterator[T], depth: int = 4) -> Generator[T]:
    """The items of `items`, which runs at most `depth` of them ahead; its error comes where it happened."""
    ready: queue.Queue[object] = queue.Queue(maxsize=depth)
    stop = threading.Event()
    thread = threading.Thread(target=_run, args=(items, ready, stop), name="ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, _Failed):
                raise item.error
            yield item  # type: ignore[misc]  # what is in the queue came from `items`
    finally:
        stop.set()
        while thread.is_alive():
            _drain(ready)
            thread.join(timeout=0.05)


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _run(items: Iterator[T], ready: queue.Queue[object], stop: threading.Event) -> None:
    try:
        for item in items:
            ready.put(item)
            if stop.is_set():
                return
    except BaseException as error:  # noqa: BLE001  raised again where the items are used
        ready.put(_Failed(error))
    ready.put(_END)


def _drain(ready: queue.Queue[object]) -> None:
    try:
        while True:
            ready.get_nowait()
    except queue.Empty:
        return


WINDOW = 8 << 20


class Ranges:
    """Gives any range of the object `key` of `size` bytes; holds one window of it in memory. For one thread."""

    def __init__(self, store: Store, key: str, size: int, progress: Progress, *, window: int = WINDOW) -> None:
        self._store, self._key, self._size, self._progress, self._window = store, key, size, progress, window
        self._start = 0
        self._held = b""

    def read(self, start: int, length: int) -> bytes:
        """The bytes from `start`, `length` of them; fewer when the object ends before."""
        offset = start - self._start
        if offset < 0 or offset + length > len(self._held):
            self._fetch(start, max(length, self._window))
            offset = 0
        return self._held[offset : offset + length]

    def some(self, start: int, length: int) -> bytes:
        """At most `length` bytes from `start`, as many as the window holds: none is read twice on the way through."""
        offset = start - self._start
        if not 0 <= offset < len(self._held):
            self._fetch(start, max(length, self._window))
            offset = 0
        return self._held[offset : offset + length]

    def _fetch(self, start: int, length: int) -> None:
        length = max(0, min(length, self._size - start))
        self._held = b"".join(self._store.stream(self._key, start=start, length=length)) if length else b""
        self._start = start
        self._progress.tell(BytesMoved(len(self._held)))


M = TypeVar("M", StoredManifest, Outline, StoredManifest | Outline)
_OTHER = "Use another backup; `backup-pipeline verify` says what is damaged."


@dataclass(frozen=True)
class Document(Generic[M]):
    """A manifest: its bytes as they lie in the store, and what it says, or what its outline says."""

    data: bytes
    manifest: M

    @property
    def sha256(self) -> str:
        """The SHA-256 of its bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def seal_key(self) -> str | None:
        """The id of the key that sealed it; None without a seal. That the seal is right, the store has checked."""
        seal = seal_in(self.data, self.manifest.backup_id)
        return seal.key if seal else None


@dataclass(frozen=True)
class OpenBackup(Generic[M]):
    """A backup whose row, manifest and stored object agree, as far as that shows without reading the bundle.

    `pinned`: the ledger vouches for the manifest, and so for every file whose SHA-256 the manifest names. Else (a row
    from before the ledger kept that hash) it vouches for the bundle as a whole: `check_unpinned` compares it.
    """

    attempt: Attempt
    place: BackupPlace
    document: Document[M]

    @property
    def manifest(self) -> M:
        """What the manifest says."""
        return self.document.manifest

    @property
    def pinned(self) -> bool:
        """Whether the ledger vouches for the manifest."""
        return is_pinned(self.attempt, self.document.sha256)

    @property
    def bundle(self) -> StoredBundle:
        """The bundle as row and manifest have it."""
        return self.manifest.bundle

    @property
    def key(self) -> str:
        """The key of the bundle."""
        return self.place.bundle(self.bundle.name)


def open_backup(attempt: Attempt, place: BackupPlace, store: Store) -> OpenBackup[StoredManifest]:
    """The backup of `attempt` at `place`, its manifest whole; DecryptError when no key here opens it.

    NotFoundError when manifest or bundle are missing; VerificationError, saying who says what, when ledger, manifest
    and stored object contradict each other.
    """
    opened = known_manifest(attempt, place, store)
    _check_size(opened, store)
    return opened


def open_unread(attempt: Attempt, place: BackupPlace, store: Store) -> OpenBackup[StoredManifest | Outline]:
    """As `open_backup`, for those who need no key: of an encrypted manifest its outline will do."""
    document = read_document(place, store)
    opened = OpenBackup(attempt, place, _agreed(attempt, document, store.url))
    _check_size(opened, store)
    return opened


def known_manifest(attempt: Attempt, place: BackupPlace, store: Store) -> OpenBackup[StoredManifest]:
    """As `open_backup`, without a look at the bundle."""
    document = read_whole_document(place, store)
    return OpenBackup(attempt, place, _agreed(attempt, document, store.url))


def read_whole_document(place: BackupPlace, store: Store) -> Document[StoredManifest]:
    """The manifest at `place`; NotFoundError when it is missing, DecryptError when no key here opens it.

    VerificationError when it is damaged, or that of another backup.
    """
    data, where = _read(place, store)
    manifest = read_manifest(store.opened(place.manifest, data), where)
    _check_place(manifest, place, where)
    return Document(data, manifest)


def read_document(place: BackupPlace, store: Store) -> Document[StoredManifest | Outline]:
    """The manifest at `place` or, when no key here opens it, its outline; errors as in `read_whole_document`."""
    data, where = _read(place, store)
    manifest: StoredManifest | Outline
    try:
        manifest = read_manifest(store.opened(place.manifest, data), where)
    except DecryptError:
        manifest = read_outline(data, where)
    _check_place(manifest, place, where)
    return Document(data, manifest)


def kept_document(manifest: StoredManifest, place: BackupPlace, store: Store) -> Document[StoredManifest]:
    """What was written as `manifest` a moment ago, read back; VerificationError when it is something else.

    Of an encrypted one the outline is compared: no key is used here.
    """
    data, where = _read(place, store)
    stored = hidden(data, where) or read_manifest(data, where)
    same = (
        stored.backup_id == manifest.backup_id and stored.bundle == manifest.bundle
        if isinstance(stored, Outline)
        else stored == manifest
    )
    if not same:
        message = f"{where} did not come back from the store as it was written."
        raise VerificationError(message, do="Run the bundle again; if it repeats, look at the store.")
    return Document(data, manifest)


def compared(opened: OpenBackup[M], store: Store, progress: Progress) -> Iterator[bytes]:
    """The bundle's bytes; VerificationError at their end when they are not those that row and manifest name."""
    seen = hashlib.sha256()
    for chunk in store.stream(opened.key):
        seen.update(chunk)
        progress.tell(BytesMoved(len(chunk)))
        yield chunk
    if seen.hexdigest() != opened.bundle.sha256:
        where, digest = f"{store.url}/{opened.key}", seen.hexdigest()
        message = (
            f"{where} is damaged: its SHA-256 is {digest}; the manifest and the ledger say {opened.bundle.sha256}."
        )
        raise VerificationError(message, do=_OTHER)


def check_bytes(opened: OpenBackup[M], store: Store, progress: Progress) -> None:
    """Read the whole bundle; VerificationError when it is not the one that row and manifest name."""
    progress.tell(StageStarted("check", opened.bundle.bytes))
    for _ in compared(opened, store, progress):
        pass


def check_unpinned(opened: OpenBackup[StoredManifest], store: Store, formats: Formats, progress: Progress) -> None:
    """Of a backup whose manifest nobody vouches for: the whole bundle, and the manifest inside it against the other.

    The ledger has the SHA-256 of the bundle, so the manifest inside is the one that was written.
    """
    if opened.pinned:
        return
    check_bytes(opened, store, progress)
    ranges = Ranges(store, opened.key, opened.bundle.bytes, progress, window=256 << 10)
    bundle = formats.open_bundle(ranges.read, opened.bundle.bytes)
    inner = read_inner_manifest(
        whole(bundle.stream(MANIFEST_PATH), MOST_DOCUMENT, MANIFEST_PATH), f"{opened.key}!{MANIFEST_PATH}"
    )
    if problem := inner_disagreement(inner, opened.manifest):
        message = f"{store.url}/{opened.key}!{MANIFEST_PATH} {problem}"
        raise VerificationError(message, do=DISTRUST)


def _read(place: BackupPlace, store: Store) -> tuple[bytes, str]:
    where = f"{store.url}/{place.manifest}"
    try:
        return whole(store.stream(place.manifest), MOST_DOCUMENT, where), where
    except NotFoundError as error:
        message = f"Backup {place.backup_id} has no manifest in the store: {where} is missing."
        raise NotFoundError(message, do="Check that BACKUP_STORE is the store it was made in.") from error


def _check_place(document: StoredManifest | Outline, place: BackupPlace, where: str) -> None:
    identity = (document.scope, document.partition_date, document.backup_id)
    if identity != (place.scope, place.day, place.backup_id):
        message = f"{where} describes another backup: {', '.join(str(part) for part in identity)}."
        raise VerificationError(message, do=DISTRUST)


def _agreed(attempt: Attempt, document: Document[M], url: str) -> Document[M]:
    if differing := disagreements(attempt, document.manifest, document.sha256, document.seal_key):
        what = "; ".join(differing)
        message = f"Ledger and manifest of backup {attempt.backup_id} contradict each other in {url}. {what}."
        raise VerificationError(message, do=DISTRUST)
    return document


def _check_size(opened: OpenBackup[M], store: Store) -> None:
    stored, bundle = store.head(opened.key), opened.bundle
    if stored is None:
        message = f"{store.url}/{opened.key} is missing."
        raise NotFoundError(message, do="Use another backup; `backup-pipeline list` shows those that are there.")
    if stored.size != bundle.bytes:
        message = f"{store.url}/{opened.key} is damaged: {stored.size:,} bytes; the manifest says {bundle.bytes:,}."
        raise VerificationError(message, do=_OTHER)


LATEST = "latest"


def find_backup(wanted: str, ledger: Ledger, *, catalog: str | None = None) -> Attempt:
    """The attempt with the id `wanted`; for `latest` the newest good full one (of `catalog`, where it is given).

    A selective backup is never the latest: it lacks tables, so it has to be asked for by its id. Nor is one of the
    future, which a wrong clock has dated.

    UsageError when `wanted` is neither, NotFoundError when there is no such backup.
    """
    if wanted == LATEST:
        return _latest(ledger, catalog)
    attempt = ledger.get(str(parse_backup_id(wanted)))
    if attempt is None or (catalog is not None and str(attempt.scope) != catalog):
        message = f"There is no backup {wanted}{_of(catalog)}."
        raise NotFoundError(message, do="`backup-pipeline list` shows those that are there.")
    return attempt


def find_sound_backup(wanted: str, ledger: Ledger, *, catalog: str | None = None, store: Which = FIRST) -> Attempt:
    """As `find_backup`, for whoever takes rows out: the latest is refused where it did not verify in the first store.

    An older one in its place would be older rows, which nobody asked for: VerificationError names it instead. A backup
    that is named by its id is a person's choice, and what is read of it is compared in any case. UsageError where the
    latest may be that of several catalogs and none is named: whose rows are meant is not guessed.
    """
    if wanted == LATEST:
        attempt = _latest(ledger, catalog, guessed=False)
    else:
        attempt = find_backup(wanted, ledger, catalog=catalog)
    last = attempt.verification
    if wanted != LATEST or store != FIRST or last is None or last.passed:
        return attempt
    message = f"The newest full backup{_of(catalog)}, {attempt.backup_id}, did not verify on {last.at:%Y-%m-%d}."
    raise VerificationError(message, do=_instead(attempt, ledger))


def _instead(lost: Attempt, ledger: Ledger) -> str:
    good = (row for row in ledger.list(scope=lost.scope, status=sorted(GOOD)) if row.kind is Kind.FULL)
    older = (row for row in good if row.created_at < lost.created_at)
    sound = next((row for row in older if not has_failed(row.verification)), None)
    again = f"`backup-pipeline verify {lost.backup_id}` says so"
    if sound is None:
        return f"If it was mended, {again}. Its copy may be good: `--store second`. Make a new backup now."
    return (
        f"The newest that nothing was found wrong with is {sound.backup_id}, of {sound.partition_date}: name it by its "
        f"id if its rows will do. Or try the copy: `--store second`. If the newest was mended, {again}."
    )


def bundle_place(attempt: Attempt) -> BackupPlace:
    """Where the attempt's bundle and manifest lie; NotFoundError, with the reason, when it has none."""
    if attempt.status.good and attempt.kind.bundled:
        return place_of(attempt)
    if attempt.status.good:
        names = ", ".join(attempt.tables_wanted)
        message = (
            f"Backup {attempt.backup_id} exported single tables ({names}); an earlier version made no bundle of them."
        )
        do = f"Take a later one; what {attempt.partition_date} has of them now, its partitions hold (`read_partition`)."
        raise NotFoundError(message, do=do)
    if attempt.status in {Status.DELETED, Status.EXPIRED}:
        message = f"Backup {attempt.backup_id} is {attempt.status}: its bundle is gone."
    else:
        message = f"Backup {attempt.backup_id} is {attempt.status}: it has no bundle."
    raise NotFoundError(message, do="Take another: `backup-pipeline list --status success`, or `latest`.")


def place_of(attempt: Attempt) -> BackupPlace:
    """Where the attempt's backup lies, if it made one."""
    return BackupPlace(attempt.scope, attempt.partition_date, attempt.backup_id)


def stored_manifest(attempt: Attempt, store: Store) -> StoredManifest:
    """The manifest beside the bundle, compared with the ledger; errors as in `open_backup`, the bundle's aside."""
    return known_manifest(attempt, bundle_place(attempt), store).manifest


def opened_backup(attempt: Attempt, store: Store) -> OpenBackup[StoredManifest]:
    """The backup of `attempt`, for reading it; errors as in `open_backup`, NotFoundError when it made none."""
    return open_backup(attempt, bundle_place(attempt), store)


def opened_unread(attempt: Attempt, store: Store) -> OpenBackup[StoredManifest | Outline]:
    """As `opened_backup`, for those who need no key."""
    return open_unread(attempt, bundle_place(attempt), store)


def _latest(ledger: Ledger, catalog: str | None, *, guessed: bool = True) -> Attempt:
    """The newest good full backup; without a `catalog` and where it may be of several, UsageError unless `guessed`."""
    rows = ledger.list(scope=parse_scope(catalog) if catalog is not None else None, status=sorted(GOOD))
    catalogs = sorted({str(row.scope) for row in rows if row.kind is Kind.FULL})
    if len(catalogs) > 1 and not guessed:
        message = f"`latest` may be a backup of {', '.join(catalogs)}."
        raise UsageError(message, do="Say which with --catalog NAME, or name the backup by its id.")
    good = until_now(rows, ledger.now())
    full = next((attempt for attempt in good if attempt.kind is Kind.FULL), None)
    if full is not None:
        return full
    selective = next((attempt for attempt in good if attempt.kind is Kind.SELECTIVE), None)
    do = "Run `backup-pipeline backup`; `backup-pipeline list` shows what was tried."
    if selective is not None:
        do += f" There are selective backups, which hold only some tables: name one by its id, {selective.backup_id}."
    if len(rows) > len(good):
        do += f" {rows[0].backup_id} is dated later than it is now, by a clock that was ahead: name it by its id."
    message = f"There is no good full backup yet{_of(catalog)}."
    raise NotFoundError(message, do=do)


def _of(catalog: str | None) -> str:
    return f" of catalog {catalog}" if catalog else ""


MONTH = 30
"""Days that a calendar shows where nobody asks for more."""


def calendar_of(catalog: Catalog, ledger: Ledger, now: datetime, *, days: int = MONTH) -> Calendar:
    """The last `days` days of `catalog`. LedgerError when the ledger can not be read."""
    first = local_date(now, catalog.timezone) - timedelta(days=days)
    rows = ledger.listings.days(catalog.catalog, day_end(first, catalog.timezone))
    return calendar(catalog, rows, now, days=days)


def load_partition(place: PartitionPlace, store: Store, spool: Path | None = None) -> PartitionRecord:
    """The record of a partition, from this run's own `spool` where it is there, else from the store.

    NotFoundError when the table has none for that date; VerificationError for that of another partition.
    """
    own = spool / place.table / PARTITION_NAME if spool is not None else None
    if own is not None and own.is_file():
        return read_partition(own.read_bytes(), str(own))
    try:
        data = store.get(place.record)
    except NotFoundError as error:
        message = f"Table {place.table} has no partition for {place.day} in {store.url}."
        raise NotFoundError(message, do=f"Materialize the table {place.table} for that date.") from error
    record = read_partition(data, f"{store.url}/{place.record}")
    described = (record.scope, record.table.name, record.partition_date)
    if described != (place.scope, place.table, place.day):
        message = f"{store.url}/{place.record} describes another partition: {', '.join(map(str, described))}."
        raise VerificationError(message, do=f"Materialize the table {place.table} again for that date.")
    return record
