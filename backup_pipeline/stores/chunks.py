"""The chunks of an object on their way into a store: counted, and what they raise remembered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class Chunks:
    """Iterates over `chunks`, once. `sent` counts their bytes; `error` is what they raised, if they did."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.sent = 0
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise
        self.sent += len(chunk)
        return chunk

    def take(self, size: int) -> bytes:
        """The next `size` bytes or a little more, as whole chunks; fewer only at the end."""
        taken: list[bytes] = []
        until = self.sent + size
        while self.sent < until:
            chunk = next(self, None)
            if chunk is None:
                break
            taken.append(chunk)
        return b"".join(taken)
