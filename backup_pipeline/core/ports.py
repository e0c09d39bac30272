"""The ports: what operations ask of a source, the file formats, a store, a ledger and an alert channel.

`postgres`, `formats`, `stores`, `ledger` and `alerts` implement them; tests run one contract suite over every
implementation of a port.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from backup_pipeline.core.pings import NoPings, Signal

if TYPE_CHECKING:
    import pyarrow as pa

    from backup_pipeline.core.alerts import Alert, Delivery
    from backup_pipeline.core.bundle import Member
    from backup_pipeline.core.copies import Copy
    from backup_pipeline.core.decoding import Decoder
    from backup_pipeline.core.due import Known, Settlement
    from backup_pipeline.core.hold import Hold
    from backup_pipeline.core.leases import Claim, Lease
    from backup_pipeline.core.ledger import Attempt, AuditEvent, Outcome, Owner
    from backup_pipeline.core.manifest import FileEntry, Manifest, SnapshotEntry
    from backup_pipeline.core.outbox import Entry
    from backup_pipeline.core.plans import TablePlan
    from backup_pipeline.core.progress import Progress
    from backup_pipeline.core.protection import Protection
    from backup_pipeline.core.relations import Database
    from backup_pipeline.core.rendering import Rendering
    from backup_pipeline.core.restore_requests import RestoreChange, RestoreRow, RestoreStatus
    from backup_pipeline.core.restore_target import TargetFacts
    from backup_pipeline.core.restoring import Name, RestorePlan, TableReport, TableRestore
    from backup_pipeline.core.shape import Shape
    from backup_pipeline.core.statuses import Status
    from backup_pipeline.core.threads import Step, Thread
    from backup_pipeline.core.verified import Verified

Clock = Callable[[], datetime]
"""Gives the present instant, timezone-aware."""


@dataclass(frozen=True)
class Page:
    """Rows one query returned: `rows` has the plan's `columns`, then the fields of its `look_ups`; at least one row.

    `seconds` is how long they took to arrive.
    """

    rows: pa.Table
    seconds: float


class Snapshot(Protocol):
    """One consistent read view of the source, held open until its context ends. Methods are safe from any thread."""

    entry: SnapshotEntry

    def database(self) -> Database:
        """Every relation the snapshot shows."""

    def read(self, plan: TablePlan) -> Iterator[Page]:
        """The table's pages in order, each once. A lost worker is replaced in the same snapshot after the last page.

        Raises SnapshotLostError when the holder is gone, SourceError for anything else; `NotNativeError` (see plans)
        when a value does not fit its column's Arrow type: restart with `plan.as_text(column, value)`.
        SourceUnavailableError (transient) when only reading the table from its start can help.
        """

    def count(self, plan: TablePlan) -> int:
        """The rows of the relation by `count(*)`, in this snapshot."""

    def duplicate_keys(self, plan: TablePlan) -> int:
        """How many keys of the relation stand more than once, in this snapshot; 0 when an index enforces them."""

    def schema_sql(self) -> str:
        """The DDL of the database as this snapshot shows it."""

    def cancel(self) -> None:
        """Stop every running query at once; readers raise CanceledError."""


class Source(Protocol):
    """The database that is backed up."""

    @property
    def url(self) -> str:
        """Where it is, without its password."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Open a snapshot, and close it at the end of the context."""


class TableWriter(Protocol):
    """Writes one table's pages into its partition's files. Not safe from several threads."""

    def write(self, rows: pa.Table) -> None:
        """Add a page. May return before the bytes are written; their errors come with a later call."""

    @property
    def bytes_written(self) -> int:
        """The bytes of all files so far."""

    def close(self) -> tuple[FileEntry, ...]:
        """Finish the files; they appear under their final names. Their rows and bytes as they were counted."""

    def abort(self) -> None:
        """Remove everything this writer made. Harmless after `close`, which it then leaves alone."""


class OpenBundle(Protocol):
    """A bundle, read by ranges. Damage is a VerificationError that names the member."""

    def names(self) -> Sequence[str]:
        """The paths of its members."""

    def stream(self, name: str) -> Iterator[bytes]:
        """The bytes of a member, in chunks."""


