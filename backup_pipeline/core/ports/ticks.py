"""The ports of ticks: reading what changed in a snapshot, the state of keys, and the ticks of the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from backup_pipeline.core.businesses.paths import BusinessPath, Registry
    from backup_pipeline.core.businesses.ticks import KnownBusiness, SourcePosition, Tick
    from backup_pipeline.core.catalog.businesses import Businesses
    from backup_pipeline.core.plans import TablePlan
    from backup_pipeline.core.relations import Relation
    from backup_pipeline.core.restore import RowChange
    from backup_pipeline.core.restore.businesses import BusinessDiff, BusinessPlan

BUSINESS_FIELD, KEY_FIELD = "\x1fbusiness", "\x1fkey"
"""The columns, beside the table's own, of rows that are read for businesses."""


@dataclass(frozen=True)
class RegisteredBusiness:
    """A row of the registry: its key as text, its name, and whether it is backed up."""

    key: str
    name: str
    active: bool


@dataclass(frozen=True)
class BusinessTable:
    """A table with rows of businesses: how it is read, and how a row finds its business.

    `tracked` is whether its rows are told apart by a key that the database enforces; else they are counted, and all of
    a business's are written again when one of them changed. `versioned` is false for what has no row versions (a view):
    its rows are hashed.
    """

    plan: TablePlan
    path: BusinessPath
    tracked: bool
    versioned: bool


@dataclass(frozen=True)
class BusinessRecord:
    """A backup of a business: its snapshot's time, and until when ticks found that nothing had changed since."""

    business: str
    backup_id: str
    kind: str
    snapshot_at: datetime
    confirmed_until: datetime


class BusinessSort(StrEnum):
    """What a list of businesses is ordered by."""

    NAME = "name"
    MISSES = "misses"
    """Most misses first."""
    STORED = "stored"
    """Most bytes first."""


@dataclass(frozen=True)
class BusinessRanking:
    """Which businesses of a catalog are listed in which order; `since` is from when misses count."""

    catalog: str
    sort: BusinessSort
    since: datetime
    text: str = ""


class BusinessRows(Protocol):
    """What a snapshot shows of businesses. Texts of keys are PostgreSQL's. Errors are those of `Snapshot`."""

    def position(self) -> SourcePosition:
        """Where the snapshot stands."""

    def fingerprint(self, relations: Sequence[Relation]) -> str:
        """How these relations are defined, and everything their values look like by: columns, enums, partitions."""

    def registered(self, registry: Registry, declared: Businesses) -> Sequence[RegisteredBusiness]:
        """The rows of the registry."""

    def candidates(self, table: BusinessTable, xmin: int) -> tuple[int, Iterator[pa.RecordBatch]]:
        """How many rows the table has; and those (business, key, version) that may differ from a snapshot with `xmin`.

        Every row is one of these that was written by a transaction from `xmin` on, or has such a row on its path. It is
        cheapest for a table of a path once those that the path leads through were looked at.
        """

    def keys(self, table: BusinessTable, businesses: Collection[str] | None) -> Iterator[pa.RecordBatch]:
        """The rows (business, key, version) of these businesses, or of all."""

    def count(self, table: BusinessTable) -> int:
        """All rows of the table, of whichever business or none."""

    def counts(self, table: BusinessTable, businesses: Collection[str] | None = None) -> Mapping[str, tuple[int, str]]:
        """The rows of each business that has any, and of what is not versioned a hash of them; `` is of none.

        Of these businesses alone, unless it is None.
        """

    def rows_of(self, table: BusinessTable, businesses: Collection[str]) -> Iterator[pa.Table]:
        """The whole rows of these businesses, with their business and key. NotNativeError as `Snapshot.read` has it."""

    def rows_with(self, table: BusinessTable, keys: Sequence[str], xmin: int) -> Iterator[pa.Table]:
        """The whole rows with these keys, all of which are candidates of `xmin`, with their business and key."""


class KeyState(Protocol):
    """The keys of every business's rows as its newest backup has them: a cache, for one process at a time.

    What a tick learns becomes part of it with `commit`; a tick that ends without leaves it as it was.
    """

    def known(self) -> Mapping[str, KnownBusiness]:
        """Every business that it knows, by key."""

    def begin(self, tables: Sequence[str], anew: Collection[str]) -> None:
        """Begin a tick over these tables; what is known of the businesses `anew` is forgotten."""

    def fresh(self, table: str, rows: Iterable[pa.RecordBatch]) -> None:
        """Take keys (business, key, version) of businesses that are not known yet."""

    def compare(self, table: str, candidates: Iterable[pa.RecordBatch]) -> None:
        """Take candidates: those that differ from what is known are changes; what moved is gone from where it was."""

    def expected(self, table: str) -> int:
        """How many rows there are if nothing was deleted."""

    def short(self, table: str, counts: Mapping[str, int], among: Collection[str] | None = None) -> Sequence[str]:
        """The businesses, of all or `among` these, with fewer rows in the snapshot than if nothing was deleted."""

    def missing(self, table: str, businesses: Collection[str], rows: Iterable[pa.RecordBatch]) -> None:
        """Take all keys of these businesses: what is known and not among them is gone."""

    def recount(self, table: str, counts: Mapping[str, tuple[int, str]], touched: Collection[str]) -> None:
        """Take the counts of a table that is not tracked: a business that has others, or is `touched`, has changed."""

    def changes(self, table: str) -> Mapping[str, tuple[int, int]]:
        """Of each business with changes in the table how many rows changed, and how many are gone."""

    def changed_keys(self, table: str, businesses: Collection[str]) -> Sequence[str]:
        """The keys that changed, of these businesses."""

    def gone_keys(self, table: str, business: str) -> Sequence[str]:
        """The keys that are gone from a business, in order."""

    def total(self, table: str) -> int:
        """How many rows there are now by all that is known: of every business, and of none."""

    def with_rows(self) -> Collection[str]:
        """The businesses that have rows by all that is known now, registered or not; `` where rows are of none."""

    def commit(self, businesses: Sequence[KnownBusiness]) -> None:
        """Make what the tick learned of these businesses part of the state; of others what was known stays.

        Every business that `fresh` gave keys to is among them: keys that nobody knows the time of say nothing.
        """

    def forget(self, businesses: Collection[str]) -> None:
        """Instead of `commit`: forget these businesses; of others what was known before the tick stays."""


