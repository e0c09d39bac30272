"""`backup-pipeline analytics`: what businesses bring in, how that moved, how many came and left."""

from __future__ import annotations

from typing import Annotated

import typer

from backup_pipeline.cli.options import moment, opened, print_json
from backup_pipeline.cli.payments import AsJson, OfBusinessCatalog
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console

with lazily():
    from backup_pipeline.operations import payments
    from backup_pipeline.operations.payments import analytics
    from backup_pipeline.presentation import analytics as drawn

analytics_app = typer.Typer(
    name="analytics",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="What businesses bring in: monthly revenue, its movements, growth. Days and months are those of Asia/Dhaka.",
)

Months = Annotated[int, typer.Option(help="So many months, the present one included.", min=1, max=60)]


def _show(wanted: str, *, as_json: bool, months: int = 12, business: str = "", catalog: str | None = None) -> None:
    with opened(catalog) as installation:
        ports = payments.MoneyPorts(installation.ledger, installation.clock)
        account = payments.account_of(ports.ledger, business, catalog) if business else None
        analysis = analytics.analyse(analytics.AnalyticsType(wanted), ports, account=account, months=months)
    if as_json:
        print_json(analysis)
    else:
        draw(drawn.analytics_document(analysis))
        note_console().print(f"As of {moment(analysis.as_of)}.", markup=False)


@analytics_app.command()
def overview(*, as_json: AsJson = False) -> None:
    """Everything at a glance: businesses, monthly revenue with what moved it this month, backups.

    Examples:

        backup-pipeline analytics overview

        backup-pipeline analytics overview --json | jq '.document.mrr'

    Exit codes: 0 shown; 1 the ledger can not be read; 2 wrong request.
    """
    _show("overview", as_json=as_json)


@analytics_app.command("business")
def of_business(
    business: Annotated[str, typer.Argument(help="The business's key in the source's registry.")],
    *,
    months: Months = 12,
    catalog: OfBusinessCatalog = None,
    as_json: AsJson = False,
) -> None:
    """One business: its plan, what it paid in each month, its backups.

    Examples:

        backup-pipeline analytics business 42

    Exit codes: 0 shown; 1 the ledger can not be read; 2 wrong request; 10 there is no such business.
    """
    _show("business", as_json=as_json, months=months, business=business, catalog=catalog)


@analytics_app.command()
def revenue(*, months: Months = 12, as_json: AsJson = False) -> None:
    """What was paid in each month, for which plans, by which methods.

    Examples:

        backup-pipeline analytics revenue --months 24

    Exit codes: 0 shown; 1 the ledger can not be read; 2 wrong request.
    """
    _show("revenue", as_json=as_json, months=months)


@analytics_app.command()
def growth(*, months: Months = 12, as_json: AsJson = False) -> None:
    """How many businesses came, stayed and left in each month, and how the monthly revenue moved.

    Examples:

        backup-pipeline analytics growth

    Exit codes: 0 shown; 1 the ledger can not be read; 2 wrong request.
    """
    _show("growth", as_json=as_json, months=months)
