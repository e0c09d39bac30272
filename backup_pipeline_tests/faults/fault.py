"""What can go wrong between a client and its server, and when: a fault is a place in the traffic and an effect."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

SLOW_DOWN = "<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
INTERNAL = "<?xml version='1.0'?><Error><Code>InternalError</Code><Message>Please try again.</Message></Error>"


@dataclass(frozen=True)
class Said:
    """What a client said: a statement with its values, or a request line (`PUT /bucket/key`)."""

    text: str
    values: str = ""
    connection: int = 0
    """Which connection of the proxy, from 1 on."""
    seconds: float = 0.0
    """By `time.monotonic`."""


@dataclass(frozen=True)
class Before:
    """It was read whole (of a request: its head); nothing of it was forwarded."""


@dataclass(frozen=True)
class After:
    """Its answer came whole; the end of it was not forwarded."""


@dataclass(frozen=True)
class Sending:
    """So many bytes of it were forwarded, of a request so many of its body; and there are more."""

    bytes: int


@dataclass(frozen=True)
class Answering:
    """So many bytes of its answer were forwarded, over HTTP so many of its body; and there are more."""

    bytes: int


Moment = Before | After | Sending | Answering


@dataclass(frozen=True)
class Reset:
    """Both connections are reset (RST)."""


@dataclass(frozen=True)
class Close:
    """Both connections are closed as if all was said (FIN)."""


@dataclass(frozen=True)
class Stall:
    """Nothing more passes in this direction until `Fault.release`, or until the client is gone."""


@dataclass(frozen=True)
class Delay:
    """It waits."""

    seconds: float


@dataclass(frozen=True)
class Throttle:
    """From here on this direction of the connection is so slow."""

    bytes_per_second: int


@dataclass(frozen=True)
class Corrupt:
    """One bit of the next byte turns."""


@dataclass(frozen=True)
class Answer:
    """The proxy answers the HTTP request itself, with this status; the server never hears of it. Only `Before`."""

    status: int = 503
    body: str = SLOW_DOWN


@dataclass(frozen=True)
class Call:
    """A function is called, in the proxy's thread. With `cut`, nothing more passes and both connections close."""

    function: Callable[[], object]
    cut: bool = False


Effect = Reset | Close | Stall | Delay | Throttle | Corrupt | Answer | Call


def kill_group(group: Callable[[], int]) -> Call:
    """SIGKILL for the whole process group that `group` names once the fault fires; what it had said is lost."""
    return Call(lambda: os.killpg(group(), signal.SIGKILL), cut=True)


@dataclass
class Fault:
    """`effect` at the `nth` thing said that `match` finds, and at the `times` - 1 after it (None: at all after it).

    `match` is searched in the text of a statement, a line break, and its values; or in the request line. A function is
    asked about all that is said, in its order. None: all that is said. `fired` counts how often it really happened: a
    test has to look, or it may have tested nothing.
    """

    effect: Effect
    match: str | re.Pattern[str] | Callable[[Said], bool] | None = None
    moment: Moment = field(default_factory=Before)
    nth: int = 1
    times: int | None = 1
    met: int = 0
    fired: int = 0
    said: list[Said] = field(default_factory=list)
    """What it fired at."""
    _happened: threading.Event = field(default_factory=threading.Event, repr=False)
    _released: threading.Event = field(default_factory=threading.Event, repr=False)

    def meets(self, said: Said) -> bool:
        """Count what was said, and tell whether this is a time to fire."""
        if not self._finds(said):
            return False
        self.met += 1
        return self.met >= self.nth and (self.times is None or self.met < self.nth + self.times)

    def _finds(self, said: Said) -> bool:
        if self.match is None:
            return True
        if isinstance(self.match, str | re.Pattern):
            return re.search(self.match, f"{said.text}\n{said.values}") is not None
        return self.match(said)

    def fire(self, said: Said) -> None:
        """Note that it happens now."""
        self.fired += 1
        self.said.append(said)
        self._happened.set()

    def wait(self, seconds: float = 30) -> None:
        """Wait until it fired; AssertionError when it does not."""
        assert self._happened.wait(seconds), f"the fault never fired: {self}"

    def release(self) -> None:
        """Let what it stalls go on."""
        self._released.set()

    @property
    def released(self) -> bool:
        """Whether `release` was called."""
        return self._released.is_set()
