"""Values for columns that a backup does not hold: one for all new rows, or by a placeholder another for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backup_pipeline.core.restore_entries import Dump
from backup_pipeline.core.restore_target import TargetRelation
from backup_pipeline.core.restoring import Name, Remark, Severity, TableRestore

NUMBER, RANDOM = "{n}", "{random}"
"""Placeholders in a value: the number of the row, counted on from the rows that are there; 32 random hex digits."""


def differs(value: str) -> bool:
    """Whether each row gets a value of its own."""
    return NUMBER in value or RANDOM in value


def unique_in_dump(table: Name, dump: Dump | None) -> tuple[frozenset[str], ...]:
    """The sets of names of which an index or constraint of the definitions wants no two rows alike."""
    entries = dump.entries if dump else ()
    found = []
    for entry in entries:
        unique = any(token.is_word("UNIQUE", "PRIMARY", "EXCLUDE") for token in entry.tokens)
        if entry.belongs_to == table and entry.kind in {"CONSTRAINT", "INDEX"} and unique:
            texts = [token.text for token in entry.tokens]
            at = texts.index("(") if "(" in texts else len(texts)
            found.append(frozenset(token.text for token in entry.tokens[at:] if token.is_name))
    return tuple(found)


def fill_remarks(table: TableRestore, there: TargetRelation | None, dump: Dump | None) -> Iterator[Remark]:
    """What there is to say when one value would be given to several rows of which no two may have it."""
    if not table.filled or table.rows_in_backup < 2:
        return
    uniques = [frozenset(names) for names in there.uniques] if there else list(unique_in_dump(table.target, dump))
    alike = {name for name, value in table.filled.items() if not differs(value)}
    loaded = {column.target for column in table.columns}
    for column in sorted(alike):
        if any(column in names and not names & (loaded | (table.filled.keys() - alike)) for names in uniques):
            yield _repeated(table, column, table.filled)


def _repeated(table: TableRestore, column: str, filled: Mapping[str, str]) -> Remark:
    what = f"{table.target_name}.{column} must be unique, and --fill gives {filled[column]!r} to every new row"
    do = f"Give each its own: --fill {table.name}.{column}='{RANDOM}' (32 random digits), or '…{NUMBER}' (numbered)."
    if table.rows_now:
        return Remark(Severity.WARNING, f"{what}: of two, the restore stops and changes nothing.", table.name, do)
    return Remark(Severity.REFUSAL, f"{what}.", table.name, do)
