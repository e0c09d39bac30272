"""The asset `analytics/daily`: days of businesses and their money that are over, kept for good."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.payments.analytics import DayFacts
from backup_pipeline.operations.payments import MoneyPorts
from backup_pipeline.operations.payments.analytics import keep_closed_days
from backup_pipeline.orchestration.keys import CARE_TAG, Automation
from backup_pipeline.orchestration.resources import Backups, told_as_failure, with_backups
from backup_pipeline.presentation import ReportDocument, Table, document, line, numbers, texts
from backup_pipeline.presentation.analytics import moneys
from backup_pipeline.presentation.markdown import markdown

DAILY = ("analytics", "daily")
DAILY_JOB = "analytics_daily"
_AFTER_MIDNIGHT = "20 0 * * *"
_SHOWN = 10


def analytics_definitions(catalogs: Mapping[str, Catalog], automation: Automation) -> dg.Definitions:
    """The asset, its job and its schedule; nothing where no catalog has businesses."""
    if not any(catalog.businesses for catalog in catalogs.values()):
        return dg.Definitions()
    asset = daily_asset(catalogs)
    job = dg.define_asset_job(
        DAILY_JOB,
        selection=dg.AssetSelection.assets(dg.AssetKey(DAILY)),
        description="Keep the days that are over: monthly revenue, active businesses, what was paid.",
        tags={CARE_TAG: "analytics"},
        executor_def=dg.in_process_executor,
    )
    schedule = dg.ScheduleDefinition(
        name=f"{DAILY_JOB}_schedule",
        cron_schedule=_AFTER_MIDNIGHT,
        job_name=DAILY_JOB,
        execution_timezone="Asia/Dhaka",
        default_status=automation.schedule,
        description="A day is kept when it is over; one that was missed is kept with the next.",
    )
    return dg.Definitions(assets=[asset], jobs=[job], schedules=[schedule])


def daily_asset(catalogs: Mapping[str, Catalog]) -> dg.AssetsDefinition:
    """Every day that is over and was not kept yet; the ledger of an installation is one for all its catalogs."""

    @dg.asset(
        key=dg.AssetKey(DAILY),
        group_name=DAILY[0],
        kinds={"postgres"},
        description=(
            "Days that are over, as the pages of analytics show them: a row each in `analytics_cache`. A payment that "
            "is entered later for such a day takes it out, and the next run keeps it anew."
        ),
    )
    @with_backups(*catalogs, each=True)
    def daily(context: dg.AssetExecutionContext, backups: Backups) -> dg.MaterializeResult[Any]:
        with told_as_failure(context.log), backups.open(next(iter(catalogs.values()))) as ports:
            kept = keep_closed_days(MoneyPorts(ports.ledger, ports.clock))
        metadata: dict[str, Any] = {
            "days": len(kept),
            "newest": kept[-1].day.isoformat() if kept else "none was missing",
            "last days": dg.MetadataValue.md(markdown(_days_document(kept[-_SHOWN:]))),
        }
        return dg.MaterializeResult(metadata=metadata)

    return daily


def _days_document(days: Sequence[DayFacts]) -> ReportDocument:
    if not days:
        return document(line("Every day that is over was kept already."))
    columns = (*texts("Day", "Monthly revenue"), *numbers("Active", "Registered", "Payments"))
    rows = tuple(
        (day.day, moneys(day.mrr), day.active, day.registered, sum(part.payments for part in day.revenue))
        for day in days
    )
    return document(Table(columns, rows))
