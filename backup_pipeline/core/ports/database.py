"""The port to the database that is backed up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from backup_pipeline.core.manifest import SnapshotEntry
    from backup_pipeline.core.plans import BlockRange, TablePlan
    from backup_pipeline.core.ports import Progress
    from backup_pipeline.core.ports.ticks import BusinessRows
    from backup_pipeline.core.relations import Database, Relation
    from backup_pipeline.core.restore import Name, RestorePlan, TableReport, TableRestore, TargetFacts


@dataclass(frozen=True)
class Page:
    """Rows one query returned: `rows` has the plan's `columns`, then the fields of its `look_ups`; at least one row.

    `seconds` is how long they took to arrive.
    """

    rows: pa.Table
    seconds: float


class Snapshot(Protocol):
    """One consistent read view of the source, held open until its context ends. Methods are safe from any thread."""

    entry: SnapshotEntry

    def database(self) -> Database:
        """Every relation the snapshot shows."""

    def read(self, plan: TablePlan) -> Iterator[Page]:
        """The table's pages in order, each once. A lost worker is replaced in the same snapshot after the last page.

        Raises SnapshotLostError when the holder is gone, SourceError for anything else; `NotNativeError` (see plans)
        when a value does not fit its column's Arrow type: restart with `plan.as_text(column, value)`.
        SourceUnavailableError (transient) when only reading the table from its start can help.
        """

    def ranges(self, plan: TablePlan, count: int) -> Sequence[BlockRange]:
        """The table in at most so many ranges by place on disk; none where its rows have no such place.

        Nobody can move its rows from then on: it stays locked against that until the snapshot ends.
        """

    def count(self, plan: TablePlan) -> int:
        """The rows of the relation, or of the plan's range of it, by `count(*)`, in this snapshot."""

    def count_up_to(self, relation: Relation, most: int) -> int | None:
        """The relation's own rows in this snapshot; None when they are more than `most`."""

    def duplicate_keys(self, plan: TablePlan) -> int:
        """How many keys of the relation stand more than once, in this snapshot; 0 when an index enforces them."""

    def businesses(self) -> BusinessRows:
        """What the snapshot shows of businesses."""

    def schema_sql(self) -> str:
        """The DDL of the database as this snapshot shows it."""

    def cancel(self) -> None:
        """Stop every running query at once; readers raise CanceledError."""


class Source(Protocol):
    """The database that is backed up."""

    @property
    def url(self) -> str:
        """Where it is, without its password."""

    def snapshot(
        self, progress: Progress | None = None, *, lock_timeout_s: float | None = None
    ) -> AbstractContextManager[Snapshot]:
        """Open a snapshot, and close it at the end of the context.

        `progress` is told when it waits for a lock; with `lock_timeout_s` it does so for that long at most.
        """

    def joined(self, entry: SnapshotEntry, progress: Progress | None = None) -> AbstractContextManager[Snapshot]:
        """The snapshot that somebody else holds open, `entry` as theirs; it is lost some seconds after they end it.

        SnapshotLostError when it is not there any more, or on another server.
        """


class TargetSession(Protocol):
    """One connection to the database that is restored into. Errors are TargetErrors.

    Whatever happens, to this program or to the server, the database is as it was until `restore` returned.
    """

    def look(self, wanted: Sequence[Name]) -> TargetFacts:
        """What is there now: about the relations `wanted` everything, about others their names. Reads only."""

    def lock(self) -> None:
        """Keep other restores out until the session ends; LockedError, naming the holder, when one is under way."""

    def restore(
        self,
        plan: RestorePlan,
        rows: Callable[[TableRestore], Iterable[bytes]],
        progress: Progress,
        protect: Callable[[], None],
    ) -> Sequence[TableReport]:
        """Carry out the plan in one transaction; what became of each table, in the plan's order.

        `rows` gives a table's rows for COPY, binary or as CSV (`table.binary`), in the order of its `columns`.
        `protect` is called before the first change to a table that has rows, at an instant from which on nobody else
        can change them: other connections may read them then, and see exactly what the restore replaces.
        LockedError when somebody else holds a table for longer than the restore's patience.
        PreflightRefusedError when the rows themselves show that it would go wrong, such as a row whose parent is
        nowhere.
        """

    def analyze(self, tables: Sequence[Name]) -> Sequence[str]:
        """Make new statistics; a sentence for each table where that failed."""

    def cancel(self) -> None:
        """Stop the running statement, from any thread: `restore` raises CanceledError."""


class RestoreTarget(Protocol):
    """The database that is restored into."""

    @property
    def url(self) -> str:
        """Where it is, without its password."""

    def session(self) -> AbstractContextManager[TargetSession]:
        """Connect, and close the connection at the end of the context."""
