"""One connection through the proxy: both its directions, and the faults that it meets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from backup_pipeline_tests.faults.fault import (
    After,
    Answer,
    Answering,
    Before,
    Call,
    Close,
    Corrupt,
    Delay,
    Fault,
    Reset,
    Said,
    Sending,
    Stall,
    Throttle,
)
from backup_pipeline_tests.faults.streams import Piece, Stream

PORTION = 1 << 16
LOOK_EVERY_S = 0.005
DRAIN_S = 5.0
ESTABLISHED = 1  # of the kernel's TCP states

Met = tuple[Said, Fault]
Meet = Callable[[str, str], tuple[Said, list[Fault]]]


class _OverError(Exception):
    """Nothing more passes."""


@dataclass
class _Armed:
    """A fault that happens once so many more bytes have passed."""

    met: Met
    left: int


@dataclass
class _Way:
    """One direction."""

    writer: asyncio.StreamWriter
    armed: list[_Armed] = field(default_factory=list)
    rate: int | None = None

    async def write(self, data: bytes) -> None:
        portion = len(data) if self.rate is None else max(1, self.rate // 20)
        for start in range(0, len(data), portion or 1):
            part = data[start : start + portion]
            if self.rate is not None:
                await asyncio.sleep(len(part) / self.rate)
            self.writer.write(part)
            await self.writer.drain()


@dataclass(eq=False)
class Passage:
    """A client's connection, and its own to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    asking: Stream
    answering: Stream
    meet: Meet
    _asked: deque[list[Met]] = field(default_factory=deque)
    """For each question that has no answer yet, the faults that are to happen with the answer."""
    _next: list[Met] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Until the server is reached there is the client only."""
        self._up = self._down = _Way(self.writer)

    async def run(self, host: str, port: int) -> None:
        """Pass what comes until either side is gone."""
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            self.reset()
            return
        self._up, self._down = _Way(writer), _Way(self.writer)
        pumps = [asyncio.ensure_future(self._ask()), asyncio.ensure_future(self._answer(reader))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._close()

    def reset(self) -> None:
        """Both connections end with RST."""
        for way in (self._up, self._down):
            with suppress(OSError):
                connection = way.writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            way.writer.transport.abort()

    def _close(self) -> None:
        for way in (self._up, self._down):
            way.writer.close()

    async def _ask(self) -> None:
        with suppress(_OverError, OSError):
            while data := await self.reader.read(PORTION):
                for piece in self.asking.feed(data):
                    await self._pass_question(piece)

    async def _answer(self, reader: asyncio.StreamReader) -> None:
        with suppress(_OverError, OSError):
            while data := await reader.read(PORTION):
                for piece in self.answering.feed(data):
                    await self._pass_answer(piece)

    async def _pass_question(self, piece: Piece) -> None:
        data = piece.data
        if piece.said is not None:
            said, faults = self.meet(*piece.said)
            self._up.armed.clear()
            for fault in faults:
                data = await self._plan((said, fault), data)
        if piece.asks:
            self._asked.append(self._next)
            self._next = []
        await self._forward(self._up, data, counts=piece.counts)

    async def _plan(self, met: Met, data: bytes) -> bytes:
        moment = met[1].moment
        if isinstance(moment, Before):
            return await self._happen(met, self._up, data)
        if isinstance(moment, Sending):
            self._up.armed.append(_Armed(met, moment.bytes))
        elif met[0].text.startswith("copy ") and self._asked:  # the end of a COPY belongs to what began it
            self._asked[-1].append(met)
        else:
            self._next.append(met)
        return data

    async def _pass_answer(self, piece: Piece) -> None:
        planned = self._asked[0] if self._asked else []
        for met in [met for met in planned if isinstance(met[1].moment, Answering)]:
            planned.remove(met)
            assert isinstance(met[1].moment, Answering)
            self._down.armed.append(_Armed(met, met[1].moment.bytes))
        data = piece.data
        if not piece.ends:
            await self._forward(self._down, data, counts=piece.counts)
            return
        for met in [met for met in planned if isinstance(met[1].moment, After)]:
            data = await self._happen(met, self._down, data)
        if self._asked:
            self._asked.popleft()
        await self._forward(self._down, data, counts=piece.counts)
        self._down.armed.clear()

    async def _forward(self, way: _Way, data: bytes, *, counts: bool) -> None:
        while counts and (due := [armed for armed in way.armed if armed.left < len(data)]):
            first = min(due, key=lambda armed: armed.left)
            way.armed.remove(first)
            await self._write(way, data[: first.left])
            data = await self._happen(first.met, way, data[first.left :])
        await self._write(way, data, counts=counts)

    async def _write(self, way: _Way, data: bytes, *, counts: bool = True) -> None:
        for armed in way.armed if counts else ():
            armed.left -= len(data)
        await way.write(data)

    async def _happen(self, met: Met, way: _Way, data: bytes) -> bytes:
        """Do what the fault does; the bytes that go on. `_OverError` when none do."""
        said, fault = met
        fault.fire(said)
        effect = fault.effect
        if isinstance(effect, Corrupt):
            return bytes([data[0] ^ 1]) + data[1:]
        if isinstance(effect, Throttle):
            way.rate = effect.bytes_per_second
        elif isinstance(effect, Delay):
            await asyncio.sleep(effect.seconds)
        elif isinstance(effect, Stall):
            await self._hold(fault)
        else:
            await self._break(effect)
        return data

    async def _break(self, effect: Reset | Close | Answer | Call) -> None:
        if isinstance(effect, Call):
            effect.function()
            if not effect.cut:
                return
        elif isinstance(effect, Reset):
            self.reset()
        elif isinstance(effect, Answer):
            await self._speak(effect)
        raise _OverError

    async def _hold(self, fault: Fault) -> None:
        while not fault.released:
            if self._is_gone():
                raise _OverError
            await asyncio.sleep(LOOK_EVERY_S)

    def _is_gone(self) -> bool:
        """Whether the client closed its end, also while what it said before lies here unread."""
        connection = self.writer.get_extra_info("socket")
        if self.writer.transport.is_closing() or not hasattr(socket, "TCP_INFO"):
            return self.writer.transport.is_closing() or self.reader.at_eof()
        return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED)

    async def _speak(self, answer: Answer) -> None:
        """Answer in the server's place; what the client still sends is read, so that it hears the answer."""
        body = answer.body.encode()
        head = f"HTTP/1.1 {answer.status} Injected\r\nContent-Type: application/xml\r\nConnection: close\r\n"
        self.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await self.writer.drain()
        self.writer.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while await self.reader.read(PORTION):
                    """Nobody wants it."""
