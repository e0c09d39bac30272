"""Table-level backups of a PostgreSQL application as Dagster assets."""

__version__ = "0.1.0"
