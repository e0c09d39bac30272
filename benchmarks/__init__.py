"""Measurements: backup_pipeline beside what a data engineer would reach for instead, in one run."""
