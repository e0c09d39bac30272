"""Dagster, thin: assets, checks, jobs, schedules, sensors, partitions, resources. No SQL, no S3, no decisions."""
