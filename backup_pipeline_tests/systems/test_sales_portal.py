"""The sales portal: its fourteen relations, the comprehensive document, what it says of communication."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from backup_pipeline.core.content import communication_metrics, summary_document
from backup_pipeline.core.content.validation import VALID_ROWS
from backup_pipeline.core.drill import How
from backup_pipeline.core.errors import NotFoundError, RefusedError, UsageError
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.ledger import Outcome, Status
from backup_pipeline.core.names import Kind, Trigger, camel_case, local_name
from backup_pipeline.core.restore import Mode
from backup_pipeline.core.schedule import next_due
from backup_pipeline.demo import SALES_PORTAL, create_system
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.documents import size_text
from backup_pipeline.operations.attempts import Request, Work, begin
from backup_pipeline.operations.backup import export_attempt
from backup_pipeline.operations.download import AuditTrail
from backup_pipeline.operations.rows import RowsPage, RowsWish, look_at_rows
from backup_pipeline.orchestration.assets import bundle_metadata
from backup_pipeline.orchestration.verification import table_check_specs
from backup_pipeline.presentation import ReportDocument
from backup_pipeline.presentation.backup import backup_document, made_document
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline.wiring.ports import open_queries
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.doubles.ports import now, ports_for_test
from backup_pipeline_tests.drill.rehearsing import backed_up
from backup_pipeline_tests.restore.bench import Bench
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.systems.system import BackedUp, backed_up_system, catalog_of, parsed

SAMPLE_TABLES = ["users", "sales", "appliances", "smsLogs", "generatedDocuments", "leads", "leadDispositionHistory"]
OTHER_TABLES = [
    "documentTemplates",
    "fieldConfigurations",
    "leadImportBatches",
    "leadToSaleConversions",
    "emailLog",
    "communicationLog",
    "communicationSummaryView",
]
SAMPLE_KEYS = ["timestamp", "version", "backupType", "createdBy", "reason", "tables", "metadata"]
SAMPLE_METADATA = ["totalRecords", "backupSize", "communicationSummary", "dataIntegrityHashes"]
SAMPLE_SUMMARY = {"totalSMS": 432, "totalDocuments": 156, "smsSuccessRate": 94.2, "documentsGenerated": 156}
"""As the source document prints them."""


@pytest.fixture(scope="module")
def portal(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    with backed_up_system(postgres_server, SALES_PORTAL, tmp_path_factory.mktemp("portal"), 1.0) as made:
        yield made


@pytest.fixture(scope="module")
def document(portal: BackedUp) -> Any:
    return parsed(portal.rendered(Rendering.COMPREHENSIVE))


def table_of(shown: str) -> str:
    return re.sub(r"[A-Z]", lambda sign: f"_{sign[0].lower()}", shown)


def test_two_creations_are_the_same_rows(portal: BackedUp, fresh_database: str) -> None:
    create_system(fresh_database, SALES_PORTAL)
    query = "SELECT md5(string_agg(t::text, E'\\n' ORDER BY ctid)) FROM {} t"
    with psycopg.connect(fresh_database) as session:
        for table in SALES_PORTAL.counted:
            if not table.endswith("_view"):
                row = session.execute(query.format(table).encode()).fetchone()
                assert row == (portal.one(query.format(table)),), table


@pytest.mark.acceptance("4.3")
def test_the_keys_of_the_document_are_those_of_the_sample_in_their_order(portal: BackedUp, document: Any) -> None:
    assert list(document) == SAMPLE_KEYS
    assert (document["version"], document["backupType"]) == ("3.0.0", "comprehensive")
    assert (document["createdBy"], document["reason"]) == (portal.manifest.created_by, "a test")
    assert re.fullmatch(r"2[0-9]{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document["timestamp"])
    assert list(document["metadata"])[:4] == SAMPLE_METADATA


@pytest.mark.acceptance("4.4", "4.19", "4.20", "4.21")
def test_its_tables_are_those_of_the_sample_and_the_other_seven_each_with_every_row(
    portal: BackedUp, document: Any
) -> None:
    assert list(document["tables"]) == SAMPLE_TABLES + OTHER_TABLES
    assert portal.manifest.unlisted == ()
    for shown, rows in document["tables"].items():
        table = table_of(shown)
        with psycopg.connect(portal.url) as session:
            cursor = session.execute(f"SELECT * FROM {table}".encode())
            names = [camel_case(column.name) for column in cursor.description or ()]
            expected = cursor.fetchall()
        assert len(rows) == len(expected) > 0, shown
        assert all(list(row) == names for row in rows), shown
        key = 0  # each has its key first
        assert sorted(str(row[names[key]]) for row in rows) == sorted(str(row[key]) for row in expected)


@pytest.mark.acceptance("4.5")
def test_what_it_counts_is_counted(document: Any) -> None:
    rows = sum(map(len, document["tables"].values()))
    assert document["metadata"]["totalRecords"] == rows
    assert re.fullmatch(r"[0-9]+\.[0-9]MB", document["metadata"]["backupSize"])


@pytest.mark.parametrize(
    ("size", "text"), [(12, "12B"), (103, "0.1KB"), (2048, "2.0KB"), (8_912_896, "8.5MB"), (1 << 31, "2.0GB")]
)
def test_sizes_are_written_as_the_source_writes_them(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.acceptance("4.6", "4.7", "4.9")
def test_communication_is_as_in_the_source(document: Any) -> None:
    summary = document["metadata"]["communicationSummary"]
    assert dict(list(summary.items())[:4]) == SAMPLE_SUMMARY
    assert list(summary)[:4] == list(SAMPLE_SUMMARY)
    assert summary["smsStatuses"] == ["SENT", "FAILED", "PENDING"]
    assert (summary["totalEmails"], summary["emailSuccessRate"]) == (89, 91.0)
    assert summary["emailStatuses"] == ["SENT", "OPENED", "CLICKED", "BOUNCED"]


@pytest.mark.acceptance("4.8", "4.10", "4.11", "4.35")
def test_downloads_templates_opens_clicks_and_bounces_are_what_sql_says(portal: BackedUp, document: Any) -> None:
    summary = document["metadata"]["communicationSummary"]
    pairs = {
        "downloadCounts": "SELECT json_object_agg(filename, download_count) FROM generated_documents",
        "templateUsage": "SELECT json_object_agg(t, n) FROM (SELECT template_type t, count(*) n"
        " FROM generated_documents GROUP BY 1) c",
        "emailOpens": "SELECT sum(open_count) FROM email_log",
        "emailClicks": "SELECT sum(click_count) FROM email_log",
        "emailBounces": "SELECT count(*) FROM email_log WHERE status = 'BOUNCED'",
        "communications": "SELECT json_object_agg(t, n) FROM (SELECT channel t, count(*) n"
        " FROM communication_log GROUP BY 1) c",
    }
    assert {name: summary[name] for name in pairs} == {name: portal.one(query) for name, query in pairs.items()}
    assert set(summary["communications"]) == {"EMAIL", "SMS", "CALL", "MEETING", "LETTER"}
    assert len(summary["downloadCounts"]) == 156


@pytest.mark.acceptance("4.12")
def test_the_summary_view_is_what_its_tables_say(document: Any) -> None:
    tables = document["tables"]
    for row in tables["communicationSummaryView"][:200]:
        sale = row["saleId"]
        messages = [message for message in tables["smsLogs"] if message["saleId"] == sale]
        assert row["smsTotal"] == len(messages)
        assert row["smsSent"] == sum(message["status"] == "SENT" for message in messages)
        opened = [mail for mail in tables["emailLog"] if mail["saleId"] == sale and mail["openedAt"]]
        assert row["emailOpened"] == len(opened)


def test_what_is_not_there_is_null_and_never_a_hundred_percent(portal: BackedUp) -> None:
    summary = summary_document(communication_metrics([]))
    assert set(summary.values()) == {None}
    sms = next(table for table in portal.manifest.tables if table.name == "sms_logs")
    none = sms.communication[0].model_copy(update={"total": 0, "succeeded": 0, "statuses": {}})
    empty = communication_metrics([sms.model_copy(update={"communication": (none,)})])
    assert (empty.sms.total, empty.sms.success_rate) == (0, None) if empty.sms else False
    assert "sms_success_rate" not in empty.numbers


def own_hashes(document: Any) -> dict[str, str]:
    """As docs/systems.md describes it, in other words than the program's."""
    hashes = {}
    for name, rows in document["tables"].items():
        lines = [json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False) for row in rows]
        digests = sorted(hashlib.sha256(text.encode()).digest() for text in lines)
        hashes[name] = hashlib.sha256(b"".join(digests)).hexdigest()
    return hashes


