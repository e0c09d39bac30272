"""Installations for faults: one whose store is a directory, one whose store is in S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.faults.world import World, world
from backup_pipeline_tests.servers.swift import SwiftServer


@pytest.fixture
def directory_world(postgres_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[World]:
    """Its store is a directory."""
    with world(postgres_server, tmp_path) as made:
        yield made


@pytest.fixture
def s3_world(
    postgres_server: EmbeddedPostgres, tmp_path: Path, s3_server: SwiftServer, s3_bucket: str
) -> Iterator[World]:
    """Its store is in S3."""
    with world(postgres_server, tmp_path, s3_server, s3_bucket) as made:
        yield made
