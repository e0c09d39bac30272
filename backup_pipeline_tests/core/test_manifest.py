"""Tests of the manifest: it reads back as it was written, and any change of it is found."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.manifest import (
    FORMAT_VERSION,
    CheckEntry,
    ColumnEntry,
    ExcludedEntry,
    FileEntry,
    Manifest,
    PartitionRecord,
    ReferenceEntry,
    SequenceEntry,
    SheetColumnEntry,
    SnapshotEntry,
    StepEntry,
    StoredBundle,
    StoredManifest,
    TableEntry,
    Totals,
    read_inner_manifest,
    read_manifest,
    read_partition,
    seal,
)
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline_tests.core.values import INSTANTS

TEXT = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(["গ্রাহক ‘ক’", '"', "\u2028", "\\"])
COUNTS = st.integers(0, 2**60)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
REASONS = st.dictionaries(TEXT, TEXT, max_size=2)

SNAPSHOTS = st.builds(SnapshotEntry, taken_at=INSTANTS, id=TEXT, lsn=TEXT, server_version=TEXT, database=TEXT)
PLACES = st.sampled_from(["customers", "_T1"])
FILE_NAMES = st.sampled_from(["part-00000.parquet", "গ্রাহক.csv", "a b.csv.gz.age"])
FILES = st.builds(FileEntry, name=FILE_NAMES, rows=COUNTS, bytes=COUNTS, sha256=TEXT, crc32=COUNTS)
TYPES = st.sampled_from(["text", "numeric(10,2)[]", 'public."Mo""od\n"'])
COLUMNS = st.builds(ColumnEntry, name=TEXT, pg_type=TYPES, arrow_type=TEXT, generated=..., identity=...)
RELATIONS = st.tuples(TEXT, TEXT)
REFERENCES = st.builds(ReferenceEntry, columns=TEXTS, target=RELATIONS, target_columns=TEXTS, enforced=...)
SEQUENCES = st.builds(SequenceEntry, sequence=RELATIONS, column=TEXT, last_value=st.none() | COUNTS, is_called=...)
STEPS = st.builds(StepEntry, relation=RELATIONS, columns=TEXTS, from_columns=TEXTS)
SHOWN = st.builds(SheetColumnEntry, title=TEXT, column=TEXT, steps=st.lists(STEPS, max_size=2).map(tuple), joined=...)
TABLES = st.builds(
    TableEntry,
    name=PLACES,
    sheet=TEXT,
    key=TEXTS,
    row_count=COUNTS,
    snapshot=SNAPSHOTS,
    columns=st.lists(COLUMNS, max_size=2).map(tuple),
    sheet_columns=TEXTS,
    relation_id=st.none() | RELATIONS,
    covers=st.lists(RELATIONS, max_size=2).map(tuple),
    references=st.lists(REFERENCES, max_size=2).map(tuple),
    sequences=st.lists(SEQUENCES, max_size=2).map(tuple),
    sheet_sources=st.lists(SHOWN, max_size=2).map(tuple),
    excluded_columns=REASONS,
    notes=TEXTS,
    checks=st.lists(st.builds(CheckEntry, name=TEXT, message=TEXT), max_size=2).map(tuple),
    files=st.lists(FILES, max_size=2).map(tuple),
    seconds=st.floats(0, 1e9),
)
PARTITIONS = st.builds(
    PartitionRecord,
    format_version=st.just(FORMAT_VERSION),
    catalog=st.just("isp"),
    sheet_file=st.none() | FILE_NAMES,
    table=TABLES,
    unlisted=TEXTS,
    excluded=REASONS,
)


def table(**fields: Any) -> TableEntry:
    given_fields: dict[str, Any] = {
        "name": "customers",
        "relation": "public.customers",
        "sheet": "গ্রাহক",
        "key": ("id",),
        "order": "key",
        "row_count": 2,
        "snapshot": snapshot(),
        "exported_by": "20261120T180000Z-full-1f3a9c2e",
        "columns": (ColumnEntry(name="id", pg_type="uuid", arrow_type="uuid", nullable=False),),
        "sheet_columns": ("name",),
        "files": (
            FileEntry(name="part-00000.parquet", format="parquet", rows=2, bytes=10, sha256="ab", crc32=7),
            FileEntry(name="sheet-00000.csv", format="csv", rows=2, bytes=5, sha256="cd", crc32=8),
        ),
        "seconds": 0.125,
    }
    return TableEntry(**(given_fields | fields))


def snapshot() -> SnapshotEntry:
    taken = datetime(2026, 11, 20, 18, 0, 0, 123456, tzinfo=UTC)
    return SnapshotEntry(id="00000003-1", taken_at=taken, lsn="0/1A2B3C", server_version="18.1", database="isp")


def stored(**fields: Any) -> StoredManifest:
    given_fields: dict[str, Any] = {
        "backup_id": "20261120T180000Z-full-1f3a9c2e",
        "catalog": "isp",
        "title": "আইএসপি, “all” tables",
        "kind": Kind.FULL,
        "type": Trigger.AUTOMATIC,
        "created_by": "schedule",
        "status": "success",
        "consistent": True,
        "partition_date": date(2026, 11, 21),
        "timezone": "Asia/Dhaka",
        "started_at": snapshot().taken_at,
        "finished_at": snapshot().taken_at,
        "snapshot": snapshot(),
        "tables": (table(),),
        "excluded": (ExcludedEntry(table="public.sessions", reason="log-ins"),),
        "totals": Totals(tables=1, rows=2, files=2, bytes=15),
        "bundle_name": "full_backup_2026-11-21_00-00.zip",
        "entries": {"sheets/গ্রাহক.csv": "cd"},
        "pipeline_version": "0.1.0",
        "bundle": StoredBundle(name="full_backup_2026-11-21_00-00.zip", bytes=99, sha256="ef"),
    }
    return StoredManifest(**(given_fields | fields))


def resealed(data: bytes, **changes: Any) -> bytes:
    """The document with other fields (...: without), sealed as a writer of them would have."""
    body = json.loads(data)
    del body["manifest_sha256"]
    body = {name: value for name, value in (body | changes).items() if value is not ...}
    text = json.dumps(body, ensure_ascii=False, indent=1)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps({**body, "manifest_sha256": digest}, ensure_ascii=False, indent=1).encode()


def test_a_manifest_reads_back_as_it_was_written() -> None:
    assert read_manifest(seal(stored()), "here") == stored()


def test_the_manifest_inside_the_bundle_does_not_know_the_bundle() -> None:
    inner = Manifest.model_validate(stored().model_dump(exclude={"bundle"}))
    assert read_inner_manifest(seal(inner), "here") == inner
    with pytest.raises(VerificationError, match="bundle wants a value"):
        read_manifest(seal(inner), "here")


@given(record=PARTITIONS)
def test_any_partition_record_reads_back_as_it_was_written(record: PartitionRecord) -> None:
    assert read_partition(seal(record), "here") == record


def test_text_stays_readable_in_the_file() -> None:
    assert "গ্রাহক" in seal(stored()).decode()


def test_the_checksum_can_be_computed_by_anybody_from_the_rest() -> None:
    assert resealed(seal(stored())) == seal(stored())


def test_every_changed_byte_is_found() -> None:
    data = seal(stored(tables=(), entries={}))
    for at in range(len(data)):
        for other in {data[at] ^ 1, ord(" "), ord("\n"), ord("0")} - {data[at]}:
            with pytest.raises(VerificationError):
                read_manifest(data[:at] + bytes([other]) + data[at + 1 :], "here")


@given(at=st.integers(0, 10_000), cut=st.integers(0, 3), put=st.binary(max_size=3))
def test_any_edit_is_found(at: int, cut: int, put: bytes) -> None:
    data = seal(stored())
    at %= len(data) + 1
    edited = data[:at] + put + data[at + cut :]
    if edited != data:
        with pytest.raises(VerificationError):
            read_manifest(edited, "here")


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b'"x"', b"\xff\xfe", b"PK\x03\x04", b"[" * 100_000, b'{"format_version": "x"}'],
)
def test_what_is_no_manifest_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(VerificationError, match=r"isp/manifest\.json is not a manifest") as found:
        read_manifest(data, "isp/manifest.json")
    assert found.value.do


def test_a_change_of_layout_is_a_change() -> None:
    compact = json.dumps(json.loads(seal(stored()))).encode()
    with pytest.raises(VerificationError, match="here was changed after it was written"):
        read_manifest(compact, "here")


def test_a_newer_major_version_is_refused_with_the_way_out() -> None:
    with pytest.raises(VerificationError, match=r"format version 2\.0; this program reads 1\.x") as refused:
        read_manifest(resealed(seal(stored()), format_version="2.0"), "here")
    assert refused.value.do == "Use a newer backup_pipeline."


def test_a_newer_major_version_is_recognised_without_our_checksum() -> None:
    with pytest.raises(VerificationError, match=r"format version 2\.0"):
        read_manifest(b'{"format_version": "2.0", "seal": "another way"}', "here")


def test_a_newer_minor_version_with_unknown_fields_is_read() -> None:
    newer = resealed(seal(stored()), format_version="1.9", invented={"later": [1, 2]})
    assert read_manifest(newer, "here") == stored(format_version="1.9")


def test_a_manifest_of_format_1_0_is_read_and_says_of_what_it_lacks_that_it_is_not_known() -> None:
    new_in_table = ("relation_id", "relation_kind", "covers", "references", "sequences", "sheet_sources")
    body = json.loads(seal(stored()))
    for name in new_in_table:
        del body["tables"][0][name]
    for name in ("generated", "identity"):
        del body["tables"][0]["columns"][0][name]
    old = read_manifest(resealed(seal(stored()), format_version="1.0", tables=body["tables"]), "here")
    assert old == stored(format_version="1.0")
    assert (old.tables[0].relation_id, old.tables[0].relation_kind, old.tables[0].references) == (None, None, ())


def test_a_missing_field_is_named() -> None:
    with pytest.raises(VerificationError, match=r"here is not a manifest of format 1\.8: backup_id wants a value"):
        read_manifest(resealed(seal(stored()), backup_id=...), "here")


def test_a_missing_field_of_a_table_is_named_with_its_place() -> None:
    tables = json.loads(seal(stored()))["tables"]
    del tables[0]["row_count"]
    with pytest.raises(VerificationError, match=r"tables\.0\.row_count wants a value"):
        read_manifest(resealed(seal(stored()), tables=tables), "here")


def test_the_bytes_of_a_table_are_those_of_its_files() -> None:
    assert table().bytes == 15


ELSEWHERE = (
    "../../etc/cron.d/x",
    "/etc/x",
    "..",
    "",
    "a/../../b",
    "C:\\x",
    "a\\..\\b",
    "nul\0",
    "line\nbreak",
    "x" * 256,
)


@pytest.mark.parametrize("name", [*ELSEWHERE, "a/b"])
def test_a_name_that_leads_elsewhere_is_refused_wherever_it_stands(name: str) -> None:
    """Each of these becomes a path on the machine that reads it, or a key of the store."""
    data = seal(stored())
    body = json.loads(data)
    entry = body["tables"][0]
    renamed = [{**entry["files"][0], "name": name}]
    lies = {"name": name, "bytes": 1, "sha256": "", "crc32": 0}
    forged: list[dict[str, Any]] = [
        {"catalog": name},
        {"backup_id": name},
        {"bundle_name": name},
        {"timezone": name},
        {"bundle": {**body["bundle"], "name": name}},
        {"tables": [{**entry, "name": name}]},
        {"tables": [{**entry, "files": renamed}]},
        {"tables": [{**entry, "files": [{**entry["files"][0], "encrypted": lies}]}]},
    ]
    for change in forged:
        with pytest.raises(VerificationError, match="is not a manifest of format"):
            read_manifest(resealed(data, **change), "here")
    record = seal(PartitionRecord(catalog="isp", partition_date=stored().partition_date, table=table()))
    for change in ({"catalog": name}, {"sheet_file": name}, {"table": {**entry, "name": name}}):
        with pytest.raises(VerificationError, match="is not a manifest of format"):
            read_partition(resealed(record, **change), "here")


@pytest.mark.parametrize("path", [*ELSEWHERE, "sheets//x.csv", "./x", "sheets/../../x"])
def test_a_path_of_a_bundle_stays_in_it(path: str) -> None:
    with pytest.raises(VerificationError, match=r"is not a path in a bundle"):
        read_manifest(resealed(seal(stored()), entries={path: "cd"}), "here")


@pytest.mark.parametrize("text", ["int); DROP TABLE customers; --", "int DEFAULT pg_read_file('/etc/passwd')", ""])
def test_a_type_is_the_name_of_one(text: str) -> None:
    entry = json.loads(seal(stored()))["tables"][0]
    forged = [{**entry, "columns": [{**entry["columns"][0], "pg_type": text}]}]
    with pytest.raises(VerificationError, match="not the name of a type"):
        read_manifest(resealed(seal(stored()), tables=forged), "here")
