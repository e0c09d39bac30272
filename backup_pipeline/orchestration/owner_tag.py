"""The tag that says which process runs a run of the command line, so that its death is noticed."""

from __future__ import annotations

from backup_pipeline.core.ledger import Owner

OWNER_TAG = ".dagster/backup_pipeline_owner"
"""Dagster hides tags that begin like this from the lists of runs."""


def owner_tag(owner: Owner) -> str:
    """The owner as a tag's value."""
    return f"{owner.host} {owner.pid} {owner.started}"


def read_owner_tag(value: str) -> Owner | None:
    """The owner that `value` names, or None."""
    words = value.split()
    if len(words) != 3:
        return None
    host, pid, started = words
    return Owner(host, int(pid), float(started))