class Formats(Protocol):
    """The files a backup is made of."""

    @property
    def recipients(self) -> tuple[str, ...]:
        """To whom the files are encrypted; empty when anybody can read them."""

    def writer(self, plan: TablePlan, directory: Path, timezone: str) -> TableWriter:
        """A writer of `plan`'s Parquet and CSV files into `directory`; sheet times in `timezone`."""

    def preview(self, plan: TablePlan, directory: Path) -> str:
        """The first rows of the sheet in `directory`, as a Markdown table."""

    def bundle(self, members: Iterable[Member]) -> Iterator[bytes]:
        """The members as the bytes of one ZIP, streamed."""

    def open_bundle(self, read_range: Callable[[int, int], bytes], size: int) -> OpenBundle:
        """The bundle of `size` bytes that `read_range(start, length)` reads."""

    def readme(self, manifest: Manifest, schema: str) -> str:
        """The README of a bundle whose DDL is `schema`."""

    def render(self, kind: Rendering, manifest: Manifest, bundle: OpenBundle, target: BinaryIO) -> None:
        """Write the backup that `manifest` describes and `bundle` holds into `target`, in the form `kind`.

        In flat memory; leaves no temporary file. VerificationError when a member is not what the manifest says: what
        is in `target` then is worth nothing.
        """

    def copy_rows(self, file: Path, columns: Sequence[str], binary: Sequence[str] | None = None) -> Iterator[bytes]:
        """The rows of the Parquet file at `file` as CSV for PostgreSQL's COPY, `columns` in this order.

        NULL is an empty cell without quotes. With `binary`, the columns' types in the target: as rows of a binary COPY,
        without its header and trailer. In flat memory; VerificationError when it can not be read.
        """


@dataclass(frozen=True)
class StoredObject:
    """An object in a store: its key, its size in bytes, and when it was last written."""

    key: str
    size: int
    modified: datetime


class Store(Protocol):
    """Where bundles and partitions live. Keys are relative, `/`-separated, never starting with `/`.

    Where backups are encrypted, `put`, `keep` and `get` encrypt and decrypt manifests, records of partitions and
    schemas: DecryptError when no key opens one. Everything else, `stream` too, is about the bytes as they lie there.
    Every failure is a StoreError; StoreUnavailableError when waiting can help; NotFoundError for a missing key.
    """

    @property
    def url(self) -> str:
        """Where it is, fit for people: `s3://bucket/prefix`, `file:///var/backups`."""

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """Write `chunks` as one object. It is visible whole or not at all, and durable on return."""

    def put_file(self, key: str, path: Path) -> StoredObject:
        """Write the file at `path` as one object, with the promises of `put`; may be retried.

        Nobody may write into that file any more: a store beside it may keep the very same bytes.
        """

    def get(self, key: str) -> bytes:
        """The whole object."""

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes from `start`, `length` of them or to the end, in chunks."""

    def keep(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> StoredObject:
        """Write `chunks` as one object that stays: as `put`, and locked where the store's settings say so.

        RefusedError when the key is taken, and nothing is changed then; unless it is meant to `replace` what is there.
        """

    def protection(self, key: str) -> Protection:
        """What keeps an object written by `keep` from being changed."""

    def head(self, key: str) -> StoredObject | None:
        """What is stored under `key`, or None."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, by key."""

    def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects; a missing one is no error."""

    def sign(self, key: str, *, expires: timedelta, file_name: str) -> str:
        """A URL that gives the object to whoever has it until it expires, downloaded as `file_name`."""

    def check(self) -> None:
        """Raise the error a backup would meet: not there, not reachable, not writable. Leaves nothing behind."""


class Restores(Protocol):
    """The restore requests of a ledger. Every failure is a LedgerError."""

    def add(self, row: RestoreRow) -> RestoreRow:
        """Add a request, `requested`, before anything else is touched; the row with the number it was given."""

    def change(self, number: int, change: RestoreChange) -> RestoreRow:
        """Write `change` into the row, and give it back. Refuses a move that `restore_requests` does not allow."""

    def beat(self, number: int, now: datetime, /) -> None:
        """Say that the owner of a running restore is alive."""

    def get(self, number: int) -> RestoreRow | None:
        """The row of a number."""

    def list(
        self,
        *,
        catalog: str | None = None,
        status: Sequence[RestoreStatus] = (),
        run_id: str | None = None,
        limit: int | None = None,
    ) -> Sequence[RestoreRow]:
        """Rows, newest first."""


class Copies(Protocol):
    """The copies of backups in other stores, as a ledger knows them. Every failure is a LedgerError."""

    def put(self, copy: Copy) -> None:
        """Write the row of a backup in a store, in place of what it said before."""

    def get(self, backup_id: str, store: str) -> Copy | None:
        """The row of a backup in the store at a URL."""

    def list(
        self, *, backup_id: str | None = None, catalog: str | None = None, store: str | None = None
    ) -> Sequence[Copy]:
        """Rows, the newest backup first: of one backup, catalog and store, or of all."""


class Leases(Protocol):
    """Who may write what, one at a time. A lease that is not renewed ends by itself, by the ledger's own clock.

    Every failure is a LedgerError.
    """

    def acquire(self, claim: Claim, life: timedelta, *, over: int | None = None) -> Lease:
        """Take the lease when it is free, has expired, or is held under the token `over`; the lease as it then is.

        That is the claimant's own, or the one of whoever holds it. Of many that ask at once one gets it.
        """

    def renew(self, lease: Lease, life: timedelta) -> Lease | None:
        """Extend the lease; None when it is another's by now, or nobody's."""

    def release(self, lease: Lease) -> None:
        """Give the lease back; nothing happens when it is another's by now."""

    def get(self, name: str) -> Lease | None:
        """The lease of `name`, also an expired one that nobody took; None when it is nobody's."""


