"""Dagster's event log in PostgreSQL, written many events at a time: one transaction for what a run says of its tables.

Dagster stores each event in one to four transactions of its own, which for many small tables is nearly all of a
backup's work (decision 70). Here what tells of an asset or a check waits for the next, for a second at most; whatever
begins, ends or fails, and each line of a log, is stored at once with all that waits before it. Nobody is shown what is
not stored: whoever reads through this storage stores first, and other processes read the database.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from threading import RLock, Timer
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster_postgres import PostgresEventLogStorage
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.exc import InterfaceError, OperationalError

from backup_pipeline.orchestration.internals import (
    ASSET_EVENTS,
    ASSET_KEY_INDEX_COLS,
    AssetCheckExecutionRecordStatus,
    AssetCheckExecutionsTable,
    AssetKeyTable,
    SqlEventLogStorageTable,
)

MOST_WAITING = 200
"""Events that wait for each other at most."""
LONGEST_WAIT_S = 1.0
"""How long the first of them waits at most: what Dagster's UI shows is as old as that."""

_Kind = dg.DagsterEventType
_WAITING = {
    _Kind.ASSET_MATERIALIZATION_PLANNED,
    _Kind.ASSET_CHECK_EVALUATION_PLANNED,
    _Kind.ASSET_MATERIALIZATION,
    _Kind.ASSET_OBSERVATION,
    _Kind.ASSET_CHECK_EVALUATION,
    _Kind.STEP_INPUT,
    _Kind.STEP_OUTPUT,
    _Kind.LOADED_INPUT,
    _Kind.HANDLED_OUTPUT,
}
"""What may wait: a run has as many of them as it has assets. All else is a run's or a step's own, and comes seldom."""
_AWAY = (OperationalError, InterfaceError)
"""The database does not answer: every event would fail, and none is to blame."""

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
Stored = tuple[dg.EventLogEntry, Row, int]
"""An event, its row, and the row's number."""


class BatchedEventLog(PostgresEventLogStorage):
    """Dagster's event log storage, whose events of assets and checks are stored many at a time, in their order."""

    def __init__(self, postgres_url: str) -> None:
        """As Dagster's own; the tables are made where they are missing."""
        self._waiting: list[dg.EventLogEntry] = []
        self._guard = RLock()
        self._timer: Timer | None = None
        self._tables: set[str] = set()
        super().__init__(postgres_url)

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store it, or let it wait for others. An error is raised by whoever stores, and what waits goes on waiting."""
        with self._guard:
            if _may_wait(event):
                self._waiting.append(event)
                if len(self._waiting) >= MOST_WAITING:
                    self.flush()
                elif self._timer is None:
                    self._timer = Timer(LONGEST_WAIT_S, self._flush_late)
                    self._timer.daemon = True
                    self._timer.start()
            else:
                self.flush()
                super().store_event(event)

    def flush(self) -> None:
        """Store what waits, in one transaction; events that can not be stored together are stored one by one."""
        with self._guard:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            events, self._waiting = self._waiting, []
            if not events:
                return
            try:
                self._store(events)
            except Exception as error:
                if isinstance(error, _AWAY):
                    self._waiting = events
                    raise
                self._store_each(events)
            except BaseException:  # Ctrl-C in the middle of it
                self._waiting = events
                raise

    def dispose(self) -> None:
        """Store what waits, and let go."""
        self.flush()
        super().dispose()

    def has_table(self, table_name: str) -> bool:
        """Whether there is such a table; asked of the database until there is."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _connect(self) -> AbstractContextManager[sa.Connection]:
        """Every way to read begins here."""
        self.flush()
        return super()._connect()

    def _store_each(self, events: Sequence[dg.EventLogEntry]) -> None:
        """One by one: the others are stored, whatever is wrong with one of them, and that is raised."""
        logger.warning("%d events of Dagster can not be stored together, but one by one.", len(events), exc_info=True)
        errors: list[Exception] = []
        for event in events:
            try:
                super().store_event(event)
            except Exception as error:  # noqa: BLE001  # raised below
                errors.append(error)
        if errors:
            raise errors[0]

    def _flush_late(self) -> None:
        try:
            self.flush()
        except Exception:  # whoever stores or reads next has the error: here nobody would hear of it
            logger.debug("Events of Dagster wait longer: they can not be stored now.", exc_info=True)

    def _store(self, events: Sequence[dg.EventLogEntry]) -> None:
        rows = [self._event_to_row(event) for event in events]
        statement = SqlEventLogStorageTable.insert().returning(
            SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
        )
        with self.index_transaction() as session:
            numbers = session.execute(statement, rows).scalars()
            stored = list(zip(events, rows, numbers, strict=True))
            of_assets = [each for each in stored if _kind(each[0]) in ASSET_EVENTS]
            if of_assets:
                self._store_asset_event_tags(
                    session, [event for event, _, _ in of_assets], [n for _, _, n in of_assets]
                )
                self._store_assets(session, of_assets)
            _store_planned_checks(session, stored)
            _store_checks(session, stored)

    def _store_assets(self, session: sa.Connection, stored: Sequence[Stored]) -> None:
        """The row of each asset: what the newest of its events says of it, in each column."""
        indexed = self.has_secondary_index(ASSET_KEY_INDEX_COLS)
        known: dict[str, dict[str, Any]] = {}
        for event, row, number in stored:
            known.setdefault(row["asset_key"], {}).update(self._get_asset_entry_values(event, number, indexed))
        alike: dict[tuple[str, ...], list[Row]] = {}
        for key, values in known.items():
            alike.setdefault(tuple(values), []).append({"asset_key": key, **values})
        for names, rows in sorted(alike.items()):
            new = insert(AssetKeyTable)
            changes = {name: new.excluded[name] for name in names}
            session.execute(
                new.on_conflict_do_update(index_elements=[AssetKeyTable.c.asset_key], set_=changes)
                if changes
                else new.on_conflict_do_nothing(),
                sorted(
                    rows, key=lambda row: row["asset_key"]
                ),  # two that write the same assets must not wait crosswise
            )


