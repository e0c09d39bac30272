"""The progress of a run in words: what it does now, and what it waits for."""

from __future__ import annotations

from backup_pipeline.core.ports import StageStarted, TableFinished, TableStarted

_STAGES = {
    "snapshot": "opening the snapshot",
    "schema": "reading the definitions (pg_dump)",
    "bundle": "bundling into the store",
    "check": "reading the bundle back",
    "bytes": "reading the bundle",
    "contents": "decoding its contents",
    "references": "following references",
    "fetch": "fetching the tables from the store",
    "load": "loading the rows",
    "statistics": "making statistics",
    "download": "downloading the bundle",
    "render": "rendering the bundle",
}


def stage_name(event: StageStarted) -> str:
    """The stage as people call it."""
    return _STAGES.get(event.stage, event.stage)


def table_name(event: TableStarted | TableFinished) -> str:
    """The table as the database and the catalog call it, and the title of its sheet, which the files are called by."""
    return f"{event.table} ({event.sheet})" if event.sheet not in {"", event.table} else event.table
