"""Encryption by the owner's key: the port `Cipher`, how encrypted files are called, and which may lie together."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Protocol

from pydantic import ValidationError

from backup_pipeline.core.errors import DecryptError, RefusedError, VerificationError
from backup_pipeline.core.manifest import EncryptionEntry, PartitionRecord, sealed, unsealed
from backup_pipeline.core.manifest.documents import WrittenManifest

ENCRYPTED = ".age"
GZIPPED = ".gz"
NOTICE_PATH = "encryption.json"
"""The member of an encrypted bundle that names its recipients. It and the README are readable without a key."""


class Writable(Protocol):
    """What takes bytes, one piece after the other."""

    def write(self, data: bytes, /) -> int:
        """Take all of `data`."""


class Cipher(Protocol):
    """Encrypts to recipients, and decrypts with identities; either may be none. Safe from any thread."""

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who can read what is encrypted now; empty when nothing is encrypted."""

    @property
    def holders(self) -> tuple[str, ...]:
        """How the identities are called that it decrypts with: their recipients, where those can be told."""

    def passage(self) -> tuple[Cipher, str]:
        """This cipher with a new identity that is nowhere but in memory, and the recipient of that."""

    def also_to(self, recipient: str) -> Cipher:
        """This cipher, which encrypts to `recipient` too; `recipients` are those of before."""

    def encrypt(self, source: BinaryIO, target: Writable) -> None:
        """Write what is read from `source` into `target`, encrypted, in flat memory. Their errors come out."""

    def encrypted(self, data: bytes) -> bytes:
        """A small `data`, encrypted."""

    def armored(self, data: bytes) -> str:
        """A small `data`, encrypted, as text."""

    def decrypt(self, chunks: Iterable[bytes], what: str) -> Iterator[bytes]:
        """The plain bytes of `chunks`, as a stream in flat memory; what `chunks` raises comes out.

        DecryptError, naming `what`, when no identity opens it; VerificationError when it is damaged or cut off.
        """

    def opened(self, data: bytes, what: str) -> tuple[bytes, str]:
        """The plain bytes of a small `data`, and the name of the identity that opened it; errors as in `decrypt`."""


def encrypted_name(name: str, *, gzipped: bool) -> str:
    """How the file `name` is called once it is encrypted; a sheet is `gzipped` first, Parquet is small already."""
    return f"{name}{GZIPPED if gzipped else ''}{ENCRYPTED}"


def is_gzipped(name: str) -> bool:
    """Whether an encrypted file was gzipped first."""
    return name.endswith(GZIPPED + ENCRYPTED)


def plain_name(name: str) -> str:
    """How an encrypted file was called before."""
    return name.removesuffix(ENCRYPTED).removesuffix(GZIPPED) if is_gzipped(name) else name.removesuffix(ENCRYPTED)


def check_alike(partitions: Sequence[PartitionRecord], recipients: Sequence[str]) -> None:
    """RefusedError unless every partition is encrypted to `recipients`, all of them and no others.

    Else a backup would hold files that its keys do not open, or some that anybody can read.
    """
    wanted = set(recipients)
    other = [each.table.name for each in partitions if set(recipients_of(each)) != wanted]
    if other:
        now = f"encrypted to {', '.join(recipients)}" if recipients else "not encrypted"
        message = f"The partitions of {', '.join(other)} are encrypted otherwise than backups are now: {now}."
        raise RefusedError(message, do="Materialize these tables again for that date, then the bundle.")


def encryption_entry(recipients: Sequence[str]) -> EncryptionEntry | None:
    """What a manifest says of the encryption to `recipients`: nothing, where there are none."""
    return EncryptionEntry(recipients=tuple(recipients)) if recipients else None


def recipients_of(partition: PartitionRecord) -> tuple[str, ...]:
    """To whom a partition is encrypted; empty when anybody can read it."""
    return partition.encryption.recipients if partition.encryption else ()


def no_key(what: str, recipients: Sequence[str], holders: Sequence[str]) -> DecryptError:
    """The error of `what`, which is encrypted to `recipients` (empty: not known), and which no key here opens."""
    to = f" to {', '.join(recipients)}" if recipients else ""
    tried = f"the key here, of {', '.join(holders)}, does not open it" if holders else "no key is set here"
    return DecryptError(
        f"{what} is encrypted{to}; {tried}.",
        do="Set BACKUP_AGE_IDENTITY_FILE to the file with the private key of one of these recipients; "
        "`backup-pipeline key check ID` says whether it opens a backup.",
    )


SEAL = "seal"
"""The field of a document that holds its seal."""
_PREFIX = b"backup_pipeline seal 1\n"
_FORGED = (
    "Do not use it: it was not written by whoever has the key. Use another backup, or its copy (`--store second`), and "
    "see who can write to the store."
)


class KeySeal(WrittenManifest):
    """Which key sealed a document (the id of the key), and its Ed25519 signature in base64."""

    key: str
    signature: str


class SealKeys(Protocol):
    """The keys of an installation: one that seals, where it is here, and those whose seals count."""

    @property
    def signing(self) -> str | None:
        """The id of the key that seals here; None where nothing is sealed."""

    @property
    def accepted(self) -> tuple[str, ...]:
        """The ids of the keys whose seals count; empty where no seal can be checked."""

    def sign(self, data: bytes) -> bytes:
        """The signature of `data` with the key that seals here."""

    def is_right(self, key: str, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is that of `data` with the accepted key `key`."""


def with_seal(data: bytes, where: str, keys: SealKeys) -> bytes:
    """The document in `data` with the seal of the key that seals here, in place of any other."""
    body = unsealed(data, where)
    body.pop(SEAL, None)
    signature = base64.b64encode(keys.sign(_signed(body))).decode()
    return sealed({**body, SEAL: {"key": keys.signing, "signature": signature}})


def seal_in(data: bytes, where: str) -> KeySeal | None:
    """The seal of the document in `data`, unchecked; None without one. VerificationError for a damaged document."""
    seal = unsealed(data, where).get(SEAL)
    if seal is None:
        return None
    try:
        return KeySeal.model_validate(seal)
    except ValidationError as error:
        message = f"{where} has a seal that is none."
        raise VerificationError(message, do=_FORGED) from error


def check_seal(data: bytes, where: str, keys: SealKeys, *, required: bool) -> None:
    """Raise VerificationError unless the seal of the document in `data` counts; without one, only when `required`.

    Where no key is known, a seal can not be checked, and nothing is raised.
    """
    seal = seal_in(data, where)
    if seal is None:
        if required:
            message = f"{where} has no seal, and one is required: nothing says who wrote it."
            raise VerificationError(message, do=_FORGED)
        return
    if not keys.accepted:
        return
    if seal.key not in keys.accepted:
        message = (
            f"{where} is sealed with key {seal.key}, which is none of those that count: {', '.join(keys.accepted)}."
        )
        do = f"If that key is yours, add its public key to BACKUP_SEAL_PUBLIC_KEYS. Else: {_FORGED}"
        raise VerificationError(message, do=do)
    body = {name: value for name, value in unsealed(data, where).items() if name != SEAL}
    if not keys.is_right(seal.key, _signature(seal), _signed(body)):
        message = f"{where} was changed after it was sealed with key {seal.key}: its signature is not right."
        raise VerificationError(message, do=_FORGED)


def _signature(seal: KeySeal) -> bytes:
    try:
        return base64.b64decode(seal.signature, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _signed(body: dict[str, object]) -> bytes:
    return _PREFIX + json.dumps(body, ensure_ascii=False, indent=1).encode()
