"""What the API answers with: documents, each made of a value of `core`. Times are UTC, sizes are bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field

from backup_pipeline.core.errors import parse_advice
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.runs import RunRequest

_DATE = re.compile(r"\d{4}-\d\d-\d\d[T ]")


def _checked_text(value: object) -> object:
    """A time comes as text that begins with its day: a bare number could be seconds of anything."""
    if isinstance(value, str) and not _DATE.match(value):
        message = "a time such as 2026-01-31T18:00:00Z"
        raise ValueError(message)
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(_checked_text)]
"""A time in an address, with its distance from UTC."""
LARGEST = 2**31 - 1
"""The largest number of a restore request."""

_OUTCOMES = {Status.SUCCESS: "success", Status.SUCCESS_WITH_WARNINGS: "success"}
_OUTCOMES |= {Status.FAILED: "failed", Status.MISSED: "failed", Status.CANCELED: "failed"}


class ListPage(BaseModel):
    """A list's place: `next` is the value of `after` for the rest."""

    next: str | None = Field(description="The value of `after` for what comes next; null at the end.")


class BackupDocument(BaseModel):
    """A backup, or a try to make one. `outcome` is `success` or `failed`, null before it ended and after it went."""

    backup_id: str
    catalog: str
    business: str | None
    status: str
    outcome: str | None
    kind: str
    type: str
    created_by: str
    reason: str
    partition_date: date
    created_at: datetime
    finished_at: datetime | None
    snapshot_at: datetime | None
    file_name: str | None
    file_path: str | None
    file_size_bytes: int | None
    record_count: int | None
    tables: int
    sha256: str | None
    verified_at: datetime | None
    verification_level: int | None
    verification_passed: bool | None
    held: bool
    expires_at: datetime | None
    error_message: str | None
    warnings: list[str]

    @classmethod
    def of(cls, row: Attempt, now: datetime) -> Self:
        """The document of a row of the ledger, seen `now`."""
        verification = row.verification
        level = verification.level if verification else None
        return cls(
            backup_id=row.backup_id,
            catalog=row.scope.catalog,
            business=row.scope.business,
            status=row.status.value,
            outcome=_OUTCOMES.get(row.status),
            kind=row.kind.value,
            type=row.type.value,
            created_by=str(row.actor),
            reason=row.reason,
            partition_date=row.partition_date,
            created_at=row.created_at,
            finished_at=row.finished_at,
            snapshot_at=row.snapshot_at,
            file_name=row.file_name,
            file_path=row.file_path,
            file_size_bytes=row.file_size_bytes,
            record_count=row.record_count,
            tables=len(row.table_counts),
            sha256=row.sha256,
            verified_at=verification.at if verification else None,
            verification_level=int(level) if level is not None else None,
            verification_passed=verification.passed if verification else None,
            held=row.hold is not None and row.hold.lasts(now),
            expires_at=row.expires_at,
            error_message=row.error_message,
            warnings=list(row.warnings),
        )


class BackupsPage(ListPage):
    """Some backups, newest first."""

    backups: list[BackupDocument]


class TableDocument(BaseModel):
    """A table of a backup."""

    name: str
    rows: int
    bytes: int | None


class TablesDocument(BaseModel):
    """The tables of a backup, by name."""

    backup_id: str
    tables: list[TableDocument]

    @classmethod
    def of(cls, row: Attempt) -> Self:
        """The tables as they were counted."""
        tables = [
            TableDocument(name=name, rows=rows, bytes=row.table_bytes.get(name))
            for name, rows in sorted(row.table_counts.items())
        ]
        return cls(backup_id=row.backup_id, tables=tables)


class WorkDocument(BaseModel):
    """Something long that was asked for: where it stands, and what came of it. `status_url` answers with the same.

    `status` is requested, launched, running, done, failed, canceled or refused; `over` says whether it will change.
    """

    request_id: UUID
    verb: str
    status: str
    over: bool
    catalog: str
    business: str | None
    asked_by: str
    reason: str
    created_at: datetime
    finished_at: datetime | None
    run_id: str | None
    backup_id: str | None
    restore_request: int | None
    error: str | None
    do: str | None
    status_url: str

    @classmethod
    def of(cls, row: RunRequest, backup: Attempt | None = None) -> Self:
        """The document of a run request, with the backup that its run made, where it has made one."""
        what, do = parse_advice(row.error_message or "")
        result: Mapping[str, Any] = row.result or {}
        about = str(row.detail.get("backup_id") or "") or None
        number = row.detail.get("request") or result.get("restore_request")
        return cls(
            request_id=row.id,
            verb=row.verb.value,
            status=row.status.value,
            over=row.status.over,
            catalog=row.scope.catalog,
            business=row.scope.business,
            asked_by=str(row.actor),
            reason=row.reason,
            created_at=row.created_at,
            finished_at=row.finished_at,
            run_id=row.run_id,
            backup_id=backup.backup_id if backup else about,
            restore_request=int(str(number)) if number else None,
            error=what or None,
            do=do or (row.command if row.status.over and what else None),
            status_url=status_url(row.id),
        )


def status_url(request_id: UUID) -> str:
    """Where it can be asked what became of a run request."""
    return f"/api/v1/requests/{request_id}"
