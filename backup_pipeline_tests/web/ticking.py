"""A day of ticks over the businesses of an office: what changed, what failed, what was skipped, when nothing ran."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from backup_pipeline.core.businesses.ticks import BusinessMiss, Miss, Tick, TickStatus, scheduled_before
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.payments.accounts import RegistryEntry
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.core.retained import backup
from backup_pipeline_tests.web.deciding import Office

FIVE = timedelta(minutes=5)
TICKS = 288
FAILED, SKIPPED, MISSED = (30, 31), (40,), (100, 101, 102)
"""How many ticks ago, counted from the newest: of b1 what failed and was skipped, of everybody what never ran."""
OVERRUN = 150
CHANGED = (287, 200, 20)
"""When b1 had changed."""
BYTES = 300_000


def newest_time(office: Office) -> datetime:
    """The scheduled time of the newest tick."""
    return scheduled_before(office.console.clock(), FIVE) - FIVE


def add_ticks(office: Office) -> None:
    """288 times of ticks, the first backups older than all of them."""
    newest, ledger = newest_time(office), office.ledger
    with ledger.at_once() as rows:
        for ago in range(TICKS - 1, -1, -1):
            at = newest - ago * FIVE
            if ago == MISSED[-1]:
                until = newest - MISSED[0] * FIVE
                message = f"Nothing ran at {len(MISSED)} scheduled times."
                rows.ticks.begin(
                    Tick("shop", at, TickStatus.MISSED, missed_until=until, missed_count=len(MISSED), message=message)
                )
            if ago not in MISSED:
                rows.ticks.end(rows.ticks.begin(_tick(at, ago)))
    with ledger.at_once() as rows:
        # Who is new is protected from then on: these were there before the first tick.
        rows.businesses.register("shop", _REGISTRY, office.users["karim"].actor, office.console.clock())
    ledger.execute("UPDATE businesses SET registered_at = registered_at - interval '3 days'")
    add_backup(office, "b2", newest - TICKS * FIVE, Kind.FULL)
    before = None
    for ago in CHANGED:
        kind = Kind.INCREMENTAL if before else Kind.FULL
        before = add_backup(office, "b1", newest - ago * FIVE, kind, goes_on_from=before)


_REGISTRY = [RegistryEntry("b1", "Rupa Stores"), RegistryEntry("b2", "Dhaka Bikes"), RegistryEntry("b3", "Sylhet Tea")]


def _tick(at: datetime, ago: int) -> Tick:
    times: dict[str, Any] = {
        "started_at": at,
        "snapshot_at": at + timedelta(seconds=2),
        "finished_at": at + timedelta(seconds=6),
    }
    if ago == OVERRUN:
        return Tick("shop", at, TickStatus.SKIPPED, started_at=at, finished_at=at, message="overrun: a tick is at work")
    misses: tuple[BusinessMiss, ...] = ()
    if ago in FAILED:
        misses = (BusinessMiss("b1", Miss.FAILED, "StoreError: <b>the disk is full</b>"),)
    if ago in SKIPPED:
        misses = (BusinessMiss("b1", Miss.SKIPPED, "the deadline of 240 s came first"),)
    changed = int(ago in CHANGED)
    return Tick(
        "shop",
        at,
        TickStatus.PARTIAL if misses else TickStatus.SUCCESS,
        **times,
        due=3,
        changed=changed,
        unchanged=3 - changed - len(misses),
        failed=int(ago in FAILED),
        skipped=int(ago in SKIPPED),
        lag_s=2.0,
        misses=misses,
    )


def add_backup(
    office: Office,
    business: str,
    at: datetime,
    kind: Kind,
    type_: Trigger = Trigger.AUTOMATIC,
    size: int = BYTES,
    goes_on_from: str | None = None,
) -> str:
    """A good backup of a business; its id."""
    salt = int.from_bytes(f"{business}{type_[0]}".encode()) % 16**8
    identifier = f"{at:%Y%m%dT%H%M%SZ}-{kind}-{salt:08x}"
    more: dict[str, Any] = {
        "kind": kind,
        "type": type_,
        "snapshot_at": at + timedelta(seconds=2),
        "file_size_bytes": size,
        "goes_on_from": goes_on_from,
    }
    row = backup(at, backup_id=identifier, scope=Scope("shop", business=business), record_count=7, **more)
    office.ledger.put(row)
    return identifier
