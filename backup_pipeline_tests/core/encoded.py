"""Text %-encoded in every way that is allowed, for tests of what must not be shown."""

from __future__ import annotations

from random import Random


def encoded_somehow(char: str, seed: Random, *, always: str = "%") -> str:
    """The character as it is, or %-encoded with digits of either case; those of `always` never as they are."""
    way = seed.randrange(3) if char not in always else seed.randrange(1, 3)
    digits = "02x" if way == 1 else "02X"
    return char if way == 0 else "".join(f"%{byte:{digits}}" for byte in char.encode())
