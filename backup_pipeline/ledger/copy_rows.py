"""Between the values of `core.copies` and the rows of `backup_copies`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import RowMapping

from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.ledger.rows import owner_columns, owner_of, storable, utc

_SAME_NAME = tuple(field.name for field in fields(Copy) if field.name != "owner")


def copy_columns(copy: Copy) -> dict[str, Any]:
    """The columns of `copy`."""
    return {name: storable(getattr(copy, name)) for name in _SAME_NAME} | owner_columns(copy.owner)


def copy_of(found: RowMapping) -> Copy:
    """The copy that a row of `backup_copies` holds, its times in UTC."""
    values = {name: utc(found[name]) for name in _SAME_NAME}
    return Copy(**(values | {"status": CopyStatus(found["status"]), "owner": owner_of(found)}))
