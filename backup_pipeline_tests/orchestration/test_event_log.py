"""Events of a run are stored many at a time: the same rows as Dagster's own storage writes, and none that is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.partitions.subset import DefaultPartitionsSubset
from dagster._core.events import (
    AssetMaterializationPlannedData,
    AssetObservationData,
    DagsterEvent,
    StepMaterializationData,
)
from dagster_postgres import PostgresEventLogStorage

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.orchestration import event_log
from backup_pipeline.orchestration.event_log import MOST_WAITING, BatchedEventLog
from backup_pipeline.orchestration.instance import psycopg2_url
from backup_pipeline_tests.orchestration.installation import until
from backup_pipeline_tests.servers.postgres import temporary_database

RUN, DAY, SECONDS = "8d9f1c52-4f3e-4a0e-9f53-0f6f0e5c2a11", "2026-11-21", 1_795_000_000.0
Kind = dg.DagsterEventType


def entry(kind: Kind, specific: Any = None, *, run: str = RUN, number: int = 0, message: str = "") -> dg.EventLogEntry:
    event = DagsterEvent(kind.value, job_name="job", step_key="step", event_specific_data=specific, message=message)
    return dg.EventLogEntry(  # type: ignore[no-untyped-call]
        None, 20, message, run, SECONDS + number, step_key="step", job_name="job", dagster_event=event
    )


def of_table(number: int) -> Iterator[dg.EventLogEntry]:
    """Everything that a run says of a table; of some with another source, a failed check, no plan, a second look."""
    key, source = dg.AssetKey(["shop", f"table_{number}"]), dg.AssetKey(["shop", "public", f"table_{number}"])
    subset = DefaultPartitionsSubset({DAY})
    yield entry(Kind.ASSET_MATERIALIZATION_PLANNED, AssetMaterializationPlannedData(key, DAY), number=number)
    for name in ("rows", "key"):
        if number % 7:
            planned = AssetCheckEvaluationPlanned(asset_key=key, check_name=name, partitions_subset=subset)
            yield entry(Kind.ASSET_CHECK_EVALUATION_PLANNED, planned, number=number)
    seen = dg.AssetObservation(source, metadata={"n": number}, tags={"dagster/data_version": f"v{number}"})
    yield entry(Kind.ASSET_OBSERVATION, AssetObservationData(seen), number=number + 1)
    made = dg.AssetMaterialization(key, partition=DAY, tags={"dagster/data_version": f"{number}", "other": "x"})
    yield entry(Kind.ASSET_MATERIALIZATION, StepMaterializationData(made, []), number=number + 2)
    target = AssetCheckEvaluationTargetMaterializationData(storage_id=number, run_id=RUN, timestamp=SECONDS)
    for name in ("rows", "key"):
        evaluation = dg.AssetCheckEvaluation(
            asset_key=key,
            check_name=name,
            passed=number % 5 != 0,
            partition=DAY,
            metadata={"what": "a \\u0000 'quoted' {text}"},
            target_materialization_data=target if number % 3 else None,
        )
        yield entry(Kind.ASSET_CHECK_EVALUATION, evaluation, number=number + 3)


def of_run(tables: int) -> Sequence[dg.EventLogEntry]:
    """A run from its start to its end."""
    start, end = entry(Kind.RUN_START), entry(Kind.RUN_SUCCESS, number=10_000)
    return [start, *(event for number in range(tables) for event in of_table(number)), end]


@pytest.fixture(scope="module")
def urls(postgres_server: EmbeddedPostgres) -> Iterator[tuple[str, str]]:
    with temporary_database(postgres_server) as own, temporary_database(postgres_server) as dagsters:
        yield psycopg2_url(own), psycopg2_url(dagsters)


@pytest.fixture(scope="module")
def made(urls: tuple[str, str]) -> Iterator[BatchedEventLog]:
    storage = BatchedEventLog(urls[0])
    storage.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3600, max_overflow=4)
    yield storage
    storage.dispose()
    storage._engine.dispose()


@pytest.fixture
def log(made: BatchedEventLog) -> BatchedEventLog:
    """The storage of this module, empty."""
    made.wipe()
    return made


TABLES = {
    "event_logs": "id, run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition",
    "asset_keys": "asset_key, last_materialization, last_run_id, last_materialization_timestamp, asset_details",
    "asset_event_tags": "event_id, asset_key, key, value, event_timestamp",
    "asset_check_executions": "asset_key, check_name, partition, run_id, execution_status, evaluation_event,"
    " evaluation_event_timestamp, evaluation_event_storage_id, materialization_event_storage_id",
}


def rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """What is committed, as another process sees it."""
    engine = sa.create_engine(url)
    try:
        with engine.connect() as session:
            return {
                table: [
                    tuple(row) for row in session.execute(sa.text(f"SELECT {columns} FROM {table} ORDER BY 1, 2, 3"))
                ]
                for table, columns in TABLES.items()
            }
    finally:
        engine.dispose()


def kinds(url: str) -> list[str]:
    return [row[3] for row in rows(url)["event_logs"]]


def test_the_rows_are_those_that_dagsters_own_storage_writes(urls: tuple[str, str]) -> None:
    own, dagsters = BatchedEventLog(urls[0]), PostgresEventLogStorage(urls[1])
    dagsters.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3600, max_overflow=4)
    for event in of_run(16):
        own.store_event(event)
        dagsters.store_event(event)
    assert rows(urls[0]) == rows(urls[1])
    assert len(rows(urls[0])["asset_check_executions"]) == 32
    with own.run_connection() as session:
        session.execute(
            sa.text("TRUNCATE event_logs, asset_keys, asset_event_tags, asset_check_executions RESTART IDENTITY")
        )


def test_a_run_of_many_tables_is_a_transaction_for_every_two_hundred_events(log: BatchedEventLog) -> None:
    commits: list[object] = []

    def count(session: object) -> None:
        commits.append(session)

    sa.event.listen(log._engine, "commit", count)
    events = of_run(100)
    for event in events:
        log.store_event(event)
    sa.event.remove(log._engine, "commit", count)
    waiting = len(events) - 2
    assert 0 < len(commits) <= waiting // MOST_WAITING + 1 + 2


def test_who_reads_through_the_storage_is_shown_only_what_is_stored(
    log: BatchedEventLog, urls: tuple[str, str]
) -> None:
    first, *_ = of_table(1)
    log.store_event(first)
    assert kinds(urls[0]) == []
    shown = log.get_records_for_run(RUN).records
    assert [record.event_log_entry for record in shown] == [first]
    assert kinds(urls[0]) == ["ASSET_MATERIALIZATION_PLANNED"]


def test_what_begins_or_ends_is_stored_at_once_with_all_before_it(log: BatchedEventLog, urls: tuple[str, str]) -> None:
    for event in (*of_table(1), entry(Kind.STEP_START), entry(Kind.LOADED_INPUT)):
        log.store_event(event)
    assert kinds(urls[0])[-1] == "STEP_START"
    assert len(kinds(urls[0])) == len([*of_table(1)]) + 1


def test_a_report_without_a_run_does_not_wait(log: BatchedEventLog, urls: tuple[str, str]) -> None:
    seen = dg.AssetObservation(dg.AssetKey("seen"))
    log.store_event(entry(Kind.ASSET_OBSERVATION, AssetObservationData(seen), run=""))
    assert kinds(urls[0]) == ["ASSET_OBSERVATION"]


def test_nothing_waits_longer_than_a_moment(
    log: BatchedEventLog, urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "LONGEST_WAIT_S", 0.05)
    log.store_event(next(of_table(1)))
    until(lambda: kinds(urls[0]) == ["ASSET_MATERIALIZATION_PLANNED"], 20)


def test_a_database_that_is_away_for_a_while_loses_no_event(
    log: BatchedEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = log._store

    def away(events: Sequence[dg.EventLogEntry]) -> None:
        raise sa.exc.OperationalError("INSERT", {}, Exception("server closed the connection"))

    monkeypatch.setattr(log, "_store", away)
    log.store_event(next(of_table(1)))
    with pytest.raises(sa.exc.OperationalError):
        log.store_event(entry(Kind.STEP_START))
    monkeypatch.setattr(log, "_store", store)
    log.store_event(entry(Kind.RUN_SUCCESS))
    stored = [record.event_log_entry.dagster_event_type for record in log.get_records_for_run(RUN).records]
    assert stored == [Kind.ASSET_MATERIALIZATION_PLANNED, Kind.RUN_SUCCESS]


def test_one_event_that_can_not_be_stored_keeps_no_other_away(log: BatchedEventLog, urls: tuple[str, str]) -> None:
    good, bad = next(of_table(1)), entry(Kind.LOADED_INPUT, run="r" * 300)  # a run's id is of 255 letters
    log.store_event(good)
    log.store_event(bad)
    log.store_event(next(of_table(2)))
    with pytest.raises(sa.exc.DataError):
        log.flush()
    assert kinds(urls[0]) == ["ASSET_MATERIALIZATION_PLANNED"] * 2


def test_threads_store_side_by_side(log: BatchedEventLog, urls: tuple[str, str]) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 20):
            for event in of_table(number):
                log.store_event(event)

    threads = [threading.Thread(target=work, args=(first,)) for first in (100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.flush()
    assert len(kinds(urls[0])) == sum(
        len([*of_table(n)]) for first in (100, 200, 300) for n in range(first, first + 20)
    )


@contextmanager
def queries(storage: BatchedEventLog) -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    asked: list[str] = []

    def note(*given: Any) -> None:
        asked.append(given[2])

    sa.event.listen(storage._engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        sa.event.remove(storage._engine, "before_cursor_execute", note)


def tags_of(storage: PostgresEventLogStorage, key: dg.AssetKey) -> Any:
    wanted = ["dagster/data_version"]
    return storage.get_latest_tags_by_partition(key, Kind.ASSET_MATERIALIZATION, wanted, [DAY, "2026-11-20"])


def test_the_inputs_of_a_step_are_looked_up_at_once_and_as_dagster_does(
    log: BatchedEventLog, urls: tuple[str, str]
) -> None:
    later = [
        each for each in of_run(6) if each.dagster_event_type in {Kind.ASSET_OBSERVATION, Kind.ASSET_MATERIALIZATION}
    ]
    for event in [*of_run(12), *later]:
        log.store_event(event)
    log.wipe_asset(dg.AssetKey(["shop", "public", "table_3"]))
    sources = [dg.AssetKey(["shop", "public", f"table_{number}"]) for number in (*range(12), 99)]
    tables = [dg.AssetKey(["shop", f"table_{number}"]) for number in (*range(12), 99)]
    log.store_event(entry(Kind.STEP_START, number=20_000))
    assert len(log.get_asset_records([*sources[:6], *tables])) > 12
    log.get_asset_records(sources[6:])
    with queries(log) as asked:
        observed = [log.fetch_observations(key, 1) for key in sources]
        tags = [tags_of(log, key) for key in tables]
    assert len([each for each in asked if "unnest" in each]) == 2
    assert len(asked) < 12
    plain = PostgresEventLogStorage(urls[0])
    assert observed == [plain.fetch_observations(key, 1) for key in sources]
    assert tags == [tags_of(plain, key) for key in tables]
    plain._engine.dispose()
    assert (sum(map(bool, tags)), sum(bool(each.records) for each in observed)) == (12, 11)
    log.store_event(entry(Kind.RUN_START, number=20_001))
    with queries(log) as asked:
        log.fetch_observations(sources[0], 1)
    assert not [each for each in asked if "unnest" in each], "nothing is remembered beyond the step's beginning"
