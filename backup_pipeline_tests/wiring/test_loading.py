"""What is loaded before a backup begins: a backup of little data takes as long as that."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = {"alembic.command", "apprise", "boto3", "botocore", "dagster_aws", "duckdb", "fsspec", "openpyxl", "pandas"} | {
    "cryptography",
    "prometheus_client",
    "dagster._core.execution.backfill",
    "dagster._core.workspace.context",
}
"""Each takes a tenth of a second or more, and a backup of keyed tables into a folder begins without it."""

PROGRAM = """
import sys
import {module}
print(*(name for name, module in sys.modules.items() if type(module).__name__ != "_Unloaded"))
"""


@pytest.mark.parametrize("module", ["backup_pipeline.cli", "backup_pipeline.orchestration.launch"])
def test_a_backup_into_a_folder_loads_no_clients_of_other_things(module: str) -> None:
    run = [sys.executable, "-c", PROGRAM.format(module=module)]
    loaded = set(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split())
    assert module in loaded
    assert loaded & SLOW == set()


def test_the_command_line_answers_without_dagster() -> None:
    run = [sys.executable, "-c", PROGRAM.format(module="backup_pipeline.cli")]
    loaded = set(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split())
    assert loaded & {"dagster", "sqlalchemy", "pyarrow", "yaml", "rich.progress"} == set()
