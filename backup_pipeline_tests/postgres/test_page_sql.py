"""Every built-in type arrives as the value the server has, in the Arrow type that was planned, or as text."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from backup_pipeline.core.plans import NotNativeError
from backup_pipeline.postgres.page_sql import wire_of
from backup_pipeline_tests.postgres.reading import plan_for, read_settled, read_table, run_sql, snapshot_of

# type -> values, as SQL. Each is compared as PostgreSQL itself compares: the text read is cast back on the server.
TYPES: dict[str, list[str]] = {
    "bool": ["true", "false"],
    "int2": ["-32768", "32767"],
    "int4": ["-2147483648", "2147483647"],
    "int8": ["-9223372036854775808", "9223372036854775807"],
    "oid": ["0", "4294967295"],
    "float4": ["1.1", "-0.0", "'NaN'", "'-Infinity'", "3.4028235e38", "1e-45"],
    "float8": ["0.1", "-0.0", "'NaN'", "'Infinity'", "1.7976931348623157e308", "5e-324"],
    "numeric(10,2)": ["-99999999.99", "99999999.99", "0", "-0.01"],
    "numeric(18,0)": ["999999999999999999", "-999999999999999999"],
    "numeric(18,18)": ["0.999999999999999999", "-0.000000000000000001"],
    "numeric(19,2)": ["99999999999999999.99", "-99999999999999999.99"],
    "numeric(38,10)": ["-9999999999999999999999999999.9999999999", "1"],
    "numeric(39,1)": ["99999999999999999999999999999999999999.9"],
    "numeric(5,-2)": ["1234500"],
    "numeric(2,5)": ["0.00012"],
    "numeric": ["'NaN'", "'Infinity'", "1." + "7" * 900, "1e1000", "1.50"],
    "text": ["''", r"E'a\r\n\t\\\\\"''b'", "'🐘 বাংলা'", "repeat('x', 1048576)", r"'\N'"],
    "varchar(5)": ["'ab  '", "''"],
    "char(5)": ["'ab'", "'     '"],
    '"char"': ["'a'", "''", r"'\351'"],
    "name": ["'a name'"],
    "bytea": [r"'\x00ff00'", "''"],
    "uuid": ["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"],
    "date": ["'0001-01-01'", "'9999-12-31'", "'1970-01-01'"],
    "time": ["'00:00'", "'23:59:59.999999'"],
    "timetz": ["'12:00:00.5+06'", "'24:00+00'"],
    "timestamp": ["'0001-01-01'", "'9999-12-31 23:59:59.999999'", "'1969-12-31 23:59:59.999999'"],
    "timestamptz": ["'0001-01-01 00:00+00'", "'9999-12-31 23:59:59.999999+00'", "'2026-03-01 00:00+06'"],
    "interval": ["'1 year -2 mons 3 days -04:05:06.7'", "'-178000000 years'"],
    "money": ["'-$92,233,720,368,547,758.08'", "'0.01'"],
    "json": ["'null'", """'{"b":1, "a":1.10}'"""],
    "jsonb": ["'null'", """'"x"'""", "'[1e400]'"],
    "inet": ["'10.1.2.3'", "'::1/64'"],
    "cidr": ["'10.0.0.0/8'"],
    "macaddr": ["'08:00:2b:01:02:03'"],
    "macaddr8": ["'08:00:2b:01:02:03:04:05'"],
    "bit(3)": ["B'101'"],
    "varbit": ["B''", "B'10101010101'"],
    "point": ["'(1,-2.5)'"],
    "polygon": ["'((0,0),(1,1),(2,0))'"],
    "tsvector": ["'a:1A b:2'"],
    "tsquery": ["'a & !b'"],
    "pg_lsn": ["'16/B374D848'"],
    "xid": ["'4294967295'"],
    "tid": ["'(4294967295,65535)'"],
    "regclass": ["'pg_class'"],
    "int4range": ["'[1,5)'", "'empty'"],
    "int4multirange": ["'{[1,2),[5,9)}'"],
    "int4[]": ["'{1,NULL,3}'", "'{}'", "'[0:1]={1,2}'"],
    "text[]": [r"""'{{"a,b",NULL},{"NULL","\"q\""}}'"""],
    "mood": ["'so so'"],
    "pair": ["ROW(NULL, NULL)::pair", "ROW(1, 'a,\"b')::pair"],
    "whole": ["7"],
    "price": ["-12.50"],
}


@pytest.fixture
def every_type(fresh_database: str) -> str:
    run_sql(
        fresh_database,
        "CREATE TYPE mood AS ENUM ('so so', 'fine')",
        "CREATE TYPE pair AS (a int, b text)",
        "CREATE DOMAIN whole AS int CHECK (VALUE > 0)",
        "CREATE DOMAIN money_amount AS numeric(12,2)",
        "CREATE DOMAIN price AS money_amount",
        *(f"CREATE TABLE t{n} (id int PRIMARY KEY, x {pg_type})" for n, pg_type in enumerate(TYPES)),
        *(
            f"INSERT INTO t{n} VALUES (0, NULL), " + ", ".join(f"({i}, {v})" for i, v in enumerate(values, 1))
            for n, values in enumerate(TYPES.values())
        ),
    )
    return fresh_database


def test_every_type_comes_back_as_the_value_the_server_has(every_type: str) -> None:
    with snapshot_of(every_type) as snapshot:
        for number, pg_type in enumerate(TYPES):
            plan = plan_for(snapshot, f"t{number}")
            rows = read_table(snapshot, plan)
            planned = wire_of(plan.columns[1].column, plan.columns[1].arrow_type).form.type
            assert rows.schema.field("x").type == planned, pg_type
            assert rows["x"][0].as_py() is None, pg_type
            expected = [
                row[0] for row in run_sql(every_type, f"SELECT {_own_text(pg_type)} FROM t{number} ORDER BY id")
            ]
            if pa.types.is_floating(planned):  # as bits, so that -0.0 is not 0.0
                floats = pa.array([None if text is None else float(text) for text in expected], planned)
                assert repr(rows["x"].to_pylist()) == repr(floats.to_pylist()), pg_type
            else:
                assert [_pg_text(value) for value in rows["x"].to_pylist()] == expected, pg_type


def test_text_forms_read_back_as_the_same_value(every_type: str) -> None:
    with snapshot_of(every_type) as snapshot:
        for number, pg_type in enumerate(TYPES):
            plan = plan_for(snapshot, f"t{number}")
            if plan.columns[1].arrow_type != "string":
                continue
            for row in read_table(snapshot, plan).to_pylist():
                sql = f"SELECT %s::{pg_type} IS NOT DISTINCT FROM x FROM t{number} WHERE id = %s"
                if pg_type in {"json", "point", "polygon"}:  # no equality of their own, or one that rounds
                    sql = sql.replace("IS NOT DISTINCT FROM x", "::text IS NOT DISTINCT FROM x::text")
                assert _ask(every_type, sql, row["x"], row["id"]), (pg_type, row)


@pytest.mark.parametrize(
    ("pg_type", "value"),
    [
        ("numeric(10,2)", "NaN"),
        ("numeric(30,2)", "NaN"),
        ("date", "infinity"),
        ("date", "-infinity"),
        ("date", "0044-03-15 BC"),
        ("date", "5874897-12-31"),
        ("time", "24:00:00"),
        ("timestamp", "infinity"),
        ("timestamp", "294276-12-31 23:59:59.999999"),
        ("timestamp", "4713-01-01 00:00:00 BC"),
        ("timestamptz", "-infinity"),
        ("timestamptz", "10000-01-01 00:00:00+00"),
    ],
)
def test_a_value_its_native_type_can_not_hold_makes_the_column_text(
    fresh_database: str, pg_type: str, value: str
) -> None:
    run_sql(
        fresh_database,
        f"CREATE TABLE t (id int PRIMARY KEY, plain numeric(8,3), x {pg_type})",
        f"INSERT INTO t VALUES (1, 1.5, NULL), (2, NULL, '{value}'), (3, -2.25, NULL)",
    )
    with snapshot_of(fresh_database, first_page_rows=1) as snapshot:
        plan = plan_for(snapshot, "t")
        with pytest.raises(NotNativeError) as caught:
            read_table(snapshot, plan)
        assert (caught.value.column, caught.value.value) == ("x", value)
        settled, rows = read_settled(snapshot, plan)
    assert rows["x"].to_pylist() == [None, value, None]
    assert rows["plain"].to_pylist() == [Decimal("1.500"), None, Decimal("-2.250")]
    assert value in settled.notes[0]


def _own_text(pg_type: str) -> str:
    """SQL for the value's text; a char's padding is part of it, which a cast to text would take off."""
    return "rpad(x::text, 5)" if pg_type == "char(5)" else "x::text"


def _pg_text(value: Any) -> str | None:
    """A Python value from Arrow in PostgreSQL's text form."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, datetime):
        return value.isoformat(" ").replace("+00:00", "+00")
    if isinstance(value, date | time):
        return value.isoformat()
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _ask(url: str, sql: str, *values: Any) -> bool:
    with psycopg.connect(url) as session:
        session.execute("SET TimeZone = 'UTC'; SET lc_monetary = 'C'")
        row = session.execute(sql, values).fetchone()
    return bool(row and row[0])
