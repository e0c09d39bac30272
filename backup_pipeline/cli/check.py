"""`backup-pipeline check`: is every backup there that should be? A watchdog that needs nothing but the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.opened import opened
from backup_pipeline.cli.output import note_console, print_json, print_line, result_console
from backup_pipeline.cli.second_check import as_json as second_as_json
from backup_pipeline.cli.second_check import print_ages, second_ages
from backup_pipeline.core.visible import visible

if TYPE_CHECKING:
    from backup_pipeline.core.due_state import Freshness

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
        from backup_pipeline.cli.nagios import nagios_line

        line, code = nagios_line(lambda: _watched(catalog or ()), lambda: second_ages(catalog or ()))
        print_line(visible(line))
        raise typer.Exit(code)
    stands, second = _watched(catalog or ()), second_ages(catalog or ())
    channels = _channels()
    if as_json:
        fresh = not any(one.overdue for one in stands)
        ages = [second_as_json(one) for one in second]
        print_json({"fresh": fresh, "catalogs": stands, "second_store": ages, "channels": channels})
    else:
        from backup_pipeline.cli.freshness import freshness_table

        result_console().print(freshness_table(stands))
        print_ages(second)
        if not channels:
            note_console().print(_NOBODY, markup=False, soft_wrap=True)
    _raise_overdue(stands)
    for stale in (one.stale for one in second if one.stale):
        raise stale


def _channels() -> Sequence[str]:
    """The channels that reach somebody."""
    from backup_pipeline.core.alerts import reaching
    from backup_pipeline.settings import Settings
    from backup_pipeline.wiring.ports import open_settings_alerter

    return reaching(open_settings_alerter(Settings()).channels)


def _watched(names: Sequence[str]) -> Sequence[Freshness]:
    from backup_pipeline.wiring.watching import watch_all, watch_of, watched

    with opened() as at:
        wanted, declared = watched(at.settings, names), watched(at.settings)
        return watch_all(wanted, watch_of(at.settings, at.ledger), declared=declared)


def _raise_overdue(stands: Sequence[Freshness]) -> None:
    """The error of all that is overdue."""
    from backup_pipeline.core.due_state import DO
    from backup_pipeline.core.errors import StaleError

    overdue = [one.what for one in stands if one.overdue]
    if overdue:
        raise StaleError(" ".join(overdue), do=DO)
