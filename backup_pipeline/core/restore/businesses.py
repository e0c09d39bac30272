"""A business brought back to an earlier state: what would change, row by row, bound by a digest; what was done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from backup_pipeline.core.errors import RefusedError, StalePlanError, UsageError
from backup_pipeline.core.restore import (
    RemarkSeverity,
    RestoreRemark,
    RestoreRequest,
    RowChange,
    Selection,
)

if TYPE_CHECKING:
    from backup_pipeline.core.ports.ticks import BusinessTable

EXAMPLES = 5
"""Rows of each table and change that a plan shows; the numbers count all of them."""
_NAMED = 3
"""So many tables are named in a message."""
_LOOK_AGAIN = "Look at the plan again. Nothing was changed."


@dataclass(frozen=True)
class RowExample:
    """A row that would change: its key, and of its columns the values of now and of then, as texts.

    Of an update the columns that differ; a row to create has no values of now, one to delete none of then.
    """

    change: RowChange
    key: str
    values: Mapping[str, tuple[str | None, str | None]]


@dataclass(frozen=True)
class TableDiff:
    """What differs between now and then: rows to create, update and delete; of updates how many in each column.

    `taken` are rows to create whose key is another business's by now. `content` is a digest of every row concerned, as
    it is and as it would be.
    """

    name: str
    create: int
    update: int
    delete: int
    columns: Mapping[str, int]
    taken: int
    content: str
    examples: tuple[RowExample, ...] = ()


@dataclass(frozen=True)
class RestoreConflict:
    """What is in the way of a restore; `detail` may have values of rows."""

    message: str
    table: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class BusinessDiff:
    """What a restore of a business would do now. `conflicts` keep it from being done.

    `others` are the rows that are not to change, which were looked at before and after, by table.
    """

    catalog: str
    business: str
    backup_id: str
    tables: tuple[TableDiff, ...]
    conflicts: tuple[RestoreConflict, ...] = ()
    others: Mapping[str, int] = field(default_factory=dict)

    @property
    def decided(self) -> dict[str, object]:
        """All that says what is done; examples only show it, and rows of others go on changing."""
        tables = [{**asdict(table), "examples": ()} for table in self.tables]
        conflicts = [[each.table, each.message] for each in self.conflicts]
        return {"business": [self.catalog, self.business], "tables": tables, "conflicts": conflicts}

    @property
    def rows(self) -> int:
        """How many rows change."""
        return sum(each.create + each.update + each.delete for each in self.tables)

    @property
    def touches(self) -> bool:
        """Whether a row that is there now changes or goes."""
        return any(each.update or each.delete for each in self.tables)


@dataclass(frozen=True)
class BusinessPlan:
    """What a restore of a business will do, with what is in the way. `name` is the business's, which has to be typed.

    The rows of then are those of `snapshot_at`; ticks found that they were the same until `confirmed_until`.
    """

    request: RestoreRequest
    diff: BusinessDiff
    name: str
    snapshot_at: datetime
    confirmed_until: datetime
    target: str
    database: str

    @property
    def backup_id(self) -> str:
        """The backup that the business is brought back to."""
        return self.diff.backup_id

    @property
    def catalog(self) -> str:
        """The system that the business is of."""
        return self.diff.catalog

    @property
    def selection(self) -> Selection:
        """What of the business is brought back."""
        return self.request.selection or Selection()

    @property
    def remarks(self) -> tuple[RestoreRemark, ...]:
        """What a person should know: what speaks against it, and what no backup knows of the moment that was wanted."""
        at = self.selection.at
        if at is None or at <= self.confirmed_until:
            return self.refusals
        known, wanted = (f"{each.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" for each in (self.confirmed_until, at))
        message = f"Its rows are known until {known}: what changed from then to {wanted} is in no backup."
        return (*self.refusals, RestoreRemark(RemarkSeverity.WARNING, message))

    @property
    def refusals(self) -> tuple[RestoreRemark, ...]:
        """Why it can not run."""
        refusal = RemarkSeverity.REFUSAL
        if not self.diff.conflicts and self.diff.rows == 0:
            message = f"{self.name} is as backup {self.backup_id} shows it: there is nothing to restore."
            return (RestoreRemark(refusal, message, do="Choose another moment, or other changes, tables or rows."),)
        do = "Choose tables or rows without that conflict, or resolve it."
        return tuple(
            RestoreRemark(refusal, f"{each.message} {each.detail}".strip(), each.table, do)
            for each in self.diff.conflicts
        )

    @property
    def refused(self) -> bool:
        """Whether it can not run."""
        return bool(self.refusals)

    @property
    def safety_backup(self) -> bool:
        """Whether the business is backed up first: where rows are only added, all that is there now stays."""
        return self.diff.touches

    @property
    def confirm_name(self) -> str:
        """What has to be typed."""
        return self.name

    @property
    def whose(self) -> str:
        """Whose name has to be typed."""
        return f"business {self.name}"

    @property
    def confirmed(self) -> bool:
        """Whether the person typed the business's name, or its key."""
        return " ".join((self.request.confirm or "").split()) in {self.name, self.diff.business}

    def confirmed_with(self, name: str | None) -> BusinessPlan:
        """The plan with the name that was given for it."""
        return replace(self, request=replace(self.request, confirm=name))

    @property
    def digest(self) -> str:
        """The SHA-256 of all that is done: whoever confirms or approves it has seen this very change of these rows."""
        selection = {**self.selection.as_json(), "at": None}
        decided = {"backup_id": self.backup_id, "database": self.database, "selection": selection, **self.diff.decided}
        return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()

    def as_json(self) -> dict[str, object]:
        """The plan as JSON values."""
        plan = asdict(self)
        plan["request"] = {
            "backup_id": self.backup_id,
            "tables": list(self.request.tables),
            "mode": self.request.mode,
            "selection": self.selection.as_json(),
            "requested_by": str(self.request.actor),
        }
        times = {name: getattr(self, name).isoformat() for name in ("snapshot_at", "confirmed_until")}
        return {**plan, **times, "digest": self.digest, "refused": self.refused, "safety_backup": self.safety_backup}

    def check_unchanged(self, now: BusinessDiff) -> None:
        """Raise StalePlanError, saying what is different, unless what would be done now is what was planned."""
        if now.decided == self.diff.decided:
            return
        message = f"The plan {self.digest[:12]} is stale: {changed_since(self.as_json(), now)}."
        raise StalePlanError(message, do=_LOOK_AGAIN)


