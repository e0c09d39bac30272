"""A backup with look-ups and references, and forged copies of it: changed inside, with every checksum made to fit."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.manifest import Manifest, StoredBundle, StoredManifest, TableEntry, seal
from backup_pipeline.core.ports import Store
from backup_pipeline_tests.operations.conftest import Made

LIBRARY_SQL = """
CREATE TABLE areas (id serial PRIMARY KEY, name text NOT NULL, parent_id int REFERENCES areas, opened timestamptz);
CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, area_id int REFERENCES areas,
    code char(4), password text, note text, double_id bigint GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE orders (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), customer_id bigint NOT NULL REFERENCES customers, state text,
    amount numeric(10, 2), at timestamptz NOT NULL, tags text[], ratio float8, raw bytea);
INSERT INTO areas (name, parent_id, opened)
SELECT 'area ' || n, nullif(n / 3, 0), '2020-01-01'::timestamptz + n * interval '1 day' FROM generate_series(1, 30) n;
INSERT INTO customers (name, area_id, code, password, note)
SELECT 'গ্রাহক ' || n || E',"\\n', nullif(n % 30, 0), 'c' || n % 7, 'secret', 'a note' FROM generate_series(1, 400) n;
INSERT INTO orders (customer_id, state, amount, at, tags, ratio, raw)
SELECT n % 400 + 1, CASE n % 3 WHEN 0 THEN 'open' WHEN 1 THEN '=paid' END, n / 7.0,
       '2026-01-01'::timestamptz + n * interval '1 s', ARRAY['a', n::text], n / 3.0,
       decode(md5(n::text), 'hex') FROM generate_series(1, 9000) n;
"""
LIBRARY = Catalog.model_validate(
    {
        "catalog": "library",
        "timezone": "Asia/Dhaka",
        "tables": {
            "areas": {"columns": {"Id": "id", "Name": "name", "In": "parent_id.name", "Opened": "opened"}},
            "customers": {
                "mask": ["password"],
                "exclude": {"note": "private notes"},
                "sheet": "People",
                "columns": {
                    "Name": "name",
                    "Code": "code",
                    "Password": "password",
                    "Area": "area_id.name",
                    "Above": "area_id.parent_id.name",
                    "Opened": "area_id.opened",
                    "Orders": "orders[customer_id].state",
                },
            },
            "orders": {
                "columns": {
                    "Id": "id",
                    "Customer": "customer_id.name",
                    "Code": "customer_id.code",
                    "Amount": "amount",
                    "At": "at",
                    "Tags": "tags",
                    "Ratio": "ratio",
                    "Raw": "raw",
                    "Id of customer": "customer_id.id",
                }
            },
        },
    }
)
Members = dict[str, bytes]


def forge(
    made: Made,
    change: Callable[[Members], object] = lambda members: None,
    *,
    tables: Mapping[str, Mapping[str, Any]] | None = None,
    rows: Mapping[str, int] | None = None,
    **fields: Any,
) -> None:
    """Put a changed backup in the place of `made`: other members, entries of `tables` with other fields, other fields.

    Sizes and checksums are made to fit, and so are the row counts of the Parquet files of tables in `rows`, so that
    only a look at the contents can tell.
    """
    before = _members_of(made)
    members = dict(before)
    change(members)
    digests = {path: hashlib.sha256(before[path]).hexdigest() for path in made.manifest.entries}
    renewed = {sha256: members[path] for path, sha256 in digests.items() if path in members}
    counted = [_counted(entry, (rows or {}).get(entry.name)) for entry in made.manifest.tables]
    new_tables = tuple(_table(entry, renewed, (tables or {}).get(entry.name, {})) for entry in counted)
    entries = {path: hashlib.sha256(members.get(path, before[path])).hexdigest() for path in digests}
    body = made.manifest.model_dump(exclude={"bundle"}) | {"tables": new_tables, "entries": entries} | fields
    inner = Manifest.model_validate(body)
    members["manifest.json"] = seal(inner)
    put_bundle(made, members, inner)


def put_bundle(made: Made, members: Members, inner: Manifest) -> None:
    """A bundle of `members` in the place of the backup's, and a manifest that gives its size and SHA-256."""
    made.manifest = StoredManifest(**inner.model_dump(), bundle=_put_zip(made, members))
    made.store.put(made.place.manifest, [seal(made.manifest)])


def rezip(made: Made, change: Callable[[Members], object]) -> None:
    """Other members under the old manifest, but with the bundle's own size and SHA-256: only the entries can tell."""
    members = _members_of(made)
    change(members)
    stored = made.manifest.model_copy(update={"bundle": _put_zip(made, members)})
    made.store.put(made.place.manifest, [seal(stored)])


def copied(made: Made, store: Store) -> BackupPlace:
    """The backup in another store."""
    for stored in made.store.list(""):
        store.put(stored.key, [made.store.get(stored.key)])
    return made.place


def with_rows(data: bytes, change: Callable[[pa.Table], pa.Table]) -> bytes:
    """A Parquet file whose rows were changed; its schema, and what is said of it there, stay."""
    before = pq.read_table(io.BytesIO(data))
    out = io.BytesIO()
    pq.write_table(change(before).cast(before.schema), out, compression="zstd")
    return out.getvalue()


def with_value(table: pa.Table, column: str, row: int, value: object) -> pa.Table:
    """The table with one value changed."""
    at = table.schema.get_field_index(column)
    values = table.column(at).to_pylist()
    values[row] = value
    return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))


def _members_of(made: Made) -> Members:
    with zipfile.ZipFile(io.BytesIO(made.store.get(made.bundle))) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


def _put_zip(made: Made, members: Members) -> StoredBundle:
    """The members as the bundle of the backup; how its manifest is to describe it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)
    data = content.getvalue()
    made.store.put(made.bundle, [data])
    return StoredBundle(name=made.manifest.bundle.name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def _counted(entry: TableEntry, rows: int | None) -> TableEntry:
    if rows is None:
        return entry
    files = tuple(f.model_copy(update={"rows": rows}) if f.format == "parquet" else f for f in entry.files)
    return entry.model_copy(update={"files": files, "row_count": rows})


def _table(entry: TableEntry, renewed: Mapping[str, bytes], fields: Mapping[str, Any]) -> TableEntry:
    files = tuple(
        file.model_copy(
            update={
                "bytes": len(renewed[file.sha256]),
                "sha256": hashlib.sha256(renewed[file.sha256]).hexdigest(),
                "crc32": zlib.crc32(renewed[file.sha256]),
            }
        )
        if file.sha256 in renewed
        else file
        for file in entry.files
    )
    return entry.model_copy(update={"files": files, **fields})
