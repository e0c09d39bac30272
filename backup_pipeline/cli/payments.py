"""`backup-pipeline payment` and `plan`: what businesses can be put on, and what they paid."""

from __future__ import annotations

from typing import Annotated

import typer

from backup_pipeline.cli.options import Limit, opened, print_json
from backup_pipeline.core.payments.accounts import Period
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console

with lazily():
    from backup_pipeline.core import payments as core_payments
    from backup_pipeline.core.payments import accounts as core_accounts
    from backup_pipeline.operations import payments
    from backup_pipeline.presentation import payments as drawn

payment_app = typer.Typer(
    name="payment", no_args_is_help=True, rich_markup_mode="markdown", help="Verify what businesses paid, and list it."
)
plan_app = typer.Typer(
    name="plan", no_args_is_help=True, rich_markup_mode="markdown", help="The plans that businesses pay for."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OfBusinessCatalog = Annotated[
    str | None, typer.Option("--catalog", help="The business's system, where several have that key.")
]


@payment_app.command("verify")
def verify_payment(  # noqa: PLR0913  # options
    business: Annotated[str, typer.Argument(help="The business's key in the source's registry.")],
    amount: Annotated[str, typer.Argument(help="What was paid, such as 200.00, in the currency of the plan.")],
    *,
    method: Annotated[str, typer.Option(help="How it was paid, such as bank_transfer.")],
    reference: Annotated[str, typer.Option(help="The number that the bank or the service gave it.")],
    by: Annotated[str, typer.Option(help="The super admin who looked at the payment: a name or a number.")],
    paid_at: Annotated[
        str, typer.Option(help="When it was paid: 2026-11-29, or with a time; of Asia/Dhaka. Default: now.")
    ] = "",
    accept: Annotated[str, typer.Option(help="Take less than the price, and why.")] = "",
    catalog: OfBusinessCatalog = None,
    as_json: AsJson = False,
) -> None:
    """Verify a payment: the amount against the plan's price, and write when the next one is due.

    k times the price pays for k periods; what is left over is credit, which counts with the next payment. Less than the
    price is refused, unless `--accept` says why not. A reference of a method is verified once. Payments of the future,
    and those older than 90 days, are refused.

    Examples:

        backup-pipeline payment verify 42 200.00 --method bank_transfer --reference TXN123456 --by karim@example.com

        backup-pipeline payment verify 42 199.99 --method cash --reference R17 --by karim@example.com --accept 'a rounding'

    Exit codes: 0 verified; 1 the ledger can not be written, or the reference was verified before; 2 the amount is too
    little, or something else of the request is wrong; 10 there is no such business; 21 `--by` is no super admin.
    """  # noqa: E501  # an example is one line
    request = core_payments.PaymentRequest(
        business=business,
        amount=core_payments.parse_amount(amount),
        method=method,
        reference=reference,
        verified_by=by,
        catalog=catalog,
        paid_at=core_payments.parse_paid_at(paid_at),
        accept=accept,
    )
    with opened(catalog) as installation:
        ledger = installation.ledger.as_person(payments.verifier(installation.ledger, by))
        ports = payments.MoneyPorts(ledger, installation.clock)
        record = payments.verify_payment(request, ports, installation.actor)
        name = payments.account_of(ledger, record.business, record.catalog).name
    if as_json:
        print_json(record)
    else:
        note_console().print(drawn.payment_words(record, name), markup=False)


@payment_app.command("list")
def list_payments(
    *,
    business: Annotated[str | None, typer.Option(help="Only of this business.")] = None,
    method: Annotated[str, typer.Option(help="Only by this method.")] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List payments, newest first.

    Examples:

        backup-pipeline payment list --business 42

        backup-pipeline payment list --json | jq -r '.[] | [.paid_at, .business, .amount] | @tsv'

    Exit codes: 0 listed; 1 the ledger can not be read; 2 wrong request.
    """
    with opened() as installation:
        wanted = core_payments.PaymentFilter(business=business, method=method)
        records = installation.ledger.payments.list(wanted, limit=limit)
    if as_json:
        print_json(records)
    else:
        draw(drawn.payments_document(records))


@plan_app.command("list")
def list_plans(*, as_json: AsJson = False) -> None:
    """List the plans.

    Examples:

        backup-pipeline plan list

    Exit codes: 0 listed; 1 the ledger can not be read; 2 wrong request.
    """
    with opened() as installation:
        plans = installation.ledger.payments.plans()
    if as_json:
        print_json(plans)
    else:
        draw(drawn.plans_document(plans))


@plan_app.command("set")
def set_plan(
    name: Annotated[str, typer.Argument(help="Its name: small letters, digits, _ and -.")],
    price: Annotated[str, typer.Argument(help="What a period costs, such as 200.00.")],
    *,
    currency: Annotated[str, typer.Option(help="The currency's three letters.")] = "BDT",
    period: Annotated[Period, typer.Option(help="What the price is for.")] = Period.MONTH,
    title: Annotated[str, typer.Option(help="Its name for people. Default: the name.")] = "",
    offered: Annotated[bool, typer.Option(help="Whether businesses can be put on it from now on.")] = True,
) -> None:
    """Add a plan, or change it. Businesses that are on it keep the price of when they were put on it.

    Examples:

        backup-pipeline plan set pro 200.00 --title Pro

        backup-pipeline plan set pro-year 2000 --period year

    Exit codes: 0 written; 1 the ledger can not be written; 2 wrong request.
    """
    cost = core_accounts.Price(core_payments.parse_amount(price), currency, period)
    with opened() as installation:
        ports = payments.MoneyPorts(installation.ledger, installation.clock)
        plan = payments.write_plan(core_payments.Plan(name, title, cost, offered), ports, installation.actor)
    note_console().print(f"Plan {plan.name}: {plan.price}.", markup=False)
