"""The port to the database that is restored into."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.progress import Progress
    from backup_pipeline.core.restore_target import TargetFacts
    from backup_pipeline.core.restoring import Name, RestorePlan, TableReport, TableRestore


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
