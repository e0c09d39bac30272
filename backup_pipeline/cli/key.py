"""`key`: keys that encrypt and seal backups; `key api`: those of programs; `webhooks`: which programs are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import (
    FromStore,
    Limit,
    OfCatalog,
    invoked_settings,
    opened,
    parse_duration,
    print_json,
    print_line,
)
from backup_pipeline.core.access.api_keys import DEFAULT_LIMIT, NewKey, parse_permissions
from backup_pipeline.core.access.webhooks import KINDS, NewWebhook, WebhookRefusedError
from backup_pipeline.core.errors import DecryptError
from backup_pipeline.core.restore import Which
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console

if TYPE_CHECKING:
    from backup_pipeline.core.access.webhooks import Webhook
    from backup_pipeline.core.scope import Actor
    from backup_pipeline.operations.access import AccessPorts
    from backup_pipeline.operations.access.webhooks import WebhookPorts
    from backup_pipeline.operations.download import KeyCheck
    from backup_pipeline.settings import Settings

with lazily():
    from backup_pipeline.formats import keys
    from backup_pipeline.operations import browse, download
    from backup_pipeline.operations.access import api_keys, webhooks
    from backup_pipeline.presentation import people
    from backup_pipeline.wiring import access, addresses, stores


key_app = typer.Typer(
    name="key",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Make and check the keys that encrypt and seal backups; `key api`: those of programs.",
)
api_app = typer.Typer(
    name="api",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Keys with which programs call the API of the console. Whoever may write to the ledger may run these.",
)
key_app.add_typer(api_app)
webhooks_app = typer.Typer(
    name="webhooks",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Programs elsewhere that are told what happens. Whoever may write to the ledger may run these.",
)


@key_app.command()
def new(
    *,
    to: Annotated[Path, typer.Option(help="The file to make; only you may read it.")] = Path("backup-key.txt"),
) -> None:
    """Make a key: the private one in a file, its recipient printed.

    Give the recipient to the server that makes backups (BACKUP_AGE_RECIPIENTS): it encrypts, and can read nothing. The
    file is what reads them (BACKUP_AGE_IDENTITY_FILE): keep it elsewhere, and a copy of it where no fire reaches both.
    Without it the backups are lost; docs/encryption.md says more.

    Examples:

        backup-pipeline key new

        export BACKUP_AGE_RECIPIENTS="$(backup-pipeline key new --to owner-key.txt)"

    Exit codes: 0 made; 1 the file can not be written; 21 a file is there already: a key is never overwritten.
    """
    secret, recipient = keys.new_identity()
    download.write_key(to, secret, recipient, addresses.utc_now())
    print_line(recipient)
    note_console().print(f"The private key is in {to}. Whoever loses it loses the backups: keep a copy elsewhere.")


@key_app.command()
def seal(
    *,
    to: Annotated[Path, typer.Option(help="The file to make; only you may read it.")] = Path("backup-seal-key.pem"),
) -> None:
    """Make a key that seals manifests: the private one in a file, the public one printed.

    The machine that makes backups has the file (BACKUP_SEAL_KEY_FILE), and whoever can only write to the store can not
    forge a backup. Those who only read need the public key (BACKUP_SEAL_PUBLIC_KEYS): with it they check every
    manifest, and can seal none. Keep both out of the store; docs/integrity.md says more.

    Examples:

        backup-pipeline key seal --to /etc/backup/seal-key.pem

        export BACKUP_SEAL_PUBLIC_KEYS="$(backup-pipeline key seal)"

    Exit codes: 0 made; 1 the file can not be written; 21 a file is there already: a key is never overwritten.
    """
    secret, public = keys.new_seal_key()
    download.write_key(to, secret, public, addresses.utc_now())
    print_line(public)
    note_console().print(f"The private key is in {to}. Set BACKUP_SEAL_KEY_FILE to it where backups are made.")


@key_app.command()
def check(
    backup: Annotated[
        str | None, typer.Argument(help="A backup id, or `latest`. Without one only the key is read.", metavar="[ID]")
    ] = None,
    *,
    identity: Annotated[
        Path | None, typer.Option(help="The file with the private key; default: BACKUP_AGE_IDENTITY_FILE.")
    ] = None,
    catalog: OfCatalog = None,
    store: FromStore = "first",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: the backup, its recipients, the key.")] = False,
) -> None:
    """See whether your private key opens a backup: its manifest is decrypted, and nothing of it shown.

    Without an id it prints the recipients of your key, for BACKUP_AGE_RECIPIENTS. That a key was used on a backup goes
    into the audit.

    Examples:

        backup-pipeline key check latest --identity /media/safe/owner-key.txt

        backup-pipeline key check --identity owner-key.txt

    Exit codes: 0 it opens it, or the backup is not encrypted; 2 the file holds no key; 10 there is no such backup; 12
    it does not open it, or no key is set.
    """
    settings = _with_identity(invoked_settings(), identity)
    if backup is None:
        _print_holders(settings)
        return
    checked = _checked(backup, settings, catalog, store)
    if as_json:
        print_json(checked)
        return
    if checked.opened_by is None:
        print_line(f"Backup {checked.backup_id} is not encrypted.")
        return
    print_line(f"The key of {checked.opened_by} opens backup {checked.backup_id}.")
    note_console().print(f"It is encrypted to: {', '.join(checked.recipients)}")


def _with_identity(settings: Settings, identity: Path | None) -> Settings:
    """The settings, with the key of a file that was named in place of any other."""
    named = {"age_identity_file": identity, "age_identity": None}
    return settings.model_copy(update=named) if identity is not None else settings


def _print_holders(settings: Settings) -> None:
    holders = stores.open_cipher(settings).holders
    if not holders:
        message = "No key is set here."
        raise DecryptError(message, do="Name its file with --identity, or set BACKUP_AGE_IDENTITY_FILE.")
    for name in holders:
        print_line(name)


def _checked(backup: str, settings: Settings, catalog: str | None, store: Which) -> KeyCheck:
    cipher = stores.open_cipher(settings)
    with opened(catalog) as installation:
        attempt = browse.find_backup(backup, installation.ledger, catalog=catalog)
        return download.check_key(attempt, installation.store(store), cipher, installation.audit())


@contextmanager
def _opened_access() -> Iterator[tuple[AccessPorts, Actor]]:
    """Keys of programs as the console itself sees them, and who asks."""
    with opened() as installation:
        ports = access.console_ports(installation.settings, installation.ledger, installation.clock)
        yield ports, installation.actor


KeyName = Annotated[str, typer.Argument(help="The key's name, or its first eight characters.")]


@api_app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the program is called; the audit knows it by that name.")],
    *,
    permission: Annotated[
        list[str], typer.Option(help="What it may do, such as backup_status; may be given several times.")
    ],
    business: Annotated[str | None, typer.Option(help="Let it see that business alone. Default: all.")] = None,
    limit: Annotated[int, typer.Option(help="Calls in any 60 minutes.")] = DEFAULT_LIMIT,
    expires: Annotated[str | None, typer.Option(help="How long it works, such as 90d. Default: until revoked.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the key.")] = False,
) -> None:
    """Make a key for a program and print it: once, because only its SHA-256 is kept.

    Permissions are analytics, backup_status, backups:create, backups:schedule, backups:download, restores:request,
    restores:read, payments:verify, events:read, keys:read, freshness, businesses, audit and usage. A restore that a
    program asks for is approved by a person: no key can.

    Examples:

        backup-pipeline key api create 'System Integration' --permission analytics --permission backup_status

        backup-pipeline key api create cron --permission backups:create --expires 365d > /etc/backup/api-key

    Exit codes: 0 made; 1 the ledger can not be written; 2 wrong request, or the name is taken.
    """
    with _opened_access() as (ports, actor):
        until = ports.clock() + parse_duration(expires) if expires else None
        wanted = NewKey(name, parse_permissions(permission), business, limit, until)
        key, secret = api_keys.create_key(wanted, ports, actor)
    if as_json:
        print_json({"key": secret, "about": key})
        return
    print_line(secret)
    note_console().print(f"Key {key.name} is shown now and never again. Send it as: Authorization: Bearer {key.shown}…")


@api_app.command("list")
def list_keys(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the keys of programs: permissions, business, calls of this hour, last use, state.

    Examples:

        backup-pipeline key api list

        backup-pipeline key api list --json | jq -r '.[] | select(.revoked_at == null) | .name'

    Exit codes: 0 listed; 1 the ledger can not be read; 2 wrong request.
    """
    with _opened_access() as (ports, _):
        known, used, now = ports.access.keys.list(), ports.access.usage.used(), ports.clock()
    if as_json:
        print_json(known)
    else:
        draw(people.keys_document(known, used, now))


