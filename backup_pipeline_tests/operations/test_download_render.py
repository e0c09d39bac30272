"""Renderings of a real backup: every row of it, as it is in the bundle, in one file or in none."""

from __future__ import annotations

import csv
import io
import json
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import openpyxl
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import (
    BackupError,
    DiskFullError,
    LedgerError,
    NotFoundError,
    RefusedError,
    StoreUnavailableError,
    VerificationError,
)
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.manifest import Manifest
from backup_pipeline.core.ports import Formats, OpenBundle, Silence, Store
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.files import FileFormats
from backup_pipeline.operations.browse import WINDOW, place_of
from backup_pipeline.operations.download import AuditTrail, Destination, render_backup
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.ports import now
from backup_pipeline_tests.doubles.stores import FaultyStore, MemoryStore, StoreFault
from backup_pipeline_tests.operations.conftest import Made
from backup_pipeline_tests.operations.made import Place, mute_ledger
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.servers.postgres import temporary_database

CATALOG = Catalog.model_validate(
    {
        "catalog": "isp",
        "timezone": "Asia/Dhaka",
        "bundle_name": "full_backup_%Y-%m-%d_%H-%M.zip",
        "tables": {
            "customers": {"sheet": "Customers", "sheet_file": "backup_%Y-%m-%d_%H-%M.csv"},
            "notes": {"sheet": "Notes: 2026"},
            "payments": None,
            "tickets": None,
        },
    }
)
SQL = """
CREATE TABLE customers (id int PRIMARY KEY, name text, phone text, big bigint, due numeric(12, 2), active bool,
                        joined timestamptz, born date, extra jsonb);
CREATE TABLE notes (note text PRIMARY KEY);
CREATE TABLE payments (id bigint PRIMARY KEY, amount numeric(12, 2), at timestamptz, ref uuid, rate float8);
CREATE TABLE tickets (id int PRIMARY KEY, subject text);
INSERT INTO customers VALUES
  (1, 'রহিমা বেগম', '01712345678', 9223372036854775807, 1234.50, true,
   '2026-03-01 18:30:00+00', '1990-02-28', '{"a": null}'),
  (2, E'Karim, "Bhai"\\nRoad 7\\n\\n### Payments ###', '+8801812345678', NULL, -0.01, false, NULL, NULL, 'null'),
  (3, '=1+1', '007', 0, NULL, NULL, '2026-03-01 00:00:00.123456+06', '1850-01-01', NULL);
INSERT INTO notes VALUES ('### Payments ###'), (''), (E'two\\n\\nparts'), ('0042');
INSERT INTO payments SELECT n, n * 1.25, '2026-01-01'::timestamptz + n * interval '7 minutes', md5(n::text)::uuid,
                            CASE WHEN n % 500 = 0 THEN 'NaN' ELSE n / 3.0 END
                     FROM generate_series(1, 3000) n;
"""
OF_ROWS = [kind for kind in Rendering if kind is not Rendering.QUARANTINE]
"""Renderings that read rows of any catalog: of one that judges no customers' data nothing is quarantined."""


@pytest.fixture(scope="module")
def isp_backup(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Made:
    store, ledger = MemoryStore(), new_ledger()
    place = Place(tmp_path_factory.mktemp("spool"), store, ledger)
    with temporary_database(postgres_server) as url:
        with psycopg.connect(url) as session:
            session.execute(SQL)
        attempt = place.back_up(url, CATALOG)
    return Made(attempt, place.manifest, store, ledger)


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files, which every test must leave empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def render(
    made: Made,
    kind: Rendering,
    target: Path,
    *,
    store: Store | None = None,
    formats: Formats | None = None,
    force: bool = False,
) -> Path:
    return render_backup(
        made.attempt,
        kind,
        Destination(target, force),
        store=store or made.store,
        formats=formats or FileFormats(),
        audit=AuditTrail(made.ledger, now, RAHIM),
        progress=Silence(),
    )


def bundle_of(made: Made) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(made.store.get(made.bundle)))


