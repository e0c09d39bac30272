"""What can be recomputed from a backup alone, and the reason where something can not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backup_pipeline.core.comparison import Hop, Pointing, Shown, pointings, shown_columns
from backup_pipeline.core.manifest import (
    ColumnEntry,
    Manifest,
    ReferenceEntry,
    SheetColumnEntry,
    SnapshotEntry,
    StepEntry,
    TableEntry,
)
from backup_pipeline_tests.core.test_manifest import snapshot, stored, table


def column(name: str, pg_type: str = "bigint", arrow_type: str = "int64", **fields: Any) -> ColumnEntry:
    return ColumnEntry(name=name, pg_type=pg_type, arrow_type=arrow_type, nullable=True, **fields)


def text(name: str, pg_type: str = "text", **fields: Any) -> ColumnEntry:
    return column(name, pg_type, "string", **fields)


def look_up(column: str, arrow_type: str = "string", **fields: Any) -> SheetColumnEntry:
    step = StepEntry(relation=("public", "areas"), columns=("id",), from_columns=("area_id",))
    return SheetColumnEntry(title="Area", column=column, arrow_type=arrow_type, steps=(step,), **fields)


def areas(**fields: Any) -> TableEntry:
    columns = (column("id"), text("name"), text("code", "character(3)"))
    return table(**{"name": "areas", "relation_id": ("public", "areas"), "columns": columns, **fields})


def customers(**fields: Any) -> TableEntry:
    given: dict[str, Any] = {
        "name": "customers",
        "relation_id": ("public", "customers"),
        "columns": (column("id"), column("area_id", "integer", "int32")),
        "references": (ReferenceEntry(columns=("area_id",), target=("public", "areas"), target_columns=("id",)),),
        "sheet_columns": ("Area",),
        "sheet_sources": (look_up("name"),),
    }
    return table(**given | fields)


def backup(*tables: TableEntry) -> Manifest:
    return stored(tables=tables)


LATER = SnapshotEntry(**{**snapshot().model_dump(), "taken_at": snapshot().taken_at + timedelta(hours=1)})


def test_a_look_up_is_made_of_the_table_that_reads_its_relation() -> None:
    (shown,) = shown_columns(backup(customers(), areas()), customers())
    assert shown == Shown("Area", "name", "string", (Hop("areas", ("id",), ("area_id",)),))


@pytest.mark.parametrize(
    ("mine", "other", "reason"),
    [
        (customers(), None, "public.areas is not in the backup"),
        (customers(), areas(relation_id=("other", "areas")), "public.areas is not in the backup"),
        (customers(), areas(snapshot=LATER), "areas is from another snapshot"),
        (customers(), areas(inherited=True), "other tables inherit"),
        (customers(), areas(columns=(column("id"),)), "areas.name is not in the backup"),
        (customers(), areas(columns=(column("id"), text("name", masked=True))), "areas.name is masked"),
        (customers(), areas(columns=(text("id"), text("name"))), "integer and text may compare otherwise"),
        (customers(columns=(column("id"),)), areas(), "customers.area_id is not in the backup"),
        (customers(sheet_sources=(look_up("name", "date32[day]"),)), areas(), "is string, the sheet shows date32"),
        (customers(sheet_sources=(look_up("code", joined=True),)), areas(), "may be joined in another form"),
    ],
)
def test_a_look_up_that_can_not_be_made_says_why(mine: TableEntry, other: TableEntry | None, reason: str) -> None:
    (shown,) = shown_columns(backup(mine, *([other] if other else [])), mine)
    assert shown.why_not is not None
    assert reason in shown.why_not


def test_of_format_1_0_only_columns_called_as_the_tables_own_are_known() -> None:
    old = customers(sheet_columns=("id", "Area"), sheet_sources=())
    known, unknown = shown_columns(backup(old), old)
    assert known == Shown("id", "id", "int64")
    assert "format 1.0" in (unknown.why_not or "")


def test_a_reference_leads_to_the_table_that_reads_its_target() -> None:
    assert pointings(backup(customers(), areas()), ["customers"]) == (
        Pointing("customers", ("area_id",), "areas", ("id",), enforced=True),
    )
    assert pointings(backup(customers(), areas()), ["areas"]) == ()


def test_a_reference_to_what_is_read_through_a_view_is_followed_but_may_lead_nowhere() -> None:
    view = areas(relation_id=("public", "areas_safe"), covers=(("public", "areas"),))
    (pointing,) = pointings(backup(customers(), view), ["customers"])
    assert (pointing.target, pointing.enforced, pointing.why_not) == ("areas", False, None)


def test_one_that_is_declared_too_is_followed_once_and_stays_enforced() -> None:
    declared = customers().references[0].model_copy(update={"enforced": False})
    both = customers(references=(declared, *customers().references))
    (pointing,) = pointings(backup(both, areas()), ["customers"])
    assert pointing.enforced


@pytest.mark.parametrize(
    ("mine", "theirs", "alike"),
    [
        (column("a"), column("b", "smallint", "int16"), True),
        (text("a"), text("b", "character varying(20)"), True),
        (text("a", "character(3)"), text("b", "character(3)"), True),
        (text("a", "character(3)"), text("b"), False),
        (text("a", "citext"), text("b", "citext"), False),
        (text("a", "numeric"), text("b", "numeric"), False),
        (column("a", "uuid", "uuid"), column("b", "uuid", "uuid"), True),
        (column("a", "uuid", "uuid"), text("b"), False),
        (column("a", "numeric(9,2)", "decimal128(9, 2)"), column("b", "numeric(9,2)", "decimal128(9, 2)"), True),
        (column("a", "real", "float"), column("b", "real", "float"), False),
    ],
)
def test_only_types_that_compare_as_in_postgresql_are_followed(
    mine: ColumnEntry, theirs: ColumnEntry, alike: bool
) -> None:
    reference = ReferenceEntry(columns=(mine.name,), target=("public", "areas"), target_columns=(theirs.name,))
    rows = customers(columns=(mine,), references=(reference,))
    (pointing,) = pointings(backup(rows, areas(columns=(theirs,))), ["customers"])
    assert (pointing.why_not is None) is alike
    assert replace(pointing, why_not=None).columns == (mine.name,)
