"""A plan as the ledger keeps it: read again, to be shown, and to be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.restore import RestorePlan


def kept_plan(document: Mapping[str, Any]) -> RestorePlan:
    """The plan that `RestorePlan.as_json` wrote, without the DDL itself: its digest is the one in `document`.

    UsageError when another version wrote it, and it can not be read.
    """
    steps = {"left_out": document.get("left_out", ())}
    try:
        return _plans().validate_python({**document, "steps": steps})
    except ValidationError as error:
        message = f"The plan was written by another version, and can not be read: {error.error_count()} fields differ."
        raise UsageError(message, do="Make the plan again.") from error


@cache
def _plans() -> TypeAdapter[RestorePlan]:
    """Made when the first plan is read: that takes some milliseconds."""
    return TypeAdapter(RestorePlan)
