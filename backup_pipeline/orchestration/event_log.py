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
    AssetEventTagsTable,
    AssetKeyTable,
    AssetRecord,
    EventLogCursor,
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
_Wanted = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Which tags are wanted: a type of events, the tags' names, partitions."""


class BatchedEventLog(PostgresEventLogStorage):
    """Dagster's event log storage, whose events of assets and checks are stored many at a time, in their order."""

    def __init__(self, postgres_url: str) -> None:
        """As Dagster's own; the tables are made where they are missing."""
        self._waiting: list[dg.EventLogEntry] = []
        self._guard = RLock()
        self._timer: Timer | None = None
        self._tables: set[str] = set()
        self._inputs: _Inputs | None = None
        super().__init__(postgres_url)

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store it, or let it wait for others. An error is raised by whoever stores, and what waits goes on waiting."""
        with self._guard:
            self._inputs = _Inputs() if _kind(event) is _Kind.STEP_START else None
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

    def get_asset_records(self, asset_keys: Sequence[dg.AssetKey] | None = None) -> Sequence[AssetRecord]:
        """As Dagster's own; what a step asks for as it begins are its inputs."""
        with self._guard:
            if self._inputs is not None:
                self._inputs.keys.update(key.to_string() for key in asset_keys or ())
        return super().get_asset_records(asset_keys)

    def fetch_observations(
        self,
        records_filter: dg.AssetKey | dg.AssetRecordsFilter,
        limit: int,
        cursor: str | None = None,
        ascending: bool = False,  # noqa: FBT001, FBT002  as Dagster calls it
    ) -> dg.EventRecordsResult:
        """As Dagster's own; the newest observation of a step's input is looked up with those of the others."""
        newest = limit == 1 and cursor is None and not ascending
        with self._guard:
            if newest and isinstance(records_filter, dg.AssetKey) and (inputs := self._of(records_filter)):
                return inputs.observation(records_filter, self)
        return super().fetch_observations(records_filter, limit, cursor, ascending)

    def get_latest_tags_by_partition(
        self,
        asset_key: dg.AssetKey,
        event_type: dg.DagsterEventType,
        tag_keys: Sequence[str],
        asset_partitions: Sequence[str] | None = None,
        before_cursor: int | None = None,
        after_cursor: int | None = None,
    ) -> Mapping[str, Mapping[str, str]]:
        """As Dagster's own; the tags of a step's input are looked up with those of the others."""
        with self._guard:
            now = asset_partitions is not None and before_cursor is None and after_cursor is None
            if now and asset_partitions and (inputs := self._of(asset_key)):
                wanted = event_type.value, tuple(tag_keys), tuple(asset_partitions)
                return inputs.tags(asset_key, wanted, self)
        return super().get_latest_tags_by_partition(
            asset_key, event_type, tag_keys, asset_partitions, before_cursor, after_cursor
        )

    def _of(self, key: dg.AssetKey) -> _Inputs | None:
        """The inputs of the step that begins now, if the asset is one of them and Dagster has nothing to hide of it."""
        inputs = self._inputs
        if inputs is None or key.to_string() not in inputs.keys:
            return None
        if inputs.wiped is None:
            keys = [dg.AssetKey.from_db_string(each) for each in sorted(inputs.keys)]
            known = [each for each in keys if each is not None]
            details = zip(known, self._get_assets_details(known), strict=True)
            inputs.wiped = {each.to_string() for each, detail in details if detail and detail.last_wipe_timestamp}
        return None if key.to_string() in inputs.wiped else inputs

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


_EVENTS = SqlEventLogStorageTable.c
_GIVEN_KEYS = sa.func.unnest(sa.cast(sa.bindparam("given_keys"), ARRAY(sa.Text)))
_WANTED = _GIVEN_KEYS.table_valued("asset_key").render_derived(name="wanted")
_GIVEN_PARTITIONS = sa.func.unnest(sa.cast(sa.bindparam("given_partitions"), ARRAY(sa.Text)))
_PARTITIONS = _GIVEN_PARTITIONS.table_valued("partition").render_derived(name="given")


def _newest(*more: sa.ColumnElement[bool]) -> sa.FromClause:
    """The newest event of a kind of each asset: one look into an index for each, however many there were."""
    newest = sa.select(_EVENTS.id, _EVENTS.event).where(
        _EVENTS.asset_key == _WANTED.c.asset_key, _EVENTS.dagster_event_type == sa.bindparam("given_type"), *more
    )
    return newest.order_by(_EVENTS.id.desc()).limit(1).lateral("newest")


_OBSERVED = _newest()
_OBSERVATIONS = sa.select(_WANTED.c.asset_key, _OBSERVED.c.id, _OBSERVED.c.event).select_from(
    _WANTED.join(_OBSERVED, sa.true())
)
_MADE = _newest(_EVENTS.partition == _PARTITIONS.c.partition)
_TAGS = (
    sa.select(_WANTED.c.asset_key, _PARTITIONS.c.partition, AssetEventTagsTable.c.key, AssetEventTagsTable.c.value)
    .select_from(
        _WANTED.join(_PARTITIONS, sa.true())
        .join(_MADE, sa.true())
        .join(AssetEventTagsTable, AssetEventTagsTable.c.event_id == _MADE.c.id)
    )
    .where(AssetEventTagsTable.c.key == sa.any_(sa.cast(sa.bindparam("given_tags"), ARRAY(sa.Text))))
)


class _Inputs:
    """What Dagster looks up of each input of a step as the step begins, four queries for each: here two for all.

    It lasts until the step's next event, so that no answer is older than the step.
    """

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.wiped: set[str] | None = None
        self._observed: dict[str, dg.EventLogRecord] | None = None
        self._tags: dict[_Wanted, dict[str, dict[str, dict[str, str]]]] = {}

    def observation(self, key: dg.AssetKey, log: BatchedEventLog) -> dg.EventRecordsResult:
        """The newest observation, as `fetch_observations` gives it."""
        if self._observed is None:
            given = {"given_keys": sorted(self.keys), "given_type": _Kind.ASSET_OBSERVATION.value}
            with log.index_connection() as session:
                rows = session.execute(_OBSERVATIONS, given).fetchall()
            self._observed = {
                asset: dg.EventLogRecord(
                    storage_id=number, event_log_entry=dg.deserialize_value(event, dg.EventLogEntry)
                )
                for asset, number, event in rows
            }
        record = self._observed.get(key.to_string())
        cursor = EventLogCursor.from_storage_id(record.storage_id if record else -1).to_string()
        return dg.EventRecordsResult([record] if record else [], cursor=cursor, has_more=record is not None)

    def tags(self, key: dg.AssetKey, wanted: _Wanted, log: BatchedEventLog) -> Mapping[str, Mapping[str, str]]:
        """The tags of the newest event of each partition, as `get_latest_tags_by_partition` gives them."""
        if wanted not in self._tags:
            of_type, names, partitions = wanted
            given = {
                "given_keys": sorted(self.keys),
                "given_type": of_type,
                "given_tags": list(names),
                "given_partitions": list(partitions),
            }
            tags = self._tags[wanted] = {}
            with log.index_connection() as session:
                for asset, partition, name, value in session.execute(_TAGS, given):
                    tags.setdefault(asset, {}).setdefault(partition, {})[name] = value
        return self._tags[wanted].get(key.to_string(), {})


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