@pytest.mark.acceptance("4.14")
def test_each_table_has_its_hash_and_a_changed_cell_changes_that_one_alone(portal: BackedUp) -> None:
    text = portal.rendered(Rendering.COMPREHENSIVE).read_text(encoding="utf-8")
    document = json.loads(text, parse_float=str)
    stated = document["metadata"]["dataIntegrityHashes"]
    assert list(stated) == list(document["tables"])
    assert own_hashes(document) == stated
    for name, rows in document["tables"].items():
        column = next(column for column, value in rows[0].items() if isinstance(value, str))
        before, rows[0][column] = rows[0][column], "changed"
        changed = {table for table, digest in own_hashes(document).items() if digest != stated[table]}
        assert changed == {name}
        rows[0][column] = before


@pytest.mark.acceptance("4.13", "4.16", "4.22")
def test_every_foreign_key_is_told(portal: BackedUp, document: Any) -> None:
    shown = {
        (each["table"], *each["columns"], each["references"], *each["referencedColumns"])
        for each in document["metadata"]["relationships"]
        if each["enforced"]
    }
    query = """
        SELECT c.conrelid::regclass::text, a.attname, c.confrelid::regclass::text, f.attname FROM pg_constraint c
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        JOIN pg_attribute f ON f.attrelid = c.confrelid AND f.attnum = c.confkey[1] WHERE c.contype = 'f'
    """
    with psycopg.connect(portal.url) as session:
        declared = {tuple(map(camel_case, row)) for row in session.execute(query.encode()).fetchall()}
    assert shown == declared
    assert ("emailLog", "saleId", "sales", "id") in shown
    assert ("communicationLog", "leadId", "leads", "id") in shown


