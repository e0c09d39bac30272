"""What a table looks like in the manifest: its columns, references, sequences, and those of its sheet."""

from __future__ import annotations

from pydantic import Field

from backup_pipeline.core.manifest.names import PgType
from backup_pipeline.core.manifest.written import Written


class ColumnEntry(Written):
    """A column of the Parquet files: PostgreSQL's type, and the Arrow type that holds it."""

    name: str
    pg_type: PgType
    arrow_type: str
    nullable: bool
    masked: bool = False
    generated: bool = False
    identity: bool = False
    nondeterministic: bool = Field(default=False, description="its collation takes different texts for equal")


class ReferenceEntry(Written):
    """A foreign key: `columns` refer to `target_columns` of the relation `target` (schema, name).

    `enforced` is false where the database allowed rows without their target: only the catalog declares it, or the
    constraint was never validated.
    """

    columns: tuple[str, ...]
    target: tuple[str, str]
    target_columns: tuple[str, ...]
    enforced: bool = True


class SequenceEntry(Written):
    """A sequence that feeds `column`, (schema, name), as the run saw it: sequences stand outside any snapshot.

    `last_value` is None when it could not be read; when not `is_called`, it is the next value, not the last one.
    """

    sequence: tuple[str, str]
    column: str
    last_value: int | None
    is_called: bool = False


class OtherSequenceEntry(Written):
    """A sequence that numbers no column of the catalog's tables; as in `SequenceEntry`.

    `cycles`: after its last number it begins again, so that a smaller one is no earlier one.
    """

    sequence: tuple[str, str]
    last_value: int | None
    is_called: bool = False
    cycles: bool = False


class StepEntry(Written):
    """One hop of a look-up (see core's `plans.Step`)."""

    relation: tuple[str, str]
    columns: tuple[str, ...]
    from_columns: tuple[str, ...]


class SheetColumnEntry(Written):
    """A column of the sheet: its title and the table's column it shows or, with `steps`, a value looked up elsewhere.

    `arrow_type` is how a looked-up value came, which decides what its cell looks like.
    """

    title: str
    column: str
    arrow_type: str | None = None
    steps: tuple[StepEntry, ...] = ()
    joined: bool = False
