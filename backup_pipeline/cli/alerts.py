"""`backup-pipeline alerts`: the alerts that did not reach people, trying them again, and whether the channels work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import Limit, Opened, RowsAsJson, invoked_settings, opened, print_json
from backup_pipeline.core.alerts import Alert, Severity, reaching
from backup_pipeline.core.errors import BackupError, PartialError, SettingsError
from backup_pipeline.core.scope import Scope
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw

if TYPE_CHECKING:
    from backup_pipeline.core.alerts import Delivery

with lazily():
    from backup_pipeline import presentation as reports
    from backup_pipeline.operations import alerting
    from backup_pipeline.presentation import backup as presentation_backup
    from backup_pipeline.presentation import health
    from backup_pipeline.wiring import ports


alerts_app = typer.Typer(
    name="alerts",
    help="Alerts that did not reach people: list them, try them again, test the channels. Alone it lists.",
    invoke_without_command=True,
)

_JSON = Annotated[bool, typer.Option("--json", help="Print JSON: an array, one object a channel.")]
_CHECK_URLS = "Correct BACKUP_ALERT_URLS, or wait: what was not delivered is tried again by itself for seven days."


@alerts_app.callback()
def _alone(context: typer.Context) -> None:
    """Alerts that did not reach people: list them, try them again, test the channels. Alone it lists."""
    if context.invoked_subcommand is None:
        list_alerts()


@alerts_app.command("list")
def list_alerts(
    *,
    delivered: Annotated[bool, typer.Option("--all", help="Also those that were delivered.")] = False,
    limit: Limit = 50,
    as_json: RowsAsJson = False,
) -> None:
    """List the alerts that did not reach a channel, newest first: when each is tried again, or that it was given up.

    An alert is noted in the ledger before it is sent. What fails is tried again after a minute, then after twice as
    long each time, up to an hour, for seven days: by a sensor of Dagster, and by `alerts retry`.

    Examples:

        backup-pipeline alerts

        backup-pipeline alerts list --all --limit 10

    Exit codes: 0 listed, also when there is nothing to list; 1 the ledger can not be read; 2 wrong request.
    """
    with opened() as installation:
        entries = installation.ledger.outbox.list(undelivered=not delivered, limit=limit)
        nothing = "There are no alerts." if delivered else _nothing_waits(installation)
    if as_json:
        print_json([presentation_backup.entry_json(entry) for entry in entries])
        return
    draw(health.outbox_document(entries) if entries else reports.document(reports.line(nothing)))


def _nothing_waits(installation: Opened) -> str:
    """What to say when no alert waits for a channel: without one, none ever does, and nobody is told."""
    if reaching(ports.open_settings_alerter(installation.settings).channels):
        return "Every alert was delivered."
    return "No alert reaches anybody: BACKUP_ALERT_URLS is not set, so alerts go into the log alone."


@alerts_app.command()
def retry(*, as_json: _JSON = False) -> None:
    """Try every undelivered alert again now, also those that were given up.

    A channel that fails is left alone for the rest of the time; what waits for it stays as it was.

    Examples:

        backup-pipeline alerts retry

    Exit codes: 0 nothing is left to deliver; 1 nothing could be delivered, or the ledger can not be read; 3 some could.
    """
    with opened() as installation:
        tried = alerting.deliver(installation.ports, early=True)
        undelivered = installation.ledger.outbox.list()
    if as_json:
        print_json([presentation_backup.entry_json(entry) for entry in tried])
    else:
        draw(health.outbox_document(tried) if tried else reports.document(reports.line("There is nothing to deliver.")))
    if undelivered:
        good = sum(entry.delivered_at is not None for entry in tried)
        kind = PartialError if good else BackupError
        message = f"{good} alerts were delivered, {len(undelivered)} are not."
        raise kind(message, do=_CHECK_URLS)


@alerts_app.command("test")
def send_test(*, as_json: _JSON = False) -> None:
    """Send a test message to every channel of BACKUP_ALERT_URLS now, and tell what each said.

    It is not noted, and not tried again.

    Examples:

        backup-pipeline alerts test

    Exit codes: 0 every channel took it; 1 none did; 2 a setting is wrong, or no channel is set; 3 some did.
    """
    settings = invoked_settings()
    alerter = ports.open_settings_alerter(settings)
    if not reaching(alerter.channels):
        message = "There is no channel: BACKUP_ALERT_URLS is not set."
        raise SettingsError(message, do="Set it to Apprise URLs, such as mailtos://user:password@smtp.example.com?to=…")
    text = "This is a test. Backups tell you here when something fails."
    alert = Alert(Severity.INFO, "A test message", text, "Nothing.", Scope(settings.catalog), at=ports.utc_now())
    deliveries = alerter.send(alert)
    if as_json:
        print_json(deliveries)
    else:
        draw(health.deliveries_document(deliveries))
    _check_all_took_it(deliveries)


def _check_all_took_it(deliveries: Sequence[Delivery]) -> None:
    failed = [delivery.channel for delivery in deliveries if delivery.error]
    if failed:
        kind = PartialError if len(failed) < len(deliveries) else BackupError
        message = f"{len(failed)} of {len(deliveries)} channels did not take the test message."
        raise kind(message, do="Correct these URLs in BACKUP_ALERT_URLS, and run it again.")
