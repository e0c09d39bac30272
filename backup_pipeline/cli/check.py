"""`backup-pipeline check`: is every backup there that should be? A watchdog that needs nothing but the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import typer

from backup_pipeline.cli.options import invoked_settings, opened, print_json, print_line
from backup_pipeline.core.copies import CopyAge
from backup_pipeline.core.due import DueState, Freshness
from backup_pipeline.core.errors import BackupError, LedgerError, in_our_words
from backup_pipeline.core.secrets import redact
from backup_pipeline.core.text import visible
from backup_pipeline.core.verification import age
from backup_pipeline.presentation.health import freshness_document
from backup_pipeline.presentation.terminal import draw, note_console


def second_ages(names: Sequence[str]) -> Sequence[CopyAge]:
    """The newest good copy of each catalog (of those `names`, or all); none where there is no second store."""
    from backup_pipeline.operations.due import second_ages as ages_of
    from backup_pipeline.wiring.stores import open_second
    from backup_pipeline.wiring.watch import watched

    if not invoked_settings().second_store:
        return ()
    with opened() as at:
        second = open_second(at.settings)
        return ages_of(watched(at.settings, names), second.url if second else "", at.ledger, at.clock())


def ages_as_json(one: CopyAge) -> Mapping[str, object]:
    """The same for JSON."""
    return {
        "catalog": one.catalog,
        "store": one.store,
        "newest": one.newest.backup_id if one.newest else None,
        "age_s": int(one.age.total_seconds()) if one.age else None,
        "stale": one.stale.what if one.stale else None,
    }


OK, WARNING, CRITICAL, UNKNOWN = range(4)
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


def nagios_line(
    ask: Callable[[], Sequence[Freshness]], ask_second: Callable[[], Sequence[CopyAge]] = tuple
) -> tuple[str, int]:
    """The line and the exit code; an error is an answer too. A second store that is stale is a warning."""
    try:
        stands, second = ask(), ask_second()
        stale = [_one_line(one.stale.what) for one in second if one.stale]
    except LedgerError as error:
        return _line(CRITICAL, f"the ledger can not be read, so no backup can be made: {_one_line(error.what)}")
    except BackupError as error:
        return _line(UNKNOWN, _one_line(f"{error.what} {error.do}"))
    except Exception as error:  # noqa: BLE001  # a monitor takes 1, Python's own code, for a mere warning
        return _line(UNKNOWN, _one_line(in_our_words(error)))
    worst = max((_code(one) for one in stands), default=OK)
    told = [_told(one) for one in stands if _code(one) == worst and not (stale and worst == OK)]
    line, code = _line(max(worst, WARNING if stale else OK), " ".join([*told, *stale]) or "there is no catalog")
    return f"{line} | {' '.join([*map(_data, stands), *map(_second_data, second)])}", code


def _code(one: Freshness) -> int:
    if not one.overdue:
        return OK
    return WARNING if one.running else CRITICAL


def _told(one: Freshness) -> str:
    if one.state is DueState.FRESH and one.newest_at is not None:
        return f"{one.catalog}: the newest good backup began {age(one.newest_at, one.at)}."
    return one.what


def _line(code: int, text: str) -> tuple[str, int]:
    return f"BACKUP {_WORDS[code]} - {text.replace('|', '/')}", code


def _data(one: Freshness) -> str:
    """`label=value`; U is Nagios's own word for a value that is not known."""
    seconds = "U" if one.age_s is None else f"{one.age_s}s"
    return f"{one.catalog}_age={seconds} {one.catalog}_missed={len(one.missed)} {one.catalog}_failed={one.failed}"


def _second_data(one: CopyAge) -> str:
    seconds = "U" if one.age is None else f"{int(one.age.total_seconds())}s"
    return f"{one.catalog}_second_age={seconds} {one.catalog}_second_stale={int(one.stale is not None)}"


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
    stands, second = _watched(catalog or ()), second_ages(catalog or ())
    channels = _channels()
    if as_json:
        fresh = not any(one.overdue for one in stands)
        ages = [ages_as_json(one) for one in second]
        print_json({"fresh": fresh, "catalogs": stands, "second_store": ages, "channels": channels})
    else:
        draw(freshness_document(stands, second))
        if not channels:
            note_console().print(_NOBODY, markup=False, soft_wrap=True)
    _raise_overdue(stands)
    for stale in (one.stale for one in second if one.stale):
        raise stale


def _channels() -> Sequence[str]:
    """The channels that reach somebody."""
    from backup_pipeline.core.alerts import reaching
    from backup_pipeline.wiring.ports import open_settings_alerter

    return reaching(open_settings_alerter(invoked_settings()).channels)


def _watched(names: Sequence[str]) -> Sequence[Freshness]:
    from backup_pipeline.wiring.watch import watch_all, watched

    with opened() as at:
        wanted, declared = watched(at.settings, names), watched(at.settings)
        return watch_all(wanted, at.ports, declared=declared)


def _raise_overdue(stands: Sequence[Freshness]) -> None:
    """The error of all that is overdue."""
    from backup_pipeline.core.due import DO
    from backup_pipeline.core.errors import StaleError

    overdue = [one.what for one in stands if one.overdue]
    if overdue:
        raise StaleError(" ".join(overdue), do=DO)
