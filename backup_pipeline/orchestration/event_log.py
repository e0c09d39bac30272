"""Dagster's event log, made smaller: what old runs need no more is removed, what assets' history is made of stays.

Dagster has no such thing itself: `delete_run` takes the materializations along. This goes through its own tables, which
are private: its version is pinned, and tests run it on both storages.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.events import EVENT_TYPE_TO_PIPELINE_RUN_STATUS, FAILURE_EVENTS
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from backup_pipeline.core.errors import BackupError

_PAGE = 200
_BUSY_S = 30.0
_EVENTS = SqlEventLogStorageTable.c
_HISTORY = {
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_OBSERVATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.FRESHNESS_STATE_CHANGE,
}
_KEPT = frozenset(kind.value for kind in {*_HISTORY, *EVENT_TYPE_TO_PIPELINE_RUN_STATUS, *FAILURE_EVENTS})
_PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value
"""Only a run that did not go well needs it: by it the UI knows that a partition failed."""


@dataclass(frozen=True)
class OldRun:
    """A run that ended before the date, and what of it can go: so many events, of so many bytes."""

    run_id: str
    job: str
    ended_at: datetime
    went_well: bool
    events: int
    bytes: int


def old_runs(instance: dg.DagsterInstance, before: datetime) -> Iterator[OldRun]:
    """The finished runs that ended before `before` and still have something to remove, oldest first."""
    storage = _storage(instance)
    filters = dg.RunsFilter(statuses=FINISHED_STATUSES, created_before=before)
    cursor: str | None = None
    while records := instance.get_run_records(filters, limit=_PAGE, ascending=True, cursor=cursor):
        cursor = records[-1].dagster_run.run_id
        for record in records:
            ended, run = _ended_at(record), record.dagster_run
            if ended < before:
                events, size = _counted(storage, run.run_id, went_well=run.is_success)
                if events:
                    yield OldRun(run.run_id, run.job_name, ended, run.is_success, events, size)


def remove_events(instance: dg.DagsterInstance, run: OldRun) -> int:
    """Remove what the run needs no more, its compute logs too; how many events that were. Safe to repeat."""
    storage = _storage(instance)
    instance.compute_log_manager.delete_logs(prefix=[run.run_id])
    removed = 0
    for place in _places(storage, run.run_id):
        with place as connection:
            gone = sa.delete(SqlEventLogStorageTable).where(_removable(run.run_id, went_well=run.went_well))
            removed += connection.execute(gone).rowcount
    if isinstance(storage, SqliteEventLogStorage):
        _shrink(Path(storage.path_for_shard(run.run_id)))
    return removed


def _ended_at(record: dg.RunRecord) -> datetime:
    at = record.end_time
    return datetime.fromtimestamp(at, UTC) if at is not None else record.update_timestamp.replace(tzinfo=UTC)


def _storage(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        message = f"The event log is in a {type(storage).__name__}, which is no SQL database."
        raise BackupError(message, do="Use PostgreSQL (DAGSTER_PG_URL) or SQLite for Dagster's storage.")
    return storage


def _counted(storage: SqlEventLogStorage, run_id: str, *, went_well: bool) -> tuple[int, int]:
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(sa.func.length(_EVENTS.event)), 0))
    events = size = 0
    for place in _places(storage, run_id):
        with place as connection:
            found = connection.execute(query.where(_removable(run_id, went_well=went_well))).one()
            events, size = events + found[0], size + found[1]
    return events, size


def _places(storage: SqlEventLogStorage, run_id: str) -> Sequence[Any]:
    """Where events of the run are: SQLite has a file a run, and an index over all of them."""
    if not isinstance(storage, SqliteEventLogStorage):
        return [storage.index_connection()]
    own = Path(storage.path_for_shard(run_id)).is_file()  # else connecting would make it
    return [storage.run_connection(run_id), storage.index_connection()] if own else [storage.index_connection()]


def _removable(run_id: str, *, went_well: bool) -> sa.ColumnElement[bool]:
    kept = _KEPT if went_well else _KEPT | {_PLANNED}
    kind = _EVENTS.dagster_event_type
    return sa.and_(_EVENTS.run_id == run_id, sa.or_(kind.is_(None), kind.not_in(sorted(kept))))


def _shrink(file: Path) -> None:
    """Give the room in a SQLite file back to the disk."""
    if file.is_file():
        with closing(sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def shrunk_index(instance: dg.DagsterInstance) -> Iterator[None]:
    """Give the room in SQLite's index back once the context has ended well; PostgreSQL uses it again by itself."""
    yield
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        _shrink(Path(storage.path_for_shard("index")))
