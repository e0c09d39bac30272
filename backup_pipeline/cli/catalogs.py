"""The catalog that a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backup_pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from backup_pipeline.core.catalog import Catalog
    from backup_pipeline.settings import Settings


def chosen_catalog(settings: Settings, name: str | None) -> Catalog:
    """The catalog of that name, else the one of the settings; UsageError, with those there are, when there is none."""
    from backup_pipeline.catalogs.load import load_catalogs

    catalogs, wanted = load_catalogs(settings.catalogs), name or settings.catalog
    if wanted not in catalogs:
        message = f"There is no catalog {wanted!r} in {settings.catalogs}."
        raise UsageError(message, do=f"Use one of {', '.join(catalogs)}, or set BACKUP_CATALOGS to another folder.")
    return catalogs[wanted]
