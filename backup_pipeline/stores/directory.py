"""A store in a directory: every object is a file, whole and on the disk before it has its name."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from stat import S_ISREG

from backup_pipeline.core.errors import NotFoundError, RefusedError, StoreDeniedError, StoreError
from backup_pipeline.core.ports import Store, StoredObject
from backup_pipeline.core.ports.files import Protection
from backup_pipeline.core.retention.prune import Left, Unfinished, Versions, Why
from backup_pipeline.stores.files import (
    FILE_MODE,
    NO_LINK,
    STAGING,
    about_file,
    check_document,
    check_key,
    check_prefix,
    discard_leftover,
    explain,
    file_mode,
    is_there,
    leftovers,
    link,
    make_root,
    open_file,
    opened,
    span,
    status,
    taken,
    walk,
    write_all,
)

CHUNK = 1 << 20
_SYNCED_AT_ONCE = 8

_serial = count()
_Naming = Callable[[int, str, int, str], object]
"""Gives a staged file its name: folder and name that it has, folder and name that it gets."""


@dataclass(frozen=True)
class _Staged:
    """An unfinished file: its folder, its name there, and its descriptor, which holds its lock."""

    folder: int
    name: str
    descriptor: int


def _replace(staging: int, staged: str, folder: int, name: str) -> None:
    os.rename(staged, name, src_dir_fd=staging, dst_dir_fd=folder)


@dataclass(frozen=True)
class DirectoryStore:
    """Objects under `root`, which is created if its parent exists; readable by their owner only, or by a group too.

    A group may read them when `root` was given to it with setgid and the right to read (`folders.is_shared`).

    A file is written in `root/.partial`, synced, then renamed, and its folder synced: a kill at any point leaves at
    most a file there, which is never listed and which the next `check` removes. All of `root` is one file system.
    Links below `root` are not followed (see `folders`).
    """

    root: Path

    @property
    def url(self) -> str:
        """`file:///var/backups`."""
        return self.root.absolute().as_uri()

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """Write `chunks` as one object, in constant memory. What `chunks` raises comes out as it is."""
        return self._write(key, chunks, _replace)

    def keep(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> StoredObject:
        """Write `chunks` as one object, under a name that no file has; the file system decides who of two is first.

        A directory has no locks: whoever may write into its folders may delete.
        """
        if not replace and self.head(key) is not None:
            raise taken(key, self.url)
        refusal = taken(key, self.url)
        naming = _replace if replace else partial(link, taken=refusal)
        return self._write(key, chunks, naming)

    def protection(self, key: str) -> Protection:
        """It refuses to overwrite; there are no locks."""
        return Protection(refuses=True)

    def _write(self, key: str, chunks: Iterable[bytes], name: _Naming) -> StoredObject:
        check_key(key)
        with self._staging(key) as staging:
            return self._complete(key, self._stage(key, staging), chunks, name)

    def _complete(self, key: str, staged: _Staged, chunks: Iterable[bytes], name: _Naming) -> StoredObject:
        """Add `chunks` to a staged file, and give it its name; without a trace when that fails."""
        try:
            for chunk in chunks:
                with self._explained(key):
                    write_all(staged.descriptor, chunk)
            with self._explained(key):
                return self._publish(key, staged, name)
        except BaseException:
            with suppress(OSError):
                os.unlink(staged.name, dir_fd=staged.folder)
            raise
        finally:
            os.close(staged.descriptor)

    def put_file(self, key: str, path: Path) -> StoredObject:
        """The file at `path` under another name besides, or copied where it lies on another file system.

        An OSError of reading it comes out as it is.
        """
        check_key(key)
        with self._staging(key) as staging:
            if (linked := self._link(path, staging)) is not None:
                stored = self._complete(key, linked, (), _replace)
                with suppress(FileNotFoundError):  # where the object was this file already, its name stays behind
                    os.unlink(linked.name, dir_fd=staging)
                return stored
        with path.open("rb") as file:
            return self.put(key, iter(lambda: file.read(CHUNK), b""))

    def get(self, key: str) -> bytes:
        """The whole object."""
        with open(self._open(key), "rb") as file, self._explained(key):  # noqa: PTH123
            check_document(key, os.fstat(file.fileno()).st_size, self.url)
            return file.read()

    def opened(self, key: str, data: bytes) -> bytes:
        """As it is: nothing is encrypted here."""
        return data

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes from `start`, 1 MiB at a time. A missing key raises at the call.

        What is read is one object, also when another one takes its key meanwhile.
        """
        return self._read(key, self._open(key), start, length)

    def head(self, key: str) -> StoredObject | None:
        """What is stored under `key`, or None."""
        *folders, name = check_key(key).split("/")
        with self._explained(key):
            self.root.parent.stat()  # a store that is gone is not an empty store
            with suppress(FileNotFoundError, NotADirectoryError), opened(self.root, folders) as folder:
                entry = status(folder, name)
                return about_file(key, entry) if S_ISREG(entry.st_mode) else None
        return None

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in the order of the keys' UTF-8 bytes, as S3 has it."""
        folder = check_prefix(prefix).rpartition("/")[0]
        with self._explained(prefix):
            self.root.parent.stat()  # a store that is gone is not an empty store
            steps = folder.split("/") if folder else []
            with suppress(FileNotFoundError, NotADirectoryError), opened(self.root, steps) as top:
                yield from walk(top, f"{folder}/" if folder else "", prefix)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects, and the folders that this leaves empty; on the disk once it returns.

        Folders are synced at the end, each once and some side by side: then the disk has one wait for many.
        """
        changed: dict[tuple[str, ...], str] = {}
        try:
            for key in keys:
                *folders, name = check_key(key).split("/")
                with self._explained(key):
                    self.root.parent.stat()  # a store that is gone has lost nothing yet
                with self._explained(key), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    with opened(self.root, folders) as folder:
                        os.unlink(name, dir_fd=folder)
                    changed[self._remove_empty(folders)] = key
        finally:
            if len(changed) == 1:
                self._sync(*next(iter(changed.items())))
            else:
                with ThreadPoolExecutor(_SYNCED_AT_ONCE, "sync") as pool:
                    list(pool.map(self._sync, changed, changed.values()))

    def _sync(self, folders: tuple[str, ...], key: str) -> None:
        """Let the disk have what was removed from a folder; of one that is gone by now, its parent has been synced."""
        gone = (FileNotFoundError, NotADirectoryError)
        with self._explained(key), suppress(*gone), opened(self.root, folders) as folder:
            os.fsync(folder)

    def sign(self, key: str, *, expires: timedelta, file_name: str) -> str:
        """Refused: a directory has no URLs."""
        what = f"A directory store has no URL for {key} ({self.url})"
        raise RefusedError(what, do="Get the file with `backup-pipeline download`, or keep backups in S3.")

    def check(self) -> None:
        """Write, sync and remove a file, and remove what killed writers left behind."""
        with self._staging("a trial file") as staging:
            staged = self._stage("a trial file", staging)
            try:
                with self._explained("a trial file"):
                    write_all(staged.descriptor, b"0")
                    os.fsync(staged.descriptor)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(staged.name, dir_fd=staging)
                os.close(staged.descriptor)
            self._sweep(staging)

    def _open(self, key: str) -> int:
        """The descriptor of the object's file; NotFoundError when there is none."""
        *folders, name = check_key(key).split("/")
        with self._explained(key):
            self.root.parent.stat()  # a store that is gone is not an empty store
            with suppress(FileNotFoundError, NotADirectoryError), opened(self.root, folders) as folder:
                return open_file(folder, name, os.O_RDONLY)
        what = f"There is no object {key} in {self.root}"
        raise NotFoundError(what, do="List what is there.")

    @contextmanager
    def _staging(self, key: str) -> Iterator[int]:
        """The folder of unfinished files, made where it lacks."""
        with ExitStack() as stack:
            with self._explained(key):
                make_root(self.root)
                folder = stack.enter_context(opened(self.root, [STAGING], make=True))
            yield folder

    def _stage(self, key: str, staging: int) -> _Staged:
        """A new file for `key`, locked for as long as it is open, so that nobody takes it for a leftover."""
        with self._explained(key):
            while True:
                staged = f"{os.getpid()}-{next(_serial)}"
                try:
                    descriptor = open_file(staging, staged, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE)
                except FileExistsError:  # left by a killed process that had our id
                    continue
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.fstat(descriptor).st_nlink:
                    return _Staged(staging, staged, descriptor)
                os.close(descriptor)  # swept between its creation and its lock

    def _link(self, path: Path, staging: int) -> _Staged | None:
        """The file at `path` among the staged ones, locked as they are; None where it has to be copied."""
        staged = f"{os.getpid()}-{next(_serial)}"
        try:
            os.link(path, staged, dst_dir_fd=staging)
            descriptor = open_file(staging, staged, os.O_RDWR)
        except OSError as error:
            if error.errno in NO_LINK:
                return None
            raise
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not is_there(staging, staged):  # swept before it was locked
            os.close(descriptor)
            return None
        os.fchmod(descriptor, FILE_MODE)
        os.utime(descriptor)
        return _Staged(staging, staged, descriptor)

    def _publish(self, key: str, staged: _Staged, name: _Naming) -> StoredObject:
        *folders, own = key.split("/")
        os.fsync(staged.descriptor)
        while True:
            try:
                with opened(self.root, folders, make=True) as folder:
                    os.fchmod(staged.descriptor, file_mode(folder))
                    name(staged.folder, staged.name, folder, own)
                    os.fsync(folder)
            except FileNotFoundError:
                if not is_there(staged.folder, staged.name):
                    raise
            else:
                break  # else a delete has just removed a folder, empty at that moment
        return about_file(key, os.fstat(staged.descriptor))

    def _read(self, key: str, descriptor: int, start: int, length: int | None) -> Iterator[bytes]:
        with open(descriptor, "rb", buffering=0) as file:
            position, end = span(os.fstat(file.fileno()).st_size, start, length)
            while position < end:
                with self._explained(key):
                    chunk = os.pread(file.fileno(), min(CHUNK, end - position), position)
                if not chunk:
                    what = f"{key} in {self.url} ended at byte {position} of {end}"
                    raise StoreError(what, do="Verify this backup.")
                yield chunk
                position += len(chunk)

    def _remove_empty(self, folders: Sequence[str]) -> tuple[str, ...]:
        """Remove the innermost folder and those above it that are empty then; the innermost that stays."""
        for depth in range(len(folders), 0, -1):
            try:
                with opened(self.root, folders[: depth - 1]) as above:
                    os.rmdir(folders[depth - 1], dir_fd=above)
            except OSError:  # not empty
                return tuple(folders[:depth])
        return ()

    def _sweep(self, staging: int) -> None:
        with self._explained("leftovers"):
            for name in leftovers(staging):
                discard_leftover(staging, name)

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise explain(error, key, self.root) from error


