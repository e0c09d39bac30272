"""A pump: what a function puts out piece by piece becomes an iterator, with a thread and a short queue in between."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

_PIECES = 4
_WAIT_S = 0.05


class _StoppedError(Exception):
    """Whoever took the pieces wants no more."""


def pumped(run: Callable[[Callable[[bytes], None]], None]) -> Iterator[bytes]:
    """The pieces that `run` hands to its argument, at most a few ahead; an error of `run` comes after them.

    Closing the iterator ends `run` at its next piece, and waits for it.
    """
    pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(maxsize=_PIECES)
    stop = threading.Event()

    def put(piece: bytes | BaseException | None) -> None:
        while not stop.is_set():
            try:
                return pieces.put(piece, timeout=_WAIT_S)
            except queue.Full:
                continue
        raise _StoppedError

    def work() -> None:
        try:
            run(put)
            put(None)
        except _StoppedError:
            return
        except BaseException as error:  # noqa: BLE001  raised again where the pieces are taken
            _last(error, put)

    thread = threading.Thread(target=work, name="pump", daemon=True)
    thread.start()
    try:
        yield from iter(lambda: _piece(pieces), None)
    finally:
        stop.set()
        thread.join()


def _piece(pieces: queue.Queue[bytes | BaseException | None]) -> bytes | None:
    piece = pieces.get()
    if isinstance(piece, BaseException):
        raise piece
    return piece


def _last(error: BaseException, put: Callable[[BaseException], None]) -> None:
    try:
        put(error)
    except _StoppedError:
        return
