"""Reading a partition: which one it is, what there is instead, and a record that lies."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backup_pipeline.core.errors import LockedError, NotFoundError, VerificationError
from backup_pipeline.core.layout import PartitionPlace
from backup_pipeline.core.manifest import PartitionRecord, read_partition, seal
from backup_pipeline.core.ports import Store
from backup_pipeline.core.scope import Scope
from backup_pipeline.formats import tables as decoder
from backup_pipeline.formats.files import FileFormats
from backup_pipeline.operations.read import ReadRequest, dates_of
from backup_pipeline.operations.read import read_partition as read
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.operations.conftest import Made
from backup_pipeline_tests.operations.forging import with_rows

PART = "part-00000.parquet"


def rows_of(store: Store, table: str = "goods", day: date | None = None, *, catalog: str = "shop") -> pa.Table:
    request = ReadRequest(catalog, table, day)
    return read(request, store=store, formats=FileFormats(), clock=lambda: datetime.now(UTC))


def filed(made: Made, day: date, change: Callable[[pa.Table], pa.Table] = lambda rows: rows, **fields: Any) -> None:
    """The goods of the backup once more, of another date, with other rows and a record that fits or does not."""
    old, new = (PartitionPlace(Scope("shop"), "goods", d) for d in (made.attempt.partition_date, day))
    record = read_partition(made.store.get(old.record), "TEST")
    data = with_rows(made.store.get(old.file(PART)), change)
    made.store.put(new.file(PART), [data])
    made.store.put(new.record, [seal(described(record, data, day, **fields))])


def described(record: PartitionRecord, data: bytes, day: date, **fields: Any) -> PartitionRecord:
    rows = pq.read_metadata(io.BytesIO(data)).num_rows
    (file,) = (file for file in record.table.files if file.format == "parquet")
    update = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "rows": rows} | fields
    table = record.table.model_copy(update={"files": (file.model_copy(update=update),), "row_count": rows})
    return record.model_copy(update={"partition_date": day, "table": table})


def test_the_newest_is_read_unless_a_date_is_named(made: Made) -> None:
    today = made.attempt.partition_date
    older = today - timedelta(days=3)
    filed(made, older, lambda rows: rows.slice(0, 10))
    filed(made, today - timedelta(days=9))
    made.store.put(f"shop/tables/goods/backup_date={today + timedelta(days=1)}/{PART}", [b"being written"])
    made.store.put("shop/tables/goods/backup_date=2026-99-99/partition.json", [b"somebody else's"])
    assert rows_of(made.store).num_rows == 500
    assert rows_of(made.store, day=older).num_rows == 10
    assert dates_of("shop", "goods", made.store) == (today - timedelta(days=9), older, today)


def test_a_partition_of_the_future_is_never_the_newest(made: Made) -> None:
    future = made.attempt.partition_date + timedelta(days=400)
    filed(made, future, lambda rows: rows.slice(0, 3))
    assert rows_of(made.store).num_rows == 500
    assert rows_of(made.store, day=future).num_rows == 3
    made.store.delete([PartitionPlace(Scope("shop"), "goods", made.attempt.partition_date).record])
    with pytest.raises(NotFoundError, match=rf"only partitions of the future in .*: {future}\."):
        rows_of(made.store)


def test_what_is_not_there_says_what_is(made: Made) -> None:
    day = made.attempt.partition_date
    with pytest.raises(NotFoundError, match=r"no partition of 2020-01-01") as caught:
        rows_of(made.store, day=date(2020, 1, 1))
    assert caught.value.do == f"It has those of {day}."
    for wanted in (None, day):
        with pytest.raises(NotFoundError, match="no partition of a table good ") as caught:
            rows_of(made.store, "good", wanted)
        assert caught.value.do == "There are its tables goods, sold."
    with pytest.raises(NotFoundError, match="no partition of a table of catalog shops") as caught:
        rows_of(made.store, catalog="shops")
    assert caught.value.do == "There are those of shop."
    with pytest.raises(NotFoundError) as caught:
        rows_of(MemoryStore())
    assert "none at all" in caught.value.do
    assert caught.value.exit_code == 10


def test_many_dates_are_told_by_the_newest(made: Made) -> None:
    for back in range(1, 15):
        filed(made, made.attempt.partition_date - timedelta(days=back))
    with pytest.raises(NotFoundError) as caught:
        rows_of(made.store, day=date(2020, 1, 1))
    assert caught.value.do.endswith(f"{made.attempt.partition_date} and 5 before.")


def test_a_record_of_another_partition_is_none_of_this_one(made: Made) -> None:
    day = made.attempt.partition_date
    goods, sold = (PartitionPlace(Scope("shop"), table, day) for table in ("goods", "sold"))
    made.store.put(goods.record, [made.store.get(sold.record)])
    with pytest.raises(VerificationError, match="describes another partition: shop, sold"):
        rows_of(made.store)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop_columns(["price"]), "has the columns id, name; the manifest says id, name, price"),
        (lambda rows: rows.set_column(0, "id", rows["id"].cast(pa.int64())), "has column id with the Arrow type int64"),
    ],
)
def test_a_file_of_another_shape_is_not_given_back(
    made: Made, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    place = PartitionPlace(Scope("shop"), "goods", made.attempt.partition_date)
    out = io.BytesIO()
    pq.write_table(change(pq.read_table(io.BytesIO(made.store.get(place.file(PART))))), out)
    record = described(read_partition(made.store.get(place.record), "TEST"), out.getvalue(), place.day)
    made.store.put(place.file(PART), [out.getvalue()])
    made.store.put(place.record, [seal(record)])
    with pytest.raises(VerificationError, match=message):
        rows_of(made.store)


def test_what_is_no_parquet_or_has_other_rows_is_not_given_back(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    day = made.attempt.partition_date
    filed(made, day, lambda rows: rows.slice(0, 3), rows=4)
    with pytest.raises(VerificationError, match="holds 3 rows; its record says 4"):
        rows_of(made.store)
    monkeypatch.setattr(decoder, "_MOST_GROUP", 10)
    with pytest.raises(VerificationError, match="more than the 10 that are read"):
        rows_of(made.store)


def test_a_partition_that_is_replaced_meanwhile_is_not_called_damaged(made: Made) -> None:
    calls: list[str] = []

    class Replacing(MemoryStore):
        """A store whose partition a backup replaces as soon as somebody reads its files."""

        def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
            calls.append(key)
            if len(calls) == 1:
                filed(made, made.attempt.partition_date, lambda rows: rows.slice(0, 2))
            return super().stream(key, start=start, length=length)

    store = Replacing()
    for stored in made.store.list(""):
        store.put(stored.key, [made.store.get(stored.key)])
    made.store = store
    with pytest.raises(LockedError, match="was replaced by a newer backup while it was read"):
        rows_of(store)
    assert rows_of(store).num_rows == 2
