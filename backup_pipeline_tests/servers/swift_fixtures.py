"""Fixtures of a real S3 API server: one Swift a session (a worker), a bucket of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from backup_pipeline_tests.servers.http_proxy import HttpProxy
from backup_pipeline_tests.servers.swift import SwiftServer, why_not

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    """A running S3 server. A test that stops it starts it again."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with SwiftServer(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: SwiftServer) -> Iterator[str]:
    """The name of an empty bucket, emptied again afterwards."""
    name = s3_server.make_bucket(f"bucket-{next(_numbers)}")
    yield name
    s3_server.empty_bucket(name)


@pytest.fixture
def s3_proxy(s3_server: SwiftServer) -> Iterator[HttpProxy]:
    """A proxy in front of the S3 server, to make trouble with."""
    with HttpProxy(s3_server.endpoint_url) as proxy:
        yield proxy
