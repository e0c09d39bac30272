"""What Dagster loads: the assets, checks, jobs, schedules and sensors of every catalog."""

from __future__ import annotations

import dagster as dg

from backup_pipeline.catalogs import load_catalogs
from backup_pipeline.orchestration.definitions import assemble
from backup_pipeline.settings import Settings

_settings = Settings()
defs: dg.Definitions = assemble(load_catalogs(_settings.catalogs), _settings)
