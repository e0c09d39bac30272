"""Keys: age encrypts (the port `Cipher`, by pyrage), Ed25519 seals (the port `SealKeys`)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from backup_pipeline.core.errors import BackupError, SettingsError, VerificationError
from backup_pipeline.core.keys import Writable, no_key
from backup_pipeline.formats.streams import ByteReader, pumped
from backup_pipeline.lazy import lazily

with lazily():  # most backups are neither encrypted nor sealed
    import pyrage
    from cryptography import exceptions
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

_SSH = ("ssh-ed25519", "ssh-rsa")
_SECRET = "AGE-SECRET-KEY-1"  # noqa: S105  how a secret begins, none itself
_PEM = "-----BEGIN "
_RECIPIENTS_FORM = (
    "Give age1… (`backup-pipeline key new` makes one), ssh-ed25519 … or ssh-rsa …, separated by spaces, "
    "without comments."
)
_IDENTITY_FORM = "Give a file of `backup-pipeline key new` or age-keygen, or an SSH private key without a passphrase."


@dataclass(frozen=True)
class Recipient:
    """A public key: as people write it, and as pyrage takes it."""

    name: str
    key: Any = field(repr=False, compare=False)


@dataclass(frozen=True)
class Identity:
    """A private key: `name` is its public key, where that can be told. Never shows itself."""

    name: str
    key: Any = field(repr=False, compare=False)


def parse_recipients(text: str, *, setting: str) -> tuple[Recipient, ...]:
    """The recipients in `text`, each once; SettingsError, naming the one that is wrong."""
    recipients = {name: _recipient(name, setting) for name in _names(text.split())}
    return tuple(recipients.values())


def _names(words: Sequence[str]) -> Iterator[str]:
    """One name a recipient: that of an SSH key is two words."""
    rest = iter(words)
    for word in rest:
        yield f"{word} {next(rest, '')}" if word in _SSH else word


def _recipient(name: str, setting: str) -> Recipient:
    kind = pyrage.ssh if name.startswith(_SSH) else pyrage.x25519
    if name.upper().startswith(_SECRET):
        message = f"{setting} holds a private key (AGE-SECRET-KEY-…)."
        raise SettingsError(message, do=f"Take it out, and give its public key. {_RECIPIENTS_FORM}")
    try:
        return Recipient(name, kind.Recipient.from_str(name))
    except pyrage.RecipientError as error:
        message = f"{setting}: {name!r} is no age recipient: {error}."
        raise SettingsError(message, do=_RECIPIENTS_FORM) from None


def parse_identities(text: str, *, where: str) -> tuple[Identity, ...]:
    """The private keys in `text`, a file's content: age's, one a line, or one of SSH. SettingsError names `where`."""
    if text.lstrip().startswith(_PEM):
        return (_ssh_identity(text, where),)
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        message = f"{where} holds no private key."
        raise SettingsError(message, do=_IDENTITY_FORM)
    return tuple(_identity(key, where) for key in keys)


def _identity(key: str, where: str) -> Identity:
    try:
        identity = pyrage.x25519.Identity.from_str(key)
    except pyrage.IdentityError:  # its text may hold the key
        message = f"{where} holds a line that is no age private key."
        raise SettingsError(message, do=_IDENTITY_FORM) from None
    return Identity(str(identity.to_public()), identity)


def _ssh_identity(text: str, where: str) -> Identity:
    try:
        return Identity(f"the SSH key in {where}", pyrage.ssh.Identity.from_buffer(text.encode()))
    except pyrage.IdentityError as error:
        message = f"{where} holds an SSH key that can not be used: {error}."
        raise SettingsError(message, do=_IDENTITY_FORM) from None


def new_identity() -> tuple[str, str]:
    """A new pair: the private key, and its recipient."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


_OTHER_COPY = "Use another copy of it, or another backup."
_NO_MATCH = "matching keys"
_PIECE = 256 << 10


