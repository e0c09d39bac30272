"""Table-level backups of a PostgreSQL application as Dagster assets."""

from collections.abc import Sequence
from importlib import import_module

__version__ = "1.0.0"
_PLACES = {
    "BackupComponent": "backup_pipeline.component",
    "BackupResource": "backup_pipeline.orchestration.resources",
    "backup_definitions": "backup_pipeline.component",
    "read_partition": "backup_pipeline.read",
}
"""What is everybody's, and where it is: loaded when it is first asked for, for this package begins every command."""


def __getattr__(name: str) -> object:
    # By name, not by an import statement: this package is below everything that they stand on.
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> Sequence[str]:
    """With what is loaded later: `dg list components` looks for components here."""
    return sorted({*globals(), *_PLACES})
