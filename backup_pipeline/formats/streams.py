"""A file that counts and hashes what is written to it, and appears under its name only when it is whole."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from isal import isal_zlib

from backup_pipeline.core.errors import NO_ROOM, BackupError, DiskFullError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


_NO_ROOM = NO_ROOM | {errno.EFBIG}
_PIECE = 256 << 10
"""What is written and hashed at a time: it stays in the core's cache."""


class HashingFile:
    """A binary file in the making: `<name>.tmp` until `close`, nothing at all after `abort`.

    `bytes`, `crc32` and `sha256` describe what was written so far. Failures are BackupError; DiskFullError when there
    is no room. It is no io.RawIOBase on purpose: those close themselves when collected, which would publish a torso.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self.crc32 = 0
        self._sha256 = hashlib.sha256()
        self._part = path.with_name(path.name + ".tmp")
        self._published = False
        try:
            self._fd: int | None = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._failure(error) from error

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes so far, in hexadecimal."""
        return self._sha256.hexdigest()

    @property
    def closed(self) -> bool:
        """Whether `close` or `abort` was called."""
        return self._fd is None

    def write(self, data: ReadableBuffer) -> int:
        """Append `data`; after `close` or `abort` it is dropped (writers flush once more when they are collected)."""
        view = memoryview(data).cast("B")
        if self._fd is None:
            return len(view)
        for start in range(0, len(view), _PIECE):
            piece = view[start : start + _PIECE]
            try:
                _write_all(self._fd, piece)
            except OSError as error:
                raise self._failure(error) from error
            self.bytes += len(piece)
            self.crc32 = isal_zlib.crc32(piece, self.crc32)
            self._sha256.update(piece)
        return len(view)

    def tell(self) -> int:
        """The bytes so far."""
        return self.bytes

    def flush(self) -> None:
        """Nothing is buffered here."""

    def close(self) -> None:
        """Give it its name; without effect on one that is closed. It becomes durable in a store, not here."""
        if self._fd is None:
            return
        try:
            self._release()
            self._part.replace(self.path)
        except OSError as error:
            self.abort()
            raise self._failure(error) from error
        self._published = True

    def abort(self) -> None:
        """Remove every trace of the file, also when it has its name already."""
        self._release()
        with suppress(OSError):
            (self.path if self._published else self._part).unlink(missing_ok=True)

    def _release(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def _failure(self, error: OSError) -> BackupError:
        """What `error` means here. A file size limit (EFBIG) is a disk that is full for this process."""
        if error.errno not in _NO_ROOM:
            return BackupError(
                f"{self._part} can not be written: {error.strerror}.",
                do="Check the directory's permissions and its disk, or set BACKUP_WORK_DIR to another directory.",
            )
        return DiskFullError(
            f"No room to write {self._part} after {self.bytes:,} bytes: {error.strerror}, {_free(self.path.parent)}.",
            do="Free space there, or set BACKUP_WORK_DIR to a directory with more room.",
        )


def _write_all(fd: int, view: memoryview) -> None:
    """A single write may take less than it is given (at most 2 GiB on Linux, or what still fits on the disk)."""
    while view:
        view = view[os.write(fd, view) :]


def _free(directory: Path) -> str:
    try:
        return f"{shutil.disk_usage(directory).free:,} bytes free"
    except OSError:
        return "free space unknown"


class ByteReader(io.RawIOBase):
    """The bytes of `chunks` as a file that is read from its beginning to its end; holds one chunk at a time."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._held = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """As many of the next bytes as are at hand and fit; 0 at the end."""
        view = memoryview(buffer).cast("B")
        if not self._held and len(view):
            self._held = memoryview(next((chunk for chunk in self._chunks if chunk), b""))
        count = min(len(view), len(self._held))
        view[:count] = self._held[:count]
        self._held = self._held[count:]
        return count

    def exactly(self, count: int) -> bytes:
        """The next `count` bytes; fewer only at the end."""
        parts = bytearray()
        while len(parts) < count and (part := self.read(count - len(parts))):
            parts += part
        return bytes(parts)

    def at_end(self) -> bool:
        """Whether nothing is left. Reads a byte to know: ask last."""
        return not self.exactly(1)


_PIECES = 4
_WAIT_S = 0.05


class _StoppedError(Exception):
    """Whoever took the pieces wants no more."""


def pumped(run: Callable[[Callable[[bytes], None]], None]) -> Iterator[bytes]:
    """The pieces that `run` hands to its argument, at most a few ahead; an error of `run` comes after them.

    Closing the iterator ends `run` at its next piece, and waits for it.
    """
    pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(maxsize=_PIECES)
    stop = threading.Event()

    def put(piece: bytes | BaseException | None) -> None:
        while not stop.is_set():
            try:
                return pieces.put(piece, timeout=_WAIT_S)
            except queue.Full:
                continue
        raise _StoppedError

    def work() -> None:
        try:
            run(put)
            put(None)
        except _StoppedError:
            return
        except BaseException as error:  # noqa: BLE001  raised again where the pieces are taken
            _last(error, put)

    thread = threading.Thread(target=work, name="pump", daemon=True)
    thread.start()
    try:
        yield from iter(lambda: _piece(pieces), None)
    finally:
        stop.set()
        thread.join()


def _piece(pieces: queue.Queue[bytes | BaseException | None]) -> bytes | None:
    piece = pieces.get()
    if isinstance(piece, BaseException):
        raise piece
    return piece


def _last(error: BaseException, put: Callable[[BaseException], None]) -> None:
    try:
        put(error)
    except _StoppedError:
        return


def use_jemalloc() -> None:
    """Let Arrow allocate with jemalloc in this process, where pyarrow has it (on Linux it does).

    Measured with `benchmarks.contestants.ours` on 3 million rows, in turn (medians of three): 305 MiB and 5.1 s with
    pyarrow's default, 275 MiB and 4.5 s with jemalloc.
    """
    with suppress(NotImplementedError):
        pa.set_memory_pool(pa.jemalloc_memory_pool())
