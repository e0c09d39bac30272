"""Tests of backup_pipeline.demo."""
