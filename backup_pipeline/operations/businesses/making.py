"""Making the backups of a tick: groups of businesses are read together, and written by several writers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from backup_pipeline.core.businesses.ticks import OTHER_STATE, SHARED_KEY, BusinessMiss, DueBusiness, Miss
from backup_pipeline.core.errors import BackupError, LedgerError, in_our_words
from backup_pipeline.core.plans import NotNativeError
from backup_pipeline.core.ports.ticks import BUSINESS_FIELD, KEY_FIELD, BusinessTable
from backup_pipeline.core.text import redact
from backup_pipeline.operations.businesses.chain import Key, differences, keys_of, read_state
from backup_pipeline.operations.businesses.changes import TickChanges
from backup_pipeline.operations.businesses.storing import (
    BusinessRowsRead,
    StoredBusiness,
    TickWork,
    key_rows,
    store_business,
)

logger = logging.getLogger(__name__)

_WRITERS = 4
_ROWS_AT_ONCE = 1_000_000
"""Rows of a group of businesses that are in memory together, about: for each group the server may scan a table."""
_BUSINESSES_AT_ONCE = 200


class ChangedKeys(Protocol):
    """Which keys of a table changed, or are gone: a `KeyState`, or what another run was told of one."""

    def changed_keys(self, table: str, businesses: Collection[str]) -> Sequence[str]:
        """The keys that changed, of these businesses."""

    def gone_keys(self, table: str, business: str) -> Sequence[str]:
        """The keys that are gone from a business, in order."""

    def forget(self, businesses: Collection[str]) -> None:
        """What is known of these is wrong."""


@dataclass(frozen=True)
class TickDeadline:
    """Until when backups are begun; `text` is how the catalog says it."""

    at: datetime
    text: str


@dataclass
class TickBackups:
    """What became of businesses in a tick: their backups, whom it missed, and how fulls differ from their chains."""

    stored: list[StoredBusiness] = field(default_factory=list)
    misses: list[BusinessMiss] = field(default_factory=list)
    audited: dict[str, str] = field(default_factory=dict)


def make_backups(
    busy: Sequence[DueBusiness],
    work: TickWork,
    keys: ChangedKeys,
    deadline: TickDeadline,
    still: Callable[[], None] = lambda: None,
) -> TickBackups:
    """Group after group, each read whole and written by several writers; past the deadline the rest is left.

    Before each group `still` raises what makes all of it void.
    """
    making = _Making(work, keys, deadline)
    groups = list(_groups(busy, work.changes))
    with ThreadPoolExecutor(_WRITERS, "business") as pool:
        while groups:
            still()
            group = groups.pop(0)
            if work.ports.clock() >= deadline.at:
                making.skip(group)
                continue
            try:
                read = _read_group(group, work, keys)
            except NotNativeError as error:  # the full begins with another type of that column
                groups.insert(0, [replace(each, why_full=f"a value does not fit: {error.column}") for each in group])
                continue
            jobs = {pool.submit(making.store, each, read[each.key]): each for each in group}
            for job, each in jobs.items():
                making.took(each, job, read[each.key])
            making.note()
    return making.backups


class _Making:
    """What has become of the businesses so far."""

    def __init__(self, work: TickWork, keys: ChangedKeys, deadline: TickDeadline) -> None:
        self._work, self._keys, self._deadline = work, keys, deadline
        self.backups = TickBackups()
        self._unnoted: list[StoredBusiness] = []
        """What is stored and has no row in the ledger yet."""

    def skip(self, group: Sequence[DueBusiness]) -> None:
        reason = f"the deadline of {self._deadline.text} was over; it is first next time"
        self.backups.misses += [BusinessMiss(each.key, Miss.SKIPPED, reason) for each in group]

    def store(self, due: DueBusiness, tables: Mapping[str, BusinessRowsRead]) -> StoredBusiness | None:
        """None where the deadline came first."""
        if self._work.ports.clock() >= self._deadline.at:
            return None
        return store_business(due, due.kind, tables, self._work)

    def took(
        self, due: DueBusiness, job: Future[StoredBusiness | None], tables: Mapping[str, BusinessRowsRead]
    ) -> None:
        """Note what became of a business; one that failed stops nobody else."""
        try:
            stored = job.result()
        except (BackupError, OSError, ValueError) as error:
            self._fail(due.key, words(error))
            return
        if stored is None:
            self.skip([due])
            return
        self._unnoted.append(stored)
        if due.why_full not in {None, OTHER_STATE} and due.known and due.known.backup_id:
            self.backups.audited[due.key] = _audited(due.known.backup_id, due.key, tables, self._work, self._keys)

    def note(self) -> None:
        """Add the rows of what was stored since: without them it is no backup of this tick."""
        new, self._unnoted = self._unnoted, []
        self._add_rows(new)

    def _add_rows(self, new: Sequence[StoredBusiness]) -> None:
        """In one transaction; where it refuses, but would take others, one by one."""
        try:
            self._work.ports.ledger.adopt([each.attempt for each in new], [])
        except LedgerError as error:
            if len(new) > 1 and not error.transient:
                for each in new:
                    self._add_rows([each])
                return
            for each in new:
                self.backups.audited.pop(each.known.key, None)
                self._fail(each.known.key, words(error))
        else:
            self.backups.stored += new

    def _fail(self, business: str, why: str) -> None:
        logger.warning("Business %s is not backed up: %s", business, why)
        self.backups.misses.append(BusinessMiss(business, Miss.FAILED, why))


def words(error: BaseException) -> str:
    """An error in a sentence that may be kept."""
    if isinstance(error, BackupError):
        return redact(error.what)
    return redact(in_our_words(error)) if isinstance(error, Exception) else "It was stopped."


def _groups(busy: Sequence[DueBusiness], changes: TickChanges) -> Iterator[list[DueBusiness]]:
    """Businesses that are read together, in their order: of one kind, and with columns of the same types."""
    usual = {
        name: table.plan.relation.estimated_rows // max(1, changes.businesses) for name, table in changes.tables.items()
    }
    group: list[DueBusiness] = []
    rows = 0
    for each in busy:
        own = sum(usual.values()) if each.why_full else sum(changed for changed, _ in changes.of(each.key).values())
        apart = bool(group) and (group[0].kind, _texts(group[0])) != (each.kind, _texts(each))
        if group and (apart or rows + own > _ROWS_AT_ONCE or len(group) >= _BUSINESSES_AT_ONCE):
            yield group
            group, rows = [], 0
        group.append(each)
        rows += own
    if group:
        yield group


def _texts(due: DueBusiness) -> Mapping[str, Sequence[str]]:
    return due.known.as_text if due.known and due.why_full is None else {}


def _read_group(
    group: Sequence[DueBusiness], work: TickWork, state: ChangedKeys
) -> Mapping[str, Mapping[str, BusinessRowsRead]]:
    """The rows of each business of the group, by table."""
    read: dict[str, dict[str, BusinessRowsRead]] = {each.key: {} for each in group}
    for name, table in work.changes.tables.items():
        for column in _texts(group[0]).get(name, ()):
            table = replace(table, plan=table.plan.as_text(column, "a value that did not fit when its full was made"))
        rows_read = _whole(group, table, work) if group[0].why_full else _changed(group, table, work, state)
        for business, rows in rows_read.items():
            read[business][name] = rows
    return read


def _whole(group: Sequence[DueBusiness], table: BusinessTable, work: TickWork) -> Mapping[str, BusinessRowsRead]:
    """All rows of the businesses; a value that does not fit its column makes that column a text, for all of them."""
    keys = [each.key for each in group]
    while True:
        try:
            rows = _by_business(work.changes.rows.rows_of(table, keys))
        except NotNativeError as error:
            table = replace(table, plan=table.plan.as_text(error.column, error.value))
        else:
            return {key: BusinessRowsRead(table.plan, rows.get(key, pa.table({}))) for key in keys}


def _changed(
    group: Sequence[DueBusiness], table: BusinessTable, work: TickWork, state: ChangedKeys
) -> Mapping[str, BusinessRowsRead]:
    """The rows that changed, and the keys of those that are gone, of the businesses that have any."""
    name, changes = table.plan.name, work.changes
    of_group = {each.key: changes.changes[name][each.key] for each in group if each.key in changes.changes[name]}
    touched = [key for key, (changed, _) in of_group.items() if changed or not table.tracked]
    if not table.tracked:
        rows = _by_business(changes.rows.rows_of(table, touched)) if touched else {}
        return {key: BusinessRowsRead(table.plan, rows.get(key, pa.table({})), replaced=True) for key in touched}
    keys = state.changed_keys(name, touched) if touched else ()
    rows = _by_business(changes.rows.rows_with(table, keys, changes.xmin), set(keys)) if keys else {}
    read = {}
    for key, (changed, gone) in of_group.items():
        own = rows.get(key, pa.table({}))
        if own.num_rows != changed:
            state.forget([key])
            message = f"{own.num_rows} rows of table {name} were read for business {key}, where {changed} changed."
            raise BackupError(message, do="Report it: the next tick gives the business everything again.")
        read[key] = BusinessRowsRead(table.plan, own, state.gone_keys(name, key) if gone else ())
    return read


def _by_business(pages: Iterator[pa.Table], keys: Collection[str] | None = None) -> Mapping[str, pa.Table]:
    """The rows of each business, in the order of their keys; of these `keys` alone, where some are given."""
    tables = list(pages)
    if not tables:
        return {}
    rows = pa.concat_tables(tables).combine_chunks()
    by = [BUSINESS_FIELD, *([KEY_FIELD] if KEY_FIELD in rows.column_names else [])]
    if keys is not None:
        rows = rows.filter(pc.is_in(rows.column(KEY_FIELD), pa.array(sorted(keys), pa.string())))
    rows = rows.take(pc.sort_indices(rows.select(by), [(name, "ascending") for name in by]))
    counts = pc.value_counts(rows.column(BUSINESS_FIELD)).to_pylist()
    split, start = {}, 0
    for count in counts:
        split[count["values"] or SHARED_KEY] = rows.slice(start, count["counts"])
        start += count["counts"]
    return split


def _audited(
    backup_id: str, business: str, tables: Mapping[str, BusinessRowsRead], work: TickWork, state: ChangedKeys
) -> str:
    """How a full differs from the chain that it ends together with what changed since; empty where it does not."""
    before = work.ports.ledger.get(backup_id)
    changed: dict[str, set[Key]] = {}
    for name, read in tables.items():
        if work.changes.tables[name].tracked:
            texts = [*state.changed_keys(name, [business]), *state.gone_keys(name, business)]
            changed[name] = keys_of(key_rows(read.plan, texts), read.plan.key)
    try:
        if before is None:
            return f"backup {backup_id} is not in the ledger"
        kept = read_state(before, work.ports)
    except BackupError as error:
        return f"the chain can not be read: {error.what}"
    return "; ".join(differences(kept, {name: read.rows for name, read in tables.items()}, changed))
