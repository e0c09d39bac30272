"""How new the second store is, as a line of `check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backup_pipeline.cli.opened import opened
from backup_pipeline.cli.output import result_console
from backup_pipeline.core.copies import CopyAge
from backup_pipeline.core.verified import ago
from backup_pipeline.settings import Settings


def second_ages(names: Sequence[str]) -> Sequence[CopyAge]:
    """The newest good copy of each catalog (of those `names`, or all); none where there is no second store."""
    from backup_pipeline.operations.second_age import second_ages as ages_of
    from backup_pipeline.wiring.second_store import open_second
    from backup_pipeline.wiring.watching import watched

    if not Settings().second_store:
        return ()
    with opened() as at:
        second = open_second(at.settings)
        return ages_of(watched(at.settings, names), second.url if second else "", at.ledger, at.clock())


def print_ages(ages: Sequence[CopyAge]) -> None:
    """A line for each catalog."""
    for one in ages:
        told = f"{one.newest.backup_id} began {ago(one.age)}" if one.newest and one.age else "no good copy"
        state = "STALE" if one.stale else "fresh" if one.newest else "none"
        result_console().print(
            f"Second store, {one.catalog}: {state}, {told} ({one.store})", markup=False, soft_wrap=True
        )


def as_json(one: CopyAge) -> Mapping[str, object]:
    """The same for JSON."""
    return {
        "catalog": one.catalog,
        "store": one.store,
        "newest": one.newest.backup_id if one.newest else None,
        "age_s": int(one.age.total_seconds()) if one.age else None,
        "stale": one.stale.what if one.stale else None,
    }
