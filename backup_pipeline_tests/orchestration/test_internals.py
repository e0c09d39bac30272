"""Dagster's private names: all of them in one place, there in the version that is installed, and named when they go."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
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


def test_a_step_of_dagster_finds_its_outputs_out_once_where_that_is_asked() -> None:
    looked: list[int] = []

    @dg.multi_asset(specs=[dg.AssetSpec(f"table_{number}") for number in range(20)], can_subset=True)
    def tables(context):  # type: ignore[no-untyped-def]  # Dagster does not read an annotation that is a text
        step = context.op_execution_context.get_step_execution_context()
        look = getattr(step, internals.OUTPUTS_METHOD)

        def looking() -> AbstractSet[dg.AssetKey]:
            looked.append(1)
            keys: AbstractSet[dg.AssetKey] = look()
            return keys

        setattr(step, internals.OUTPUTS_METHOD, looking)
        internals.remember_outputs(context)
        for key in context.selected_asset_keys:
            yield dg.MaterializeResult(asset_key=key)

    result = dg.materialize([tables], selection=["table_3", "table_7"])
    assert {event.asset_key for event in result.get_asset_materialization_events()} == {
        dg.AssetKey("table_3"),
        dg.AssetKey("table_7"),
    }
    assert looked == [1]


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
