"""Lists of backups out of the ledger: pages by key, totals in one query; what a page does not show is not read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import Connection, Select, Text, case, cast, func, literal_column, or_, select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on

from backup_pipeline.core.ledger import GOOD, Attempt, Owner, Status
from backup_pipeline.core.listing import BackupFilter, BackupPage, BackupTotals, Position, position_of
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.scope import Scope, parse_actor
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline.ledger.tables import attempt_of, backup_logs, is_of, utc

_ROW = backup_logs.c
_BUNDLES = [kind for kind in Kind if kind.bundled]
_OF_DAYS = (
    _ROW.backup_id, _ROW.kind, _ROW.type, _ROW.status, _ROW.partition_date, _ROW.created_at, _ROW.started_at,
    _ROW.finished_at, _ROW.due_at, _ROW.actor, _ROW.late, _ROW.run_id, _ROW.owner_host, _ROW.owner_pid,
    _ROW.owner_started, cast(_ROW.table_counts, Text).label("counts"), _ROW.verification_level,
    _ROW.verification_passed, _ROW.verified_at,
)  # fmt: skip
_KEPT = 4096
"""Rows of days: a year of some catalogs, or a month of one with a backup an hour; some kilobytes each."""
_SEARCHED = (_ROW.backup_id, _ROW.file_name, _ROW.actor, _ROW.reason, _ROW.error_message)


class SqlListings:
    """The port `Listings` over `backup_logs`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def page(self, wanted: BackupFilter, *, after: Position | None = None, limit: int = 50) -> BackupPage:
        """At most `limit` rows, newest first, that come after a position."""
        query = _filtered(wanted)
        if after is not None:
            query = query.where(tuple_(_ROW.created_at, _ROW.backup_id) < tuple_(after.created_at, after.backup_id))
        query = query.order_by(_ROW.created_at.desc(), _ROW.backup_id.desc()).limit(limit + 1)
        with self._transaction() as connection:
            rows = [attempt_of(row) for row in connection.execute(query).mappings().all()]
        on_page = tuple(rows[:limit])
        return BackupPage(on_page, position_of(on_page[-1]) if len(rows) > limit else None)

    def totals(self, catalog: str | None = None) -> BackupTotals:
        """What there is, in one query."""
        query = select(
            _ROW.type,
            func.count().label("backups"),
            func.coalesce(func.sum(_ROW.record_count), 0).label("rows"),
            func.coalesce(func.sum(_ROW.file_size_bytes), 0).label("bytes"),
        ).where(_ROW.status.in_(sorted(GOOD)), _ROW.kind.in_(_BUNDLES))
        if catalog is not None:
            query = query.where(_ROW.catalog == catalog)
        with self._transaction() as connection:
            rows = connection.execute(query.group_by(_ROW.type)).mappings().all()
        return BackupTotals(
            backups=sum(row["backups"] for row in rows),
            rows=int(sum(row["rows"] for row in rows)),
            bytes=int(sum(row["bytes"] for row in rows)),
            by_type={Trigger(row["type"]): row["backups"] for row in rows},
        )

    def first(self, catalog: str) -> datetime | None:
        """When the oldest row of a catalog was created, what is only expected aside."""
        query = select(func.min(_ROW.created_at)).where(_ROW.catalog == catalog, _ROW.status != Status.EXPECTED)
        with self._transaction() as connection:
            first: datetime | None = utc(connection.execute(query).scalar_one_or_none())
        return first

    def days(self, catalog: str, at: datetime) -> Sequence[Attempt]:
        """The rows that were created, or due, at `at` or later, newest first, without what no calendar looks at."""
        scope = Scope(catalog)
        query = (
            select(*_OF_DAYS, case((_ROW.table_counts == {}, cast(_ROW.tables_wanted, Text))).label("wanted"))
            .where(is_of(backup_logs, scope), or_(_ROW.created_at >= at, _ROW.due_at >= at))
            .order_by(_ROW.created_at.desc(), _ROW.backup_id.desc())
        )
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        return [_slim(row, scope) for row in map(_DaysRow._make, rows)]

    def rehearsed(self) -> Mapping[str, Attempt]:
        """Of each catalog the backup that a drill has restored last."""
        query = (
            select(backup_logs)
            .where(_ROW.verification_level >= Level.RESTORED.value, _ROW.verification_passed)
            .ext(distinct_on(_ROW.catalog))
            .order_by(_ROW.catalog, _ROW.verified_at.desc())
        )
        with self._transaction() as connection:
            return {row["catalog"]: attempt_of(row) for row in connection.execute(query).mappings()}

    def version(self, catalog: str) -> str:
        """Of the rows that are seen: how many, and a sum of where each version of them lies and who wrote it."""
        place = literal_column("ctid::text || ' ' || xmin::text", Text)
        query = select(func.count(), func.sum(func.hashtextextended(place, 0))).select_from(backup_logs)
        with self._transaction() as connection:
            count, places = connection.execute(query.where(_ROW.catalog == catalog)).one()
        return f"{count} {places}"

    def held(self) -> Sequence[Attempt]:
        """The good backups with a hold, newest first."""
        query = select(backup_logs).where(_ROW.held_actor.is_not(None), _ROW.status.in_(sorted(GOOD)))
        query = query.order_by(_ROW.created_at.desc(), _ROW.backup_id.desc())
        with self._transaction() as connection:
            return [attempt_of(row) for row in connection.execute(query).mappings().all()]


