"""`backup-pipeline up`: PostgreSQL, migrations, Dagster's web server and daemon, the console, until Ctrl-C."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backup_pipeline.cli.options import invoked_settings, opened
from backup_pipeline.core.doctor import problems
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.scope import PROGRAM
from backup_pipeline.core.verification import age
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import SafeConsole, note_console
from backup_pipeline.settings import Settings, set_environment

if TYPE_CHECKING:
    from backup_pipeline.core.due import Freshness
    from backup_pipeline.wiring.processes import Up

with lazily():
    from backup_pipeline import demo as demos
    from backup_pipeline import web
    from backup_pipeline.operations import doctor as operations_doctor
    from backup_pipeline.operations import health, retention
    from backup_pipeline.operations.access import users
    from backup_pipeline.operations.retention import plan as prune_plan
    from backup_pipeline.wiring import access as wiring_access
    from backup_pipeline.wiring import addresses as wiring_addresses
    from backup_pipeline.wiring import doctor as wiring_doctor
    from backup_pipeline.wiring import embedded, history, ports, processes
    from backup_pipeline.wiring import installation as wiring_installation


def demo(
    system: Annotated[
        Literal["isp", "car_audio", "sales_portal", "retail", "history", "live"],
        typer.Argument(
            help="isp: an internet provider; car_audio: a platform for competitions; sales_portal: a telephone seller; "
            "retail: shops that share a database; history: a month of backups; live: the shops trade, until Ctrl-C."
        ),
    ] = "isp",
    *,
    scale: Annotated[float, typer.Option(help="1 is about 250 thousand rows of the ISP; 100 works.", min=0.0001)] = 1.0,
    again: Annotated[bool, typer.Option("--again", help="Drop the demo database first, and make it anew.")] = False,
    days: Annotated[int, typer.Option(help="With `history`: of so many days.", min=10, max=120)] = 30,
    businesses: Annotated[
        int | None, typer.Option(help="With `retail`: so many shops; 5 if not given, 500 and 10000 work.", min=1)
    ] = None,
    seconds: Annotated[float, typer.Option(help="With `live`: so long between two moments of trade.", min=0.05)] = 2.0,
) -> None:
    """Create a demo database in the embedded PostgreSQL: a believable business system, the ISP's if none is named.

    The same scale always gives the same rows. `backup` and `up` make the ISP's by themselves the first time. The
    catalog of another system is there from the day its demo is made, with its schedule; before that nothing is due.

    `demo history` makes the demos small, and of each system without a backup those of the last --days nights: real
    ones, with one missed, late, failed, one where rows were lost and the last good is held, a corrupted file of an
    earlier program, and a restore request that waits. The shops of retail have paid, some ahead or too little.

    Examples:

        backup-pipeline demo history --days 30

        backup-pipeline demo --scale 10 --again

        backup-pipeline demo car_audio && backup-pipeline backup --catalog car_audio

        backup-pipeline demo retail --businesses 500 --scale 0.1

    Exit codes: 0 created, or there already; 1 failed; 2 wrong request.
    """
    settings, tell = invoked_settings(), partial(SafeConsole(stderr=True).print, highlight=False)
    if system == "history":
        made = history.make_demo_history(settings, days, tell)
        tell(f"{made} backups. `backup-pipeline list` shows them, `backup-pipeline up` the console.")
    elif system == "live":
        _trade(settings, seconds, tell)
    elif not embedded.demo_database(
        settings, tell, demos.SYSTEMS[system], scale=scale, businesses=businesses, again=again
    ):
        tell("The demo database is there already; --again makes it anew.")
    elif system == "retail":
        history.make_demo_payments(settings, tell)


def _trade(settings: Settings, seconds: float, tell: Callable[[str], None]) -> None:
    """Ctrl-C ends it; each moment is a transaction of its own."""
    with embedded.prepared(settings, tell) as ready, suppress(KeyboardInterrupt):
        url = wiring_addresses.owner_url(ready, demos.RETAIL.name)
        tell("The shops trade. Ctrl-C stops them.")
        for number in count(int(time.time())):
            demos.trade(url, demos.RETAIL, number)
            time.sleep(seconds)


def serve(
    *,
    host: Annotated[
        str,
        typer.Option(help="The address to listen on. For people on other machines, put a proxy with https in front."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port.", min=1, max=65535)] = 3001,
) -> None:
    """Serve /healthz and /healthz/freshness for uptime monitors, and watch: overdue backups are told each minute.

    /healthz answers 200 while the service is alive. /healthz/freshness answers 200 when every backup that is due is
    there, and 503 when one is overdue or nobody knows; as JSON it says for each catalog what was due, the newest good
    backup, its age, and what was missed. Like `check` it needs the ledger alone. `up` starts it too.

    Examples:

        backup-pipeline serve

        curl --fail http://127.0.0.1:3001/healthz/freshness

    Exit codes: 0 stopped by Ctrl-C; 1 the ledger can not be opened; 2 wrong request, or the port is taken.
    """
    wiring_installation.require_web()
    processes.refuse_taken_port(host, port)
    with opened(connections=ports.CONSOLE_CONNECTIONS) as installation:
        note_console().print(f"Freshness: http://{host}:{port}/healthz/freshness  (Ctrl-C stops)", markup=False)
        web.serve_console(installation.settings, installation.ledger, host, port)


def up(
    *,
    host: Annotated[
        str, typer.Option(help="The address to listen on. Dagster has no login: keep it local.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port of the Dagster UI.", min=1, max=65535)] = 3000,
    console_port: Annotated[int, typer.Option(help="The port of the console.", min=1, max=65535)] = 3001,
) -> None:
    """Start everything and stay: the embedded PostgreSQL, the ledger's migrations, the Dagster UI, its daemon, `serve`.

    The daemon runs the daily schedule (00:00 in the catalog's timezone) and the sensors that alert. Ctrl-C stops all of
    it, and leaves nothing running; a backup in progress is canceled. Also when this process is killed, what it started
    ends. There is one in a home (BACKUP_HOME). Its processes write into the folder `logs` of the home.

    Before anything runs, a clean-up that was due meanwhile is made up for: what the rules of a catalog let go goes
    (not with BACKUP_AUTOMATION=stopped). What `doctor` finds is told in short, and goes into the logs.

    The web server answers to this machine's names, the address of --host and BACKUP_ALLOWED_HOSTS, and refuses what
    comes from pages of other sites.

    Examples:

        backup-pipeline up

        BACKUP_CATALOGS=catalogs BACKUP_SOURCE_URL=postgresql://backup@db/shop backup-pipeline up --port 3100

    Exit codes: 0 stopped by Ctrl-C; 1 something did not start, or ended by itself; 2 wrong request, or a port is taken;
    11 another one runs in this home.
    """
    console = SafeConsole(stderr=True)

    def tell(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    wiring_installation.require_web()
    settings, addresses = invoked_settings(), processes.Addresses(host, port, console_port)
    embedded.check_settings(settings)
    with processes.only_one(settings.home, {"ui": addresses.ui}) as lock:
        addresses.check_free()
        with embedded.prepared(settings, tell) as ready:
            tell("Starting Dagster.")
            _set_for_children(settings, addresses.ui)
            started = processes.Up(addresses, settings.home, lock)
            if settings.automation == "running" or "automation" not in settings.model_fields_set:
                tell("\n".join(clean_up_at_start(ready)))
            processes.run_dagster(started, tell, lambda: _tell_of(started, ready, tell))


def _set_for_children(settings: Settings, ui: str) -> None:
    if "automation" not in settings.model_fields_set:  # what starts everything starts the schedules, too
        set_environment({"BACKUP_AUTOMATION": "running"})
    for name in ("dagster_url", "dagster_api_url"):
        if name not in settings.model_fields_set:  # the console and its links find the server of this one
            set_environment({f"BACKUP_{name.upper()}": ui})


def _tell_of(up: Up, settings: Settings, tell: Callable[[str], None]) -> None:
    tell("\n".join(_summary(up, settings)))
    tell("\n".join(_examined(up, settings)))


def _summary(up: Up, settings: Settings) -> Iterator[str]:
    """What a person wants to know of what runs now."""
    yield f"Dagster UI   {up.addresses.ui}"
    yield f"Console      {up.addresses.console}"
    yield from _first_login(settings, up.addresses.console)
    yield f"Health       {up.addresses.console}/healthz/freshness, and {up.addresses.console}/metrics for Prometheus"
    yield f"Logs         {up.logs}: code, web, daemon, console"
    yield from _catalogs(settings)
    yield "Stop         Ctrl-C stops everything"


def _first_login(settings: Settings, console: str) -> Iterator[str]:
    """Where nobody can sign in yet: the link that makes the first super admin."""
    try:
        with ports.open_ledger(settings) as ledger:
            people = wiring_access.console_ports(settings, ledger, wiring_addresses.LedgerClock(ledger))
            token = users.first_admin_link(people)
    except BackupError as error:
        yield f"First login  not known: {error.what} {error.do}"
        return
    if token is not None:
        yield f"First login  {console}/welcome/{token}"
        yield "             Open it on this machine within 15 minutes; or run `backup-pipeline user add`."


def clean_up_at_start(settings: Settings) -> Iterator[str]:
    """What a clean-up removed that was due while nothing ran, by the rules of each catalog that has one by itself."""
    for catalog in ports.watched(settings):
        if catalog.retention.schedule is None:
            continue
        requests = prune_plan.prune_requests(catalog, PROGRAM, settings.prune_versions)
        try:
            with ports.open_ledger(settings) as ledger:
                own = ports.ports_over(ledger, settings)
                plans, _ = retention.prune_catalog(requests, own, confirmed=False, show=lambda _: None)
                reports: Sequence[retention.PruneReport] = ()
                if not all(plan.empty for plan in plans):
                    _, reports = retention.prune_catalog(requests, own, confirmed=True, show=lambda _: None)
        except BackupError as error:
            yield f"Clean-up     {catalog.catalog}: not done. {error.what}"
            continue
        removed = sum(len(report.removed) for report in reports)
        yield f"Clean-up     {catalog.catalog}: {f'{removed} backups removed' if removed else 'nothing is due'}"
        if catalog.businesses is not None:
            yield f"             Those of its businesses go by the schedule {catalog.catalog}_prune, and by `prune`."


def _examined(up: Up, settings: Settings) -> Iterator[str]:
    """What the doctor says, in short; the whole of it goes into the logs.

    Dagster is left out: it has just been started, and its daemons give their first sign after a moment.
    """
    actor, catalogs = wiring_addresses.os_user(), ports.watched(settings)
    checks = wiring_doctor.checks_of(settings, catalogs, send=False, actor=actor, dagster=lambda: ())
    lines = operations_doctor.examine(checks)
    log, at = up.logs / "doctor.log", wiring_addresses.utc_now()
    with log.open("a", encoding="utf-8") as file:
        file.writelines(f"{at:%Y-%m-%dT%H:%M:%SZ} {each.state} {each.topic}: {each.what} {each.do}\n" for each in lines)
    counts = Counter(each.state for each in lines)
    yield f"Doctor       {', '.join(f'{count} {state}' for state, count in counts.items())}: see {log}"
    yield from (f"             {each.topic}: {each.what} {each.do}" for each in problems(lines))


def _catalogs(settings: Settings) -> Iterator[str]:
    try:
        with ports.open_ledger(settings) as ledger:
            states = health.look_at_all(ports.watched(settings), ports.ports_over(ledger, settings))
    except BackupError as error:
        yield f"Backups      not known: {error.what}"
        return
    yield from (f"Backups      {_state(freshness)}" for freshness in states)


def _state(freshness: Freshness) -> str:
    newest = f"newest {age(freshness.newest_at, freshness.at)}" if freshness.newest_at else "none yet"
    following = f"next {freshness.next_due:%Y-%m-%d %H:%M} UTC" if freshness.next_due else "no schedule"
    return f"{freshness.catalog}: {newest}, {following}" + (", OVERDUE" if freshness.overdue else "")
