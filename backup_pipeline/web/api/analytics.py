"""Analytics for programs: as the console shows them, with when they were counted.

GET /functions/v1/analytics?type=overview|business|revenue|growth&business_id=…  · /api/v1/analytics
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from backup_pipeline.core.access.api_keys import KeyPermission
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.payments.analytics import MOST_MONTHS
from backup_pipeline.core.ports import Ports
from backup_pipeline.operations.payments import MoneyPorts, account_of
from backup_pipeline.operations.payments.analytics import (
    AnalyticsType,
    BusinessDocument,
    GrowthDocument,
    OverviewDocument,
    RevenueDocument,
    analyse,
)
from backup_pipeline.web.api import CallerOf, api_router, takes

router = api_router("Analytics")


class AnalyticsAnswer(BaseModel):
    """An answer: amounts are texts with two places, a currency beside each. `as_of` is when it was counted."""

    type: AnalyticsType
    range: str = Field(description="The first day that was counted, and the last; of Asia/Dhaka.")
    as_of: datetime
    data: OverviewDocument | BusinessDocument | RevenueDocument | GrowthDocument


@router.get("/functions/v1/analytics", response_model=AnalyticsAnswer, **takes(KeyPermission.ANALYTICS))
@router.get("/api/v1/analytics", response_model=AnalyticsAnswer, **takes(KeyPermission.ANALYTICS))
def analytics(  # parameters of the address
    request: Request,
    response: Response,
    caller: CallerOf,
    type_: Annotated[AnalyticsType, Query(alias="type")] = AnalyticsType.OVERVIEW,
    business_id: Annotated[str | None, Query(max_length=200)] = None,
    catalog: Annotated[str | None, Query(max_length=100)] = None,
    months: Annotated[int, Query(ge=1, le=MOST_MONTHS)] = 12,
) -> AnalyticsAnswer | Response:
    """Overview, one business, revenue or growth. With `If-None-Match` 304, where nothing has changed."""
    if type_ is AnalyticsType.BUSINESS and business_id is None:
        message = "type=business needs business_id."
        raise UsageError(message, do="Name the business by its key.")
    caller.check_sees(business_id)
    # What is counted of all is the same for everybody who may ask, and kept once: in the name of the program.
    ports: Ports = request.app.state.ports
    own = MoneyPorts(ports.ledger, ports.clock)
    account = account_of(own.ledger, business_id, catalog) if business_id is not None else None
    analysis = analyse(type_, own, account=account, months=months)
    etag, age = f'"{analysis.etag}"', max(0, int((ports.clock() - analysis.as_of).total_seconds()))
    headers = {"ETag": etag, "Age": str(age), "Cache-Control": "private, max-age=0, must-revalidate"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return AnalyticsAnswer(
        type=type_, range=analysis.range, as_of=analysis.as_of.astimezone(UTC), data=analysis.document
    )
