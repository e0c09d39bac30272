"""`check`, `doctor` and `alerts`: is every backup there, what does each need, and are people reached?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import Limit, Opened, RowsAsJson, invoked_settings, opened, print_json, print_line
from backup_pipeline.core.alerts import reaching
from backup_pipeline.core.copies import CopyAge
from backup_pipeline.core.doctor import problems
from backup_pipeline.core.due import DO, DueState, Freshness
from backup_pipeline.core.errors import (
    BackupError,
    LedgerError,
    NotFoundError,
    PartialError,
    StaleError,
    in_our_words,
)
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.text import redact, visible
from backup_pipeline.core.verification import age
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console
from backup_pipeline.settings import Settings

if TYPE_CHECKING:
    from backup_pipeline.core.alerts import Delivery
    from backup_pipeline.core.catalog.model import Catalog
    from backup_pipeline.core.doctor import Line

with lazily():
    from backup_pipeline import presentation as reports
    from backup_pipeline.operations import alerting
    from backup_pipeline.operations import doctor as operations_doctor
    from backup_pipeline.operations import health as operations_health
    from backup_pipeline.orchestration import instance
    from backup_pipeline.presentation import backup as presentation_backup
    from backup_pipeline.presentation import health as presentation_health
    from backup_pipeline.wiring import addresses, embedded, ports, stores
    from backup_pipeline.wiring import doctor as wiring_doctor


def second_ages(names: Sequence[str]) -> Sequence[CopyAge]:
    """The newest good copy of each catalog (of those `names`, or all); none where there is no second store."""
    if not invoked_settings().second_store:
        return ()
    with opened() as installation:
        second = stores.open_second(installation.settings)
        return operations_health.second_ages(
            ports.watched(installation.settings, names),
            second.url if second else "",
            installation.ledger,
            installation.clock(),
        )


def ages_as_json(copy: CopyAge) -> Mapping[str, object]:
    """The same for JSON."""
    return {
        "catalog": copy.catalog,
        "store": copy.store,
        "newest": copy.newest.backup_id if copy.newest else None,
        "age_s": int(copy.age.total_seconds()) if copy.age else None,
        "stale": copy.stale.what if copy.stale else None,
    }


OK, WARNING, CRITICAL, UNKNOWN = range(4)
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


def nagios_line(
    ask: Callable[[], Sequence[Freshness]], ask_second: Callable[[], Sequence[CopyAge]] = tuple
) -> tuple[str, int]:
    """The line and the exit code; an error is an answer too. A second store that is stale is a warning."""
    try:
        states, second = ask(), ask_second()
        stale = [_one_line(copy.stale.what) for copy in second if copy.stale]
    except LedgerError as error:
        return _line(CRITICAL, f"the ledger can not be read, so no backup can be made: {_one_line(error.what)}")
    except BackupError as error:
        return _line(UNKNOWN, _one_line(f"{error.what} {error.do}"))
    except Exception as error:  # noqa: BLE001  # a monitor takes 1, Python's own code, for a mere warning
        return _line(UNKNOWN, _one_line(in_our_words(error)))
    worst = max(map(_code, states), default=OK)
    worst_of = [_sentence(each) for each in states if _code(each) == worst and not (stale and worst == OK)]
    line, code = _line(max(worst, WARNING if stale else OK), " ".join([*worst_of, *stale]) or "there is no catalog")
    return f"{line} | {' '.join([*map(_data, states), *map(_second_data, second)])}", code


def _code(catalog: Freshness) -> int:
    if not catalog.overdue:
        return OK
    return WARNING if catalog.running else CRITICAL


def _sentence(catalog: Freshness) -> str:
    if catalog.state is DueState.FRESH and catalog.newest_at is not None:
        return f"{catalog.catalog}: the newest good backup began {age(catalog.newest_at, catalog.at)}."
    return catalog.what


def _line(code: int, text: str) -> tuple[str, int]:
    return f"BACKUP {_WORDS[code]} - {text.replace('|', '/')}", code


def _data(catalog: Freshness) -> str:
    """`label=value`; U is Nagios's own word for a value that is not known."""
    seconds = "U" if catalog.age_s is None else f"{catalog.age_s}s"
    values = {"age": seconds, "missed": len(catalog.missed), "failed": catalog.failed}
    return " ".join(f"{catalog.catalog}_{name}={value}" for name, value in values.items())


def _second_data(copy: CopyAge) -> str:
    seconds = "U" if copy.age is None else f"{int(copy.age.total_seconds())}s"
    return f"{copy.catalog}_second_age={seconds} {copy.catalog}_second_stale={int(copy.stale is not None)}"


def _one_line(text: str) -> str:
    return redact(" ".join(text.split()))


_NOBODY = (
    "Nobody is told when something goes wrong: BACKUP_ALERT_URLS is not set, so alerts go into the log alone. What is "
    "open then is told once a channel is set; `backup-pipeline alerts test` tries it."
)


