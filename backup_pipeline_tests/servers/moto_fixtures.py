"""Fixtures of an S3 API that enforces locks and policies: one server a session (a worker), or one that runs already."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from backup_pipeline_tests.servers.moto import MotoServer, why_not
from backup_pipeline_tests.servers.running_s3 import RunningServer, is_named

LockServer = MotoServer | RunningServer
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def lock_server() -> Iterator[LockServer]:
    """A running server."""
    if is_named():
        yield RunningServer.named()
        return
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with MotoServer() as server:
        yield server


@pytest.fixture
def locked_bucket(lock_server: LockServer) -> str:
    """The name of an empty bucket with Object Lock, of this test's own."""
    return lock_server.make_bucket(f"locked-{next(_numbers)}", lock=True)


@pytest.fixture
def plain_bucket(lock_server: LockServer) -> str:
    """The name of an empty bucket without Object Lock, of this test's own."""
    return lock_server.make_bucket(f"plain-{next(_numbers)}")
