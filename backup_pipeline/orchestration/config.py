"""What a person can set in the launchpad, and the tags that a run carries."""

import dagster as dg
from pydantic import Field

SCOPE_TAG = "backup_pipeline/scope"
"""`selected`: the bundle holds only the tables of this run; without it, every table of the catalog."""
SELECTED = "selected"
USER_TAG = "user"
CATALOG_TAG = "backup_pipeline/catalog"
DUE_TAG = "backup_pipeline/due"
"""On the runs that a schedule launches: the due time that they are for (ISO 8601, UTC)."""
CATCH_UP_TAG = "backup_pipeline/catch_up"
"""On a run that makes up for what was missed: the newest due time of it."""
DRILL_TAG = "backup_pipeline/drill"
"""On the runs that drill: the audit says how they end, and `backup_logs` the level."""
PRUNE_TAG = "backup_pipeline/prune"
"""On the runs that remove old backups: the audit says how they end."""
RESTORE_TAG = "backup_pipeline/restore"
"""On the runs that restore: how they end is for `restore_requests`, not for `backup_logs`."""


class BackupConfig(dg.Config):
    """Why this backup is made, and whether it may be filed under a date that is over."""

    reason: str = Field(default="", description="Why this backup is made; kept in the ledger and in the manifest.")
    created_by: str = Field(default="", description="Who makes it. Default: the run's `user` tag, else `dagster`.")
    late: bool = Field(
        default=False,
        description="File today's rows under a date that is over. The manifest then says late, with the true time.",
    )


class RestoreConfig(dg.Config):
    """Which backup goes where, and how. Run it with `dry_run` first: the plan stands in the run's log and metadata."""

    backup_id: str = Field(default="latest", description="A backup id, or `latest`: the newest good full one.")
    tables: list[str] = Field(default=[], description="Only these tables; default: all of the backup.")
    target_url: str = Field(
        default="",
        description=(
            "The database to restore into. Name the environment variable that holds it, {env: NAME}: run config is "
            "kept and shown in plain text, so a URL with a password in it is refused."
        ),
    )
    to_source: bool = Field(default=False, description="Restore into the database that was backed up.")
    mode: str = Field(
        default="new",
        description=(
            "new: create the tables. insert-missing: add rows whose key is not there. upsert: add them, and set those "
            "that are. replace: the tables then hold exactly the backup's rows."
        ),
    )
    into_schema: str = Field(default="", description="Put the tables into this schema instead of their own.")
    rename: dict[str, str] = Field(default={}, description="Table: the name it is restored under.")
    fill: dict[str, str] = Field(
        default={}, description="table.column: value, for new rows, where the backup has no values."
    )
    confirm: str = Field(default="", description="The target database's name, where rows that are there can change.")
    reason: str = Field(default="", description="Why; kept in the ledger.")
    created_by: str = Field(default="", description="Who asks. Default: the run's `user` tag, else `dagster`.")
    safety_backup: bool = Field(
        default=True, description="Back up first what may be overwritten. Without it there is no way back."
    )
    store: str = Field(default="first", description="Which store to read: `first`, or `second` (BACKUP_SECOND_STORE).")
    request: int = Field(
        default=0, description="Perform this request, which was approved: all but target and confirm come from it."
    )
    dry_run: bool = Field(default=False, description="Only show the plan; touch nothing, and note nothing.")