@dataclass(frozen=True)
class BusinessTableReport:
    """What became of a table, in rows."""

    name: str
    created: int
    updated: int
    deleted: int


@dataclass(frozen=True)
class BusinessReport:
    """What a restore of a business did, verified before it was committed: all that was wanted is as it was then.

    `others` are the rows that were compared before and after, and did not change, by table. `safety_backup_id` is the
    backup of how it was before; None where rows were only added.
    """

    backup_id: str
    catalog: str
    business: str
    name: str
    snapshot_at: datetime
    target: str
    database: str
    tables: tuple[BusinessTableReport, ...]
    others: Mapping[str, int]
    seconds: float
    safety_backup_id: str | None = None

    def as_json(self) -> dict[str, object]:
        """The report as JSON values."""
        return {**asdict(self), "snapshot_at": self.snapshot_at.isoformat()}


def changed_since(kept: Mapping[str, Any], now: BusinessDiff) -> str:
    """In words, what is different between a plan as the ledger keeps it (`BusinessPlan.as_json`) and what is so now."""
    before = {table["name"]: table for table in kept.get("diff", {}).get("tables", ())}
    changes = [text for table in now.tables for text in _changed(before.get(table.name), table)]
    changes += [f"{each.message}" for each in now.conflicts]
    more = f", and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
    return "; ".join(changes[:_NAMED]) + more if changes else "the backup or what is chosen of it is another one"


