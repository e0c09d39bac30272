"""Tables to write, and the plans that describe them; values as hypothesis thinks of them."""

from __future__ import annotations

import string
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pyarrow as pa
from hypothesis import strategies as st

from backup_pipeline.core.plans import PlannedColumn, RowOrder, SheetColumn, SheetPlan, TablePlan
from backup_pipeline.core.relations import Column, Relation, RelationKind
from backup_pipeline.formats.parquet import arrow_type

PG_TYPES = {
    "bool": "boolean",
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "float": "real",
    "double": "double precision",
    "string": "text",
    "binary": "bytea",
    "date32[day]": "date",
    "time64[us]": "time without time zone",
    "timestamp[us]": "timestamp without time zone",
    "timestamp[us, tz=UTC]": "timestamp with time zone",
    "uuid": "uuid",
    "decimal128(12, 2)": "numeric(12,2)",
    "decimal128(38, 10)": "numeric(38,10)",
    "decimal128(7, 7)": "numeric(7,7)",
}
_FIRST, _LAST = datetime(1, 1, 2), datetime(9999, 12, 30)  # noqa: DTZ001  hypothesis adds the zone
_NASTY = [
    "",
    "=1+1",
    "+8801712345678",
    "-5",
    "\t=x",
    '"',
    '""',
    "\r\n",
    ",",
    "আব্দুল করিম",
    "😀",
    "'",
    "\\N",
    "NULL",
    " @a",
]
_TEXT = st.one_of(
    st.sampled_from(_NASTY),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8),
    st.text(string.printable, max_size=8),
)


def _decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**precision - 1
    return st.integers(-most, most).map(lambda n: Decimal(f"{n}e-{scale}"))


VALUES: dict[str, st.SearchStrategy[object]] = {
    "bool": st.booleans(),
    "int16": st.integers(-(2**15), 2**15 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": _TEXT,
    "binary": st.binary(max_size=8),
    "date32[day]": st.dates(date(1, 1, 2)),
    "time64[us]": st.times(),
    "timestamp[us]": st.datetimes(_FIRST, _LAST),
    "timestamp[us, tz=UTC]": st.datetimes(_FIRST, _LAST, timezones=st.just(UTC)),
    "uuid": st.uuids().map(lambda value: value.bytes),
    "decimal128(12, 2)": _decimals(12, 2),
    "decimal128(38, 10)": _decimals(38, 10),
    "decimal128(7, 7)": _decimals(7, 7),
}


@st.composite
def tables(draw: st.DrawFn, min_columns: int = 1, max_rows: int = 30) -> tuple[pa.Table, TablePlan]:
    """A table of any types, with its plan."""
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=min_columns, max_size=6))
    rows = draw(st.integers(0, max_rows))
    columns, types = {}, {}
    for number, kind in enumerate(kinds):
        values = draw(st.lists(st.one_of(st.none(), VALUES[kind]), min_size=rows, max_size=rows))
        columns[f"c{number}"] = pa.array(values, arrow_type(kind))
        types[f"c{number}"] = kind
    return pa.table(columns), plan_for(types)


def plan_for(types: dict[str, str], *, nullable: bool = True) -> TablePlan:
    """The plan of a table with these columns (name -> Arrow type), all of them in the sheet under capital titles."""
    columns = tuple(
        PlannedColumn(Column(name, PG_TYPES[kind], "x", builtin=True, nullable=nullable), kind)
        for name, kind in types.items()
    )
    relation = Relation("public", "things", RelationKind.TABLE, tuple(planned.column for planned in columns))
    sheet = SheetPlan("Things", tuple(SheetColumn(n.upper(), n, PG_TYPES[kind]) for n, kind in types.items()))
    key = tuple(types)[:1]
    return TablePlan("things", relation, columns, sheet, key, key_enforced=True, order=RowOrder.KEY, excluded={})


def pages(table: pa.Table, sizes: list[int]) -> list[pa.Table]:
    """`table` cut at these sizes, over and over; a page may be empty."""
    cut, at = [], 0
    while at < table.num_rows:
        for size in sizes:
            cut.append(table.slice(at, size))
            at += size
    return cut


def many_rows(count: int) -> tuple[pa.Table, TablePlan]:
    """A table of `count` believable rows, with its plan."""
    start = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    table = pa.table(
        {
            "id": pa.array(range(count), pa.int64()),
            "uid": pa.array([n.to_bytes(16, "big") for n in range(count)], pa.uuid()),
            "amount": pa.array([Decimal(n) / 100 for n in range(count)], pa.decimal128(12, 2)),
            "status": pa.array([("paid", "due", None)[n % 3] for n in range(count)]),
            "note": pa.array([f'=row {n}, "{n * 7919 % count}"\r\n' for n in range(count)]),
            "made": pa.array([int((start + n) * 1e6) for n in range(count)], pa.timestamp("us", "UTC")),
            "photo": pa.array([bytes([n % 256]) * (n % 5) for n in range(count)]),
            "born": pa.array([time(n % 24) for n in range(count)], pa.time64("us")),
        }
    )
    kinds = ("int64", "uuid", "decimal128(12, 2)", "string", "string", "timestamp[us, tz=UTC]", "binary", "time64[us]")
    return table, plan_for(dict(zip(table.column_names, kinds, strict=True)))
