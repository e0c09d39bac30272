"""The port `Cipher`: files in the age format (age-encryption.org/v1), by pyrage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, cast

import pyrage

from backup_pipeline.core.encryption import Writable, no_key
from backup_pipeline.core.errors import BackupError, VerificationError
from backup_pipeline.formats.age_keys import Identity, Recipient
from backup_pipeline.formats.byte_reader import ByteReader
from backup_pipeline.formats.pump import pumped

_OTHER_COPY = "Use another copy of it, or another backup."
_NO_MATCH = "matching keys"
_PIECE = 256 << 10


class AgeCipher:
    """Encrypts to `recipients`, each of which can read all of it, and decrypts with any of `identities`."""

    def __init__(self, recipients: Sequence[Recipient] = (), identities: Sequence[Identity] = ()) -> None:
        self._to, self._with = tuple(recipients), tuple(identities)

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who can read what is encrypted now; empty when nothing is encrypted."""
        return tuple(recipient.name for recipient in self._to)

    @property
    def holders(self) -> tuple[str, ...]:
        """How the identities are called."""
        return tuple(identity.name for identity in self._with)

    def encrypt(self, source: BinaryIO, target: Writable) -> None:
        """Write what is read from `source` into `target`, encrypted, in flat memory. Their errors come out."""
        reading, writing = _Reading(source.read), _Writing(target.write)
        try:
            pyrage.encrypt_io(reading, writing, [recipient.key for recipient in self._to])
        except Exception as error:
            raise reading.error or writing.error or BackupError(f"A file can not be encrypted: {error}.") from error
        if writing.error:  # pyrage drops the error of its last write
            raise writing.error

    def encrypted(self, data: bytes) -> bytes:
        """A small `data`, encrypted."""
        return bytes(pyrage.encrypt(data, [recipient.key for recipient in self._to]))

    def armored(self, data: bytes) -> str:
        """A small `data`, encrypted, as text."""
        return str(pyrage.encrypt(data, [recipient.key for recipient in self._to], armored=True), "ascii")

    def decrypt(self, chunks: Iterable[bytes], what: str) -> Iterator[bytes]:
        """The plain bytes of `chunks`, as a stream; see the port."""
        if not self._with:
            raise no_key(what, (), ())
        return pumped(lambda put: self._decrypt_into(chunks, put, what))

    def opened(self, data: bytes, what: str) -> tuple[bytes, str]:
        """The plain bytes of a small `data`, and the name of the identity that opened it."""
        for identity in self._with:
            try:
                return bytes(pyrage.decrypt(data, [identity.key])), identity.name
            except (pyrage.DecryptError, OSError) as error:
                if _NO_MATCH not in str(error):
                    raise _damaged(what, error) from error
        raise no_key(what, (), self.holders)

    def _decrypt_into(self, chunks: Iterable[bytes], put: Callable[[bytes], None], what: str) -> None:
        gathered = _Gathered(put)
        reading, writing = _Reading(cast(Any, ByteReader(iter(chunks))).read), _Writing(gathered.add)
        try:
            pyrage.decrypt_io(reading, writing, [identity.key for identity in self._with])
        except Exception as error:
            if stopped := reading.error or writing.error:
                raise stopped from error
            if _NO_MATCH in str(error):
                raise no_key(what, (), self.holders) from error
            raise _damaged(what, error) from error
        if writing.error:
            raise writing.error
        gathered.end()


class _Gathered:
    """Small pieces, handed on as larger ones."""

    def __init__(self, put: Callable[[bytes], None]) -> None:
        self._put = put
        self._held = bytearray()

    def add(self, data: bytes) -> None:
        """Take a piece."""
        self._held += data
        if len(self._held) >= _PIECE:
            self.end()

    def end(self) -> None:
        """Hand on what is held."""
        if self._held:
            held, self._held = bytes(self._held), bytearray()
            self._put(held)


class _Reading:
    """A file that pyrage reads; it remembers what went wrong, which pyrage turns into an error of its own."""

    def __init__(self, read: Callable[[int], bytes | None]) -> None:
        self._read = read
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes:
        """The next bytes; none at the end."""
        try:
            return self._read(size) or b""
        except BaseException as error:
            self.error = error
            raise


class _Writing:
    """A file that pyrage writes; it remembers what went wrong."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        """Take all of `data`."""
        if self.error is None:
            try:
                self._write(data)
            except BaseException as error:
                self.error = error
                raise
        return len(data)

    def flush(self) -> None:
        """Nothing is held back here."""


def _damaged(what: str, error: Exception) -> VerificationError:
    return VerificationError(f"{what} is damaged: {error}.", do=_OTHER_COPY)
