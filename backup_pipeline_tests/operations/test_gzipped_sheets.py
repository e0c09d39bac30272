"""`csv: gzip`: the sheets of a date lie gzipped, and the bundle has their stream; nobody else sees a difference."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.layout import PartitionPlace, file_member
from backup_pipeline.core.manifest import FileEntry
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.archive import zip_chunks
from backup_pipeline.formats.files import EncryptedFormats, FileFormats
from backup_pipeline.formats.sheet import SheetWriter
from backup_pipeline.operations.browse import load_partition, place_of
from backup_pipeline.operations.verify import VerifyRequest, verify_backup
from backup_pipeline_tests.formats.tables import plan_for
from backup_pipeline_tests.operations.made import Place, verify_ports
from backup_pipeline_tests.operations.vault import OWNER, OWNER_SECRET, cipher_of
from backup_pipeline_tests.servers.postgres import temporary_database

ROWS = 60_000
PLAIN = Catalog.model_validate({"catalog": "shop", "timezone": "UTC", "tables": {"notes": {}, "none": {}}})
GZIPPED = PLAIN.model_copy(update={"csv": "gzip"})


@pytest.fixture(scope="module")
def shop(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A table whose sheet is more than one block of the stream, and an empty one."""
    with temporary_database(postgres_server) as url:
        with psycopg.connect(url) as session:
            session.execute("CREATE TABLE notes (id int PRIMARY KEY, body text)")
            session.execute(f"INSERT INTO notes SELECT n, md5(n::text) FROM generate_series(1, {ROWS}) n")
            session.execute("CREATE TABLE none (id int PRIMARY KEY)")
        yield url


def members(place: Place, backup_id: str) -> dict[str, bytes]:
    attempt = place.ledger.get(backup_id)
    assert attempt is not None
    data = place.store.get(place_of(attempt).bundle(place.manifest.bundle.name))
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {info.filename: archive.read(info) for info in archive.infolist()}


def test_the_bundle_holds_the_same_sheets_and_the_partition_gzipped_ones(shop: str, tmp_path: Path) -> None:
    plain, gzipped = Place(tmp_path / "plain"), Place(tmp_path / "gzipped")
    before, attempt = plain.back_up(shop, PLAIN), gzipped.back_up(shop, GZIPPED)
    sheets = [
        {p: d for p, d in members(*each).items() if p.startswith("sheets/")}
        for each in ((plain, before.backup_id), (gzipped, attempt.backup_id))
    ]
    assert sheets[0] == sheets[1]
    assert len(sheets[0]["sheets/notes.csv"]) > 2_000_000
    for table in ("notes", "none"):
        place = PartitionPlace(Scope("shop"), table, attempt.partition_date)
        (sheet,) = [file for file in load_partition(place, gzipped.store).table.files if file.format == "csv"]
        assert sheet.stored.name == "sheet-00000.csv.gz"
        lies = gzipped.store.get(place.file(sheet.stored.name))
        assert gzip.decompress(lies) == sheets[0][f"sheets/{table}.csv"]
        assert (len(lies), sheet.bytes) == (sheet.stored.bytes, len(sheets[0][f"sheets/{table}.csv"]))
    report = verify_backup(place_of(attempt), VerifyRequest(Level.REFERENCES), verify_ports(gzipped.store))
    assert report.findings == ()


def test_an_encrypted_sheet_is_gzipped_once(shop: str, tmp_path: Path) -> None:
    formats = EncryptedFormats(FileFormats(), cipher_of(OWNER, keys=[OWNER_SECRET]))
    place = Place(tmp_path, formats=formats)
    attempt = place.back_up(shop, GZIPPED)
    (_, sheet) = place.manifest.tables[0].files
    assert (sheet.stored.name, sheet.gzipped) == ("sheet-00000.csv.gz.age", None)
    data = place.store.get(place_of(attempt).bundle(place.manifest.bundle.name))
    bundle = formats.open_bundle(lambda at, size: data[at : at + size], len(data))
    content = b"".join(bundle.stream("sheets/notes.csv"))
    assert (len(content), zlib.crc32(content)) == (sheet.bytes, sheet.crc32)


@pytest.fixture
def sheet(tmp_path: Path) -> tuple[FileEntry, bytes]:
    plan = plan_for({"text": "string"})
    with SheetWriter(tmp_path, replace(plan.sheet, gzipped=True), "UTC") as writer:
        writer.write(pa.table({"text": [f"row {number}" for number in range(200)]}))
        (entry,) = writer.close()
    return entry, (tmp_path / entry.stored.name).read_bytes()


def bundled(entry: FileEntry, data: bytes, size: int) -> bytes:
    chunks = (data[at : at + size] for at in range(0, len(data), size))
    archive = b"".join(zip_chunks([file_member(entry, "a.csv", datetime(2026, 11, 21, tzinfo=UTC), chunks)]))
    with zipfile.ZipFile(BytesIO(archive)) as opened:
        return opened.read("a.csv")


@pytest.mark.parametrize("size", [1, 7, 9, 17, 18, 19, 100, 10_000])
def test_the_stream_is_placed_however_the_file_is_cut(sheet: tuple[FileEntry, bytes], size: int) -> None:
    entry, data = sheet
    assert bundled(entry, data, size) == gzip.decompress(data)


@pytest.mark.parametrize("size", [5, 10_000])
def test_what_is_not_the_file_that_was_written_is_refused(sheet: tuple[FileEntry, bytes], size: int) -> None:
    entry, data = sheet
    others = [data[:-1] + b"x", b"x" + data[1:], data[:-8], data + b"x", b"", gzip.compress(b"another"), data[:15]]
    for other in others:
        with pytest.raises(VerificationError, match=r"(was|were) written"):
            bundled(entry, other, size)


def test_nothing_is_left_of_a_gzipped_sheet_that_is_given_up(tmp_path: Path) -> None:
    plan = plan_for({"text": "string"})
    writer = SheetWriter(tmp_path, replace(plan.sheet, gzipped=True), "UTC")
    writer.write(pa.table({"text": ["a"] * 100}))
    assert [path.name for path in tmp_path.iterdir()] == ["sheet-00000.csv.gz.tmp"]
    writer.abort()
    assert list(tmp_path.iterdir()) == []
