"""Analytics, for super admins: overview, one business, revenue, growth; pictures with their numbers, and CSV."""

from __future__ import annotations

import csv
import io
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from backup_pipeline.core.access import Permission
from backup_pipeline.core.payments import ZONE
from backup_pipeline.core.payments.accounts import AccountFilter
from backup_pipeline.core.payments.analytics import MOST_MONTHS, Amount
from backup_pipeline.operations.payments import MoneyPorts, account_of
from backup_pipeline.operations.payments.analytics import Analysis, AnalyticsType, analyse
from backup_pipeline.presentation.analytics import (
    analytics_charts,
    analytics_document,
    analytics_rows,
    in_percent,
    moneys,
)
from backup_pipeline.web.pages.audit import harmless
from backup_pipeline.web.people import Visitor, allowed
from backup_pipeline.web.rendering import page

router = APIRouter()

_Analyst = Annotated[Visitor, Depends(allowed(Permission.MANAGE_PAYMENTS))]
_TITLES = {
    AnalyticsType.OVERVIEW: "Overview",
    AnalyticsType.REVENUE: "Revenue",
    AnalyticsType.GROWTH: "Growth",
    AnalyticsType.BUSINESS: "One business",
}
_OFFERED = 200


class AnalyticsQuery:
    """What is asked for. A business is `catalog/key`, or a key."""

    def __init__(
        self,
        type_: Annotated[AnalyticsType, Query(alias="type")] = AnalyticsType.OVERVIEW,
        business: Annotated[str, Query(max_length=200)] = "",
        months: Annotated[int, Query(ge=1, le=MOST_MONTHS)] = 12,
    ) -> None:
        self.type, self.business, self.months = type_, business.strip(), months

    @property
    def lacks_business(self) -> bool:
        """Whether a business is still to be chosen."""
        return self.type is AnalyticsType.BUSINESS and not self.business

    def answered(self, visitor: Visitor) -> Analysis:
        """The answer, by the visitor's own rights."""
        ports = MoneyPorts(visitor.ledger, visitor.ports.clock)
        account = None
        if self.type is AnalyticsType.BUSINESS:
            catalog, _, key = self.business.rpartition("/")
            account = account_of(visitor.ledger, key, catalog or None)
        return analyse(self.type, ports, account=account, months=self.months)


_Wanted = Annotated[AnalyticsQuery, Depends()]


@router.get("/analytics")
def analytics_page(request: Request, visitor: _Analyst, query: _Wanted) -> Response:
    """The pictures, with when they were counted."""
    analysis = None if query.lacks_business else query.answered(visitor)
    word = f"business {query.business.rpartition('/')[2]}" if query.type is AnalyticsType.BUSINESS else query.type.value
    return page(
        request,
        "analytics.html",
        wanted=query,
        tabs=list(_TITLES.items()),
        analysis=analysis,
        charts=analytics_charts(analysis) if analysis is not None else [],
        report=analytics_document(analysis) if analysis is not None else None,
        offered=visitor.ledger.businesses.list(AccountFilter(), limit=_OFFERED) if analysis is None else [],
        amounts=lambda moves, name: moneys(Amount(each.currency, getattr(each, name)) for each in moves),
        in_percent=in_percent,
        live=analysis is not None,
        command="" if analysis is None else f"backup-pipeline analytics {word}",
    )


@router.get("/analytics.csv")
def analytics_file(visitor: _Analyst, query: _Wanted) -> Response:
    """The numbers as CSV; no cell of it runs as a formula."""
    analysis = query.answered(visitor)
    MoneyPorts(visitor.ledger, visitor.ports.clock).audit(
        visitor.actor, "analytics exported", {"type": query.type.value, "range": analysis.range}
    )
    text = io.StringIO()
    text.write("\N{ZERO WIDTH NO-BREAK SPACE}")
    rows = csv.writer(text)
    for row in analytics_rows(analysis):
        rows.writerow(["" if cell is None else harmless(str(cell)) for cell in row])
    name = f"analytics_{query.type}_{analysis.as_of.astimezone(ZONE):%Y-%m-%d_%H-%M}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)
