"""A copy of a backup in another store: its row, which backups want one and why, and how new the newest good one is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.due import staleness
from backup_pipeline.core.errors import StaleError
from backup_pipeline.core.ledger import Attempt, Owner
from backup_pipeline.core.names import Kind, parse_backup_id
from backup_pipeline.core.schedule import is_future
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Verification, has_failed, in_short

GIVEN_UP_AFTER = timedelta(hours=12)
"""A copy that another host began is taken for dead after this time; on the same host the process table tells."""


class CopyStatus(StrEnum):
    """Where a copy stands. `good`: every byte was read back from there and compared."""

    COPYING = "copying"
    GOOD = "good"
    FAILED = "failed"
    DELETED = "deleted"


@dataclass(frozen=True)
class Copy:
    """One row of `backup_copies`: a backup in the store at the URL `store`. Times are UTC.

    `at` is when it was begun, `sha256` that of the bundle.
    """

    backup_id: str
    scope: Scope
    store: str
    status: CopyStatus
    at: datetime
    finished_at: datetime | None = None
    bytes: int | None = None
    sha256: str | None = None
    verification: Verification | None = None
    error_message: str | None = None
    owner: Owner | None = None

    @property
    def good(self) -> bool:
        """Whether it is there, and nothing is known to be wrong with it."""
        return self.status is CopyStatus.GOOD and not has_failed(self.verification)

    @property
    def made_at(self) -> datetime:
        """When the backup itself began: what the rows are, not when they were copied."""
        return parse_backup_id(self.backup_id).at

    def in_short(self, now: datetime) -> str:
        """How it stands, for people: `good, verified 1, 3 hours ago`."""
        if self.status is CopyStatus.GOOD:
            return f"{'good' if self.good else 'damaged'}, verified {in_short(self.verification, now)}"
        return f"{self.status}: {self.error_message}" if self.error_message else str(self.status)


@dataclass(frozen=True)
class CopyDecision:
    """Whether a backup is to be copied, and why."""

    attempt: Attempt
    wanted: bool
    reason: str


@dataclass(frozen=True)
class CopyAge:
    """The newest good copy of a full backup in `store`, how old its rows are, and whether that is too old."""

    catalog: str
    store: str
    newest: Copy | None
    age: timedelta | None
    stale: StaleError | None


def decide_copies(
    attempts: Sequence[Attempt], copies: Sequence[Copy], *, now: datetime, host: str, alive: Callable[[Owner], bool]
) -> tuple[CopyDecision, ...]:
    """What is to be done about each good backup, the newest first; `copies` are the rows of the one other store."""
    rows = {copy.backup_id: copy for copy in copies}
    kept = [attempt for attempt in attempts if attempt.status.good and attempt.kind.bundled]
    kept.sort(key=lambda attempt: (attempt.created_at, attempt.backup_id), reverse=True)
    return tuple(_decision(attempt, rows, now=now, host=host, alive=alive) for attempt in kept)


def _decision(
    attempt: Attempt, rows: Mapping[str, Copy], *, now: datetime, host: str, alive: Callable[[Owner], bool]
) -> CopyDecision:
    row = rows.get(attempt.backup_id)
    match row:
        case None:
            wanted, reason = True, "it was never copied"
        case Copy(status=CopyStatus.GOOD):
            wanted, reason = (False, "its copy is good") if row.good else (True, "its copy was found damaged")
        case Copy(status=CopyStatus.DELETED):
            wanted, reason = False, "its copy was deleted"
        case Copy(status=CopyStatus.FAILED):
            wanted, reason = True, "its copy failed"
        case _:
            wanted = is_given_up(row, now=now, host=host, alive=alive)
            reason = "whoever copied it is gone" if wanted else "it is being copied now"
    return CopyDecision(attempt, wanted, reason)


def is_given_up(copy: Copy, *, now: datetime, host: str, alive: Callable[[Owner], bool]) -> bool:
    """Whether nobody goes on with a copy that is `copying`."""
    if copy.owner is not None and copy.owner.host == host:
        return not alive(copy.owner)
    return now - copy.at > GIVEN_UP_AFTER


def copy_age(catalog: Catalog, store: str, copies: Sequence[Copy], now: datetime, *, promised: bool = True) -> CopyAge:
    """How new the second destination is: full backups count, as they do for the first one.

    Too old is what is older than the catalog's schedule promises, its grace included; no copy at all is too old as soon
    as one is `promised`: there is a backup, or one should be there.
    """
    past = (copy for copy in _full(Scope(catalog.catalog), store, copies) if not is_future(copy.made_at, now))
    newest = max(past, key=lambda copy: copy.made_at, default=None)
    if newest is None:
        lacking = _none(store, catalog) if catalog.schedule and promised else None
        return CopyAge(catalog.catalog, store, None, None, lacking)
    late = staleness(catalog, newest.made_at, now)
    stale = StaleError(f"In {store}: {late.what}", do=_FILL) if late else None
    return CopyAge(catalog.catalog, store, newest, now - newest.made_at, stale)


_FILL = "Run `backup-pipeline copy --missing`; `backup-pipeline list` shows what was copied."


def _full(scope: Scope, store: str, copies: Sequence[Copy]) -> Iterator[Copy]:
    for copy in copies:
        full = parse_backup_id(copy.backup_id).kind is Kind.FULL
        if full and copy.good and (copy.scope, copy.store) == (scope, store):
            yield copy


def _none(store: str, catalog: Catalog) -> StaleError:
    return StaleError(f"There is no good copy of a full backup of catalog {catalog.catalog} in {store}.", do=_FILL)
