"""The sensor that tries again to deliver the alerts that did not reach people."""

from collections.abc import Iterator, Mapping

import dagster as dg

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.errors import LedgerError, SettingsError
from backup_pipeline.operations.outbox import deliver
from backup_pipeline.operations.telling import tell_unheard
from backup_pipeline.orchestration.resources import BackupResource

_EVERY_S = 30


def alerts_sensor(catalogs: Mapping[str, Catalog]) -> dg.SensorDefinition:
    """One sensor for the alerts of all catalogs."""

    @dg.sensor(
        name="backup_alerts",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=_EVERY_S,
        description="Delivers the alerts of the outbox that are due: a channel that was away is told once it is back.",
    )
    def backup_alerts(backups: BackupResource) -> Iterator[dg.SkipReason]:
        try:
            with backups.open(next(iter(catalogs.values()))) as ports:
                tell_unheard(ports)
                tried = deliver(ports)
        except (LedgerError, SettingsError) as error:  # the next tick tries again
            yield dg.SkipReason(str(error))
            return
        good = sum(entry.delivered_at is not None for entry in tried)
        told = f"{good} alerts delivered, {len(tried) - good} not." if tried else "No alert is due."
        yield dg.SkipReason(told)

    return backup_alerts
