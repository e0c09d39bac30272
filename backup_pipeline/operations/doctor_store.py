"""A store tried out with small objects under `doctor/`: write, read, list, upload in parts, write over, delete."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from backup_pipeline.core.doctor import Line, judge_clock, ok, problem, warning
from backup_pipeline.core.doctor_store import Bucket, judge_bucket
from backup_pipeline.core.errors import BackupError, StoreDeniedError, StoreError
from backup_pipeline.core.ports import Clock, Store, StoredObject

FOLDER = "doctor/"
_BYTES = b"backup-pipeline doctor: this trial object may be removed.\n"
_FIRST, _LENGTH = 7, 11
_SIGNED = timedelta(minutes=15)
"""S3 takes no request whose signature is older or younger."""


@dataclass(frozen=True)
class Trial:
    """The trial of one store: `name` tells this trial from others, `locks` whether backups ask for Object Lock there.

    `bucket` is None where the store is no bucket.
    """

    topic: str
    store: Store
    clock: Clock
    name: str
    bucket: Bucket | None = None
    locks: bool = False
    _written: list[str] = field(default_factory=list)

    def run(self) -> Iterator[Line]:
        """A line for each thing; whatever was written is deleted at the end, or told."""
        try:
            yield from self._writing()
        finally:
            lines = list(self._deleting())
        yield from lines

    def _writing(self) -> Iterator[Line]:
        key = f"{FOLDER}{self.name}.txt"
        asked = self.clock()
        try:
            stored = self._put(key)
        except BackupError as error:
            do = error.do or "Look at the store, its address and the rights of these credentials."
            yield problem(self.topic, f"nothing can be written to {self.store.url}: {error.what}", do)
            return
        yield ok(self.topic, f"{self.store.url} takes an object")
        yield judge_clock(self.topic, "the store", asked, stored.modified, self.clock(), longest=_SIGNED)
        yield from self._reading(key)
        if self.bucket is not None:
            yield from self._examining(key, self.bucket)

    def _put(self, key: str) -> StoredObject:
        self._written.append(key)
        return self.store.put(key, [_BYTES])

    def _reading(self, key: str) -> Iterator[Line]:
        steps: Mapping[str, Callable[[], bool]] = {
            "gives it back": lambda: self.store.get(key) == _BYTES,
            "gives a range of it": lambda: self._range(key) == _BYTES[_FIRST : _FIRST + _LENGTH],
            "lists it": lambda: key in {found.key for found in self.store.list(FOLDER)},
        }
        for said, step in steps.items():
            try:
                done, why, do = step(), "it came back otherwise than it was written", "Look at the store."
            except BackupError as error:
                done, why, do = False, error.what, error.do
            yield ok(self.topic, f"it {said}") if done else problem(self.topic, f"not so that it {said}: {why}", do)

    def _range(self, key: str) -> bytes:
        return b"".join(self.store.stream(key, start=_FIRST, length=_LENGTH))

    def _examining(self, key: str, bucket: Bucket) -> Iterator[Line]:
        parts = f"{FOLDER}{self.name}.parts.txt"
        self._written.append(parts)
        try:
            bucket.put_in_parts(parts, _BYTES)
            yield ok(self.topic, "it takes an upload in parts")
        except StoreError as error:
            yield problem(self.topic, f"it takes no upload in parts: {error.what}", error.do)
        yield from judge_bucket(self.topic, bucket.facts(key), refuses=bucket.refuses(key), locks=self.locks)

    def _deleting(self) -> Iterator[Line]:
        left = self._left()
        if not left:
            return
        try:
            self.store.delete(left)
            left = self._left()
        except StoreDeniedError as error:
            what = f"these credentials may not delete: whoever has them can remove no backup. Left: {', '.join(left)}"
            do = (
                f"Nothing, if that is meant: {error.what}. Let `prune` run with others, and let a lifecycle rule of "
                f"the bucket remove {FOLDER}."
            )
            yield warning(self.topic, what, do)
            return
        except BackupError as error:
            yield problem(self.topic, f"it can not delete: {error.what}. Left: {', '.join(left)}", error.do)
            return
        if left:
            yield problem(self.topic, f"it still shows what it deleted: {', '.join(left)}", "Look at the store.")
        else:
            yield ok(self.topic, "it deletes")

    def _left(self) -> Sequence[str]:
        found = []
        for key in self._written:
            try:
                if self.store.head(key) is not None:
                    found.append(key)
            except BackupError:
                continue  # a store that does not answer has been told of
        return found