@pytest.mark.acceptance("4.13")
def test_every_foreign_key_has_an_index(portal: BackedUp) -> None:
    unindexed = """
        SELECT count(*) FROM pg_constraint c WHERE contype = 'f' AND NOT EXISTS (
            SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1])
    """
    assert portal.one(unindexed) == 0


@pytest.mark.acceptance("4.17")
def test_no_password_is_in_any_byte(portal: BackedUp, document: Any) -> None:
    assert portal.one("SELECT count(*) FROM users WHERE password LIKE '$2b$12$s3cr3t.%'") == 30
    assert {user["password"] for user in document["tables"]["users"]} == {"[ENCRYPTED]"}
    for data in (portal.stored_bytes(), portal.rendered(Rendering.COMPREHENSIVE).read_bytes()):
        assert b"s3cr3t." not in data
        assert b"$2b$12$" not in data


def planted(portal: BackedUp) -> set[str]:
    """The leads that the demo's data.sql makes wrong on purpose."""
    count = portal.one("SELECT count(*) FROM leads")
    return {str(UUID(hashlib.md5(f"leads:{n}".encode()).hexdigest())) for n in range(1, count + 1) if n % 20 == 7}


@pytest.mark.acceptance("4.18")
def test_of_the_demos_leads_exactly_those_planted_are_found_and_of_its_sales_none(portal: BackedUp) -> None:
    found = parsed(portal.rendered(Rendering.QUARANTINE))["tables"]
    assert list(found) == ["leads"]  # no false alarm among 900 sales
    assert {each["row"]["id"] for each in found["leads"]} == planted(portal)
    assert all(each["findings"] for each in found["leads"])
    entries = {table.name: table.validation for table in portal.manifest.tables if table.validation}
    assert (entries["leads"].invalid, entries["leads"].rows) == (150, 3000)
    assert (entries["sales"].invalid, entries["sales"].rows) == (0, 900)


