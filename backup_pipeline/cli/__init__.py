"""The command line."""

from backup_pipeline.lazy import uncollected

with uncollected():
    from backup_pipeline.cli.app import main

__all__ = ["main"]
