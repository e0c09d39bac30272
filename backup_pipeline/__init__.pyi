from backup_pipeline.component import BackupComponent as BackupComponent
from backup_pipeline.component import backup_definitions as backup_definitions
from backup_pipeline.orchestration.resources import BackupResource as BackupResource
from backup_pipeline.read import read_partition as read_partition

__version__: str
