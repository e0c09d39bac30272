"""What Dagster loads: the assets, checks, jobs, schedules and sensors of every catalog."""

from __future__ import annotations

import dagster as dg

from backup_pipeline.catalogs import load_catalogs
from backup_pipeline.orchestration.days import dated, note_first_days
from backup_pipeline.orchestration.definitions import assemble
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import utc_now

_settings = Settings()
_catalogs = load_catalogs(_settings.catalogs)
note_first_days(_catalogs.values(), _settings.dagster_home, utc_now())
defs: dg.Definitions = assemble(dated(_catalogs, _settings.dagster_home), _settings)
