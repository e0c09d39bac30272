"""One table that has rows already: the staged rows are compared with them by key, and only what differs is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backup_pipeline.core.errors import PreflightRefusedError, TargetError
from backup_pipeline.core.restore_target import TargetRelation
from backup_pipeline.core.restoring import Action, TableRestore
from backup_pipeline.postgres import restore_sql as sql
from backup_pipeline.postgres.restore_work import Work


@dataclass(frozen=True)
class Staged:
    """A table's rows beside it. `rows` is the table as its own rows; `others_unique` counts its other unique indexes.

    `referred` says that tables outside the restore refer to it.
    """

    table: TableRestore
    staging: str
    rows: str
    relation: TargetRelation
    others_unique: int
    referred: bool


@dataclass(frozen=True)
class Merged:
    """How many rows were written, as the server counted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0


def check_keys(work: Work, staged: Staged) -> None:
    """PreflightRefusedError when rows of the backup can not be told apart by the key."""
    if staged.table.key and (bad := work.number(sql.bad_keys_sql(staged.staging, staged.table))):
        key, name = ", ".join(staged.table.key), staged.table.name
        message = f"{bad:,} keys ({key}) stand more than once, or are NULL, in the backup's rows of {name}."
        do = "The target is as it was. Restore the table beside with --rename, and bring the rows over with SQL."
        raise PreflightRefusedError(message, do=do)


def merge(work: Work, staged: Staged) -> Merged:
    """Put the staged rows in place, as the table's action says."""
    table, doing = staged.table, f"writing {staged.table.target_name}"
    deleted = updated = 0
    if table.action is Action.REPLACE:
        deleted = work.run(sql.delete_absent_sql(staged.staging, staged.rows, table), doing)
    if table.action is not Action.INSERT_MISSING and table.key:
        updated = _exchange(work, staged, doing) if _exchanges(staged) else _update(work, staged, doing)
    types = {column.name: column.pg_type for column in staged.relation.columns}
    inserted = work.run(sql.insert_sql(staged.staging, staged.rows, table, types), doing)
    if table.action is Action.REPLACE:
        _check_count(work, staged)
    return Merged(inserted, updated, deleted)


def _exchanges(staged: Staged) -> bool:
    """Whether changed rows are removed and put back instead of updated.

    An UPDATE checks unique indexes row by row: two rows that swap their values would stop it. It can not write an
    identity either. But rows that others refer to must not be gone, not even for a moment.
    """
    return bool(staged.others_unique or _identities(staged)) and not staged.referred


def _exchange(work: Work, staged: Staged, doing: str) -> int:
    changed = f"{staged.staging}_changed"
    work.run(sql.changed_sql(changed, staged.staging, staged.rows, staged.table), doing)
    work.run(sql.delete_changed_sql(changed, staged.rows, staged.table), doing)
    return work.run(sql.insert_changed_sql(changed, staged.table), doing)


def _update(work: Work, staged: Staged, doing: str) -> int:
    fixed = _identities(staged)
    if fixed and work.number(sql.differing_sql(staged.staging, staged.rows, staged.table, fixed)):
        column = f"{staged.table.target_name}.{', '.join(fixed)}"
        message = f"Identity column {column} would have to change, in rows that other tables refer to."
        do = "The target is as it was. Restore the table beside with --rename, and bring the rows over with SQL."
        raise PreflightRefusedError(message, do=do)
    always = _always(staged.relation)
    columns = [column.target for column in staged.table.columns if column.target not in always]
    return work.run(sql.update_sql(staged.staging, staged.rows, staged.table, columns), doing) if columns else 0


def _identities(staged: Staged) -> list[str]:
    """Identity columns that no UPDATE can write, and that the key does not settle."""
    loaded = [column.target for column in staged.table.columns]
    always = _always(staged.relation)
    return [name for name in loaded if name in always and name not in staged.table.key]


def _always(relation: TargetRelation) -> Mapping[str, str]:
    return {column.name: column.identity for column in relation.columns if column.identity == "always"}


def _check_count(work: Work, staged: Staged) -> None:
    there = work.number(f"SELECT count(*) AS n FROM {staged.rows}")  # noqa: S608
    come = staged.table.rows_in_backup
    if there != come:
        message = f"{staged.table.target_name} would have {there:,} rows, not the backup's {come:,}."
        raise TargetError(message, do="The target is as it was. Report it: the comparison by key went wrong.")