class KeyStates(Protocol):
    """Where states are kept."""

    def open(self, catalog: str) -> AbstractContextManager[KeyState]:
        """The state of a catalog, made where there is none; one that can not be read begins anew.

        BackupError where it can not be used; what turns out to be damaged is removed.
        """


class TickRows(Protocol):
    """The ticks of a ledger. Every failure is a LedgerError."""

    def begin(self, tick: Tick) -> Tick:
        """Add a tick; with its number."""

    def end(self, tick: Tick) -> None:
        """Write what became of it, with its misses."""

    def abandon(self, catalog: str, *, before: int, now: datetime) -> int:
        """End, as failed, the ticks with smaller numbers that run no more: whoever has the lease knows; how many."""

    def last(self, catalog: str) -> Tick | None:
        """The newest of the schedule by its scheduled time, whatever became of it."""

    def list(
        self,
        catalog: str,
        *,
        since: datetime | None = None,
        limit: int = 288,
        of: Sequence[str] | None = None,
        by_hand: bool = True,
    ) -> Sequence[Tick]:
        """Ticks, newest first, each with its misses; with `of` with those of these businesses alone.

        `since`: those due since then, and missed ones that reach into that time.
        """

    def forget(self, catalog: str, *, before: datetime, limit: int) -> int:
        """Remove ticks that were due before then, with their misses, the oldest first, at most `limit`; how many.

        The newest stays, however old it is: it says since when nothing ran.
        """

    def older(self, catalog: str, *, before: datetime) -> int:
        """How many ticks `forget` would remove."""

    def ordered(
        self, wanted: BusinessRanking, *, after: tuple[str, str] | None, limit: int
    ) -> Sequence[tuple[str, str]]:
        """Businesses in an order: what they are ordered by, as text, and key. Those after such a pair, at most `limit`.

        Their number costs time, not memory; UsageError where `after` is no pair of this order.
        """

    def newest_backups(self, catalog: str, since: datetime) -> Mapping[str, str]:
        """Of each business the newest good backup since then that a chain goes on from: no manual one."""

    def record_at(self, catalog: str, business: str, at: datetime) -> BusinessRecord | None:
        """The newest good backup of a business whose rows are of that time or earlier, manual or not."""

    def newest_records(self, catalog: str, businesses: Sequence[str]) -> Mapping[str, BusinessRecord]:
        """Of each of these businesses its newest good backup, manual or not."""

    def businesses(self, catalog: str, *, after: str = "", limit: int) -> Sequence[str]:
        """The businesses that have rows of backups, by key: those after `after`, at most `limit`."""

    def stored(self, catalog: str, businesses: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        """Of each of these businesses how many backups are stored, and their bytes."""


class BusinessTarget(Protocol):
    """The database that businesses are restored in: the one that they are backed up from, by a role that may write."""

    def restore(self, wish: BusinessRestore, confirmed: BusinessPlan | None) -> BusinessDiff:
        """Do it in one transaction, if it is what the `confirmed` plan says; None: only find out what would be done.

        RefusedError for a conflict, StalePlanError where it is another plan by now, NotFoundError for a chosen row that
        was neither there then nor is now, LockedError while the same business is restored by somebody else, TargetError
        where the database says no or rows of another business would change: in each case nothing is changed.
        """


@dataclass(frozen=True)
class RowChoice:
    """The keys of rows of a table, each a text for each column: these alone are meant, or all but these."""

    keys: Sequence[tuple[str, ...]]
    alone: bool


@dataclass(frozen=True)
class BusinessRestore:
    """A business as it was: the rows of its tables, parents first, and which changes are wanted, of which rows.

    `rows` gives a table's rows, each the values of its `columns`; `others` are tables whose rows must not change.
    Of a table that `chosen` does not name all rows are meant.
    """

    catalog: str
    business: str
    backup_id: str
    tables: Mapping[str, BusinessTable]
    columns: Mapping[str, Sequence[str]]
    rows: Mapping[str, Iterable[Sequence[object]]]
    changes: frozenset[RowChange]
    others: Sequence[Relation] = ()
    chosen: Mapping[str, RowChoice] = field(default_factory=dict)
