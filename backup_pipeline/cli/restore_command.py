"""A restore written again as the command that a person can run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from backup_pipeline.cli.restore_options import Order
from backup_pipeline.core.restore_requests import FIRST
from backup_pipeline.core.restoring import RestoreReport

PROGRAM = "backup-pipeline"


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
