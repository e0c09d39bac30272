"""A store in a directory: every object is a file, whole and on the disk before it has its name."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from stat import S_ISREG

from backup_pipeline.core.errors import NotFoundError, RefusedError, StoreError
from backup_pipeline.core.ports import StoredObject
from backup_pipeline.core.protection import Protection
from backup_pipeline.stores.files import NO_LINK, about_file, explain, link, make_folder, sync_folder, walk, write_all
from backup_pipeline.stores.keys import STAGING, check_key, check_prefix, span, taken

CHUNK = 1 << 20
FILE_MODE = 0o600

_serial = count()


@dataclass(frozen=True)
class DirectoryStore:
    """Objects under `root`, which is created if its parent exists; readable by their owner only.

    A file is written in `root/.partial`, synced, then renamed, and its folder synced: a kill at any point leaves at
    most a file there, which is never listed and which the next `check` removes. All of `root` is one file system.
    """

    root: Path

    @property
    def url(self) -> str:
        """`file:///var/backups`."""
        return self.root.absolute().as_uri()

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """Write `chunks` as one object, in constant memory. What `chunks` raises comes out as it is."""
        return self._write(key, chunks, Path.replace)

    def keep(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> StoredObject:
        """Write `chunks` as one object, under a name that no file has; the file system decides who of two is first.

        A directory has no locks: whoever may write into its folders may delete.
        """
        if not replace and self.head(key) is not None:
            raise taken(key, self.url)
        return self._write(key, chunks, Path.replace if replace else lambda at, to: link(at, to, taken(key, self.url)))

    def protection(self, key: str) -> Protection:
        """It refuses to overwrite; there are no locks."""
        return Protection(refuses=True)

    def _write(self, key: str, chunks: Iterable[bytes], name: Callable[[Path, Path], object]) -> StoredObject:
        self._place(key)
        return self._complete(key, self._stage(key), chunks, name)

    def _complete(
        self, key: str, begun: tuple[Path, int], chunks: Iterable[bytes], name: Callable[[Path, Path], object]
    ) -> StoredObject:
        """Add `chunks` to a staged file, and give it its name; without a trace when that fails."""
        staged, descriptor = begun
        place = self._place(key)
        try:
            for chunk in chunks:
                with self._explained(key):
                    write_all(descriptor, chunk)
            with self._explained(key):
                return self._publish(key, descriptor, staged, place, name)
        except BaseException:
            with suppress(OSError):
                staged.unlink()
            raise
        finally:
            os.close(descriptor)

    def put_file(self, key: str, path: Path) -> StoredObject:
        """The file at `path` under another name besides, or copied where it lies on another file system.

        An OSError of reading it comes out as it is.
        """
        self._place(key)
        if (linked := self._link(key, path)) is not None:
            stored = self._complete(key, linked, (), Path.replace)
            linked[0].unlink(missing_ok=True)  # where the object was this file already, its name stays behind
            return stored
        with path.open("rb") as file:
            return self.put(key, iter(lambda: file.read(CHUNK), b""))

    def get(self, key: str) -> bytes:
        """The whole object."""
        place = self._found(key)
        with self._explained(key):
            return place.read_bytes()

    def opened(self, key: str, data: bytes) -> bytes:
        """As it is: nothing is encrypted here."""
        return data

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes from `start`, 1 MiB at a time. A missing key raises at the call.

        What is read is one object, also when another one takes its key meanwhile.
        """
        return self._read(key, self._found(key), start, length)

    def head(self, key: str) -> StoredObject | None:
        """What is stored under `key`, or None."""
        place = self._place(key)
        with self._explained(key):
            self.root.parent.stat()  # a store that is gone is not an empty store
            with suppress(FileNotFoundError, NotADirectoryError):
                stat = place.stat()
                return about_file(key, stat) if S_ISREG(stat.st_mode) else None
        return None

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in the order of the keys' UTF-8 bytes, as S3 has it."""
        folder = check_prefix(prefix).rpartition("/")[0]
        with self._explained(prefix):
            self.root.parent.stat()  # a store that is gone is not an empty store
            yield from walk(self.root / folder, f"{folder}/" if folder else "", prefix)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects, and the folders that this leaves empty."""
        for key in keys:
            place = self._place(key)
            with self._explained(key):
                self.root.parent.stat()  # a store that is gone has lost nothing yet
            with self._explained(key), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                place.unlink()
                sync_folder(place.parent)
                self._remove_empty(place.parent)

    def sign(self, key: str, *, expires: timedelta, file_name: str) -> str:
        """Refused: a directory has no URLs."""
        what = f"A directory store has no URL for {key} ({self.url})"
        raise RefusedError(what, do="Get the file with `backup-pipeline download`, or keep backups in S3.")

    def check(self) -> None:
        """Write, sync and remove a file, and remove what killed writers left behind."""
        staged, descriptor = self._stage("a trial file")
        try:
            with self._explained("a trial file"):
                write_all(descriptor, b"0")
                os.fsync(descriptor)
        finally:
            staged.unlink(missing_ok=True)
            os.close(descriptor)
        self._sweep()

    def _place(self, key: str) -> Path:
        return self.root / check_key(key)

    def _found(self, key: str) -> Path:
        if self.head(key) is None:
            what = f"There is no object {key} in {self.root}"
            raise NotFoundError(what, do="List what is there.")
        return self._place(key)

    def _stage(self, key: str) -> tuple[Path, int]:
        """A new file for `key`, locked for as long as it is open, so that nobody takes it for a leftover."""
        with self._explained(key):
            folder = make_folder(self.root / STAGING, self.root.parent)
            while True:
                staged = folder / f"{os.getpid()}-{next(_serial)}"
                try:
                    descriptor = os.open(staged, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE)
                except FileExistsError:  # left by a killed process that had our id
                    continue
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.fstat(descriptor).st_nlink:
                    return staged, descriptor
                os.close(descriptor)  # swept between its creation and its lock

    def _link(self, key: str, path: Path) -> tuple[Path, int] | None:
        """The file at `path` among the staged ones, locked as they are; None where it has to be copied."""
        with self._explained(key):
            folder = make_folder(self.root / STAGING, self.root.parent)
        staged = folder / f"{os.getpid()}-{next(_serial)}"
        try:
            os.link(path, staged)
            descriptor = os.open(staged, os.O_RDWR)
        except OSError as error:
            if error.errno in NO_LINK:
                return None
            raise
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not staged.exists():  # swept before it was locked
            os.close(descriptor)
            return None
        os.fchmod(descriptor, FILE_MODE)
        os.utime(descriptor)
        return staged, descriptor

    def _publish(
        self, key: str, descriptor: int, staged: Path, place: Path, name: Callable[[Path, Path], object]
    ) -> StoredObject:
        os.fsync(descriptor)
        while True:
            try:
                make_folder(place.parent, self.root.parent)
                name(staged, place)
            except FileNotFoundError:
                if not staged.exists():
                    raise
            else:
                break  # else a delete has just removed a folder, empty at that moment
        with suppress(FileNotFoundError):  # deleted already
            sync_folder(place.parent)
        return about_file(key, os.fstat(descriptor))

    def _read(self, key: str, place: Path, start: int, length: int | None) -> Iterator[bytes]:
        with self._explained(key):
            file = place.open("rb", buffering=0)
        with file:
            at, end = span(os.fstat(file.fileno()).st_size, start, length)
            while at < end:
                with self._explained(key):
                    chunk = os.pread(file.fileno(), min(CHUNK, end - at), at)
                if not chunk:
                    what = f"{key} in {self.url} ended at byte {at} of {end}"
                    raise StoreError(what, do="Verify this backup.")
                yield chunk
                at += len(chunk)

    def _remove_empty(self, folder: Path) -> None:
        while folder != self.root:
            try:
                folder.rmdir()
            except OSError:  # not empty
                return
            folder = folder.parent

    def _sweep(self) -> None:
        with self._explained("leftovers"):
            for leftover in (self.root / STAGING).iterdir():
                with suppress(FileNotFoundError, BlockingIOError), leftover.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    leftover.unlink()

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise explain(error, key, self.root) from error
