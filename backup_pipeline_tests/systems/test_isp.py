"""The provider's two exports, backed up by their own catalogs: each cell, each header, each name that was asked for."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, timedelta

import psycopg
import pytest

from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.names import Trigger
from backup_pipeline.demo import ISP, create_system
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.catalogs.test_built_in import CUSTOMER_COLUMNS, SHEETS
from backup_pipeline_tests.drill.rehearsing import backed_up
from backup_pipeline_tests.servers.ledgers import ScratchLedger
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.systems.system import BackedUp, catalog_of

SCALE = 0.02
ASKED_OF_THE_LEDGER = {
    *("id", "file_name", "file_path", "file_size_bytes", "record_count", "status", "error_message", "created_at"),
}
JOIN = """
    SELECT c.user_id::text, a.name, p.name, p.speed::text, p.price::text, m.usernames, r.name,
           to_char(c.created_at AT TIME ZONE 'Asia/Dhaka', 'YYYY-MM-DD HH24:MI:SS')
    FROM customers c LEFT JOIN areas a ON a.id = c.area_id LEFT JOIN packages p ON p.id = c.package_id
    LEFT JOIN routers r ON r.id = c.router_id LEFT JOIN (
        SELECT customer_id, string_agg(username, '; ' ORDER BY username COLLATE "C") AS usernames
        FROM mikrotik_users GROUP BY 1) m ON m.customer_id = c.id
"""
LOOKED_UP = ("User ID", "Area", "Package", "Speed", "Price", "PPPoE Username", "Router", "Created At")


@dataclass
class Provider:
    """The demo of the provider, with a backup of each of its catalogs."""

    url: str
    everything: BackedUp
    customers: BackedUp


@pytest.fixture(scope="module")
def provider(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with temporary_database(postgres_server) as url:
        create_system(url, ISP, scale=SCALE)
        made = []
        for name in ("isp", "isp_customers"):
            folder = tmp_path_factory.mktemp(name)
            made.append(BackedUp(url, backed_up(url, folder, catalog_of(name)), folder))
        yield Provider(url, *made)


def sheets(of: BackedUp) -> dict[str, bytes]:
    """The sheets of the bundle, by the names of their files."""
    [bundle] = [data for name, data in of.backup.stored().items() if name.endswith(".zip")]
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        names = [name for name in archive.namelist() if name.startswith("sheets/")]
        return {name.removeprefix("sheets/").removesuffix(".csv"): archive.read(name) for name in names}


def local_time(of: BackedUp) -> str:
    """When its rows were read, as the names of files have it: by the clock of Dhaka."""
    return f"{of.manifest.snapshot.taken_at.astimezone(UTC) + timedelta(hours=6):%Y-%m-%d_%H-%M}"


def records(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


@pytest.mark.acceptance("0.1", "0.3", "0.4", "0.5")
def test_every_customer_is_in_the_sheet_that_excel_opens_under_the_17_headings(provider: Provider) -> None:
    [(name, data)] = sheets(provider.customers).items()
    header, *rows = records(data)
    assert (name, data[:3]) == (f"backup_{local_time(provider.customers)}", b"\xef\xbb\xbf")
    assert ", ".join(header) == CUSTOMER_COLUMNS
    assert len(rows) == provider.customers.one("SELECT count(*) FROM customers") > 100


@pytest.mark.acceptance("0.2", "1.13")
def test_each_cell_that_is_looked_up_is_that_of_a_join(provider: Provider) -> None:
    [data] = sheets(provider.customers).values()
    header, *rows = records(data)
    shown = {tuple(row[header.index(name)] for name in LOOKED_UP) for row in rows}
    with psycopg.connect(provider.url) as session:
        joined = {tuple(value or "" for value in row) for row in session.execute(JOIN).fetchall()}
    assert shown == joined
    assert all(any(row[place] for row in shown) for place in range(len(LOOKED_UP)))


@pytest.mark.acceptance("0.7")
def test_the_ledger_has_the_eight_columns_that_were_asked_for(provider: Provider) -> None:
    ledger, attempt = provider.customers.backup.place.ledger, provider.customers.backup.attempt
    assert isinstance(ledger, ScratchLedger)
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = 'backup_logs'"
    row = "SELECT file_name, file_size_bytes, record_count, status, error_message FROM backup_logs"
    with psycopg.connect(ledger.url) as session:
        assert {name for (name,) in session.execute(query).fetchall()} >= ASKED_OF_THE_LEDGER
        rows = session.execute(row).fetchall()
    counted = provider.customers.one("SELECT count(*) FROM customers")
    assert rows == [(attempt.file_name, attempt.file_size_bytes, counted, str(attempt.status), None)]


@pytest.mark.acceptance("1.1", "1.2", "1.3", "1.4", "1.5")
def test_the_bundle_has_each_sheet_with_its_headings_and_every_row_of_the_24_tables(provider: Provider) -> None:
    found = sheets(provider.everything)
    assert len(found) == len(provider.everything.manifest.tables) == 24
    for title, relation, columns in SHEETS:
        header, *rows = records(found[title])
        assert ", ".join(header) == columns
        assert len(rows) == provider.everything.one(f"SELECT count(*) FROM {relation}") > 0, title
    for title, relation in (("Ticket Comments", "ticket_comments"), ("Payroll", "payroll_safe")):
        assert len(records(found[title])) - 1 == provider.everything.one(f"SELECT count(*) FROM {relation}") > 0


@pytest.mark.acceptance("1.7", "1.13")
def test_one_csv_has_all_sheets_under_headings_and_splits_back_into_them(provider: Provider) -> None:
    path = provider.everything.rendered(Rendering.CSV)
    assert path.name == f"full_backup_{local_time(provider.everything)}.csv"
    parts: dict[str, list[list[str]]] = {}
    title = ""
    for record in records(path.read_bytes()):
        if len(record) == 1 and record[0].startswith("### "):
            title = record[0].strip("# ")
            parts[title] = []
        elif record:
            parts[title].append(record)
    assert parts == {title: records(data) for title, data in sheets(provider.everything).items()}


@pytest.mark.acceptance("1.12")
def test_the_record_count_is_the_sum_of_the_tables(provider: Provider) -> None:
    attempt = provider.everything.backup.attempt
    assert attempt.record_count == sum(table.row_count for table in provider.everything.manifest.tables)
    assert attempt.type is Trigger.MANUAL