class AgeCipher:
    """Encrypts to `recipients`, each of which can read all of it, and decrypts with any of `identities`.

    `guests` can read it too, and are not named.
    """

    def __init__(
        self,
        recipients: Sequence[Recipient] = (),
        identities: Sequence[Identity] = (),
        guests: Sequence[Recipient] = (),
    ) -> None:
        self._to, self._with, self._guests = tuple(recipients), tuple(identities), tuple(guests)
        self._keys = [recipient.key for recipient in (*self._to, *self._guests)]

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who can read what is encrypted now; empty when nothing is encrypted."""
        return tuple(recipient.name for recipient in self._to)

    @property
    def holders(self) -> tuple[str, ...]:
        """How the identities are called."""
        return tuple(identity.name for identity in self._with)

    def passage(self) -> tuple[AgeCipher, str]:
        """This cipher with a new identity; see the port."""
        secret, recipient = new_identity()
        return AgeCipher(self._to, (*self._with, *parse_identities(secret, where="memory")), self._guests), recipient

    def also_to(self, recipient: str) -> AgeCipher:
        """This cipher, which encrypts to `recipient` too."""
        return AgeCipher(self._to, self._with, (*self._guests, _recipient(recipient, "the shard")))

    def encrypt(self, source: BinaryIO, target: Writable) -> None:
        """Write what is read from `source` into `target`, encrypted, in flat memory. Their errors come out."""
        reading, writing = _Reading(source.read), _Writing(target.write)
        try:
            pyrage.encrypt_io(reading, writing, self._keys)
        except Exception as error:
            raise reading.error or writing.error or BackupError(f"A file can not be encrypted: {error}.") from error
        if writing.error:  # pyrage drops the error of its last write
            raise writing.error

    def encrypted(self, data: bytes) -> bytes:
        """A small `data`, encrypted."""
        return bytes(pyrage.encrypt(data, self._keys))

    def armored(self, data: bytes) -> str:
        """A small `data`, encrypted, as text."""
        return str(pyrage.encrypt(data, self._keys, armored=True), "ascii")

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


_PUBLIC = "seal-ed25519:"


@dataclass(frozen=True)
class Ed25519Keys:
    """The port `SealKeys`: `private` seals, where it is here; its seals and those of `public` count."""

    private: ed25519.Ed25519PrivateKey | None = field(default=None, repr=False)
    public: tuple[ed25519.Ed25519PublicKey, ...] = ()

    @property
    def signing(self) -> str | None:
        """The id of the key that seals here."""
        return key_id(self.private.public_key()) if self.private is not None else None

    @property
    def accepted(self) -> tuple[str, ...]:
        """The ids of the keys whose seals count."""
        return tuple(self._known())

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`; SettingsError without a key that seals."""
        if self.private is None:
            message = "No key is here that could seal."
            raise SettingsError(message, do="Set BACKUP_SEAL_KEY_FILE.")
        return self.private.sign(data)

    def is_right(self, key: str, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is that of `data` with the accepted key `key`."""
        try:
            self._known()[key].verify(signature, data)
        except (KeyError, exceptions.InvalidSignature):
            return False
        return True

    def _known(self) -> dict[str, ed25519.Ed25519PublicKey]:
        own = (self.private.public_key(),) if self.private is not None else ()
        return {key_id(key): key for key in (*own, *self.public)}


def new_seal_key() -> tuple[str, str]:
    """A new key: the private one as PEM, and its public one."""
    key = ed25519.Ed25519PrivateKey.generate()
    secret = (
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
        .strip()
    )
    return secret, public_text(key.public_key())


def key_id(key: ed25519.Ed25519PublicKey) -> str:
    """What a seal calls a key: the first 16 hex digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def public_text(key: ed25519.Ed25519PublicKey) -> str:
    """The public key as a word: `seal-ed25519:` and base64."""
    return _PUBLIC + base64.b64encode(key.public_bytes_raw()).decode()


def parse_seal_key(text: str, *, where: str) -> ed25519.Ed25519PrivateKey:
    """The private key in `text`, what stands around it aside; SettingsError, naming `where`, when there is none."""
    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
        message = f"{where} holds no private key that can seal: nothing in it is an unencrypted PEM key."
        raise SettingsError(message, do="Name a file that `backup-pipeline key seal` made.") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        message = f"{where} holds a private key of another kind than Ed25519."
        raise SettingsError(message, do="Name a file that `backup-pipeline key seal` made.")
    return key


def parse_public_keys(text: str, *, setting: str) -> tuple[ed25519.Ed25519PublicKey, ...]:
    """The public keys in `text`, separated by spaces; SettingsError, naming `setting`, for a word that is none."""
    return tuple(_parse_public(word, setting) for word in text.split())


def _parse_public(word: str, setting: str) -> ed25519.Ed25519PublicKey:
    try:
        return ed25519.Ed25519PublicKey.from_public_bytes(base64.b64decode(word.removeprefix(_PUBLIC), validate=True))
    except (ValueError, binascii.Error):
        message = f"{setting} holds {word!r}, which is no public key of a seal."
        raise SettingsError(message, do=f"It begins with {_PUBLIC}; `backup-pipeline key seal` prints it.") from None
