"""Becomes another program that is not root and dies with its parent: a script of its own, with nothing but the stdlib.

    python -I -S launch.py MODE UID GID PARENT COMMAND...

PostgreSQL refuses to run as root, and a server must not outlive the program that embeds it. Both are settled between
fork and exec. That code runs here, in a fresh single-threaded interpreter, because a `preexec_fn` may deadlock in a
program that has threads, and because the kernel refuses a user namespace to a process that has any.

MODE is `keep` (stay who we are), `mapped` (a user namespace in which the present user appears as UID: files stay the
present user's, nobody else needs access) or `switched` (setuid, where user namespaces are forbidden).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Take on the identity, tie this process to its parent, and exec COMMAND; never returns."""
    mode, uid, gid, parent, *command = arguments
    if mode == "mapped":
        _map_user(int(uid), int(gid))
    elif mode == "switched":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    # Last: the kernel forgets the death signal whenever credentials change.
    _die_with_parent(int(parent))
    os.execv(command[0], command)  # noqa: S606 - becoming that program is the purpose


def _map_user(uid: int, gid: int) -> None:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"no user namespace: {os.strerror(error)}")
    itself = Path("/proc/self")
    (itself / "setgroups").write_text("deny")
    (itself / "uid_map").write_text(f"{uid} {outer_uid} 1")
    (itself / "gid_map").write_text(f"{gid} {outer_gid} 1")


def _die_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        # SIGINT is what PostgreSQL calls a fast shutdown: clean, without waiting for clients.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent ended before its child began")


if __name__ == "__main__":
    main(sys.argv[1:])
