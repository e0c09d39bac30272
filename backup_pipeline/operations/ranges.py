"""Reading an object of the store by ranges, with few requests: what comes next is read along."""

from __future__ import annotations

from backup_pipeline.core.ports import Store
from backup_pipeline.core.progress import BytesMoved, Progress

WINDOW = 8 << 20


class Ranges:
    """Gives any range of the object `key` of `size` bytes; holds one window of it in memory. For one thread."""

    def __init__(self, store: Store, key: str, size: int, progress: Progress, *, window: int = WINDOW) -> None:
        self._store, self._key, self._size, self._progress, self._window = store, key, size, progress, window
        self._start = 0
        self._held = b""

    def read(self, start: int, length: int) -> bytes:
        """The bytes from `start`, `length` of them; fewer when the object ends before."""
        at = start - self._start
        if at < 0 or at + length > len(self._held):
            self._fetch(start, max(length, self._window))
            at = 0
        return self._held[at : at + length]

    def some(self, start: int, length: int) -> bytes:
        """At most `length` bytes from `start`, as many as the window holds: none is read twice on the way through."""
        at = start - self._start
        if not 0 <= at < len(self._held):
            self._fetch(start, max(length, self._window))
            at = 0
        return self._held[at : at + length]

    def _fetch(self, start: int, length: int) -> None:
        length = max(0, min(length, self._size - start))
        self._held = b"".join(self._store.stream(self._key, start=start, length=length)) if length else b""
        self._start = start
        self._progress.tell(BytesMoved(len(self._held)))
