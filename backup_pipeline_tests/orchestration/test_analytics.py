"""The asset `analytics/daily`: days that are over are kept once; it is there only where a catalog has businesses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from backup_pipeline.catalogs import load_catalogs
from backup_pipeline.core.payments import today_of
from backup_pipeline.core.payments.accounts import RegistryEntry
from backup_pipeline.orchestration.definitions import assemble
from backup_pipeline.settings import BUILT_IN_CATALOGS, Settings
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.orchestration.installation import isp_catalogs
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger


@pytest.fixture
def ledger() -> Iterator[ScratchLedger]:
    """One with a business that came three days ago."""
    with closing(new_ledger()) as made:
        came = datetime.now(UTC) - timedelta(days=3)
        made.businesses.register("retail", [RegistryEntry("b1", "Rupa Stores")], RAHIM, came)
        yield made


@pytest.mark.acceptance("3.14")
def test_the_asset_keeps_the_days_that_are_over_and_says_which(ledger: ScratchLedger, tmp_path: Path) -> None:
    retail = load_catalogs(BUILT_IN_CATALOGS)["retail"]
    settings = Settings(home=tmp_path, ledger_url=SecretStr(ledger.url), catalogs=BUILT_IN_CATALOGS)
    job = assemble({"retail": retail}, settings).resolve_job_def("analytics_daily")
    assert metadata_of(job)["days"].value == 3
    days = [day.day for day in ledger.analytics.kept_days(today_of(datetime.now(UTC)) - timedelta(days=9))]
    today = today_of(datetime.now(UTC))
    assert days == [today - timedelta(days=back) for back in (3, 2, 1)]
    again = metadata_of(job)
    assert (again["days"].value, again["newest"].value) == (0, "none was missing")


def metadata_of(job: dg.JobDefinition) -> dict[str, Any]:
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance)
        event = instance.get_latest_materialization_event(dg.AssetKey(["analytics", "daily"]))
    assert result.success
    assert event is not None
    assert event.asset_materialization is not None
    return dict(event.asset_materialization.metadata)


def test_an_installation_without_businesses_has_no_such_asset() -> None:
    repository = assemble(isp_catalogs(), Settings(catalogs=BUILT_IN_CATALOGS)).get_repository_def()
    assert "analytics_daily" not in repository.job_names
