"""An encrypted bundle: every member an age file of its own, read back one by one as if it were plain."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from isal import isal_zlib
from isal.igzip_lib import IsalError

from backup_pipeline.core.bundle import README_PATH, Member, bytes_member
from backup_pipeline.core.encryption import (
    ENCRYPTED,
    NOTICE_PATH,
    Cipher,
    encrypted_name,
    is_gzipped,
    no_key,
    plain_name,
)
from backup_pipeline.core.errors import DecryptError, NotFoundError, VerificationError
from backup_pipeline.core.limits import MOST_NOTE, whole
from backup_pipeline.core.ports import OpenBundle
from backup_pipeline.formats.age_readme import age_readme

_GZIP = 31


def encrypted_members(members: Iterable[Member], cipher: Cipher) -> Iterator[Member]:
    """The members, those encrypted that are not, and before them what may be read without a key: how to decrypt."""
    first = True
    for member in members:
        if first:
            yield from _readable(member, cipher.recipients)
            first = False
        yield member if member.path.endswith(ENCRYPTED) else _encrypted(member, cipher)


def _readable(first: Member, recipients: Sequence[str]) -> Iterator[Member]:
    notice = json.dumps({"format": "age-encryption.org/v1", "recipients": list(recipients)}, indent=1)
    yield bytes_member(README_PATH, first.modified, age_readme(recipients).encode())
    yield bytes_member(NOTICE_PATH, first.modified, notice.encode())


def _encrypted(member: Member, cipher: Cipher) -> Member:
    """A small member (manifest, README, schema), encrypted in memory."""
    content = cipher.encrypted(b"".join(member.chunks))
    return replace(bytes_member(encrypted_name(member.path, gzipped=False), member.modified, content), stored=True)


@dataclass(frozen=True)
class EncryptedBundle:
    """The members of the encrypted bundle `inner` under the names, and with the bytes, that they had before.

    What may be read without a key, and was not in the backup, is not among them.
    """

    inner: OpenBundle
    cipher: Cipher

    def names(self) -> tuple[str, ...]:
        """The paths of its members."""
        names = self.inner.names()
        encrypted = {plain_name(name) for name in names if name.endswith(ENCRYPTED)}
        hidden = {NOTICE_PATH, *encrypted}
        return tuple(plain_name(name) for name in names if name.endswith(ENCRYPTED) or name not in hidden)

    def stream(self, name: str) -> Iterator[bytes]:
        """The plain bytes of a member; DecryptError, naming the recipients, when no identity opens it."""
        path = next(
            (path for path in self.inner.names() if path.endswith(ENCRYPTED) and plain_name(path) == name), None
        )
        if path is None:
            yield from self.inner.stream(name)
            return
        what = f"Member {path} of the bundle"
        try:
            plain = self.cipher.decrypt(self.inner.stream(path), what)
            yield from _unzipped(plain, what) if is_gzipped(path) else plain
        except DecryptError as error:
            raise no_key(what, self._recipients(), self.cipher.holders) from error

    def _recipients(self) -> tuple[str, ...]:
        try:
            said = json.loads(whole(self.inner.stream(NOTICE_PATH), MOST_NOTE, NOTICE_PATH))
            return tuple(str(name) for name in said["recipients"])
        except (NotFoundError, VerificationError, ValueError, KeyError, TypeError, RecursionError):
            return ()


def _unzipped(chunks: Iterator[bytes], what: str) -> Iterator[bytes]:
    unpacking = isal_zlib.decompressobj(wbits=_GZIP)
    try:
        for chunk in chunks:
            if data := unpacking.decompress(chunk):
                yield data
        if data := unpacking.flush():
            yield data
    except (IsalError, zlib.error, EOFError) as error:  # type: ignore[misc]  # its stub takes the class for a value
        raise _damaged(what, str(error)) from error
    if not unpacking.eof:
        raise _damaged(what, "it ends too early")


def _damaged(what: str, why: str) -> VerificationError:
    return VerificationError(f"{what} is damaged: {why}.", do="Use another copy of it, or another backup.")
