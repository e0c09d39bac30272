"""The catalog of a safety backup: what a restore may overwrite, as it is in the target before."""

from __future__ import annotations

from collections.abc import Sequence

from backup_pipeline.core.catalog import Anomalies, Catalog, Excluded, Shrinkage, TableSpec
from backup_pipeline.core.relation_names import write_relation
from backup_pipeline.core.relations import Database, Relation
from backup_pipeline.core.restoring import TableRestore
from backup_pipeline.core.secrets import looks_secret

SUFFIX = "_before_restore"
_LONGEST = 40
_OPEN_SECRET = "looks like a secret, and no catalog says that it may leave the database"  # noqa: S105
_NOT_SHOWN = "not in the backup, which was read from something else than this table: a safe view may hide it"
_UNTOUCHED = "not touched by the restore"


def safety_name(catalog: str) -> str:
    """The catalog that safety backups of `catalog` are filed under.

    It is one of its own: the partitions of a date, and what the next backup is compared with, stay the source's.
    """
    return catalog.removesuffix(SUFFIX)[: _LONGEST - len(SUFFIX)] + SUFFIX


def protected_name(catalog: str) -> str:
    """The catalog whose tables a backup of `catalog` holds: itself, or the one it is a safety backup of."""
    return catalog.removesuffix(SUFFIX)


def safety_catalog(catalog: str, tables: Sequence[TableRestore], database: Database, base: Catalog | None) -> Catalog:
    """A catalog of those `tables` of a restore that `database`, its target, has: every column, but for secrets.

    What keeps a column out of backups keeps it out of this one: what `base`, the catalog of the tables, says about it;
    that the backup was not read from this table itself but from something that shows less of it, such as a safe view;
    and a name that looks like a secret which nobody has dealt with.
    """
    return Catalog(
        catalog=safety_name(catalog),
        title=f"{catalog}, before a restore",
        timezone=base.timezone if base else "UTC",
        schedule=None,
        shrinkage=Shrinkage(ratio=0),
        anomalies=Anomalies(trailing=0),
        tables={
            table.name: _spec(table, database.relations[table.target], base)
            for table in tables
            if table.target in database.relations
        },
        excluded=(Excluded(table="*", reason=_UNTOUCHED),),
    )


def _spec(table: TableRestore, relation: Relation, base: Catalog | None) -> TableSpec:
    known = base is not None and table.name in base.tables
    said = base.tables[table.name] if base and known else TableSpec()
    there = {column.name for column in relation.columns}
    kept_out = {column: why for column, why in said.exclude.items() if column in there}
    kept_out |= dict.fromkeys(sorted(_not_shown(table, there) - set(kept_out)), _NOT_SHOWN)
    open_secrets = {column for column in there - set(kept_out) if looks_secret(column) and not said.handles(column)}
    kept_out |= dict.fromkeys(sorted(open_secrets), _OPEN_SECRET)
    return TableSpec(
        relation=write_relation(*table.target),
        key=said.key if (there - set(kept_out)).issuperset(said.key) else (),
        sheet=base.sheet_of(table.name) if base and known else None,
        exclude=kept_out,
        mask=tuple(column for column in said.mask if column in there and column not in kept_out),
        allow={column: why for column, why in said.allow.items() if column in there and column not in kept_out},
    )


def _not_shown(table: TableRestore, there: set[str]) -> set[str]:
    """The target's columns that the backup does not hold, where it was read from another relation than the target."""
    return there - {column.target for column in table.columns} if table.source != table.target else set()
