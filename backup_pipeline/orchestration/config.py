"""What a person can set in the launchpad, and the tags that a run carries."""

import dagster as dg
from pydantic import Field

SCOPE_TAG = "backup_pipeline/scope"
"""`selected`: the bundle holds only the tables of this run; without it, every table of the catalog."""
SELECTED = "selected"
USER_TAG = "user"
CATALOG_TAG = "backup_pipeline/catalog"


class BackupConfig(dg.Config):
    """Why this backup is made, and whether it may be filed under a date that is over."""

    reason: str = Field(default="", description="Why this backup is made; kept in the ledger and in the manifest.")
    created_by: str = Field(default="", description="Who makes it. Default: the run's `user` tag, else `dagster`.")
    late: bool = Field(
        default=False,
        description="File today's rows under a date that is over. The manifest then says late, with the true time.",
    )