class Outbox(Protocol):
    """Alerts that are to be delivered, one entry a channel, and what became of them. Every failure is a LedgerError."""

    def add(self, alert: Alert, channels: Sequence[str], now: datetime) -> Sequence[Entry]:
        """Note the alert for each channel, claimed by whoever adds it."""

    def claim(self, now: datetime, *, without: Collection[str] = (), early: bool = False) -> Entry | None:
        """Take the oldest undelivered entry that is due, or `early` any that nobody else has, to deliver it.

        Nobody else gets it until the claim ends. None when there is none, besides those for the channels `without`.
        """

    def settle(self, number: int, error: str | None, now: datetime) -> Entry:
        """Write down what became of an attempt: delivered without an `error`, else to be tried again, or given up."""

    def list(self, *, undelivered: bool = True, limit: int | None = None) -> Sequence[Entry]:
        """Entries, newest first; also the delivered ones unless only those `undelivered` are wanted."""


class Dues(Protocol):
    """The due times of a ledger: one row each, of `backup_logs`. Every failure is a LedgerError."""

    def settle(
        self, catalog: str, decide: Callable[[Known], Settlement], *, since: datetime, now: datetime
    ) -> Settlement:
        """Account for the due times up to `now`: `decide` is shown what is known at least since `since`, alone.

        What of its answer was really written: two that settle at once never write, or get back, the same row.
        """

    def take(self, attempt: Attempt) -> Attempt:
        """Begin the attempt as `Ledger.begin` does, in the row of its due time where no other has begun; as it began.

        Without a due time when that one is another's, or was missed.
        """

    def since(self, catalog: str, at: datetime) -> Sequence[Attempt]:
        """The rows of `catalog` that were created, or due, at `at` or later, newest first."""

    def newest_good(self, catalog: str) -> Attempt | None:
        """The newest good full backup of `catalog`."""


class Threads(Protocol):
    """The threads of alerts of a ledger. Every failure is a LedgerError."""

    def failing(self, catalog: str, topic: str, now: datetime, failures: int) -> Step:
        """Add `failures` to a thread, or that it goes on; whether people are told."""

    def recovered(self, catalog: str, topic: str) -> Step:
        """Close a thread; whether people are told: of many that close it at once, one tells."""

    def list(self) -> Sequence[Thread]:
        """The threads that are open, the oldest first."""


class Shapes(Protocol):
    """What backups looked like, to compare the next ones with. Every failure is a LedgerError."""

    def put(self, shape: Shape) -> None:
        """Keep the shape of a backup, in place of one kept before."""

    def get(self, backup_id: str) -> Shape | None:
        """The shape of a backup; None where none was kept."""