@api_app.command("limit")
def set_limit(
    name: KeyName, limit: Annotated[int, typer.Argument(help="Calls in any 60 minutes, from now on.")]
) -> None:
    """Let a program call more often, or less.

    Examples:

        backup-pipeline key api limit 'System Integration' 5000

    Exit codes: 0 changed; 1 the ledger can not be written; 2 wrong request; 10 there is no such key.
    """
    with _opened_access() as (ports, actor):
        key = api_keys.limit_key(api_keys.key_named(name, ports).number, limit, ports, actor)
    note_console().print(f"{key.name} has {key.limit:,} calls an hour.", markup=False)


@api_app.command()
def revoke(name: KeyName) -> None:
    """End a key: its next call is refused. What it did stays in the log and the audit.

    Examples:

        backup-pipeline key api revoke 'System Integration'

    Exit codes: 0 revoked; 1 the ledger can not be written; 2 wrong request; 10 there is no such key, or it was revoked
    before.
    """
    with _opened_access() as (ports, actor):
        key = api_keys.revoke_key(api_keys.key_named(name, ports).number, ports, actor)
    note_console().print(f"{key.name} is worth nothing any more.", markup=False)


@contextmanager
def _opened_webhooks() -> Iterator[tuple[WebhookPorts, Actor]]:
    """Webhooks as the console itself sees them, and who asks."""
    with opened() as installation:
        console = access.console_ports(installation.settings, installation.ledger, installation.clock)
        ports = access.webhook_ports(installation.settings, console.ledger, installation.clock)
        yield ports, installation.actor


