"""Init: a working catalog for a database that nobody has described yet."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.draft import draft_catalog
from backup_pipeline.core.draft_yaml import draft_yaml
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.planning import plan_catalog
from backup_pipeline.core.plans import CatalogPlan
from backup_pipeline.core.ports import Source
from backup_pipeline.core.unforeseen import wanted


@dataclass(frozen=True)
class InitResult:
    """The catalog, the YAML text that says it, and what a run of it would do with the database."""

    catalog: Catalog
    text: str
    plan: CatalogPlan


def init_catalog(source: Source, *, name: str | None = None, timezone: str = "UTC") -> InitResult:
    """Describe every table of `source`; nothing is written.

    UsageError for a `name` or `timezone` that is none, NotFoundError when no table can be read, SourceError when the
    database says no.
    """
    with source.snapshot() as snapshot:
        database = snapshot.database()
    try:
        draft = draft_catalog(database, name=name, timezone=timezone)
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{first['loc'][0]}: {wanted(first)} (given: {first['input']!r})."
        do = "A name has lower-case letters, digits and underscores; a timezone is an IANA name such as Asia/Dhaka."
        raise UsageError(message, do=do) from None
    return InitResult(draft.catalog, draft_yaml(draft), plan_catalog(draft.catalog, database))
