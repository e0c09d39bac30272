"""The options of `restore`: read, checked, and written again as the command that a person can run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.restore_requests import FIRST, Which
from backup_pipeline.core.restoring import RestoreReport, RestoreRequest

PROGRAM = "backup-pipeline"


@dataclass(frozen=True)
class Order:
    """What was typed. With a `number` everything but target and confirmation comes from that request."""

    wish: RestoreRequest
    catalog: str | None
    number: int | None
    target_url: str | None
    to_source: bool
    safety_backup: bool
    dry_run: bool
    as_json: bool
    store: Which = FIRST


def pairs(option: str, given: Sequence[str], form: str) -> Mapping[str, str]:
    """What `name=value` options say; UsageError for one that is not of the `form`, or a name that comes twice."""
    found: dict[str, str] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (name and sign and (value or option == "--fill")):
            message = f"{option} {text!r} is not of the form {form}."
            raise UsageError(message, do=f"Write {option} {form}.")
        if name in found:
            message = f"{option} names {name!r} twice."
            raise UsageError(message, do="Name it once.")
        found[name] = value
    return found


def refuse_beside_request(given: Mapping[str, object]) -> None:
    """UsageError for options that a request has decided already: what was approved is what is performed."""
    named = [name for name, value in given.items() if value]
    if named:
        message = f"--request can not go with {', '.join(named)}: the request says that itself."
        raise UsageError(message, do="Leave it out, or make a new request without --request.")


def same_command(order: Order, backup_id: str, shown_target: str, confirm: str) -> str:
    """The command that does the same, confirmed; without any password."""
    return shlex.join([PROGRAM, "restore", *_words(order, backup_id, shown_target), "--confirm", confirm])


def undo_command(order: Order, report: RestoreReport, shown_target: str) -> str:
    """The command that brings back what the restore overwrote; without any password."""
    words = [PROGRAM, "restore", report.safety_backup_id or "", "--mode", "replace", *_into(order, shown_target)]
    return shlex.join([*words, "--dry-run"])


def _words(order: Order, backup_id: str, shown_target: str) -> Iterator[str]:
    if order.number is not None:
        yield from ("--request", str(order.number))
    else:
        yield backup_id
        yield from _choices(order)
    yield from _into(order, shown_target)


def _into(order: Order, shown_target: str) -> Iterator[str]:
    if order.to_source:
        yield "--to-source"
    elif order.target_url:
        yield from ("--target-url", shown_target)


def _choices(order: Order) -> Iterator[str]:
    wish = order.wish
    for table in wish.tables:
        yield from ("--table", table)
    yield from ("--mode", wish.mode.value)
    if wish.into_schema:
        yield from ("--into-schema", wish.into_schema)
    for option, given in (("--rename", wish.rename), ("--fill", wish.fill)):
        for name, value in given.items():
            yield from (option, f"{name}={value}")
    if wish.reason:
        yield from ("--reason", wish.reason)
    if order.store != FIRST:
        yield from ("--store", order.store)
    if not order.safety_backup:
        yield "--no-safety-backup"
