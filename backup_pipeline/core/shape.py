"""The shape of a backup: what the next one is compared with, kept in the ledger, where no key is needed to read it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from backup_pipeline.core.checks import KEY_UNIQUE
from backup_pipeline.core.manifest import AnomalyEntry, Manifest, StoredManifest, TableEntry


class _Kept(BaseModel):
    """What a newer version of the program kept besides is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TableShape(_Kept):
    """A table: what it was read from, its rows, and each column with its type; `unique`, whether each key stood once.

    `excluded` are the columns that the catalog left out. `anomalies` are those found in it.
    """

    relation: str
    rows: int
    columns: Mapping[str, str]
    excluded: tuple[str, ...] = ()
    unique: bool | None = None
    anomalies: tuple[AnomalyEntry, ...] = ()


class Shape(_Kept):
    """A backup: its tables, the relations nobody decided about or that were excluded, references that lead nowhere.

    `bundle_sha256` is there before the manifest is: of a run that died, it tells what the run had made.
    """

    backup_id: str
    tables: Mapping[str, TableShape]
    unlisted: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    orphans: Mapping[str, int] = {}
    anomalies: tuple[AnomalyEntry, ...] = ()
    bundle_sha256: str | None = None

    @property
    def findings(self) -> tuple[AnomalyEntry, ...]:
        """Everything unusual about the backup, as its manifest has it."""
        return (*(one for table in self.tables.values() for one in table.anomalies), *self.anomalies)


def shape_of(manifest: Manifest) -> Shape:
    """The shape of the backup that `manifest` describes."""
    return Shape(
        backup_id=manifest.backup_id,
        tables={table.name: table_shape(table) for table in manifest.tables},
        unlisted=manifest.unlisted,
        excluded=tuple(entry.table for entry in manifest.excluded),
        orphans=manifest.orphans,
        anomalies=manifest.anomalies,
        bundle_sha256=manifest.bundle.sha256 if isinstance(manifest, StoredManifest) else None,
    )


def table_shape(table: TableEntry) -> TableShape:
    """The shape of one table."""
    return TableShape(
        relation=table.relation,
        rows=table.row_count,
        columns={column.name: column.pg_type for column in table.columns},
        excluded=tuple(table.excluded_columns),
        unique=next((check.passed for check in table.checks if check.name == KEY_UNIQUE), None),
        anomalies=table.anomalies,
    )
