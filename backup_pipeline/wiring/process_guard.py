"""Ends what a program that died has left running: a script of its own, with nothing but the stdlib.

    python -I -S process_guard.py < pipe

Its standard input is a pipe that the program alone holds open. Lines on it are numbers of process groups, each of them
started by that program. `done` says that the program has ended them itself. When the pipe ends without that, the
program was killed: the groups get SIGINT, time to end in order, and then SIGKILL. This works where the kernel has no
signal for the death of a parent, and reaches the children's children, which that signal does not.
"""

from __future__ import annotations

import os
import signal
import sys
import time

_PATIENCE_S = 15.0
_POLL_S = 0.1


def main() -> None:
    """Read groups until the pipe ends; then end them, unless the program did."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: list[int] = []
    for line in sys.stdin:
        if line.strip() == "done":
            return
        groups.append(int(line))
    end(groups)


def end(groups: list[int]) -> None:
    """SIGINT to all members of the groups, and SIGKILL to those that are there after a while."""
    left = [group for group in groups if _signal(group, signal.SIGINT)]
    deadline = time.monotonic() + _PATIENCE_S
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        left = [group for group in left if _signal(group, 0)]
    for group in left:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Send a signal to a group; whether it has members."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return number == 0  # macOS says so of a group whose members are all zombies
    return True


if __name__ == "__main__":
    main()
