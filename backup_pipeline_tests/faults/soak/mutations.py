"""Faults of the program itself, put there on purpose: the soak must find each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from backup_pipeline.core import retention as retention_plan
from backup_pipeline.core.ports import Ports, Store, StoredObject
from backup_pipeline.core.verification import Level, LevelReport
from backup_pipeline.operations import backup as back_up
from backup_pipeline.operations import bundle
from backup_pipeline.operations import retention as remove_backup
from backup_pipeline.operations import verify as verify_backup
from backup_pipeline.operations.attempts import Work
from backup_pipeline.operations.verify.bytes import StoredBytes


def mutate(name: str) -> None:
    """Put the fault called `name` into this process; an empty name is none."""
    if name:
        MUTATIONS[name]()


def _verifier_trusts_the_manifest() -> None:
    def trusting(at: StoredBytes, ports: Ports) -> LevelReport:
        return LevelReport(Level.BYTES, (at.key,))

    _set(verify_backup, "whole_bytes", trusting)


def _prune_forgets_holds() -> None:
    guards = retention_plan._guards

    def forgetful(*arguments: Any) -> Iterator[str]:
        return (reason for reason in guards(*arguments) if not reason.startswith("held"))

    _set(retention_plan, "_guards", forgetful)
    _set(remove_backup, "_objection", lambda *_: "")


def _listed_before_the_manifest() -> None:
    """The manifest is put aside, and goes into the store once the ledger says that the backup is there."""
    make, end = bundle.make_bundle, back_up._end_copied
    aside: list[tuple[str, Sequence[bytes]]] = []

    class Hasty:
        def __init__(self, inner: Store) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def keep(self, key: str, chunks: Any) -> StoredObject:
            if not key.endswith("manifest.json"):
                return self._inner.keep(key, chunks)
            aside.append((key, chunks))
            return StoredObject(key, 0, datetime.now(UTC))

    def hasty(work: Work) -> Any:
        return make(replace(work, ports=replace(work.ports, store=cast(Store, Hasty(work.ports.store)))))

    def late(order: Any, manifest: Any, ports: Ports, expires_at: Any) -> None:
        end(order, manifest, ports, expires_at)
        unguarded: Store = vars(ports.store)["_inner"]  # the lease ended with the row, and would refuse
        for key, chunks in aside:
            unguarded.keep(key, chunks)

    _set(back_up, "make_bundle", hasty)
    _set(back_up, "_end_copied", late)


def _set(where: object, name: str, what: object) -> None:
    assert hasattr(where, name)
    setattr(where, name, what)


MUTATIONS: Mapping[str, Callable[[], None]] = {
    "the verifier trusts the manifest": _verifier_trusts_the_manifest,
    "prune forgets holds": _prune_forgets_holds,
    "a backup is listed before its manifest is there": _listed_before_the_manifest,
}
