"""Passwords: hashed slowly, compared in constant time, and refused when they are soon guessed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from backup_pipeline.core.errors import LockedError, UsageError
from backup_pipeline.lazy import lazily

with lazily():
    import pwdlib
    import zxcvbn

SHORTEST = 12
LONGEST = 256
"""Longer ones are refused before they are looked at: hashing and guessing cost time."""
_STRONG = 3
_LOOKED_AT = 72
"""So much of a password is judged; more can only make it better."""

_AT_ONCE = threading.BoundedSemaphore(2)
"""One hash wants 64 MiB: many people who sign in at once wait for each other, not for memory."""
_IN_LINE = threading.BoundedSemaphore(24)
"""Fewer than the threads that answer requests: whoever has signed in is answered however many try to."""
BUSY_S = 3


class WaitError(LockedError):
    """The next try has to wait, for `seconds`."""

    def __init__(self, what: str, seconds: int) -> None:
        self.seconds = seconds
        wait = f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} minutes"
        super().__init__(what, do=f"Try again in {wait}.")


@contextmanager
def in_line() -> Iterator[None]:
    """A place among those whose password is looked at; WaitError where the line is long already."""
    if not _IN_LINE.acquire(blocking=False):
        message = "Many people sign in at this moment."
        raise WaitError(message, BUSY_S)
    try:
        yield
    finally:
        _IN_LINE.release()


@cache
def _hasher() -> pwdlib.PasswordHash:
    return pwdlib.PasswordHash.recommended()


@cache
def _hash_of_nobody() -> str:
    return _hasher().hash("nobody has this password")


def hash_password(password: str) -> str:
    """Argon2id, with the library's present parameters and a salt of its own."""
    with _AT_ONCE:
        return _hasher().hash(password)


def verify_password(password: str, hashed: str | None) -> tuple[bool, str | None]:
    """Whether it is the password, and its hash of today's parameters where `hashed` has older ones.

    Without a hash it is wrong, and takes as long.
    """
    if len(password) > LONGEST:
        password = ""
    with _AT_ONCE:
        right, anew = _hasher().verify_and_update(password, hashed or _hash_of_nobody())
    return (right, anew) if hashed else (False, None)


def check_password(password: str, name: str) -> None:
    """UsageError, with what to do, when it is too short, too long, or soon guessed by who knows the name."""
    if not SHORTEST <= len(password) <= LONGEST:
        message = f"The password has {len(password)} characters; it needs {SHORTEST} to {LONGEST}."
        raise UsageError(message, do="Four words that do not belong together are easy to keep in mind.")
    judged = zxcvbn.zxcvbn(password[:_LOOKED_AT], user_inputs=[name, "backup", "pipeline", "backup_pipeline"])
    if judged["score"] < _STRONG:
        feedback = judged["feedback"]
        why = feedback["warning"] or "It follows a pattern."
        message = f"The password is soon guessed: {why.rstrip('.').lower()}."
        raise UsageError(message, do=" ".join(feedback["suggestions"]) or "Add a word or two.")
