"""The installation of the orchestration's tests, for whole processes."""

from __future__ import annotations

from backup_pipeline_tests.orchestration.conftest import (
    dagster_template,
    install,
    installation,
    shop_template,
)

__all__ = ["dagster_template", "install", "installation", "shop_template"]