class Ledger(Protocol):
    """The database that holds `backup_logs`. Every failure is a LedgerError."""

    @property
    def restores(self) -> Restores:
        """The restore requests."""

    @property
    def dues(self) -> Dues:
        """The due times."""

    @property
    def threads(self) -> Threads:
        """The threads of alerts."""

    @property
    def leases(self) -> Leases:
        """Who may write what."""

    @property
    def outbox(self) -> Outbox:
        """The alerts that are to be delivered."""

    @property
    def shapes(self) -> Shapes:
        """What backups looked like."""

    @property
    def copies(self) -> Copies:
        """The copies in other stores."""

    def begin(self, attempt: Attempt) -> None:
        """Add the attempt's row, `running`, before anything else is touched."""

    def beat(self, backup_id: str, now: datetime) -> None:
        """Say that the attempt's owner is alive."""

    def end(self, backup_id: str, outcome: Outcome) -> None:
        """Close the row, and give its lease back with it. Refuses a move that `statuses` does not allow."""

    def verified(self, backup_id: str, verified: Verified) -> None:
        """Write into the row what a verification came to, in place of what an earlier one did."""

    def hold(self, backup_id: str, hold: Hold | None) -> None:
        """Write into the row who holds the backup, why and until when; None releases it."""

    def expires(self, backup_id: str, at: datetime | None) -> None:
        """Write into the row when the rules let the backup go at the earliest."""

    def get(self, backup_id: str) -> Attempt | None:
        """The row of a backup id."""

    def of_run(self, run_id: str) -> Attempt | None:
        """The newest row that belongs to a Dagster run."""

    def list(
        self, *, catalog: str | None = None, status: Sequence[Status] = (), limit: int | None = None
    ) -> Sequence[Attempt]:
        """Rows, newest first."""

    def last_good(self, catalog: str, before: datetime | None = None) -> Attempt | None:
        """The newest good backup of `catalog` with counted tables, created before `before`: what to compare with.

        Kinds `full` and `selective` only: a `tables` run makes no bundle, so it is no backup.
        """

    def adopt(self, rows: Sequence[Attempt], events: Sequence[AuditEvent]) -> None:
        """Write whole rows as a rebuild has them, in place of those of the same backups, and their audit with them."""

    def audit(self, event: AuditEvent) -> None:
        """Add an audit row."""

    def audits(self, backup_id: str | None = None, *, limit: int | None = None) -> Sequence[AuditEvent]:
        """Audit rows, newest first: of one backup or all."""


class Alerter(Protocol):
    """Tells people. Never raises: a dead channel is a fact to report, not a failure of a backup."""

    @property
    def channels(self) -> Sequence[str]:
        """The names of the channels, without secrets; no two are the same."""

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        """Send to every channel, or `only` to those; one delivery, good or bad, per channel."""


class Pinger(Protocol):
    """Signals to a watcher outside. Never raises, and is quick: a dead watcher never holds a backup up."""

    def ping(self, signal: Signal, catalog: str, text: str) -> Delivery | None:
        """Send the signal; what became of it, None when nobody wants to know."""


@dataclass(frozen=True)
class Second:
    """The second destination: its URL as it is written in the ledger, and the store there, bytes as they lie there."""

    url: str
    store: Store


@dataclass(frozen=True)
class Ports:
    """Everything an operation reaches the world through. `salt` gives a random number for a backup id.

    `second` gets each backup after `store` has it; None where there is no second destination. `alive` tells whether a
    process lives, as far as can be told; without it, every one does.
    """

    source: Source
    formats: Formats
    store: Store
    ledger: Ledger
    alerter: Alerter
    progress: Progress
    clock: Clock
    salt: Callable[[], int]
    second: Second | None = None
    pinger: Pinger = field(default_factory=NoPings)
    alive: Callable[[Owner], bool] = lambda _: True
    decoder: Callable[[Path], Decoder] | None = None


class TargetSession(Protocol):
    """One connection to the database that is restored into. Errors are TargetErrors.

    Whatever happens, to this program or to the server, the database is as it was until `restore` returned.
    """

    def look(self, wanted: Sequence[Name]) -> TargetFacts:
        """What is there now: about the relations `wanted` everything, about others their names. Reads only."""

    def lock(self) -> None:
        """Keep other restores out until the session ends; LockedError, naming the holder, when one is under way."""

    def restore(
        self, plan: RestorePlan, rows: Callable[[TableRestore], Iterable[bytes]], progress: Progress
    ) -> Sequence[TableReport]:
        """Carry out the plan in one transaction; what became of each table, in the plan's order.

        `rows` gives a table's rows for COPY, binary or as CSV (`table.binary`), in the order of its `columns`.
        PreflightRefusedError when the rows themselves show that it would go wrong, such as a row whose parent is
        nowhere.
        """

    def analyze(self, tables: Sequence[Name]) -> Sequence[str]:
        """Make new statistics; a sentence for each table where that failed."""

    def cancel(self) -> None:
        """Stop the running statement, from any thread: `restore` raises CanceledError."""


class RestoreTarget(Protocol):
    """The database that is restored into."""

    @property
    def url(self) -> str:
        """Where it is, without its password."""

    def session(self) -> AbstractContextManager[TargetSession]:
        """Connect, and close the connection at the end of the context."""


@dataclass(frozen=True)
class RestorePorts:
    """Everything a restore reaches the world through, besides its target. `spool` is a folder for files in the making.

    The spool needs room for the Parquet files of the chosen tables.
    """

    store: Store
    ledger: Ledger
    formats: Formats
    progress: Progress
    clock: Clock
    spool: Path
