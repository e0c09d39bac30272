"""The ports to what is written: the file formats, and a store, where bundles and partitions live."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from backup_pipeline.core.layout import Member, Rendering
    from backup_pipeline.core.manifest import FileEntry, Manifest, TableEntry
    from backup_pipeline.core.plans import TablePlan


@dataclass(frozen=True)
class Protection:
    """How an object that is meant to stay is protected by its store.

    `refuses` says whether the store itself refuses to write over it (None: not known): where it does not, only a look
    beforehand keeps a backup from being overwritten, and two writers at once are not told apart. `mode` and `until` are
    those of its lock; None without one.
    """

    refuses: bool | None = None
    mode: str | None = None
    until: datetime | None = None

    def __str__(self) -> str:
        lock = "not locked"
        if self.mode is not None and self.until is not None:
            lock = f"locked ({self.mode.lower()}) until {self.until:%Y-%m-%d %H:%M} UTC"
        if self.refuses:
            return f"{lock}; the store refuses to overwrite it"
        return f"{lock}; the store does not refuse to overwrite it: what is there is looked up first"

    def as_json(self) -> dict[str, object]:
        """The same as JSON."""
        until = self.until.isoformat(timespec="seconds") if self.until else None
        return {"protection": str(self), "mode": self.mode, "until": until, "refuses": self.refuses}

    @property
    def notable(self) -> bool:
        """Whether there is something about it that people should read in the audit."""
        return self.mode is not None or self.refuses is False


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

    def opened(self, key: str, data: bytes) -> bytes:
        """What `get` gives when `data`, as `stream` reads it, lies under `key`: decrypted, where it is encrypted."""

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


@dataclass(frozen=True)
class Second:
    """The second destination: its URL as it is written in the ledger, and the store there, bytes as they lie there."""

    url: str
    store: Store


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

    def passage(self) -> tuple[Formats, str] | None:
        """These formats with a new key that is nowhere but in memory, and its public key; None without encryption.

        What `also_to` of that public key has encrypted is opened by them, and by nobody once they are forgotten.
        """

    def also_to(self, recipient: str) -> Formats:
        """These formats, whose files the holder of a passage can read too. `recipients` are those of before."""

    def concealed(self, document: bytes) -> str:
        """A small document as text, encrypted where files are; `revealed` by whoever can read those."""

    def revealed(self, text: str, what: str) -> bytes:
        """The document in `text`; errors as those of `decrypted`."""

    def writer(self, plan: TablePlan, directory: Path, timezone: str, *, sheets: bool = True) -> TableWriter:
        """A writer of `plan`'s Parquet and CSV files into `directory`; sheet times in `timezone`, `sheets` or none."""

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

    def decrypted(self, chunks: Iterable[bytes], what: str, recipients: Sequence[str]) -> Iterator[bytes]:
        """The plain bytes of an encrypted Parquet file, as a stream; what `chunks` raises comes out.

        DecryptError, naming `what` and its `recipients`, when no key here opens it; VerificationError when it is
        damaged or cut off.
        """

    def rows(self, files: Iterable[tuple[FileEntry, bytes]], table: TableEntry, where: str) -> pa.Table:
        """The rows of the plain Parquet `files` of `table`, one after the other, exact; `where` they lie.

        VerificationError when one can not be decoded, claims to take all memory, or is not what its entry says.
        """


class ResultForm(StrEnum):
    """A form in which the rows of a query are written."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


@dataclass(frozen=True)
class ResultColumn:
    """A column of a query's rows: its name, and whether it holds numbers."""

    name: str
    number: bool


@dataclass(frozen=True)
class FetchedTable:
    """A table to be queried: what it is, and its plain Parquet files."""

    entry: TableEntry
    files: Sequence[Path]


class QueryRows(Protocol):
    """The rows that a query gives, to be taken once."""

    @property
    def columns(self) -> Sequence[ResultColumn]:
        """Their columns."""

    def first(self, most: int) -> Sequence[Sequence[str | None]]:
        """The first rows as texts, `most` of them; None is NULL."""

    def write(self, form: ResultForm, target: BinaryIO, *, mark: bool = False) -> int:
        """Write all rows into `target`, in flat memory; how many there are. `mark`: a CSV begins with Excel's."""


class Queries(Protocol):
    """SQL over the tables of a backup, which can neither change anything nor reach anything else.

    What comes in is of strangers: RefusedError for SQL that is no single SELECT, or reaches for files, settings or
    the network; UsageError, in the words of the engine, for SQL that it does not understand.
    """

    def names(self, sql: str) -> Collection[str]:
        """The tables that the SQL names, as it writes them."""

    def check(self, sql: str, tables: Sequence[TableEntry], timezone: str) -> None:
        """Whether the SQL can be run over these tables, without their rows."""

    def rows(
        self, sql: str, tables: Sequence[FetchedTable], timezone: str, spool: Path
    ) -> AbstractContextManager[QueryRows]:
        """Its rows, times in `timezone`. In bounded memory; what is too much for that goes into the folder `spool`.

        VerificationError for a file that has not the columns of its table; DiskFullError.
        """
