"""The tests of backup_pipeline, mirroring its packages."""
