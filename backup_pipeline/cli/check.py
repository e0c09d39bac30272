"""`backup-pipeline check`: is every backup there that should be? A watchdog that needs nothing but the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import typer

from backup_pipeline.cli.options import invoked_settings, opened, print_json, print_line
from backup_pipeline.core.alerts import reaching
from backup_pipeline.core.copies import CopyAge
from backup_pipeline.core.due import DO, DueState, Freshness
from backup_pipeline.core.errors import BackupError, LedgerError, StaleError, in_our_words
from backup_pipeline.core.text import redact, visible
from backup_pipeline.core.verification import age
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console

with lazily():
    from backup_pipeline.operations import due
    from backup_pipeline.presentation import health
    from backup_pipeline.wiring import ports, stores


def second_ages(names: Sequence[str]) -> Sequence[CopyAge]:
    """The newest good copy of each catalog (of those `names`, or all); none where there is no second store."""
    if not invoked_settings().second_store:
        return ()
    with opened() as installation:
        second = stores.open_second(installation.settings)
        return due.second_ages(
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
        draw(health.freshness_document(states, second))
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
        wanted, declared = ports.watched(installation.settings, names), ports.watched(installation.settings)
        return due.watch_all(wanted, installation.ports, declared=declared)


def _raise_overdue(states: Sequence[Freshness]) -> None:
    """The error of all that is overdue."""
    overdue = [each.what for each in states if each.overdue]
    if overdue:
        raise StaleError(" ".join(overdue), do=DO)
