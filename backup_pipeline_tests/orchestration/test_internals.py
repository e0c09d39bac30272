"""Dagster's private names: all of them in one place, there in the version that is installed, and named when they go."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import dagster as dg
import pytest

from backup_pipeline.orchestration import internals

PACKAGE = Path(internals.__file__).parent.parent
PRIVATE = re.compile(
    r"^\s*(?:from|import)\s+(?:dagster\._|dagster_webserver\.|dagster\.components\.)"
    r"|[\"']dagster\._|_get_grpc|[\"']dagster_webserver\.",
    re.MULTILINE,
)


@pytest.mark.parametrize("name", sorted(internals.NEEDED))
def test_dagster_still_has_each_private_name(name: str) -> None:
    assert getattr(internals, name) is not None


def test_dagsters_launcher_still_says_which_code_server_executes_a_run() -> None:
    assert callable(getattr(dg.DefaultRunLauncher, internals.LAUNCHER_METHOD))


def test_they_are_all_that_is_given_away_and_no_other_file_has_any() -> None:
    assert set(internals.__all__) == set(internals.NEEDED)
    texts = {path: path.read_text() for path in PACKAGE.rglob("*.py")}
    assert [path.name for path, text in texts.items() if PRIVATE.search(text)] == ["internals.py"]


def test_one_that_is_gone_says_which_it_is_and_what_goes_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(import_module("dagster._core.execution.plan.objects"), "ErrorSource")
    with pytest.raises(ImportError, match=r"plan\.objects\.ErrorSource, which .* backups run by the command line"):
        from backup_pipeline.orchestration.internals import ErrorSource  # noqa: F401
    from backup_pipeline.orchestration.internals import WorkerStatus  # one that is there is no worse for it

    assert WorkerStatus.RUNNING
