"""Installations for tests of engines; those of orchestration, here too."""

from __future__ import annotations

from backup_pipeline_tests.orchestration.conftest import (
    dagster_template,
    install,
    installation,
    no_dead_instance,
    shop_template,
)

__all__ = ["dagster_template", "install", "installation", "no_dead_instance", "shop_template"]
