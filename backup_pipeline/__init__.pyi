from backup_pipeline.read import read_partition as read_partition

__version__: str
