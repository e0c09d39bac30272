"""What belongs to a table's rows besides their values: what they refer to, and the sequences that number them."""

from __future__ import annotations

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.relation_names import split_reference
from backup_pipeline.core.relations import ColumnSequence, Database, DatabaseSequence, ForeignKey, Relation


def references_of(catalog: Catalog, table: str, relation: Relation) -> tuple[ForeignKey, ...]:
    """The foreign keys of `relation`, then those that only the catalog declares: a view has no others."""
    found = {(key.columns, key.target, key.target_columns): key for key in relation.foreign_keys}
    for column, declared in catalog.tables[table].references.items():
        target, target_column = split_reference(declared)
        key = ForeignKey((column,), catalog.qualify(target), (target_column,), enforced=False)
        found.setdefault((key.columns, key.target, key.target_columns), key)
    return tuple(found.values())


def sequences_of(catalog: Catalog, table: str, relation: Relation, database: Database) -> tuple[ColumnSequence, ...]:
    """The sequences of `relation`, then those of the base tables it stands for: a view has none."""
    bases = [base for name in covered_by(catalog, table) if (base := database.get(name))]
    return tuple(dict.fromkeys(found for at in (relation, *bases) for found in at.sequences))


def other_sequences(catalog: Catalog, database: Database) -> tuple[DatabaseSequence, ...]:
    """The sequences of the database that number no column of a table of the catalog.

    A trigger or the application draws from them, or they number tables whose rows are not backed up.
    """
    fed = {
        found.sequence
        for name in catalog.tables
        if (relation := database.get(catalog.relation_of(name)))
        for found in sequences_of(catalog, name, relation, database)
    }
    return tuple(found for found in database.sequences if found.sequence not in fed)


def covered_by(catalog: Catalog, table: str) -> tuple[tuple[str, str], ...]:
    """Schema and name of each base table that what `table` reads stands for."""
    return tuple(catalog.qualify(base) for base in catalog.tables[table].covers)
