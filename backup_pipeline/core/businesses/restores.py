"""A business brought back to an earlier state: what would change, table by table, bound by a digest; values alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from backup_pipeline.core.errors import RefusedError, StalePlanError

if TYPE_CHECKING:
    from backup_pipeline.core.ports.ticks import BusinessTable


class RowChange(StrEnum):
    """What may be done to the rows of now."""

    CREATE = "create"
    """Add rows that are missing."""
    UPDATE = "update"
    """Give rows that are there the values of then."""
    DELETE = "delete"
    """Remove rows that came later."""


EVERY_CHOICE = frozenset(RowChange)


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


@dataclass(frozen=True)
class BusinessDiff:
    """What a restore of a business would do now. `conflicts` keep it from being done."""

    catalog: str
    business: str
    backup_id: str
    choices: tuple[RowChange, ...]
    tables: tuple[TableDiff, ...]
    conflicts: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The SHA-256 of all of it: whoever confirms it has seen this very change of these very rows."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def rows(self) -> int:
        """How many rows change."""
        return sum(each.create + each.update + each.delete for each in self.tables)

    @property
    def touches(self) -> bool:
        """Whether a row that is there now changes or goes."""
        return any(each.update or each.delete for each in self.tables)


def check_confirmed_diff(diff: BusinessDiff, confirmed: str) -> None:
    """Raise unless it may be done: RefusedError for conflicts, StalePlanError for another plan than was confirmed."""
    if diff.conflicts:
        message = f"The restore of business {diff.business} can not be done: {diff.conflicts[0]}"
        raise RefusedError(
            message, do="Choose tables or rows without that conflict, or resolve it. Nothing was changed."
        )
    if diff.digest != confirmed:
        message = (
            f"The plan is stale: {confirmed[:12]} was confirmed, and what would be done now is {diff.digest[:12]}."
        )
        raise StalePlanError(message, do="Somebody has written meanwhile: look at the plan again. Nothing was changed.")


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
