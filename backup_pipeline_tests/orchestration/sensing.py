"""Sensors, evaluated as the daemon does it, for one run."""

from __future__ import annotations

import dagster as dg

from backup_pipeline_tests.orchestration.installation import Installation


def tell_of_failure(installation: Installation, run_id: str) -> None:
    """The failure sensor, for a run that failed."""
    _tell(installation, run_id, "backup_failed", dg.DagsterEventType.RUN_FAILURE)


def tell_of_cancellation(installation: Installation, run_id: str) -> None:
    """The sensor for canceled runs."""
    _tell(installation, run_id, "backup_canceled", dg.DagsterEventType.RUN_CANCELED)


def tell_of_success(installation: Installation, run_id: str) -> None:
    """The sensor that looks at the checks of a run that went well."""
    _tell(installation, run_id, "backup_checks_failed", dg.DagsterEventType.RUN_SUCCESS)


def _tell(installation: Installation, run_id: str, sensor: str, kind: dg.DagsterEventType) -> None:
    with installation.instance() as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        events = [entry.dagster_event for entry in instance.all_logs(run_id, of_type=kind)]
        assert events[-1] is not None
        context = dg.build_run_status_sensor_context(
            sensor_name=sensor,
            dagster_event=events[-1],
            dagster_instance=instance,
            dagster_run=run,
            resources={"shop_backups": installation.resource()},
        )
        definition = installation.definitions().resolve_sensor_def(sensor)
        with context.for_run_failure() if kind is dg.DagsterEventType.RUN_FAILURE else context as ready:
            definition(ready)


def tick(installation: Installation, sensor: str, cursor: str | None = None) -> dg.SensorResult:
    """One tick of a sensor over the instance, from `cursor`: what it launches and says, and its new cursor."""
    definitions = installation.definitions()
    with (
        installation.instance() as instance,
        dg.build_sensor_context(
            instance=instance,
            cursor=cursor,
            repository_def=definitions.get_repository_def(),
            repository_name="__repository__",  # as the daemon has it; a run of the command line has none
            resources={"shop_backups": installation.resource()},
        ) as context,
    ):
        data = definitions.resolve_sensor_def(sensor).evaluate_tick(context)
    return dg.SensorResult(run_requests=data.run_requests, skip_reason=data.skip_message, cursor=data.cursor)