class _DaysRow(NamedTuple):
    """A row of `_OF_DAYS` as it was read; JSON is text."""

    backup_id: str
    kind: str
    type: str
    status: str
    partition_date: date
    created_at: datetime
    started_at: datetime
    finished_at: datetime | None
    due_at: datetime | None
    actor: str
    late: bool
    run_id: str | None
    owner_host: str | None
    owner_pid: int
    owner_started: float
    counts: str
    verification_level: int | None
    verification_passed: bool
    verified_at: datetime | None
    wanted: str | None


@lru_cache(maxsize=_KEPT)
def _slim(row: _DaysRow, scope: Scope) -> Attempt:
    """The attempt of a row: the same for the same values, which a page reads again and again."""
    verified = row.verified_at
    level = None if row.verification_level is None else Level(row.verification_level)
    return Attempt(
        backup_id=row.backup_id,
        scope=scope,
        kind=Kind(row.kind),
        type=Trigger(row.type),
        status=Status(row.status),
        partition_date=row.partition_date,
        created_at=row.created_at.astimezone(UTC),
        started_at=row.started_at.astimezone(UTC),
        actor=parse_actor(row.actor),
        late=row.late,
        run_id=row.run_id,
        owner=Owner(row.owner_host, row.owner_pid, row.owner_started) if row.owner_host else None,
        tables_wanted=tuple(json.loads(row.wanted or "[]")),
        finished_at=utc(row.finished_at),
        table_counts=json.loads(row.counts),
        verification=Verification(level, utc(verified), passed=row.verification_passed) if verified else None,
        due_at=utc(row.due_at),
    )


def _filtered(wanted: BackupFilter) -> Select[*tuple[object, ...]]:
    query = select(backup_logs).where(_ROW.status.in_(list(wanted.statuses)))
    if wanted.catalog is not None:
        query = query.where(_ROW.catalog == wanted.catalog)
    if wanted.type is not None:
        query = query.where(_ROW.type == wanted.type)
    if wanted.kind is not None:
        query = query.where(_ROW.kind == wanted.kind)
    elif not wanted.text:  # thousands a day: nobody would find anything else
        query = query.where(_ROW.kind != Kind.INCREMENTAL)
    if wanted.since is not None:
        query = query.where(_ROW.created_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(_ROW.created_at < wanted.until)
    if wanted.text:
        # A text that PostgreSQL can not hold is in no row.
        text = wanted.text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
        query = query.where(or_(*(column.icontains(text, autoescape=True) for column in _SEARCHED)))
    return query
