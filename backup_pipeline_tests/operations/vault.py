"""Machines in front of one store: those that encrypt, those that have a key, and an encrypted backup."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.verification import Level, VerifyReport
from backup_pipeline.formats.files import EncryptedFormats, FileFormats
from backup_pipeline.formats.keys import AgeCipher, new_identity, parse_identities, parse_recipients
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.verify import VerifyRequest, verify_attempt
from backup_pipeline.stores.wrappers import EncryptedStore, WrittenOutlines
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.operations.made import Place, verify_ports
from backup_pipeline_tests.servers.ledgers import ScratchLedger

OWNER_SECRET, OWNER = new_identity()
ESCROW_SECRET, ESCROW = new_identity()
STRANGER_SECRET, STRANGER = new_identity()
VAULT = Catalog.model_validate(
    {"catalog": "vault", "title": "Secret title", "timezone": "Asia/Dhaka", "tables": {"goods": None, "sold": None}}
)


def cipher_of(*recipients: str, keys: Sequence[str] = ()) -> AgeCipher:
    to = parse_recipients(" ".join(recipients), setting="TEST")
    return AgeCipher(to, parse_identities("\n".join(keys), where="TEST") if keys else ())


@dataclass
class Machine:
    """A machine with its own settings in front of the one store: whom it encrypts to, which keys it has."""

    raw: MemoryStore
    ledger: ScratchLedger
    home: Path
    cipher: AgeCipher
    used: list[tuple[str, str]]

    @property
    def store(self) -> EncryptedStore:
        note = lambda backup_id, identity: self.used.append((backup_id, identity))  # noqa: E731
        return EncryptedStore(self.raw, self.cipher, WrittenOutlines(self.home / "written"), note)

    @property
    def formats(self) -> EncryptedFormats:
        return EncryptedFormats(FileFormats(), self.cipher)

    @property
    def place(self) -> Place:
        return Place(self.home / "spool", self.store, self.ledger, formats=self.formats)

    def verify(self, attempt: Attempt, level: Level) -> VerifyReport:
        ports = replace(verify_ports(self.store, ledger=self.ledger), formats=self.formats)
        return verify_attempt(attempt, VerifyRequest(level), ports, actor=TESTER)

    def elsewhere(self, name: str, *recipients: str, keys: Sequence[str] = ()) -> Machine:
        """Another machine at the same store and ledger, which wrote nothing yet."""
        return Machine(self.raw, self.ledger, self.home.parent / name, cipher_of(*recipients, keys=keys), [])

    @property
    def owner(self) -> Machine:
        """The owner's own, with the key."""
        return self.elsewhere("owner", keys=[OWNER_SECRET])


@dataclass
class Vault:
    """The server that made an encrypted backup (with recipients only), and the backup."""

    server: Machine
    attempt: Attempt
    manifest: StoredManifest

    @property
    def bundle(self) -> str:
        return place_of(self.attempt).bundle(self.manifest.bundle.name)


def every_byte(store: MemoryStore) -> Iterator[tuple[str, bytes]]:
    """Every object, and every member of every bundle, as anybody who gets hold of the store can read it."""
    for stored in store.list(""):
        data = store.get(stored.key)
        yield stored.key, data
        if stored.key.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                yield from ((f"{stored.key}!{name}", archive.read(name)) for name in archive.namelist())
