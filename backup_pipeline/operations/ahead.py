"""Work done ahead: an iterator runs in a thread of its own, a few items before whoever needs them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

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
