"""What Dagster loads: the assets, checks, jobs, schedules and sensors of every catalog of this installation."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.orchestration.definitions import assemble
from backup_pipeline.orchestration.due import dated, note_first_days
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import declared_catalogs, no_catalog, utc_now


def configured_catalogs(settings: Settings) -> Mapping[str, Catalog]:
    """The catalogs of BACKUP_CATALOGS; the built-in ones that have a database here. SettingsError without any."""
    declared = declared_catalogs(settings)
    if not declared:
        raise no_catalog(settings)
    return declared


_settings = Settings()
_catalogs = configured_catalogs(_settings)
note_first_days(_catalogs.values(), _settings.dagster_home, utc_now())
defs: dg.Definitions = assemble(dated(_catalogs, _settings.dagster_home), _settings)
