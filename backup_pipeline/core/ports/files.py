"""The port to the file formats: a backup's files written, bundled, read and rendered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from backup_pipeline.core.layout import Member, Rendering
    from backup_pipeline.core.manifest import FileEntry, Manifest, TableEntry
    from backup_pipeline.core.plans import TablePlan


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
