"""What a person can set in the launchpad, and the tags that a run carries."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from backup_pipeline.core.errors import RefusedError

SCOPE_TAG = "backup_pipeline/scope"
"""`selected`: the bundle holds only the tables of this run; without it, every table of the catalog."""
SELECTED = "selected"
USER_TAG = "user"
"""Who launched a run, as Dagster's UI shows it. Whoever launches one can write it: the ledger does not believe it."""
CATALOG_TAG = "backup_pipeline/catalog"
DUE_TAG = "backup_pipeline/due"
"""On the runs that a schedule launches: the due time that they are for (ISO 8601, UTC)."""
CATCH_UP_TAG = "backup_pipeline/catch_up"
"""On a run that makes up for what was missed: the newest due time of it."""
"""Who makes such a run, as the ledger shows it."""
DRILL_TAG = "backup_pipeline/drill"
"""On the runs that drill: the audit says how they end, and `backup_logs` the level."""
PRUNE_TAG = "backup_pipeline/prune"
"""On the runs that remove old backups: the audit says how they end."""
RESTORE_TAG = "backup_pipeline/restore"
"""On the runs that restore: how they end is for `restore_requests`, not for `backup_logs`."""


def refuse_variables(run_config: Mapping[str, Any]) -> None:
    """RefusedError when run config asks for a variable of the environment, `{env: NAME}`, in place of a text.

    Dagster gives every text so. Ours are kept and shown, in the ledger, in manifests and in messages: whoever reaches
    the UI would read passwords and keys there.
    """
    for operation in run_config.get("ops", {}).values():
        for name, value in (operation.get("config") or {}).items():
            if isinstance(value, Mapping) and "env" in value:
                message = f"The run's config asks for the environment variable {value['env']!r} as its {name}."
                raise RefusedError(message, do="Write the text itself. Nothing was done.")


class BackupConfig(dg.Config):
    """Why this backup is made, and whether it may be filed under a date that is over."""

    reason: str = Field(default="", description="Why this backup is made; kept in the ledger and in the manifest.")
    late: bool = Field(
        default=False,
        description="File today's rows under a date that is over. The manifest then says late, with the true time.",
    )


class RestoreConfig(dg.Config):
    """Which request is performed. Everything else stands in the ledger, where a web page can not write.

    `backup-pipeline restore … --ask` makes a request with its plan, another person approves it with `backup-pipeline
    restores approve N`; what then runs is that plan, or nothing.
    """

    request: int = Field(
        gt=0, description="The number of a restore request that was approved: `backup-pipeline restores`."
    )
