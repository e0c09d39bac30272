"""Streams in pieces: where a client says something and where its answer ends, in PostgreSQL's protocol and in HTTP/1.1.

A stream gets bytes as they come, in whatever portions, and gives them all back in order. Heads and statements are held
until they are whole, so that what is said is found wherever the portions end; bodies and rows pass as they come.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

CANCEL, TLS, GSS = 80877102, 80877103, 80877104


@dataclass(frozen=True)
class Piece:
    """Some bytes of a stream. `said`: the client's text and values that they are; `asks`: an answer follows."""

    data: bytes
    said: tuple[str, str] | None = None
    asks: bool = False
    ends: bool = False
    """The answer ends with them."""
    counts: bool = True
    """Whether they count as bytes of what is sent or answered."""


class Stream(Protocol):
    """One direction of a connection."""

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The pieces that are whole by now."""


@dataclass
class Talk:
    """What the two directions of a connection know of each other."""

    single_bytes: int = 0
    """How many answers of one byte are to come (to a question for TLS)."""
    methods: deque[str] = field(default_factory=deque)
    """Of the HTTP requests that have no answer yet."""


def _string(data: bytes, start: int) -> tuple[str, int]:
    end = data.index(0, start)
    return data[start:end].decode("utf-8", "replace"), end + 1


class PostgresClient:
    """What a client says to PostgreSQL. A prepared statement is told by its text whenever it is executed."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._buffer = bytearray()
        self._started = False
        self._passing = 0
        self._prepared: dict[str, str] = {}

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Each message is a piece; rows of a COPY pass as they come."""
        self._buffer += data
        while self._buffer:
            piece = self._next()
            if piece is None:
                return
            yield piece

    def _next(self) -> Piece | None:
        if self._passing:
            return self._take(min(self._passing, len(self._buffer)))
        head = 1 if self._started else 0
        if len(self._buffer) < head + 4:
            return None
        whole = head + int(struct.unpack_from("!i", self._buffer, head)[0])
        if self._started and self._buffer[:1] == b"d":
            self._passing = whole
            return self._next()
        if len(self._buffer) < whole:
            return None
        message = bytes(self._buffer[:whole])
        del self._buffer[:whole]
        return self._message(message) if self._started else self._start(message)

    def _take(self, count: int) -> Piece:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._passing -= count
        return Piece(taken)

    def _start(self, message: bytes) -> Piece:
        (code,) = struct.unpack_from("!i", message, 4)
        if code in (TLS, GSS):
            self._talk.single_bytes += 1
            return Piece(message, ("question for TLS", ""))
        if code == CANCEL:
            return Piece(message, ("cancel", ""))
        self._started = True
        words = message[8:].decode("utf-8", "replace").rstrip("\0").split("\0")
        told = " ".join(f"{name}={value}" for name, value in zip(words[::2], words[1::2], strict=False))
        return Piece(message, (f"startup {told}", ""), asks=True)

    def _message(self, message: bytes) -> Piece:
        kind = message[:1]
        if kind == b"Q":
            return Piece(message, (_string(message, 5)[0], ""), asks=True)
        if kind == b"P":
            name, after = _string(message, 5)
            self._prepared[name] = _string(message, after)[0]
        if kind == b"B":
            return Piece(message, self._bound(message))
        if kind in (b"c", b"f", b"X"):
            return Piece(message, ({b"c": "copy done", b"f": "copy failed", b"X": "terminate"}[kind], ""))
        return Piece(message, asks=kind == b"S")

    def _bound(self, message: bytes) -> tuple[str, str]:
        _, at = _string(message, 5)
        name, at = _string(message, at)
        (formats,) = struct.unpack_from("!h", message, at)
        at += 2 + 2 * formats
        (count,) = struct.unpack_from("!h", message, at)
        at += 2
        values = []
        for _ in range(count):
            (length,) = struct.unpack_from("!i", message, at)
            at += 4
            values.append("NULL" if length < 0 else message[at : at + length].decode("utf-8", "replace"))
            at += max(length, 0)
        return self._prepared.get(name, name), " | ".join(values)


class PostgresServer:
    """What PostgreSQL answers: each question's answer ends with ReadyForQuery."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._buffer = bytearray()
        self._passing = 0

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Everything up to the end of an answer as it comes, then that end."""
        self._buffer += data
        passed = bytearray()
        while self._buffer:
            ready = self._step(passed)
            if ready is None:
                break
            if ready:
                if passed:
                    yield Piece(bytes(passed))
                    passed.clear()
                yield Piece(ready, ends=True)
        if passed:
            yield Piece(bytes(passed))

    def _step(self, passed: bytearray) -> bytes | None:
        """Move what passes; ReadyForQuery when that is next, None when more has to come first."""
        if self._talk.single_bytes:
            self._talk.single_bytes -= 1
            self._passing = 1
        if not self._passing:
            if len(self._buffer) < 5:
                return None
            length = 1 + int(struct.unpack_from("!i", self._buffer, 1)[0])
            if self._buffer[:1] == b"Z":
                return self._take(length) if len(self._buffer) >= length else None
            self._passing = length
        count = min(self._passing, len(self._buffer))
        passed += self._take(count)
        self._passing -= count
        return b""

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


class _Http:
    """Heads held until they are whole, and bodies passed, by length or in chunks."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._buffer = bytearray()
        self._body: Callable[[], Piece | None] | None = None
        self._left = 0

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The head as one piece, then the body's pieces."""
        self._buffer += data
        while self._buffer:
            piece = self._body() if self._body else self._head()
            if piece is None:
                return
            yield piece

    def _head(self) -> Piece | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        return self._begin(self._take(end + 4))

    def _begin(self, head: bytes) -> Piece:
        raise NotImplementedError

    def _expect(self, head: bytes, *, until_closed: bool) -> bool:
        """Prepare for the body that the head announces; whether there is any."""
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        if re.search(rb"(?im)^transfer-encoding: *chunked", head):
            self._body, self._left = self._chunk, 0
        elif length:
            self._body, self._left = self._counted, int(length[1])
        elif until_closed:
            self._body = lambda: Piece(self._take(len(self._buffer)))
        else:
            self._left = 0
            return False
        if self._body == self._counted and not self._left:
            self._body = None
            return False
        return True

    def _counted(self) -> Piece:
        data = self._take(min(self._left, len(self._buffer)))
        self._left -= len(data)
        return self._ended(data, last=not self._left)

    def _chunk(self) -> Piece | None:
        if self._left:
            data = self._take(min(self._left, len(self._buffer)))
            self._left -= len(data)
            return Piece(data)
        line = re.match(rb"(?:\r\n)?([0-9a-fA-F]+)[^\r\n]*\r\n", self._buffer)
        if not line:
            return None
        self._left = int(line[1], 16)
        if self._left:
            return Piece(self._take(line.end()), counts=False)
        end = self._buffer.find(b"\r\n\r\n", max(line.end() - 2, 0))
        return None if end < 0 else self._ended(self._take(end + 4), last=True)

    def _ended(self, data: bytes, *, last: bool) -> Piece:
        if last:
            self._body = None
        return Piece(data, ends=last)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


class HttpClient(_Http):
    """Requests: the head is what is said."""

    def _begin(self, head: bytes) -> Piece:
        method, target, *_ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        self._talk.methods.append(method)
        self._expect(head, until_closed=False)
        return Piece(head, (f"{method} {target}", ""), asks=True, counts=False)


class HttpServer(_Http):
    """Answers; one of `100 Continue` is none."""

    def _begin(self, head: bytes) -> Piece:
        status = int(head.split(b" ", 2)[1][:3])
        if 100 <= status < 200:
            return Piece(head, counts=False)
        method = self._talk.methods.popleft() if self._talk.methods else ""
        empty = method == "HEAD" or status in (204, 304)
        more = not empty and self._expect(head, until_closed=True)
        return Piece(head, ends=not more, counts=False)
