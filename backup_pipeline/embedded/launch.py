"""Becomes another program that is not root and dies with its parent: a script of its own, with nothing but the stdlib.

    python -I -S launch.py MODE UID GID PARENT LIMITS COMMAND...

PostgreSQL refuses to run as root, and a server must not outlive the program that embeds it. Both are settled between
fork and exec. That code runs here, in a fresh single-threaded interpreter, because a `preexec_fn` may deadlock in a
program that has threads, and because the kernel refuses a user namespace to a process that has any.

MODE is `keep` (stay who we are), `mapped` (a user namespace in which the present user appears as UID: files stay the
present user's, nobody else needs access) or `switched` (setuid, where user namespaces are forbidden).

LIMITS is empty, or JSON with the lists of paths `read`, `run` and `write`: everything else on the disk is then closed
to the program and its children for ever, and so is TCP, by the kernel's Landlock (Linux 5.13; TCP from 6.7 on). A
kernel without it makes no limits: whoever must know asks `landlock_version`. Numbers and structs are those of
<linux/landlock.h>.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import stat
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_ONLY, _PATH_BENEATH = 1, 1
_RUN, _READ_FILE, _READ_FOLDER = 1 << 0, 1 << 2, 1 << 3
# Of the file's rights those that make sense for a file; all others are a folder's.
_FILE_RIGHTS = _RUN | 1 << 1 | _READ_FILE | 1 << 14 | 1 << 15
_RIGHTS_BY_VERSION = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights to files each version knows: a number of bits, from the lowest."""
_TCP_SINCE, _SCOPES_SINCE = 4, 6


def main(arguments: list[str]) -> None:
    """Take on the identity, tie this process to its parent, and exec COMMAND; never returns."""
    mode, uid, gid, parent, limits, *command = arguments
    if mode == "mapped":
        _map_user(int(uid), int(gid))
    elif mode == "switched":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    # Then: the kernel forgets the death signal whenever credentials change.
    _die_with_parent(int(parent))
    if limits:
        _limit(json.loads(limits))
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


def landlock_version() -> int:
    """Which Landlock the kernel has; 0 without."""
    if sys.platform != "linux":
        return 0
    version = ctypes.CDLL(None, use_errno=True).syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_ONLY)
    return max(int(version), 0)


def _limit(limits: dict[str, list[str]]) -> None:
    """Close everything but the paths of `limits`."""
    version = landlock_version()
    if not version:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    rights = (1 << _RIGHTS_BY_VERSION[min(version, max(_RIGHTS_BY_VERSION))]) - 1
    ruleset = _ruleset(libc, version, rights)
    granted = {"read": _READ_FILE | _READ_FOLDER, "run": _READ_FILE | _READ_FOLDER | _RUN, "write": rights & ~_RUN}
    for kind, right in granted.items():
        for path in limits[kind]:
            _grant(libc, ruleset, path, right)
    # Without it the kernel lets nobody but root limit itself.
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(_RESTRICT_SELF, ruleset, 0):
        raise _failed()
    os.close(ruleset)


def _ruleset(libc: ctypes.CDLL, version: int, rights: int) -> int:
    """A new set of rules: rights to files, both of TCP (bind, connect), sockets and signals of others."""
    fields = [rights, 3 if version >= _TCP_SINCE else 0, 3 if version >= _SCOPES_SINCE else 0]
    known = 1 + (version >= _TCP_SINCE) + (version >= _SCOPES_SINCE)
    attributes = (ctypes.c_uint64 * known)(*fields[:known])
    ruleset = int(libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(8 * known), 0))
    if ruleset < 0:
        raise _failed()
    return ruleset


def _grant(libc: ctypes.CDLL, ruleset: int, path: str, right: int) -> None:
    """Open a path, and all below it; one that is not there needs no right."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
    rule = ctypes.create_string_buffer(12)  # packed: 64 bits of rights, 32 of the descriptor
    ctypes.c_uint64.from_buffer(rule, 0).value = right if folder else right & _FILE_RIGHTS
    ctypes.c_int32.from_buffer(rule, 8).value = descriptor
    failed = libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    os.close(descriptor)
    if failed:
        raise _failed(path)


def _failed(path: str = "") -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"Landlock sets no limits: {os.strerror(number)}", path or None)


if __name__ == "__main__":
    main(sys.argv[1:])
