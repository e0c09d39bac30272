"""What a table's rows say besides themselves, counted while its pages pass: communication, and what can not be true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from backup_pipeline.core.anomalies import TableCheck
from backup_pipeline.core.catalog.model import Catalog, ColumnKind
from backup_pipeline.core.content import communication_entry, counted_columns, sources_of, summed_columns
from backup_pipeline.core.content.validation import ValueBasis, row_findings, validity_check
from backup_pipeline.core.errors import CatalogError
from backup_pipeline.core.manifest import CheckEntry, FindingEntry, TableEntry, ValidationEntry
from backup_pipeline.core.plans import TablePlan

if TYPE_CHECKING:
    import pyarrow as pa


class RowContents:
    """Counts the pages of one table as `catalog` wants it; costs nothing where it wants nothing.

    The pages are the very rows that the Parquet files get. CatalogError for a column that the table has not.
    """

    def __init__(self, catalog: Catalog, plan: TablePlan, today: date) -> None:
        self._catalog, self._name = catalog, plan.name
        self._sources = sources_of(catalog.communication, plan.name)
        self._counts: dict[str, Counter[str]] = {}
        self._sums: dict[str, int] = {}
        for source in self._sources.values():
            self._counts |= {column: Counter() for column in counted_columns(source)}
            self._sums |= dict.fromkeys(summed_columns(source), 0)
        self._kinds = _judged(catalog, plan)
        self._sensitive = catalog.tables[plan.name].sensitive
        self._basis = ValueBasis(catalog.validation.region, today)
        self._findings: Counter[tuple[str, str]] = Counter()
        self._invalid = self._rows = 0
        _check_columns(plan, {*self._counts, *self._sums, *catalog.tables[plan.name].validation, *self._sensitive})

    def add(self, rows: pa.Table) -> None:
        """Count a page."""
        self._rows += rows.num_rows
        for column, counts in self._counts.items():
            for each in rows.column(column).value_counts().to_pylist():
                if each["values"] is not None:
                    counts[str(each["values"])] += each["counts"]
        for column in self._sums:
            self._sums[column] += sum(value or 0 for value in rows.column(column).to_pylist())
        if self._kinds:
            self._judge(rows)

    def _judge(self, rows: pa.Table) -> None:
        for row in rows.select(list(self._kinds)).to_pylist():
            broken = list(row_findings(self._kinds, row, self._basis))
            self._findings.update(broken)
            self._invalid += bool(broken)

    def state(self) -> Mapping[str, Any]:
        """What was counted so far, as JSON."""
        findings = [[column, rule, rows] for (column, rule), rows in self._findings.items()]
        counted = {"rows": self._rows, "invalid": self._invalid, "sums": self._sums, "findings": findings}
        return counted | {"counts": {column: dict(counts) for column, counts in self._counts.items()}}

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add what somebody else has counted of other rows of the table."""
        self._rows += state["rows"]
        self._invalid += state["invalid"]
        for column, counts in state["counts"].items():
            self._counts[column].update(counts)
        for column, number in state["sums"].items():
            self._sums[column] += number
        for column, rule, rows in state["findings"]:
            self._findings[column, rule] += rows

    def described(self, table: TableEntry) -> tuple[TableEntry, tuple[TableCheck, ...]]:
        """The entry with what was counted, and the check of it where rows are judged."""
        shape = self._catalog.tables[self._name].json_
        shown = self._catalog.json_name_of(self._name)
        entries = tuple(
            communication_entry(kind, source, self._rows, self._counts, self._sums)
            for kind, source in self._sources.items()
        )
        update: dict[str, object] = {
            "json_name": shown if shown != self._name else None,
            "json_case": shape.case,
            "communication": entries,
            "sensitive": self._sensitive,
        }
        if not self._kinds:
            return table.model_copy(update=update), ()
        validation = self._validation()
        check = validity_check(validation, self._catalog.validation.share)
        entry = CheckEntry(name=check.name, passed=check.passed, message=check.message)
        update |= {"validation": validation, "checks": (*table.checks, entry)}
        return table.model_copy(update=update), (check,)

    def _validation(self) -> ValidationEntry:
        rules = self._catalog.validation
        return ValidationEntry(
            rows=self._rows,
            invalid=self._invalid,
            findings=tuple(
                FindingEntry(column=column, rule=rule, rows=rows)
                for (column, rule), rows in sorted(self._findings.items())
            ),
            columns={column: str(kind) for column, kind in self._kinds.items()},
            region=rules.region,
            on_invalid=rules.on_invalid,
        )


def _judged(catalog: Catalog, plan: TablePlan) -> Mapping[str, ColumnKind]:
    """The columns whose values are judged: not those whose values are replaced."""
    wanted = catalog.tables[plan.name].validation if plan.name in catalog.tables else {}
    return {column: kind for column, kind in wanted.items() if column not in plan.masked}


def _check_columns(plan: TablePlan, wanted: set[str]) -> None:
    if missing := sorted(wanted - {column.name for column in plan.columns}):
        message = f"Table {plan.name} has no {', '.join(missing)} in its backup, which the catalog names."
        raise CatalogError(
            message, do="Correct `communication`, `validation` or `sensitive`; `catalog check` tells the columns."
        )