def check(
    *,
    catalog: Annotated[list[str] | None, typer.Option(help="Only this one; may be given several times.")] = None,
    nagios: Annotated[
        bool, typer.Option("--nagios", help="One line with performance data, and Nagios's exit codes 0 to 3.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: how each catalog stands.")] = False,
) -> None:
    """Say whether every backup that should exist does: by each catalog's schedule and grace, and the ledger's rows.

    It also writes down what was missed (a row for each due time) and alerts people, once, whoever else watches. It
    needs the ledger alone, so it tells the truth with Dagster, the source and the store down. Run it from cron or a
    monitor on another machine. Where nobody would be told, because no alert channel is set, it says so.

    With --nagios: 0 OK; 1 WARNING, overdue, but a backup is running, or only the second store is; 2 CRITICAL, overdue,
    or the ledger can not be read (no backup can be made then); 3 UNKNOWN, the settings or the catalogs are wrong.

    Examples:

        backup-pipeline check

        backup-pipeline check --catalog isp --nagios

        backup-pipeline check --json | jq '.catalogs[] | select(.state == "overdue")'

    Exit codes: 0 every backup that is due is there; 1 the ledger can not be read; 2 wrong request; 10 there is no such
    catalog; 22 a backup is overdue.
    """
    if nagios:
        line, code = nagios_line(lambda: _watched(catalog or ()), lambda: second_ages(catalog or ()))
        print_line(visible(line))
        raise typer.Exit(code)
    states, second = _watched(catalog or ()), second_ages(catalog or ())
    channels = _channels()
    if as_json:
        fresh = not any(each.overdue for each in states)
        ages = [ages_as_json(copy) for copy in second]
        print_json({"fresh": fresh, "catalogs": states, "second_store": ages, "channels": channels})
    else:
        draw(presentation_health.freshness_document(states, second))
        if not channels:
            note_console().print(_NOBODY, markup=False, soft_wrap=True)
    _raise_overdue(states)
    for stale in (copy.stale for copy in second if copy.stale):
        raise stale


def _channels() -> Sequence[str]:
    """The channels that reach somebody."""
    return reaching(ports.open_settings_alerter(invoked_settings()).channels)


def _watched(names: Sequence[str]) -> Sequence[Freshness]:
    with opened() as installation:
        declared = ports.watched(installation.settings)
        wanted = ports.watched(installation.settings, names) if names else declared
        return operations_health.watch_all(wanted, installation.ports, declared=declared)


def _raise_overdue(states: Sequence[Freshness]) -> None:
    """The error of all that is overdue."""
    overdue = [each.what for each in states if each.overdue]
    if overdue:
        raise StaleError(" ".join(overdue), do=DO)


def doctor(
    *,
    catalog: Annotated[
        list[str] | None,
        typer.Option(help="Which catalog; may be repeated. Default: BACKUP_CATALOG, and each that has its own source."),
    ] = None,
    send: Annotated[bool, typer.Option("--send", help="Send a trial message to every alert channel.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: an object a line.")] = False,
) -> None:
    """Look at everything that backups need; each line says ok, or what is wrong and what to do.

    The source: its version, what the role may do and may not see, row-level security, a standby's lag. The ledger: its
    tables, rights, leases. The store, and the second one: a trial object under doctor/ is written, read, listed,
    uploaded in parts, and deleted; versions, locks, encryption. Clocks, keys, alerts, pings, disks, timezone data,
    Dagster's daemons, and how fresh, verified and rehearsed the backups are.

    No check stops another, and none takes longer than half a minute.

    Examples:

        backup-pipeline doctor

        backup-pipeline doctor --send

        backup-pipeline doctor --json | jq '.[] | select(.state == "problem")'

    Exit codes: 0 no problem, warnings allowed; 1 a problem; 2 a setting or a catalog is wrong; 10 no such catalog.
    """
    with ExitStack() as stack:
        settings = _ready(stack)
        checks = wiring_doctor.checks_of(
            settings, _chosen(settings, catalog), send=send, actor=addresses.os_user(), dagster=_dagster
        )
        lines = operations_doctor.examine(checks)
    if as_json:
        print_json(lines)
    else:
        draw(presentation_health.doctor_document(lines))
    if problems(lines):
        raise typer.Exit(1)


def _ready(stack: ExitStack) -> Settings:
    """The settings; the embedded PostgreSQL is started for a moment, where it is the ledger's and was set up."""
    settings = invoked_settings()
    try:
        return stack.enter_context(embedded.ledger_ready(settings))
    except NotFoundError:  # nothing was ever set up: each check says what it lacks
        return settings


def _chosen(settings: Settings, names: Sequence[str] | None) -> Sequence[Catalog]:
    declared = [catalog.catalog for catalog in ports.watched(settings)]
    configured = [name for name in (settings.catalog, *settings.source_urls) if name in declared]
    return ports.watched(settings, list(dict.fromkeys(names or configured or declared[:1])))


def _dagster() -> Iterable[Line]:
    return instance.examine_dagster(addresses.utc_now())


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
    draw(presentation_health.outbox_document(entries) if entries else reports.document(reports.line(nothing)))


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
        draw(
            presentation_health.outbox_document(tried)
            if tried
            else reports.document(reports.line("There is nothing to deliver."))
        )
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
    deliveries = alerting.try_channels(alerter, Scope(settings.catalog), ports.utc_now())
    if as_json:
        print_json(deliveries)
    else:
        draw(presentation_health.deliveries_document(deliveries))
    _check_all_took_it(deliveries)


def _check_all_took_it(deliveries: Sequence[Delivery]) -> None:
    failed = [delivery.channel for delivery in deliveries if delivery.error]
    if failed:
        kind = PartialError if len(failed) < len(deliveries) else BackupError
        message = f"{len(failed)} of {len(deliveries)} channels did not take the test message."
        raise kind(message, do="Correct these URLs in BACKUP_ALERT_URLS, and run it again.")
