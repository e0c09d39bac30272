"""Drill: a backup restored into a scratch database, exported again and compared. One file a step."""

from backup_pipeline.operations.drill.compare import DrillRequest
from backup_pipeline.operations.drill.perform import drill, drill_backup, drill_with_fault, end_drill_run

__all__ = ["DrillRequest", "drill", "drill_backup", "drill_with_fault", "end_drill_run"]
