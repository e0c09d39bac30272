"""`backup-pipeline businesses`: who is registered, and what is ours of each: plan, dates, credit, quota, features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import BackupsOf, Limit, opened, print_json, print_line
from backup_pipeline.cli.payments import AsJson, OfBusinessCatalog
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.payments.accounts import Feature
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console

if TYPE_CHECKING:
    from backup_pipeline.core.scope import Actor
    from backup_pipeline.operations.payments import MoneyPorts

with lazily():
    from backup_pipeline.core import payments as core_payments
    from backup_pipeline.core.payments import accounts as core_accounts
    from backup_pipeline.operations import payments
    from backup_pipeline.operations.payments import accounts
    from backup_pipeline.presentation import payments as drawn
    from backup_pipeline.wiring import access as wiring_access

businesses_app = typer.Typer(
    name="businesses",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="The businesses of systems that have many: who is registered, what each pays for, what is switched on.",
)

Business = Annotated[str, typer.Argument(help="The business's key in the source's registry.")]


@contextmanager
def _money(catalog: str | None) -> Iterator[tuple[MoneyPorts, Actor]]:
    with opened(catalog) as installation:
        yield payments.MoneyPorts(installation.ledger, installation.clock), installation.actor


@businesses_app.command("list")
def list_businesses(
    *,
    catalog: BackupsOf = None,
    text: Annotated[str, typer.Option(help="Only those with this in their key or name.")] = "",
    plan: Annotated[str | None, typer.Option(help="Only those on this plan.")] = None,
    gone: Annotated[bool, typer.Option("--gone", help="Those that are in the registry no more, instead.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List businesses: their state in the registry, their plan, how they stand with their payments.

    Examples:

        backup-pipeline businesses list

        backup-pipeline businesses list --catalog retail --text bikes --json

    Exit codes: 0 listed; 1 the ledger can not be read; 2 wrong request; 10 there is no such catalog.
    """
    wanted = core_accounts.AccountFilter(catalog=catalog, text=text, plan=plan)
    if gone:
        wanted = replace(wanted, statuses=(core_accounts.AccountStatus.GONE,))
    with opened(catalog) as installation:
        ledger = installation.ledger
        known = ledger.businesses.list(wanted, limit=limit)
        systems = {account.catalog for account in known}
        paused = frozenset(f"{system}/{key}" for system in systems for key in ledger.businesses.paused(system))
        grace, today = accounts.grace_days(ledger.access), core_payments.today_of(installation.clock())
    if as_json:
        print_json(known)
    else:
        draw(drawn.accounts_document(known, today, grace, paused))


@businesses_app.command("set")
def set_business(
    business: Business,
    *,
    plan: Annotated[str | None, typer.Option(help="The plan that it is on from now on; `none` for none.")] = None,
    next_payment: Annotated[str | None, typer.Option(help="When the next payment is due: 2026-12-31.")] = None,
    credit: Annotated[str | None, typer.Option(help="What it paid and has not used.")] = None,
    quota: Annotated[int | None, typer.Option(help="Bytes that may be stored of it; 0 for the catalog's.")] = None,
    catalog: OfBusinessCatalog = None,
) -> None:
    """Change what is ours of a business. Its name, and whether it is active, are the source's.

    Who is put on a plan has the first payment due today, unless a date stands already, and keeps the plan's present
    price.

    Examples:

        backup-pipeline businesses set 42 --plan pro

        backup-pipeline businesses set 42 --next-payment 2026-12-31 --quota 5000000000

    Exit codes: 0 changed; 1 the ledger can not be written; 2 wrong request; 10 there is no such business or plan.
    """
    change = accounts.AccountChange(
        plan=plan,
        next_payment_date=core_payments.parse_day(next_payment) if next_payment is not None else None,
        credit=core_payments.parse_credit(credit) if credit is not None else None,
        quota_bytes=quota,
    )
    if change == accounts.AccountChange():
        message = "Nothing is to be changed."
        raise UsageError(message, do="Name what is to be different; `--help` lists the options.")
    with _money(catalog) as (ports, actor):
        account = accounts.change_account(payments.account_of(ports.ledger, business, catalog), change, ports, actor)
        features = core_accounts.features_with(ports.ledger.businesses.features(account.catalog, account.business))
        grace, today = accounts.grace_days(ports.ledger.access), core_payments.today_of(ports.clock())
    draw(drawn.account_document(account, features, today, grace))


@businesses_app.command("feature")
def switch_feature(
    business: Business,
    feature: Annotated[Feature, typer.Argument(help="What is switched.")],
    *,
    on: Annotated[bool, typer.Option("--on/--off", help="Whether it is on from now on.")],
    catalog: OfBusinessCatalog = None,
) -> None:
    """Switch a feature of a business. Without `backups` it is paused: never due, and shown so.

    Examples:

        backup-pipeline businesses feature 42 backups --off

        backup-pipeline businesses feature 42 restore_self_service --on

    Exit codes: 0 switched; 1 the ledger can not be written; 2 wrong request; 10 there is no such business.
    """
    with _money(catalog) as (ports, actor):
        account = payments.account_of(ports.ledger, business, catalog)
        accounts.switch_feature(account, feature, ports, actor, enabled=on)
    note_console().print(f"{account.name}: {feature} is {'on' if on else 'off'}.", markup=False)


@businesses_app.command("settings")
def money_settings(
    *,
    grace_days: Annotated[
        int | None, typer.Option(help="So many days after its date a payment is not overdue yet.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="A method that the form of a payment offers; may be given several times.")
    ] = None,
) -> None:
    """Show or change what holds for the payments of all businesses.

    Examples:

        backup-pipeline businesses settings

        backup-pipeline businesses settings --grace-days 10 --method bank_transfer --method bkash

    Exit codes: 0 shown, or changed; 1 the ledger can not be written; 2 wrong request.
    """
    with opened() as installation:
        console = wiring_access.console_ports(installation.settings, installation.ledger, installation.clock)
        ports = payments.MoneyPorts(console.ledger, installation.clock)
        accounts.set_money_settings(ports, installation.actor, grace=grace_days, methods=method)
        days, methods = accounts.grace_days(console.access), accounts.payment_methods(console.access)
    print_line(f"Overdue: more than {days} days after the date.")
    print_line(f"Methods: {', '.join(methods)}.")