def sheets_of(made: Made) -> dict[str, list[list[str]]]:
    """Every sheet of the bundle as Python's own reader sees it."""
    names = {table.name: table.sheet for table in made.manifest.tables}
    with bundle_of(made) as bundle:
        members = [name for name in bundle.namelist() if name.startswith("sheets/")]
        texts = [bundle.read(name).decode("utf-8-sig") for name in members]
    return {
        sheet: list(csv.reader(io.StringIO(text, newline="")))
        for sheet, text in zip(names.values(), texts, strict=True)
    }


@pytest.mark.parametrize("kind", list(Rendering))
def test_in_a_folder_it_is_called_as_the_bundle_with_its_own_ending(
    isp_backup: Made, out: Path, kind: Rendering
) -> None:
    path = render(isp_backup, kind, out)
    ending = {
        Rendering.JSON_ZIP: "json.zip",
        Rendering.COMPREHENSIVE: "json",
        Rendering.QUARANTINE: "quarantine.json",
    }.get(kind, kind)
    assert path == out / isp_backup.manifest.bundle.name.replace(".zip", f".{ending}")
    assert [p.name for p in out.iterdir()] == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.acceptance("1.8")
def test_the_workbook_has_every_sheet_and_every_row(isp_backup: Made, out: Path) -> None:
    book = openpyxl.load_workbook(render(isp_backup, Rendering.XLSX, out), read_only=True)
    assert book.sheetnames == ["Customers", "Notes_ 2026", "payments", "tickets"]
    rows = {page.title: list(page.iter_rows(values_only=True)) for page in book.worksheets}
    book.close()
    wanted = list(sheets_of(isp_backup).values())
    assert [len(page) for page in rows.values()] == [len(sheet) for sheet in wanted] == [4, 5, 3001, 1]
    assert [page[0] for page in rows.values()] == [tuple(sheet[0]) for sheet in wanted]
    assert [row[0] for row in rows["payments"][1:]] == list(range(1, 3001))
    assert sum(row[1] for row in rows["payments"][1:]) == sum(n * 1.25 for n in range(1, 3001))


def test_the_workbook_keeps_bangla_leading_zeros_and_formulas_as_text(isp_backup: Made, out: Path) -> None:
    page = openpyxl.load_workbook(render(isp_backup, Rendering.XLSX, out))["Customers"]
    titles = {cell.value: cell.column_letter for cell in page[1]}

    def column(title: str) -> list[Any]:
        return [page[f"{titles[title]}{row}"] for row in (2, 3, 4)]

    assert [cell.value for cell in column("phone")] == ["01712345678", "+8801812345678", "007"]
    assert {cell.data_type for cell in [*column("phone"), *column("name")]} == {"s"}
    assert [cell.value for cell in column("name")] == [
        "রহিমা বেগম",
        'Karim, "Bhai"\nRoad 7\n\n### Payments ###',
        "=1+1",
    ]
    assert page[f"{titles['name']}4"].quotePrefix
    assert [cell.number_format for cell in column("due")][:2] == ["0.00", "0.00"]
    assert [cell.value for cell in column("big")] == ["9223372036854775807", None, 0]
    assert [cell.value for cell in column("due")] == [1234.5, -0.01, None]
    assert str(column("joined")[0].value) == "2026-03-02 00:30:00"


@pytest.mark.acceptance("1.7")
def test_the_combined_csv_splits_back_into_the_sheets_at_its_headings(isp_backup: Made, out: Path) -> None:
    data = render(isp_backup, Rendering.CSV, out).read_bytes()
    assert data.startswith("\ufeff### Customers ###\r\n".encode())
    assert data.count("\ufeff".encode()) == 1
    parts: list[list[list[str]]] = [[]]
    for record in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")):
        if record:
            parts[-1].append(record)
        else:
            parts.append([])
    assert {heading[0].strip("# "): rows for heading, *rows in parts} == sheets_of(isp_backup)
    assert ",01712345678," in data.decode().replace('"', "")