def _changed(before: Mapping[str, Any] | None, now: TableDiff) -> Iterator[str]:
    if before is None:
        yield f"{now.name} was not in it"
        return
    counts = [
        f"{getattr(now, change):,} rows to {change}, not {before[change]:,}"
        for change in RowChange
        if getattr(now, change) != before[change]
    ]
    if counts:
        yield f"{now.name}: {', '.join(counts)}"
    elif before["content"] != now.content:
        yield f"{now.name}: rows have other values"


def without_examples(kept: Mapping[str, Any]) -> Mapping[str, Any]:
    """A plan as the ledger keeps it, without values of rows: nobody needs them once it is decided and done."""
    diff = kept.get("diff")
    if diff is None:
        return kept
    return {**kept, "diff": {**diff, "tables": [{**table, "examples": []} for table in diff["tables"]]}}


def check_no_conflict(diff: BusinessDiff) -> None:
    """Raise RefusedError, naming the first, where something is in the way."""
    for conflict in diff.conflicts[:1]:
        message = f"The restore of business {diff.business} can not be done: {conflict.message}"
        raise RefusedError(
            message, do="Choose tables or rows without that conflict, or resolve it. Nothing was changed."
        )


def key_text(values: Sequence[str]) -> str:
    """The key of a row as one text: of several columns a JSON list."""
    return values[0] if len(values) == 1 else json.dumps(list(values), ensure_ascii=False)


def parse_key(text: str, columns: Sequence[str], table: str) -> tuple[str, ...]:
    """The values of a key's columns that `key_text` wrote; UsageError for another number of them."""
    if len(columns) == 1:
        return (text,)
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if isinstance(values, list) and len(values) == len(columns) and all(isinstance(each, str) for each in values):
        return tuple(values)
    message = f"{text!r} is no key of {table}, which has the columns {', '.join(columns)}."
    raise UsageError(message, do='Write it as a JSON list of texts: ["…", "…"].')


def parse_rows(words: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """`TABLE=KEY` texts as the keys of each table; UsageError for what is none."""
    keys: dict[str, list[str]] = {}
    for word in words:
        table, equals, key = word.strip().partition("=")
        if not (table and equals and key):
            message = f"{word[:80]!r} names no row."
            raise UsageError(message, do="Write TABLE=KEY, such as sales=8a6e0804-2bd0-4672-b79d-d97027f9071a.")
        keys.setdefault(table.strip(), []).append(key.strip())
    return {table: tuple(dict.fromkeys(each)) for table, each in keys.items()}


def read_selection(document: Mapping[str, Any]) -> Selection:
    """The selection that `Selection.as_json` wrote, or that came with a form or a call; UsageError for what is none."""
    known = {change.value: change for change in RowChange}
    wanted = [str(change) for change in document.get("changes") or known]
    if unknown := sorted(set(wanted) - set(known)):
        message = f"{unknown[0]!r} is not a change of rows."
        raise UsageError(message, do=f"Choose of {', '.join(known)}.")
    keys = {
        name: {str(table): tuple(dict.fromkeys(map(str, each))) for table, each in (document.get(name) or {}).items()}
        for name in ("rows", "but")
    }
    at = document.get("at")
    changes = tuple(change for change in RowChange if change.value in wanted)
    return Selection(changes, keys["rows"], keys["but"], datetime.fromisoformat(str(at)) if at else None)


def parents_first(tables: Mapping[str, BusinessTable]) -> Sequence[str]:
    """The names in an order in which rows can be added: what others refer to comes first; of a circle as it comes."""
    of_relation = {table.plan.relation.id: name for name, table in tables.items()}
    needs = {name: sorted(set(_parents(name, table, of_relation))) for name, table in tables.items()}
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError:
        return list(tables)


def _parents(name: str, table: BusinessTable, of_relation: Mapping[tuple[str, str], str]) -> Iterator[str]:
    for reference in table.plan.references:
        parent = of_relation.get(reference.target)
        if parent is not None and parent != name:
            yield parent
