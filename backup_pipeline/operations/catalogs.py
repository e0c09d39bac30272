"""Check: does a catalog fit its database, and what of the database does it leave out?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import ValidationError

from backup_pipeline.core.catalog.draft import draft_catalog, draft_yaml
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import CatalogError, UsageError, wanted
from backup_pipeline.core.manifest.entry import NotHeld
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.plans import CatalogPlan
from backup_pipeline.core.ports import Source
from backup_pipeline.core.relations import Database
from backup_pipeline.core.schedule import local_date
from backup_pipeline.operations.export import find_not_held


@dataclass(frozen=True)
class CatalogReport:
    """A catalog against a database.

    `ready` maps each table to the relation it is read from; `failed` to what forbids it. `unlisted` are tables that
    nobody decided about (each run warns of them); `unreadable` those of them that the role could not read anyway.
    `not_held` is what a backup would not hold although somebody may think so. `refused` is why nothing at all would be
    exported.
    """

    catalog: str
    database: str
    ready: Mapping[str, str]
    failed: Mapping[str, CatalogError]
    excluded: Mapping[str, str]
    unlisted: tuple[str, ...]
    unreadable: tuple[str, ...]
    not_held: tuple[NotHeld, ...] = ()
    refused: CatalogError | None = None

    @property
    def fits(self) -> bool:
        """Whether every table can be exported."""
        return not self.failed and self.refused is None


def check_catalog(catalog: Catalog, source: Source) -> CatalogReport:
    """Compare `catalog` with what the database of `source` shows; SourceError when it can not be read."""
    with source.snapshot() as snapshot:
        database = snapshot.database()
        report = compare_catalog(catalog, database)
        return replace(report, not_held=find_not_held(catalog, database, snapshot))


def compare_catalog(catalog: Catalog, database: Database) -> CatalogReport:
    """Compare `catalog` with `database`."""
    refused = None
    plan = CatalogPlan({}, {}, {}, ())
    try:
        plan = plan_catalog(catalog, database)
    except CatalogError as error:
        refused = error
    locked = {r.full_name for r in database.relations.values() if not r.readable}
    return CatalogReport(
        catalog=catalog.catalog,
        database=database.name,
        ready={name: table.relation.full_name for name, table in plan.tables.items()},
        failed={name: error for name, error in plan.failed.items() if isinstance(error, CatalogError)},
        excluded=plan.excluded,
        unlisted=plan.unlisted,
        unreadable=tuple(name for name in plan.unlisted if name in locked),
        refused=refused,
    )


@dataclass(frozen=True)
class InitResult:
    """The catalog, the YAML text that says it, and what a run of it would do with the database."""

    catalog: Catalog
    text: str
    plan: CatalogPlan


def init_catalog(
    source: Source, *, name: str | None = None, timezone: str = "UTC", instead: Catalog | None = None
) -> InitResult:
    """Describe every table of `source`; nothing is written. Its days begin today, or with those of the one it replaces.

    UsageError for a `name` or `timezone` that is none, NotFoundError when no table can be read, SourceError when the
    database says no.
    """
    with source.snapshot() as snapshot:
        database, now = snapshot.database(), snapshot.entry.taken_at
    try:
        draft = draft_catalog(database, name=name, timezone=timezone)
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{first['loc'][0]}: {wanted(first)} (given: {first['input']!r})."
        do = "A name has lower-case letters, digits and underscores; a timezone is an IANA name such as Asia/Dhaka."
        raise UsageError(message, do=do) from None
    start = instead.start_date if instead else local_date(now, timezone).isoformat()
    draft = replace(draft, catalog=draft.catalog.model_copy(update={"start_date": start}))
    return InitResult(draft.catalog, draft_yaml(draft), plan_catalog(draft.catalog, database))
