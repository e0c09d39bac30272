"""Where the partitions of a catalog begin, and which backfills Dagster's storage takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemotePartitionSetOrigin, RemoteRepositoryOrigin

from backup_pipeline.core.errors import RefusedError
from backup_pipeline.orchestration.due import FIRST_DAYS, dated, dated_catalog, note_first_days
from backup_pipeline.orchestration.keys import EARLIEST, daily_partitions
from backup_pipeline_tests.orchestration.installation import Installation
from backup_pipeline_tests.orchestration.sensing import tell_of_failure


def _home(installation: Installation) -> Path:
    assert installation.settings.dagster_home is not None
    return installation.settings.dagster_home


def _first(installation: Installation) -> str:
    catalog = dated_catalog(installation.catalog, _home(installation))
    return daily_partitions(catalog).get_partition_keys()[0]


def _note(installation: Installation, now: datetime | None = None) -> None:
    note_first_days([installation.catalog], _home(installation), now or datetime.now(UTC))


def test_a_new_installation_begins_today_and_stays_there(installation: Installation) -> None:
    today = datetime(2026, 11, 20, 18, 30, tzinfo=UTC)
    _note(installation, today)
    assert _first(installation) == "2026-11-21"  # in the catalog's timezone
    _note(installation, datetime(2026, 12, 24, tzinfo=UTC))
    assert _first(installation) == "2026-11-21"


def test_the_days_of_an_installation_that_has_backups_stay(installation: Installation) -> None:
    """It has no note yet: an earlier version made it."""
    assert _first(installation) == EARLIEST
    assert installation.run(day=installation.past(4), late=True).success
    assert installation.run().success
    _note(installation)
    assert _first(installation) == installation.past(4).isoformat()


def test_what_the_catalog_says_comes_first(installation: Installation) -> None:
    _note(installation)
    installation.edit_catalog("grace_minutes: 0", "grace_minutes: 0\nstart_date: 2026-03-04")
    assert _first(installation) == "2026-03-04"


def test_each_catalog_is_noted_once_it_is_known(installation: Installation) -> None:
    _note(installation, datetime(2026, 11, 20, tzinfo=UTC))
    branch = installation.catalog.model_copy(update={"catalog": "branch"})
    both = {"shop": installation.catalog, "branch": branch}
    note_first_days(both.values(), _home(installation), datetime(2026, 11, 25, tzinfo=UTC))
    days = {name: catalog.start_date for name, catalog in dated(both, _home(installation)).items()}
    assert days == {"shop": "2026-11-20", "branch": "2026-11-25"}


@pytest.mark.parametrize("note", ["", "[]", '{"shop": "soon"}', '{"shop": 7}', "\x00"])
def test_a_note_that_is_none_hides_no_day(installation: Installation, note: str) -> None:
    (_home(installation) / FIRST_DAYS).write_text(note)
    assert _first(installation) == EARLIEST


def test_without_dagsters_storage_nothing_is_hidden_and_nothing_fails(installation: Installation) -> None:
    (_home(installation) / "dagster.yaml").write_text("storage: [")
    _note(installation)
    assert not (_home(installation) / FIRST_DAYS).exists()
    assert _first(installation) == EARLIEST


def test_a_date_before_the_first_is_refused_with_what_to_do(installation: Installation) -> None:
    _note(installation)
    with pytest.raises(RefusedError, match=f"the first one of catalog shop, {installation.today}") as caught:
        installation.run(day=installation.past(), late=True)
    assert "start_date" in caught.value.do
    assert installation.run().success


def _launch(
    installation: Installation, days: Sequence[date], *assets: str, config: Mapping[str, object] | None = None
) -> int:
    """Ask for a backfill as web server, daemon and command line do; how many there are then."""
    with installation.instance() as instance:
        wish = PartitionBackfill.from_asset_partitions(
            backfill_id=f"b{time.monotonic_ns()}",
            asset_graph=installation.definitions().resolve_asset_graph(),
            partition_names=[day.isoformat() for day in days],
            asset_selection=[dg.AssetKey(["shop", asset]) for asset in assets],
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=config,
        )
        instance.add_backfill(wish)
        return instance.get_backfills_count()


def test_a_backfill_over_past_days_is_not_taken(installation: Installation) -> None:
    with pytest.raises(RefusedError, match=rf"2 days, {installation.past(2)} to {installation.past()}, are over"):
        _launch(installation, [installation.past(back) for back in (2, 1, 0)], "notes", "bundle")
    with pytest.raises(RefusedError, match=rf"{installation.past()} is over"):
        _launch(installation, [installation.past()], "notes")
    assert _launch(installation, [installation.today], "notes", "bundle") == 1


def test_a_backfill_that_its_runs_would_not_refuse_is_taken(installation: Installation) -> None:
    """A bundle alone reads no source; `late` is said on purpose; within the grace yesterday is its own day."""
    yesterday = [installation.past()]
    late = {"ops": {"shop_tables": {"config": {"late": True}}}}
    assert _launch(installation, yesterday, "bundle") == 1
    assert _launch(installation, yesterday, "notes", config=late) == 2
    installation.edit_catalog("grace_minutes: 0", "grace_minutes: 1440")
    assert _launch(installation, yesterday, "notes") == 3


@pytest.mark.parametrize(("job", "taken"), [("shop_full_backup", False), ("shop_tables_only", False), ("other", True)])
def test_a_backfill_of_a_job_is_looked_at_too(installation: Installation, job: str, taken: bool) -> None:
    wish = _of_job(job, [installation.past().isoformat()])
    with installation.instance() as instance:
        if taken:
            instance.add_backfill(wish)
        else:
            with pytest.raises(RefusedError, match="is over"):
                instance.add_backfill(wish)
        assert instance.get_backfills_count() == int(taken)


def _of_job(job: str, names: Sequence[str]) -> PartitionBackfill:
    repository = RemoteRepositoryOrigin(
        code_location_origin=RegisteredCodeLocationOrigin("backup_pipeline"), repository_name="__repository__"
    )
    return PartitionBackfill(
        backfill_id="of-a-job",
        status=BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={},
        backfill_timestamp=time.time(),
        partition_set_origin=RemotePartitionSetOrigin(
            repository_origin=repository, partition_set_name=f"{job}_partition_set"
        ),
        partition_names=names,
    )


def test_catalogs_that_can_not_be_read_refuse_nothing(installation: Installation) -> None:
    """Their runs are refused; a mistake in a file must not stop other people's backfills."""
    yesterday = installation.past().isoformat()
    installation.catalog_file.write_text("catalog: [")
    with installation.instance() as instance:
        instance.add_backfill(_of_job("shop_full_backup", [yesterday]))
        assert instance.get_backfills_count() == 1


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"dagster/backfill": "abc", "dagster/partition": -1}, "is over"),
        ({"dagster/asset_partition_range_start": -2, "dagster/asset_partition_range_end": 0}, "This run is for 3 days"),
    ],
)
def test_where_the_storage_is_not_ours_such_a_run_begins_nothing_and_alerts_nobody(
    installation: Installation, tags: Mapping[str, str | int], words: str
) -> None:
    written = {
        name: value if isinstance(value, str) else installation.past(-value).isoformat() for name, value in tags.items()
    }
    with installation.instance() as instance:
        result = installation.run_job("shop_full_backup", instance=instance, partition_key=None, tags=written)
    assert not result.success
    [(message, _)] = installation.step_failures(result.run_id)
    assert words in message
    tell_of_failure(installation, result.run_id)
    assert installation.attempts() == []
    assert installation.store_keys() == []
    assert installation.alerts() == []
