"""Fixtures of the tests of wiring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_pipeline_tests.environment import bare_environment


@pytest.fixture
def bare_home(tmp_path: Path) -> Iterator[None]:
    """No setting but a home of this test's own."""
    with bare_environment() as environment:
        environment.setenv("BACKUP_HOME", str(tmp_path / "home"))
        yield
