"""A store whose owner forges: two backups of one catalog, what is done to the newest, and who notices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from backup_pipeline.core.keys import SEAL
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import sealed
from backup_pipeline.core.ports import Formats, Store
from backup_pipeline.formats.keys import Ed25519Keys, new_seal_key, parse_public_keys, parse_seal_key
from backup_pipeline.operations.browse import place_of
from backup_pipeline.stores.wrappers import SealedStore
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger

_CHECKSUM = "manifest_sha256"
SECRET, PUBLIC = new_seal_key()
KEYS = Ed25519Keys(parse_seal_key(SECRET, where="TEST"))
READER = Ed25519Keys(None, parse_public_keys(PUBLIC, setting="TEST"))
"""Whoever has the public key alone."""


@dataclass
class Hostile:
    """The store as its owner has it (`raw`), and as everybody else reads it; rows of the older and the newer backup."""

    raw: MemoryStore
    wrap: Callable[[Store], Store]
    formats: Formats
    older: Attempt
    newer: Attempt

    @property
    def store(self) -> Store:
        return self.wrap(self.raw)

    @property
    def ledger(self) -> ScratchLedger:
        ledger = new_ledger()
        ledger.put(self.older, self.newer)
        return ledger

    def again(self) -> Hostile:
        """The same, in a store of its own."""
        raw = MemoryStore()
        for stored in self.raw.list(""):
            raw.put(stored.key, [self.raw.get(stored.key)])
        return replace(self, raw=raw)

    def lost_ledger(self) -> Hostile:
        """As a ledger knows the backups that was made anew: that they are, and nothing of what they hold."""
        unknown: dict[str, Any] = dict.fromkeys(
            ("sha256", "manifest_sha256", "file_size_bytes", "record_count", "snapshot_at", "file_name")
        )
        return replace(self, older=replace(self.older, **unknown), newer=replace(self.newer, **unknown))

    @property
    def place(self) -> BackupPlace:
        return place_of(self.newer)

    @property
    def bundle(self) -> str:
        return self.place.bundle(self.body()["bundle"]["name"])

    def body(self, row: Attempt | None = None) -> dict[str, Any]:
        """What the manifest in the store says, field by field."""
        found: dict[str, Any] = json.loads(self.raw.get(place_of(row or self.newer).manifest))
        return found

    def write(self, body: dict[str, Any], *, keep_seal: bool = True) -> None:
        """Put a manifest there whose own checksum is right; its seal as it was, or taken off."""
        said = {name: value for name, value in body.items() if name != _CHECKSUM and (keep_seal or name != SEAL)}
        self.raw.put(self.place.manifest, [sealed(said)])

    def put_bundle(self, data: bytes) -> dict[str, Any]:
        """Put another bundle there; the manifest that fits it."""
        self.raw.put(self.bundle, [data])
        body = self.body()
        digest = hashlib.sha256(data).hexdigest()
        return body | {"bundle": body["bundle"] | {"bytes": len(data), "sha256": digest}}


Forgery = Callable[[Hostile], None]


def another_bundle(at: Hostile) -> None:
    """Of the same size, under the manifest that was there."""
    data = at.raw.get(at.bundle)
    at.raw.put(at.bundle, [data[:-30] + bytes(30)])


def both_replaced(at: Hostile) -> None:
    """A bundle and a manifest that fit each other; the seal as it was."""
    at.write(at.put_bundle(at.raw.get(at.bundle) + b"more"))


def both_replaced_and_the_seal_off(at: Hostile) -> None:
    """As above, without any seal."""
    at.write(at.put_bundle(at.raw.get(at.bundle) + b"more"), keep_seal=False)


def the_manifest_alone(at: Hostile) -> None:
    """Whatever is done with it: here who made the backup, by which run."""
    at.write(at.body() | {"run_id": "forged", "pipeline_version": "9"})


def sealed_by_another_key(at: Hostile) -> None:
    """As somebody would who has a key of their own."""
    own = Ed25519Keys(parse_seal_key(new_seal_key()[0], where="TEST"))
    body = at.put_bundle(at.raw.get(at.bundle) + b"more")
    said = {name: value for name, value in body.items() if name not in {_CHECKSUM, SEAL}}
    SealedStore(at.raw, own).put(at.place.manifest, [sealed(said)])


def rolled_back(at: Hostile) -> None:
    """The older backup's files over those of the newest, as they are."""
    for stored in list(at.raw.list(place_of(at.older).prefix)):
        at.raw.put(at.place.prefix + stored.key.rpartition("/")[2], [at.raw.get(stored.key)])


def rolled_back_and_renamed(at: Hostile) -> None:
    """The older backup's files over those of the newest, and its manifest says that it is the newest."""
    name, older = at.body()["bundle"]["name"], at.body(at.older)
    at.raw.put(at.place.bundle(name), [at.raw.get(place_of(at.older).bundle(older["bundle"]["name"]))])
    renamed = {field: at.body()[field] for field in ("backup_id", "partition_date", "started_at")}
    at.write(older | renamed | {"bundle": older["bundle"] | {"name": name}})


def bundles_exchanged(at: Hostile) -> None:
    """Each backup's bundle in the other one's folder."""
    other = place_of(at.older).bundle(at.body(at.older)["bundle"]["name"])
    mine, theirs = at.raw.get(at.bundle), at.raw.get(other)
    at.raw.put(at.bundle, [theirs])
    at.raw.put(other, [mine])


def cut_off(at: Hostile) -> None:
    at.raw.put(at.bundle, [at.raw.get(at.bundle)[:-1]])


def bundle_gone(at: Hostile) -> None:
    at.raw.delete([at.bundle])


def manifest_gone(at: Hostile) -> None:
    at.raw.delete([at.place.manifest])


FORGERIES: tuple[Forgery, ...] = (
    another_bundle,
    both_replaced,
    both_replaced_and_the_seal_off,
    the_manifest_alone,
    sealed_by_another_key,
    rolled_back,
    rolled_back_and_renamed,
    bundles_exchanged,
    cut_off,
    bundle_gone,
    manifest_gone,
)
