"""Drill: a backup restored into a scratch database, exported again and compared. One file a step."""

from backup_pipeline.operations.drill.asked import DrillPorts, DrillRequest
from backup_pipeline.operations.drill.perform import drill
from backup_pipeline.operations.drill.record import end_drill_run
from backup_pipeline.operations.drill.self_test import drill_with_fault

__all__ = ["DrillPorts", "DrillRequest", "drill", "drill_with_fault", "end_drill_run"]
