"""The days of a catalog in Dagster: where its partitions begin, and that no backfill makes up for those that are over.

Uses names that are private to Dagster: its version is pinned, and tests launch real backfills.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import RefusedError, in_our_words
from backup_pipeline.core.schedule import is_late, local_date
from backup_pipeline.orchestration.failures import told_as_failure
from backup_pipeline.orchestration.keys import REFUSED_TAG, bundle_key, full_job, table_key, tables_job, tables_op

if TYPE_CHECKING:
    from backup_pipeline.orchestration.internals import PartitionBackfill

logger = logging.getLogger(__name__)

FIRST_DAYS = "backup_pipeline_first_days.json"
"""The note of an installation, in DAGSTER_HOME: the day of each catalog's first backup."""


def dated(catalogs: Mapping[str, Catalog], home: Path | None) -> Mapping[str, Catalog]:
    """The catalogs with the day at which their partitions begin: their own `start_date`, else what `home` has noted."""
    return {name: dated_catalog(catalog, home) for name, catalog in catalogs.items()}


def dated_catalog(catalog: Catalog, home: Path | None) -> Catalog:
    """As `dated`, of one catalog."""
    if catalog.start_date is not None or home is None:
        return catalog
    return catalog.model_copy(update={"start_date": _noted(home).get(catalog.catalog)})


def note_first_days(catalogs: Collection[Catalog], home: Path | None, now: datetime) -> None:
    """Note in `home`, DAGSTER_HOME, the first day of each catalog that says none: of its oldest partition, or today.

    Once: from then on nothing but that file is read, and at no time the ledger. Where Dagster's storage can not be
    read, or the file not be written, partitions begin at `EARLIEST`: days are shown that never had a backup, none is
    hidden that had.
    """
    noted = _noted(home) if home else {}
    unknown = [each for each in catalogs if each.start_date is None and each.catalog not in noted]
    if home is None or not unknown:
        return
    partial = home / f".{FIRST_DAYS}.{os.getpid()}"
    try:
        with dg.DagsterInstance.get() as instance:
            first = {each.catalog: min([*_materialized(each, instance), _today(each, now)]) for each in unknown}
        partial.write_text(json.dumps({**noted, **first}, indent=1), encoding="utf-8")
        partial.replace(home / FIRST_DAYS)
    except Exception as error:  # noqa: BLE001  # whatever ails the storage: definitions load all the same
        names = ", ".join(each.catalog for each in unknown)
        logger.warning("The first day of %s is not noted in %s: %s", names, home, in_our_words(error))


def _noted(home: Path) -> Mapping[str, str]:
    """What the installation has noted; nothing where it can not be read, or is no note."""
    try:
        days = json.loads((home / FIRST_DAYS).read_text(encoding="utf-8"))
        return {str(name): date.fromisoformat(day).isoformat() for name, day in days.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        logger.warning("The first days in %s can not be read: %s", home / FIRST_DAYS, error)
        return {}


def _materialized(catalog: Catalog, instance: dg.DagsterInstance) -> Iterator[str]:
    """The oldest partition of each asset that has any: they shall not vanish."""
    for key in (bundle_key(catalog), *(table_key(catalog, table) for table in catalog.tables)):
        if partitions := instance.get_materialized_partitions(key):
            yield min(partitions)


def _today(catalog: Catalog, now: datetime) -> str:
    return local_date(now, catalog.timezone).isoformat()


_BACKFILL_TAG = "dagster/backfill"


def refuse_days(context: dg.AssetExecutionContext, catalog: Catalog, now: datetime, *, late: bool) -> None:
    """A Failure for a run of several days, and for one of a backfill whose day is over.

    Nothing is begun, no row is written, and nobody is alerted: who launched it sees it. An instance with our storage
    takes no such backfill (`refuse_backfill`); this is for any other.
    """
    days = [date.fromisoformat(name) for name in context.partition_keys]
    with told_as_failure(context.log):
        try:
            _check_days(days, catalog, now, backfill=_BACKFILL_TAG in context.run.tags, late=late)
        except RefusedError:
            context.instance.add_run_tags(context.run.run_id, {REFUSED_TAG: "true"})
            raise


def _check_days(days: Sequence[date], catalog: Catalog, now: datetime, *, backfill: bool, late: bool) -> None:
    if len(days) > 1:
        message = f"This run is for {len(days)} days, {days[0]} to {days[-1]}: a backup is of one."
        raise RefusedError(message, do=f"Materialize {_today(catalog, now)} alone. Nothing was done.")
    if backfill:
        grace = timedelta(minutes=catalog.grace_minutes)
        is_late(days[0], now=now, timezone=catalog.timezone, grace=grace, late=late)


def refuse_backfill(wish: PartitionBackfill, catalogs: Collection[Catalog], now: datetime) -> None:
    """RefusedError for a backfill that would read tables for a day whose run would be refused; nothing has run then.

    A bundle alone reads no source, so any day will do; a config that says `late` is a person's own decision.
    """
    for catalog in catalogs:
        over = [day for day in _days(wish, catalog) if _is_over(day, catalog, wish, now)]
        if not over:
            continue
        today = _today(catalog, now)
        which = str(over[0]) if len(over) == 1 else f"{len(over)} days, {over[0]} to {over[-1]},"
        are = "is" if len(over) == 1 else "are"
        message = (
            f"Nothing was run: of this backfill {which} {are} over (it is {today} in {catalog.timezone}), and a backup "
            "reads the rows of now. A day that was missed can not be made up for."
        )
        do = f"Materialize {today} alone. To file today's rows under a day that is over, run it with `late: true`."
        raise RefusedError(message, do=do)


def _days(wish: PartitionBackfill, catalog: Catalog) -> Sequence[date]:
    """The days for which the backfill reads tables of the catalog, in order."""
    tables = {table_key(catalog, table) for table in catalog.tables}
    names: set[str] = set()
    if wish.asset_backfill_data is not None:
        for key, subset in wish.asset_backfill_data.target_subset.partitions_subsets_by_asset_key.items():
            names |= set(subset.get_partition_keys()) if key in tables else set()
    elif wish.job_name in {full_job(catalog), tables_job(catalog)}:
        chosen = wish.asset_selection
        names |= set(wish.partition_names or ()) if not chosen or tables.intersection(chosen) else set()
    return sorted(day for name in names if (day := _as_date(name)))


def _as_date(name: str) -> date | None:
    """None for a partition of somebody else's job, which has the name of ours."""
    try:
        return date.fromisoformat(name)
    except ValueError:
        return None


def _is_over(day: date, catalog: Catalog, wish: PartitionBackfill, now: datetime) -> bool:
    """Whether a run of `day` would be refused."""
    step = ((wish.run_config or {}).get("ops") or {}).get(tables_op(catalog)) or {}
    late = (step.get("config") or {}).get("late") is True
    try:
        is_late(day, now=now, timezone=catalog.timezone, grace=timedelta(minutes=catalog.grace_minutes), late=late)
    except RefusedError:
        return True
    return False
