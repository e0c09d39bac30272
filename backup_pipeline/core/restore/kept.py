"""A plan and a report as the ledger keeps them: read again, to be shown, and to be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.restore import RestorePlan, RestoreReport
from backup_pipeline.core.restore.businesses import BusinessPlan, BusinessReport


def kept_plan(document: Mapping[str, Any]) -> RestorePlan | BusinessPlan:
    """The plan that its `as_json` wrote, without the DDL itself: its digest is the one in `document`.

    UsageError when another version wrote it, and it can not be read.
    """
    steps = {"left_out": document.get("left_out", ())}
    try:
        if "diff" in document:
            return _business_plans().validate_python(document)
        return _plans().validate_python({**document, "steps": steps})
    except ValidationError as error:
        message = f"The plan was written by another version, and can not be read: {error.error_count()} fields differ."
        raise UsageError(message, do="Make the plan again.") from error


@cache
def _plans() -> TypeAdapter[RestorePlan]:
    """Made when the first plan is read: that takes some milliseconds."""
    return TypeAdapter(RestorePlan)


@cache
def _business_plans() -> TypeAdapter[BusinessPlan]:
    return TypeAdapter(BusinessPlan)


def kept_report(document: Mapping[str, Any]) -> RestoreReport | BusinessReport:
    """The report that its `as_json` wrote; UsageError when another version wrote it."""
    try:
        if "business" in document:
            return TypeAdapter(BusinessReport).validate_python(dict(document))
        return _reports().validate_python(dict(document))
    except ValidationError as error:
        message = f"The report was written by another version: {error.error_count()} fields differ."
        raise UsageError(message, do="`backup-pipeline restores show` prints what can be read of it.") from error


@cache
def _reports() -> TypeAdapter[RestoreReport]:
    return TypeAdapter(RestoreReport)