def _kind(event: dg.EventLogEntry) -> dg.DagsterEventType | None:
    return event.dagster_event.event_type if event.dagster_event is not None else None


def _may_wait(event: dg.EventLogEntry) -> bool:
    """Not what is reported without a run: whoever reports it ends at once."""
    return bool(event.run_id) and _kind(event) in _WAITING


def _specific(event: dg.EventLogEntry) -> Any:
    return event.dagster_event.event_specific_data if event.dagster_event is not None else None


def _store_planned_checks(session: sa.Connection, stored: Sequence[Stored]) -> None:
    """A row for each check and partition that a run is to make."""
    rows = [
        {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "partition": partition,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": row["event"],
            "evaluation_event_timestamp": row["timestamp"],
            "evaluation_event_storage_id": number,
        }
        for event, row, number in stored
        if _kind(event) is _Kind.ASSET_CHECK_EVALUATION_PLANNED
        for planned in [_specific(event)]
        for partition in (planned.partitions_subset.get_partition_keys() if planned.partitions_subset else [None])
    ]
    if rows:
        session.execute(AssetCheckExecutionsTable.insert(), rows)


_COLUMNS = {
    "asset_key": sa.Text,
    "check_name": sa.Text,
    "run_id": sa.Text,
    "partition": sa.Text,
    "execution_status": sa.Text,
    "evaluation_event": sa.Text,
    "evaluation_event_timestamp": sa.TIMESTAMP,
    "evaluation_event_storage_id": sa.BigInteger,
    "materialization_event_storage_id": sa.BigInteger,
}
_KEY = ("asset_key", "check_name", "run_id", "partition")
_NEW = sa.func.unnest(*(sa.cast(sa.bindparam(f"given_{name}"), ARRAY(kind)) for name, kind in _COLUMNS.items()))
_GIVEN = _NEW.table_valued(*_COLUMNS).render_derived(name="given")
_UPDATE = (
    AssetCheckExecutionsTable.update()
    .values({name: _GIVEN.c[name] for name in _COLUMNS if name not in _KEY})
    .where(AssetCheckExecutionsTable.c.partition.is_not_distinct_from(_GIVEN.c.partition))
    .where(*(AssetCheckExecutionsTable.c[name] == _GIVEN.c[name] for name in _KEY[:3]))
    .returning(*(AssetCheckExecutionsTable.c[name] for name in _KEY))
)


def _store_checks(session: sa.Connection, stored: Sequence[Stored]) -> None:
    """How each check came out, in the row that planned it; a row of its own where none did."""
    rows = {tuple(row[name] for name in _KEY): row for row in _evaluations(stored)}
    if not rows:
        return
    given = {f"given_{name}": [row[name] for row in rows.values()] for name in _COLUMNS}
    planned = {tuple(key) for key in session.execute(_UPDATE, given)}
    new = [row for key, row in rows.items() if key not in planned]
    if new:
        session.execute(AssetCheckExecutionsTable.insert(), new)


def _evaluations(stored: Sequence[Stored]) -> Iterator[Row]:
    for event, row, number in stored:
        if _kind(event) is not _Kind.ASSET_CHECK_EVALUATION:
            continue
        evaluation: dg.AssetCheckEvaluation = _specific(event)
        passed = (
            AssetCheckExecutionRecordStatus.SUCCEEDED if evaluation.passed else AssetCheckExecutionRecordStatus.FAILED
        )
        target = evaluation.target_materialization_data
        yield {
            "asset_key": evaluation.asset_key.to_string(),
            "check_name": evaluation.check_name,
            "run_id": event.run_id,
            "partition": evaluation.partition,
            "execution_status": passed.value,
            "evaluation_event": row["event"],
            "evaluation_event_timestamp": row["timestamp"],
            "evaluation_event_storage_id": number,
            "materialization_event_storage_id": target.storage_id if target else None,
        }
