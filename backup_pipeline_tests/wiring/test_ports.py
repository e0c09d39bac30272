"""How an installation's settings become the options of its source."""

from __future__ import annotations

import pytest

from backup_pipeline.settings import Settings
from backup_pipeline.wiring.ports import source_options


@pytest.mark.parametrize(("workers", "connections"), [(1, 4), (4, 4), (12, 12)])
def test_every_worker_may_have_a_connection_of_its_own(workers: int, connections: int) -> None:
    assert source_options(Settings(workers=workers)).max_connections == connections