@pytest.mark.acceptance("1.9")
def test_the_json_equals_the_rows_of_the_parquet_files(isp_backup: Made, out: Path) -> None:
    document = json.loads(render(isp_backup, Rendering.JSON, out).read_text(encoding="utf-8"))
    assert document["manifest"] == isp_backup.manifest.model_dump(mode="json")
    assert list(document["tables"]) == ["customers", "notes", "payments", "tickets"]
    with bundle_of(isp_backup) as bundle:
        for name, rows in document["tables"].items():
            exact = pq.read_table(io.BytesIO(bundle.read(f"parquet/{name}/part-00000.parquet")))
            kinds = {field.name: field.type for field in exact.schema}
            wanted = [
                {column: in_json(value, kinds[column]) for column, value in row.items()} for row in exact.to_pylist()
            ]
            assert rows == wanted


def in_json(value: Any, kind: pa.DataType) -> Any:
    """What docs/format.md says a value is in JSON, said a second time."""
    if value is None:
        return None
    if pa.types.is_timestamp(kind):
        return f"{value:%Y-%m-%dT%H:%M:%S.%fZ}"
    exact_text = pa.types.is_int64(kind) or pa.types.is_decimal(kind) or pa.types.is_date(kind)
    return str(value) if exact_text or isinstance(value, UUID) else "NaN" if value != value else value


@pytest.mark.parametrize("kind", OF_ROWS)
def test_an_interrupted_render_leaves_nothing(isp_backup: Made, out: Path, kind: Rendering) -> None:
    class Interrupted(FileFormats):
        """Ctrl-C when two thirds of the members have been begun."""

        def render(self, kind: Rendering, manifest: Manifest, bundle: OpenBundle, target: BinaryIO) -> None:
            super().render(kind, manifest, Stopping(bundle), target)

    class Stopping:
        def __init__(self, bundle: OpenBundle) -> None:
            self.names = bundle.names
            self._bundle, self._begun = bundle, 0

        def stream(self, name: str) -> Iterator[bytes]:
            self._begun += 1
            for chunk in self._bundle.stream(name):
                yield chunk[:-5]
                if self._begun == 3:
                    raise KeyboardInterrupt
                yield chunk[-5:]

    with pytest.raises(KeyboardInterrupt):
        render(isp_backup, kind, out, formats=Interrupted())
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("kind", list(Rendering))
def test_a_store_that_goes_away_leaves_nothing_and_the_older_file_also_when_forced(
    isp_backup: Made, out: Path, kind: Rendering
) -> None:
    target = out / "mine"
    target.write_text("precious")
    gone = FaultyStore(isp_backup.store).on("stream", StoreFault(error=StoreUnavailableError("gone")))
    with pytest.raises(StoreUnavailableError):
        render(isp_backup, kind, target, store=gone, force=True)
    assert [p.name for p in out.iterdir()] == ["mine"]
    assert target.read_text() == "precious"


def with_bundle(made: Made, bundle: bytes) -> MemoryStore:
    """The backup's store, with these bytes as its bundle."""
    store = MemoryStore()
    for stored in made.store.list(""):
        store.put(stored.key, [bundle if stored.key == made.bundle else made.store.get(stored.key)])
    return store


