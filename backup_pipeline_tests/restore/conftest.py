"""Databases for restores: one to back up, and an empty one to restore into."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.servers.postgres import temporary_database


@pytest.fixture
def empty_database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """Another empty database, beside `fresh_database`."""
    with temporary_database(postgres_server) as url:
        yield url
