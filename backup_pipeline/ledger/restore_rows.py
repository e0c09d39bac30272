"""Between the values of `core.restore_requests` and the rows of `restore_requests`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import RowMapping

from backup_pipeline.core.restore_requests import RestoreRow, RestoreStatus
from backup_pipeline.ledger.rows import owner_columns, owner_of, storable, utc

_SAME_NAME = tuple(field.name for field in fields(RestoreRow) if field.name != "owner")


def restore_columns(row: RestoreRow) -> dict[str, Any]:
    """The columns of `row`, but for its number, which the database gives."""
    return {name: storable(getattr(row, name)) for name in _SAME_NAME if name != "id"} | owner_columns(row.owner)


def restore_of(found: RowMapping) -> RestoreRow:
    """The request that a row of `restore_requests` holds, its times in UTC."""
    values = {name: utc(found[name]) for name in _SAME_NAME}
    values |= {"status": RestoreStatus(found["status"]), "tables": tuple(found["tables"]), "owner": owner_of(found)}
    return RestoreRow(**values)
