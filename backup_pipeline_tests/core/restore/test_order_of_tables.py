"""The order of a plan's tables is part of what is approved: another process comes to the same one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SORTED = """
from backup_pipeline.core.restore.plan import _sorted
needs = {"customers": {"areas", "packages", "routers", "resellers"}, "payments": {"customers", "employees", "areas"},
         "employees": {"areas", "packages"}, "areas": {"payments"}, "packages": set(), "routers": {"areas"},
         "resellers": {"areas", "packages"}}
print(" ".join(_sorted(needs)))
"""


@pytest.mark.acceptance("3.9")
def test_tables_that_need_each_other_come_in_the_same_order_in_every_process() -> None:
    """Sets of texts have another order in each process; a plan made again would be another one, and stale."""
    orders = {
        subprocess.run(
            [sys.executable, "-c", SORTED],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in range(1, 6)
    }
    assert len(orders) == 1, orders