@pytest.mark.acceptance("4.18")
def test_quarantine_leaves_rows_out_of_the_rendering_and_never_of_the_parquet(portal: BackedUp, tmp_path: Path) -> None:
    catalog = catalog_of("sales_portal")
    strict = catalog.model_copy(
        update={"validation": catalog.validation.model_copy(update={"on_invalid": "quarantine", "share": 0.01})}
    )
    made = BackedUp(portal.url, backed_up(portal.url, tmp_path, strict), tmp_path)
    document = parsed(made.rendered(Rendering.COMPREHENSIVE))
    ids = {row["id"] for row in document["tables"]["leads"]}
    assert len(ids) == 3000 - 150
    assert ids.isdisjoint(planted(portal))
    counted = document["metadata"]["validation"]["leads"]
    assert (counted["rows"], counted["invalid"], counted["leftOut"]) == (3000, 150, 150)
    assert next(table.row_count for table in made.manifest.tables if table.name == "leads") == 3000
    assert len(parsed(made.rendered(Rendering.JSON))["tables"]["leads"]) == 3000
    archive = zipfile.ZipFile(made.rendered(Rendering.JSON_ZIP))
    assert len(json.loads(archive.read("leads.json"))) == 2850
    assert len(json.loads(archive.read("quarantine.json"))["tables"]["leads"]) == 150
    assert any("valid_rows" in warning and "150 of 3,000 rows" in warning for warning in made.manifest.warnings)
    assert str(made.backup.attempt.status) == "success_with_warnings"


def told(document: ReportDocument) -> str:
    """The words of a report, without what Markdown escapes."""
    return markdown(document).replace("\\", "")


@pytest.mark.acceptance("4.25", "4.32")
def test_backup_and_show_print_the_summary(portal: BackedUp) -> None:
    text = told(made_document(portal.manifest, {}))
    shown = told(backup_document(portal.backup.attempt, portal.manifest, None, [], now()))
    for document in (text, shown):
        assert "432, 94.2 % sent (SENT 407, FAILED 17, PENDING 8)" in document
        assert "89, 91.0 % sent" in document
        assert "156, 156 generated" in document
        assert "150 of 3,000 rows can not be true" in document


@pytest.mark.acceptance("4.31")
def test_the_files_are_called_with_milliseconds_in_utc(portal: BackedUp) -> None:
    at = datetime(2026, 1, 25, 14, 30, 45, 123_999, tzinfo=UTC)
    template = catalog_of("sales_portal").bundle_name
    assert local_name(template, at, "Asia/Dhaka") == "comprehensive-backup-2026-01-25T14-30-45-123Z.zip"
    assert Rendering.COMPREHENSIVE.file_name(local_name(template, at, "UTC")).endswith("45-123Z.json")
    assert local_name("%%3f %Y", at, "UTC") == "%3f 2026"
    taken = portal.manifest.snapshot.taken_at
    assert portal.manifest.bundle_name == local_name(template, taken, "UTC")
    assert f"{taken.microsecond // 1000:03d}Z" in portal.rendered(Rendering.COMPREHENSIVE).name


