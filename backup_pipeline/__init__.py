"""Table-level backups of a PostgreSQL application as Dagster assets."""

from importlib import import_module

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`read_partition` when it is first asked for: the package itself loads nothing, for it begins every command."""
    # By name, not by an import statement: this package is below everything that the function stands on.
    if name == "read_partition":
        return import_module("backup_pipeline.read").read_partition
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