@pytest.mark.parametrize("kind", OF_ROWS)
def test_one_bit_turned_over_in_what_is_read_is_damage_and_leaves_nothing(
    isp_backup: Made, out: Path, kind: Rendering
) -> None:
    folder = "sheets/payments" if kind in {Rendering.XLSX, Rendering.CSV} else "parquet/payments/"
    with bundle_of(isp_backup) as bundle:
        (member,) = (info for info in bundle.infolist() if info.filename.startswith(folder))
    damaged = bytearray(isp_backup.store.get(isp_backup.bundle))
    damaged[member.header_offset + member.compress_size // 2] ^= 1
    with pytest.raises(VerificationError, match=f"{member.filename}|Parquet"):
        render(isp_backup, kind, out, store=with_bundle(isp_backup, bytes(damaged)))
    assert list(out.iterdir()) == []


def test_a_bundle_that_is_cut_off_is_damage_and_leaves_nothing(isp_backup: Made, out: Path) -> None:
    cut = isp_backup.store.get(isp_backup.bundle)[:-1]
    with pytest.raises(VerificationError, match="the manifest says"):
        render(isp_backup, Rendering.XLSX, out, store=with_bundle(isp_backup, cut))
    assert list(out.iterdir()) == []


def test_a_member_that_is_not_the_manifests_is_damage(isp_backup: Made, out: Path) -> None:
    class Exchanged(FileFormats):
        """The bundle is whole, but a manifest of other bytes comes with it."""

        def render(self, kind: Rendering, manifest: Manifest, bundle: OpenBundle, target: BinaryIO) -> None:
            swapped = {path: sha256[::-1] for path, sha256 in manifest.entries.items()}
            tables = tuple(
                table.model_copy(
                    update={"files": tuple(f.model_copy(update={"sha256": f.sha256[::-1]}) for f in table.files)}
                )
                for table in manifest.tables
            )
            super().render(kind, manifest.model_copy(update={"entries": swapped, "tables": tables}), bundle, target)

    for kind in OF_ROWS:
        with pytest.raises(VerificationError, match="the manifest says"):
            render(isp_backup, kind, out, formats=Exchanged())
    assert list(out.iterdir()) == []


def test_a_bundle_that_is_missing_is_told(isp_backup: Made, out: Path) -> None:
    store = MemoryStore()
    manifest = place_of(isp_backup.attempt).manifest
    store.put(manifest, [isp_backup.store.get(manifest)])
    with pytest.raises(NotFoundError, match="is missing"):
        render(isp_backup, Rendering.CSV, out, store=store)
    assert list(out.iterdir()) == []


def test_a_full_disk_is_told_with_what_to_do(isp_backup: Made, out: Path) -> None:
    class Full(FileFormats):
        def render(self, kind: Rendering, manifest: Manifest, bundle: OpenBundle, target: BinaryIO) -> None:
            with Path("/dev/full").open("wb", buffering=0) as full:
                super().render(kind, manifest, bundle, full)

    for kind in Rendering:
        with pytest.raises(DiskFullError) as caught:
            render(isp_backup, kind, out, formats=Full())
        assert "--to" in caught.value.do
    assert list(out.iterdir()) == []


def test_a_file_that_is_there_stays_unless_forced(isp_backup: Made, out: Path) -> None:
    target = out / "mine.csv"
    target.write_text("precious")
    with pytest.raises(RefusedError) as caught:
        render(isp_backup, Rendering.CSV, target)
    assert caught.value.exit_code == 21
    assert target.read_text() == "precious"
    assert render(isp_backup, Rendering.CSV, target, force=True).read_bytes().startswith(b"\xef\xbb\xbf###")


def test_a_folder_that_is_not_there_is_told_with_what_to_do(made: Made, out: Path) -> None:
    with pytest.raises(BackupError, match="can not be written") as caught:
        render(made, Rendering.JSON, out / "no" / "mine.json")
    assert "--to" in caught.value.do
    assert made.ledger.audits() == []


def test_who_took_it_and_how_is_written_down(made: Made, out: Path) -> None:
    path = render(made, Rendering.JSON, out)
    (event,) = made.ledger.audits(made.attempt.backup_id)
    assert (event.actor, event.action) == (RAHIM, "download")
    assert event.detail == {"file_name": path.name, "rendering": "json"}


def test_nobody_gets_bytes_when_the_audit_can_not_be_written(made: Made, out: Path) -> None:
    made.ledger = mute_ledger()
    store = FaultyStore(made.store)
    with pytest.raises(LedgerError):
        render(made, Rendering.XLSX, out, store=store)
    assert list(out.iterdir()) == []
    assert store.calls["stream"] == 1, "the manifest"


def test_the_bundle_is_read_by_ranges_and_never_whole(isp_backup: Made, out: Path) -> None:
    lengths: list[int | None] = []

    class Watched(FaultyStore):
        def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
            if key == isp_backup.bundle:
                lengths.append(length)
            return super().stream(key, start=start, length=length)

    store = Watched(isp_backup.store)
    render(isp_backup, Rendering.JSON, out, store=store)
    assert lengths
    assert all(length is not None and length <= WINDOW for length in lengths)