@pytest.mark.acceptance("4.1")
def test_a_backup_by_hand_without_a_reason_is_refused_and_leaves_no_row(tmp_path: Path) -> None:
    catalog, ledger = catalog_of("sales_portal"), new_ledger()
    request = Request(catalog, Kind.FULL, ("users",), now().date(), type=Trigger.MANUAL, actor=TESTER, reason=" ")
    with pytest.raises(UsageError, match="wants a reason"):
        begin(request, ports_for_test(ledger=ledger, spool=tmp_path))
    assert ledger.list() == []


@pytest.mark.acceptance("4.33")
def test_it_is_scheduled_once_a_night_in_london() -> None:
    catalog = catalog_of("sales_portal")
    due = next_due(str(catalog.schedule), catalog.timezone, datetime(2026, 7, 1, tzinfo=UTC))
    assert due is not None
    assert due.astimezone(UTC).strftime("%Y-%m-%d %H:%M") == "2026-07-01 01:30"


@pytest.mark.acceptance("4.38")
def test_a_drill_of_it_is_equal_to_the_last_row(portal: BackedUp) -> None:
    report = portal.backup.drill()
    assert (report.findings, report.passed) == ((), True)
    assert {table.name for table in report.tables} == set(SALES_PORTAL.exported)
    equal = {How.BYTES, How.FINGERPRINT}
    unequal = [t for t in report.tables if not ({t.parquet, t.sheet} <= equal and t.rows == t.rows_again)]
    assert unequal == []
    assert portal.backup.level() == (4, True)


def test_its_bundle_restores_into_an_empty_database(portal: BackedUp, postgres_server: EmbeddedPostgres) -> None:
    bench = Bench(portal.backup.place, portal.backup.attempt, portal.folder / "restore")
    with temporary_database(postgres_server) as target:
        bench.restore(target, Mode.NEW, fill={"users.password": "to be set anew"})
        with psycopg.connect(target) as session:
            for table in SALES_PORTAL.exported:
                row = session.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
                assert row == (portal.one(f"SELECT count(*) FROM {table}"),), table


@pytest.mark.acceptance("4.19", "4.36")
def test_payment_details_are_whole_in_the_files_and_masked_in_what_dagster_shows(
    portal: BackedUp, tmp_path: Path
) -> None:
    entries = {table.name: table.sensitive for table in portal.manifest.tables}
    assert {"account_number", "sort_code"} <= set(entries["sales"])
    catalog = catalog_of("sales_portal").model_copy(update={"sample_rows": 3})
    request = Request(
        catalog, Kind.SELECTIVE, ("sales",), now().date(), type=Trigger.MANUAL, actor=TESTER, reason="a look"
    )
    ports = portal.backup.place.ports(portal.url)
    work = Work(request, begin(request, ports), ports)
    (result,) = export_attempt(work)
    assert len(result.sample) == 3
    for row in result.sample:
        assert re.fullmatch(r"•{6}[0-9]{2}", str(row["account_number"]))
        assert re.fullmatch(r"••-••-[0-9]{2}", str(row["sort_code"]))
    numbers = portal.one("SELECT array_agg(account_number) FROM sales")
    rows = parsed(portal.rendered(Rendering.COMPREHENSIVE))["tables"]["sales"]
    assert sorted(row["accountNumber"] for row in rows) == sorted(numbers)
    ports.ledger.end(work.attempt.backup_id, Outcome(status=Status.CANCELED, finished_at=now()))


@pytest.mark.acceptance("4.6", "4.9")
def test_dagster_gets_the_numbers_as_numbers_which_it_plots(portal: BackedUp) -> None:
    metadata = bundle_metadata(portal.manifest, "file:///store", "http://127.0.0.1:3000/runs/1")
    expected = {
        "sms_total": 432,
        "sms_success_rate": 94.2,
        "email_total": 89,
        "email_success_rate": 91.0,
        "email_opens": portal.one("SELECT sum(open_count) FROM email_log"),
        "email_clicks": portal.one("SELECT sum(click_count) FROM email_log"),
        "email_bounces": 8,
        "documents_total": 156,
        "documents_generated": 156,
        "documents_downloads": portal.one("SELECT sum(download_count) FROM generated_documents"),
        "invalid_rows": 150,
    }
    assert {name: metadata[name] for name in expected} == expected
    assert "sms_bounces" not in metadata  # nobody counts them
    assert "94.2 % sent" in str(metadata["manifest"])


