"""Work done ahead: an iterator runs in a thread of its own, a few items before whoever needs them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

from backup_pipeline.core.ports import BytesMoved, Progress, Store

T = TypeVar("T")
_END = object()


def ahead(items: Iterator[T], depth: int = 4) -> Generator[T]:
    """The items of `items`, which runs at most `depth` of them ahead; its error comes where it happened."""
    ready: queue.Queue[object] = queue.Queue(maxsize=depth)
    stop = threading.Event()
    thread = threading.Thread(target=_run, args=(items, ready, stop), name="ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, _Failed):
                raise item.error
            yield item  # type: ignore[misc]  # what is in the queue came from `items`
    finally:
        stop.set()
        while thread.is_alive():
            _drain(ready)
            thread.join(timeout=0.05)


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _run(items: Iterator[T], ready: queue.Queue[object], stop: threading.Event) -> None:
    try:
        for item in items:
            ready.put(item)
            if stop.is_set():
                return
    except BaseException as error:  # noqa: BLE001  raised again where the items are used
        ready.put(_Failed(error))
    ready.put(_END)


def _drain(ready: queue.Queue[object]) -> None:
    try:
        while True:
            ready.get_nowait()
    except queue.Empty:
        return


WINDOW = 8 << 20


class Ranges:
    """Gives any range of the object `key` of `size` bytes; holds one window of it in memory. For one thread."""

    def __init__(self, store: Store, key: str, size: int, progress: Progress, *, window: int = WINDOW) -> None:
        self._store, self._key, self._size, self._progress, self._window = store, key, size, progress, window
        self._start = 0
        self._held = b""

    def read(self, start: int, length: int) -> bytes:
        """The bytes from `start`, `length` of them; fewer when the object ends before."""
        offset = start - self._start
        if offset < 0 or offset + length > len(self._held):
            self._fetch(start, max(length, self._window))
            offset = 0
        return self._held[offset : offset + length]

    def some(self, start: int, length: int) -> bytes:
        """At most `length` bytes from `start`, as many as the window holds: none is read twice on the way through."""
        offset = start - self._start
        if not 0 <= offset < len(self._held):
            self._fetch(start, max(length, self._window))
            offset = 0
        return self._held[offset : offset + length]

    def _fetch(self, start: int, length: int) -> None:
        length = max(0, min(length, self._size - start))
        self._held = b"".join(self._store.stream(self._key, start=start, length=length)) if length else b""
        self._start = start
        self._progress.tell(BytesMoved(len(self._held)))
