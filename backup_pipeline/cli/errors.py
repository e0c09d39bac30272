"""Errors that only the command line knows."""

from __future__ import annotations

from backup_pipeline.core.errors import BackupError


class RunFailedError(BackupError):
    """A run of Dagster failed; it carries the exit code of the step that did."""

    def __init__(self, what: str, *, do: str, exit_code: int) -> None:
        super().__init__(what, do=do)
        self.exit_code = exit_code
