"""Dagster as a doctor sees it: do the daemons live, and are the schedules on?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from backup_pipeline.core.doctor import Line, ok, problem, warning

_DEAD_AFTER = timedelta(minutes=30)
_UP = "Start it: `backup-pipeline up`, or dagster-daemon under your supervisor (systemd, Kubernetes)."


def examine_dagster(now: datetime) -> Iterator[Line]:
    """The last sign of each daemon, and the schedules that somebody switched off."""
    with dg.DagsterInstance.get() as instance:
        yield from _daemons(instance, now)
        yield from _schedules(instance)


def _daemons(instance: dg.DagsterInstance, now: datetime) -> Iterator[Line]:
    beats = instance.get_daemon_heartbeats()
    if not beats:
        yield problem("dagster", "no daemon has ever run: no schedule and no sensor does anything", _UP)
    for name, beat in sorted(beats.items()):
        silent = now - datetime.fromtimestamp(beat.timestamp, UTC)
        if silent > _DEAD_AFTER:
            yield problem("dagster", f"the {name} daemon gave its last sign {_minutes(silent)} minutes ago", _UP)
        elif beat.errors:
            yield warning(
                "dagster", f"the {name} daemon met an error: {beat.errors[0].message.strip()}", "See its log."
            )
        else:
            yield ok("dagster", f"the {name} daemon lives")


def _schedules(instance: dg.DagsterInstance) -> Iterator[Line]:
    states = instance.all_instigator_state()
    off = sorted({state.name for state in states if state.status.value == "STOPPED"})
    if off:
        do = "Switch them on in the Dagster UI (Automation), unless that is meant."
        yield warning("dagster", f"switched off: {', '.join(off)}", do)
    else:
        yield ok("dagster", "no schedule and no sensor is switched off")


def _minutes(span: timedelta) -> int:
    return int(span.total_seconds() // 60)