def _without_secret(webhook: Webhook) -> dict[str, object]:
    """What there is to know of a webhook; that its secret is sealed helps nobody."""
    return {name: value for name, value in vars(webhook).items() if name != "secret"}


WebhookName = Annotated[str, typer.Argument(help="The webhook's name; case does not matter.")]


@webhooks_app.command("add")
def add_webhook(
    name: Annotated[str, typer.Argument(help="What the receiver is called; the audit knows it by that name.")],
    url: Annotated[str, typer.Argument(help="Where events are sent: https, without a user or a password.")],
    *,
    kind: Annotated[
        list[str] | None,
        typer.Option(help=f"Events of this kind alone, several times for several: {', '.join(KINDS)}."),
    ] = None,
    business: Annotated[str | None, typer.Option(help="Events of this business alone. Default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the secret.")] = False,
) -> None:
    """Send what happens from now on to a program, and print the secret it is signed with: once.

    Examples:

        backup-pipeline webhooks add dashboard https://dashboard.example.com/hooks/backup --kind backup --kind alert

    Exit codes: 0 made; 1 the ledger can not be written, or the receiver must not be asked; 2 wrong request, or the name
    is taken.
    """
    with _opened_webhooks() as (ports, actor):
        webhook, secret = webhooks.create_webhook(NewWebhook(name, url, tuple(kind or ()), business), ports, actor)
    if as_json:
        print_json({"secret": secret, "about": _without_secret(webhook)})
        return
    print_line(secret)
    note_console().print("It is shown now and never again: the receiver checks signatures with it.", markup=False)


