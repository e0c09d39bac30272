"""Tests of backup_pipeline.postgres."""
