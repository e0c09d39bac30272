"""The catalog that a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backup_pipeline.core.catalog import Catalog
    from backup_pipeline.core.ports import Ledger
    from backup_pipeline.settings import Settings


def chosen_catalog(settings: Settings, name: str | None) -> Catalog:
    """The catalog of that name, else the one of the settings; NotFoundError when there is none."""
    from backup_pipeline.catalogs.load import load_catalogs, named_catalog

    wanted = settings.catalog if name is None else name
    return named_catalog(wanted, load_catalogs(settings.catalogs), settings.catalogs)


def check_known(settings: Settings, ledger: Ledger, name: str | None) -> None:
    """NotFoundError unless the catalog is declared, or the ledger knows it: it may have been declared once."""
    if name is None or ledger.list(catalog=name, limit=1):
        return
    from backup_pipeline.catalogs.load import load_catalogs, named_catalog
    from backup_pipeline.core.safety import protected_name

    named_catalog(protected_name(name), load_catalogs(settings.catalogs), settings.catalogs)