def test_the_check_of_customers_stands_at_the_tables_that_are_judged() -> None:
    specs = table_check_specs(catalog_of("sales_portal"))
    assert {spec.asset_key.path[-1] for spec in specs if spec.name == VALID_ROWS} == {"sales", "leads"}


def _looked_at(portal: BackedUp, wish: RowsWish, *, whole: bool = False, **changed: Any) -> RowsPage:
    place, attempt = portal.backup.place, portal.backup.attempt
    catalog = catalog_of("sales_portal").model_copy(update=changed)
    ports, audit = replace(place.ports(portal.url), spool=portal.folder / "rows"), AuditTrail(place.ledger, now, TESTER)
    return look_at_rows(wish, attempt, catalog, ports, open_queries(), audit, whole=whole)


@pytest.mark.acceptance("4.19")
def test_a_masked_value_is_told_by_no_search_and_no_order(portal: BackedUp) -> None:
    account = portal.one("SELECT account_number FROM sales ORDER BY sale_number LIMIT 1")
    assert len(_looked_at(portal, RowsWish("sales", search=account), whole=True).rows) == 1
    assert _looked_at(portal, RowsWish("sales", search=account)).rows == []
    with pytest.raises(UsageError, match="masked"):
        _looked_at(portal, RowsWish("sales", sort="account_number"))
    assert _looked_at(portal, RowsWish("sales", sort="account_number"), whole=True).rows


@pytest.mark.acceptance("4.19")
def test_what_the_catalog_calls_sensitive_since_is_masked_in_older_backups_too(portal: BackedUp) -> None:
    tables = dict(catalog_of("sales_portal").tables)
    tables["appliances"] = tables["appliances"].model_copy(update={"sensitive": ("appliance",)})
    page = _looked_at(portal, RowsWish("appliances"), tables=tables)
    [at] = [number for number, column in enumerate(page.columns) if column.masked]
    assert page.columns[at].name == "appliance"
    assert all(set(str(row[at])) & set("•") for row in page.rows)


def test_where_nobody_said_what_is_sensitive_a_stranger_sees_no_row(portal: BackedUp) -> None:
    tables = {
        name: spec.model_copy(update={"sensitive": ()}) for name, spec in catalog_of("sales_portal").tables.items()
    }
    with pytest.raises(RefusedError, match="does not say which columns are sensitive"):
        _looked_at(portal, RowsWish("sales"), tables=tables)
    assert len(_looked_at(portal, RowsWish("sales"), whole=True, tables=tables).rows) == 50


@pytest.mark.parametrize("text", ["' OR 1=1 --", "%", "_", "\\", "x' UNION SELECT * FROM users --", '"'])
def test_a_search_is_a_text_and_no_sql(portal: BackedUp, text: str) -> None:
    """None of these is in a user's row, so that each finds nothing, whatever it means to SQL."""
    page = _looked_at(portal, RowsWish("document_templates", search=text), whole=True)
    with psycopg.connect(portal.url) as session:
        rows = session.execute("SELECT t.* FROM document_templates t").fetchall()
    assert len(page.rows) == sum(any(text.lower() in str(value).lower() for value in row) for row in rows)


@pytest.mark.parametrize("name", ["nothing", 'sales"; DROP TABLE x', "../users"])
def test_a_table_that_is_not_there_is_not_looked_for(portal: BackedUp, name: str) -> None:
    with pytest.raises(NotFoundError, match="has no table"):
        _looked_at(portal, RowsWish(name), whole=True)