@webhooks_app.command("list")
def list_webhooks(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the webhooks: receiver, which events, on or off.

    Examples:

        backup-pipeline webhooks list

    Exit codes: 0 listed; 1 the ledger can not be read; 2 wrong request.
    """
    with _opened_webhooks() as (ports, _):
        known = ports.ledger.webhooks.list()
    if as_json:
        print_json([_without_secret(webhook) for webhook in known])
    else:
        draw(people.webhooks_document(known))


@webhooks_app.command("show")
def show_webhook(
    name: WebhookName,
    *,
    limit: Limit = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what was sent to a webhook, newest first, and what the receiver answered.

    Examples:

        backup-pipeline webhooks show dashboard --limit 100

    Exit codes: 0 listed; 1 the ledger can not be read; 2 wrong request; 10 there is no such webhook.
    """
    with _opened_webhooks() as (ports, _):
        webhook = webhooks.webhook_named(name, ports)
        deliveries, now = ports.ledger.webhooks.deliveries(webhook.number, limit=limit), ports.clock()
    if as_json:
        print_json(deliveries)
    else:
        draw(people.deliveries_of_webhook_document(deliveries, now))


@webhooks_app.command("test")
def test_webhook(name: WebhookName) -> None:
    """Send an event of the kind `test`, signed as every other, now and once.

    Examples:

        backup-pipeline webhooks test dashboard

    Exit codes: 0 the receiver took it; 1 it did not; 2 wrong request; 10 there is no such webhook.
    """
    with _opened_webhooks() as (ports, actor):
        webhook = webhooks.webhook_named(name, ports)
        tried = webhooks.try_webhook(webhook.number, ports, actor)
    if tried.last_error is not None:
        raise WebhookRefusedError(tried.last_error, do=f"Look at the receiver: {webhook.url}")
    note_console().print(f"{webhook.name} answered {tried.status}.", markup=False)


@webhooks_app.command("again")
def send_again(
    name: WebhookName, delivery: Annotated[int, typer.Argument(help="The number of a delivery, as `show` has it.")]
) -> None:
    """Let a delivery be sent again, by the console, within seconds.

    Examples:

        backup-pipeline webhooks again dashboard 4711

    Exit codes: 0 it is sent again; 1 the ledger can not be written; 2 wrong request; 10 there is no such webhook or
    delivery; 21 the webhook is switched off.
    """
    with _opened_webhooks() as (ports, actor):
        webhooks.send_again(webhooks.webhook_named(name, ports).number, delivery, ports, actor)
    note_console().print(f"Delivery {delivery} is sent again by the console that runs.", markup=False)


@webhooks_app.command("on")
def switch_on(name: WebhookName) -> None:
    """Let a webhook get what happens from now on.

    Examples:

        backup-pipeline webhooks on dashboard

    Exit codes: 0 switched on; 1 the ledger can not be written; 2 wrong request; 10 no such webhook is off.
    """
    _switch(name, on=True)


@webhooks_app.command("off")
def switch_off(name: WebhookName) -> None:
    """Send nothing more to a webhook, until it is switched on; what happens meanwhile is not sent later.

    Examples:

        backup-pipeline webhooks off dashboard

    Exit codes: 0 switched off; 1 the ledger can not be written; 2 wrong request; 10 no such webhook is on.
    """
    _switch(name, on=False)


def _switch(name: str, *, on: bool) -> None:
    with _opened_webhooks() as (ports, actor):
        webhook = webhooks.switch_webhook(webhooks.webhook_named(name, ports).number, ports, actor, on=on)
    note_console().print(f"{webhook.name} gets {'what happens from now on' if on else 'nothing now'}.", markup=False)


@webhooks_app.command("remove")
def remove_webhook(name: WebhookName) -> None:
    """Forget a webhook, its secret, and what was sent to it; the audit keeps that it was there.

    Examples:

        backup-pipeline webhooks remove dashboard

    Exit codes: 0 removed; 1 the ledger can not be written; 2 wrong request; 10 there is no such webhook.
    """
    with _opened_webhooks() as (ports, actor):
        webhook = webhooks.remove_webhook(webhooks.webhook_named(name, ports).number, ports, actor)
    note_console().print(f"{webhook.name} is removed.", markup=False)