@dataclass(frozen=True)
class PlainRemovals:
    """The port `Removals` over a store without locks and versions."""

    store: Store

    def locked(self, keys: Sequence[str]) -> Sequence[Left]:
        """None."""
        return []

    def remove(self, keys: Sequence[str], versions: Versions) -> Sequence[Left]:
        """Delete each object; those that the store would not delete, with its words."""
        return [left for key in keys if (left := self._delete(key)) is not None]

    def hidden(self, prefix: str) -> Iterator[StoredObject]:
        """None: what is deleted is gone."""
        return iter(())

    def unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """Nothing: such a store shows no trace of it."""
        return iter(())

    def discard(self, unfinished: Unfinished) -> Left | None:
        """Nothing to do."""
        return None

    def _delete(self, key: str) -> Left | None:
        try:
            self.store.delete([key])
        except StoreError as error:
            if error.transient:
                raise
            why = Why.DENIED if isinstance(error, StoreDeniedError) else Why.FAILED
            return Left(key, why, error.what, error.do)
        return None


@dataclass(frozen=True)
class DirectoryRemovals(PlainRemovals):
    """The port `Removals` over a directory: what dead writers left is in a hidden folder of its own."""

    root: Path

    def remove(self, keys: Sequence[str], versions: Versions) -> Sequence[Left]:
        """All at once, which waits for the disk once; where one can not go, each by itself, to find out which."""
        try:
            self.store.delete(keys)
        except StoreError as error:
            if error.transient:
                raise
            return super().remove(keys, versions)
        return []

    def unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """The unfinished files that nobody has locked: a writer locks its file for as long as it lives."""
        try:
            with opened(self.root, [STAGING]) as staging:
                begun = {name: since for name in leftovers(staging) if (since := _unlocked_since(staging, name))}
        except FileNotFoundError:
            return
        except OSError as error:
            raise explain(error, STAGING, self.root) from error
        for name, since in begun.items():
            yield Unfinished(f"{STAGING}/{name}", since, name)

    def discard(self, unfinished: Unfinished) -> Left | None:
        """Remove the file, unless a writer has it."""
        try:
            with opened(self.root, [STAGING]) as staging:
                removed = discard_leftover(staging, unfinished.token)
        except FileNotFoundError:
            return None
        except OSError as error:
            place = self.root / STAGING / unfinished.token
            return Left(unfinished.key, Why.DENIED, f"{place}: {error.strerror}.", "Let this user remove the file.")
        if removed:
            return None
        return Left(unfinished.key, Why.FAILED, "It is being written at this moment.", "Nothing: it will get its name.")


def _unlocked_since(staging: int, name: str) -> datetime | None:
    """When an unfinished file was written last; None when a writer has it, or it is gone."""
    with suppress(OSError), open(open_file(staging, name, os.O_RDONLY), "rb") as file:  # noqa: PTH123
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
    return None
