"""The process that owns an attempt: who this one is, and whether another still lives."""

from __future__ import annotations

import os
import socket

import psutil

from backup_pipeline.core.ledger import Owner

_SAME_START = 1.0
"""Seconds. A pid is given out again after its process is gone; the start time tells the two apart."""


def this_owner() -> Owner:
    """This process, on this host."""
    return Owner(host=socket.gethostname(), pid=os.getpid(), started=psutil.Process().create_time())


def alive(owner: Owner) -> bool:
    """Whether `owner`, a process of this host, still runs; a zombie does not."""
    try:
        process = psutil.Process(owner.pid)
        same = abs(process.create_time() - owner.started) <= _SAME_START
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
