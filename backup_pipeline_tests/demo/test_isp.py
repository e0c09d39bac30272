"""The ISP demo: the same rows every time, money that adds up, odd text, and secrets that stay in the base tables."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.catalog.rules import Back, parse_sheet_source
from backup_pipeline.core.errors import RefusedError, SourceError, SourceUnavailableError, UsageError
from backup_pipeline.core.text import looks_secret
from backup_pipeline.demo import (
    APPLICATION_TABLES,
    BACKUP_ROLE,
    EXPORTED_TABLES,
    ISP,
    DemoSummary,
    create_isp,
    isp_exists,
)
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.settings import BUILT_IN_CATALOGS
from backup_pipeline_tests.servers.postgres import temporary_database

SCALE = 0.02
SECRET_MARK = "s3cr3t-"
PASSWORD = "not: a/secret@all"
SAFE_VIEWS = ("employees_safe", "payroll_safe", "mikrotik_users_safe", "routers_safe")
ALL_TABLES = ISP.counted


@pytest.fixture(scope="module")
def isp(postgres_server: EmbeddedPostgres) -> Iterator[tuple[str, DemoSummary]]:
    """The superuser's URL of a small ISP database, and what its making reported."""
    with temporary_database(postgres_server) as url:
        yield url, create_isp(url, scale=SCALE, backup_password=PASSWORD)


@pytest.fixture
def source(isp: tuple[str, DemoSummary]) -> Iterator[psycopg.Connection]:
    with psycopg.connect(isp[0]) as connection:
        yield connection


@pytest.fixture
def backup_role(isp: tuple[str, DemoSummary]) -> Iterator[psycopg.Connection]:
    with psycopg.connect(as_backup_role(isp[0]), autocommit=True) as connection:
        yield connection


def as_backup_role(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{BACKUP_ROLE}:{quote(PASSWORD, safe='')}@{host}"))


def one(connection: psycopg.Connection, query: str, *values: object) -> object:
    row = connection.execute(query.encode(), values or None).fetchone()
    assert row is not None
    return row[0]


def fingerprints(url: str) -> dict[str, object]:
    """The MD5 of each table's rows as text, in the order they lie on disk."""
    with psycopg.connect(url) as connection:
        connection.execute("SET timezone = 'UTC'")
        return {
            name: one(connection, f"SELECT md5(string_agg(t::text, E'\\n' ORDER BY ctid)) FROM {name} t")
            for name in ALL_TABLES
        }


def test_two_creations_are_identical_row_for_row(isp: tuple[str, DemoSummary], fresh_database: str) -> None:
    again = create_isp(fresh_database, scale=SCALE)
    assert again.rows == isp[1].rows
    assert fingerprints(fresh_database) == fingerprints(isp[0])


def test_another_anchor_moves_the_times_but_nothing_lies_after_it(
    isp: tuple[str, DemoSummary], fresh_database: str
) -> None:
    anchor = datetime(2027, 3, 1, 2, tzinfo=UTC)  # the first morning of a month: the newest invoices are of that day
    create_isp(fresh_database, scale=SCALE, anchor=anchor)
    assert fingerprints(fresh_database)["customers"] != fingerprints(isp[0])["customers"]
    with psycopg.connect(fresh_database) as connection:
        assert str(one(connection, "SELECT max(issue_date) FROM invoices")) == "2027-03-01"
        for table in ("customers", "invoices", "payments", "transactions", "support_tickets", "service_tasks"):
            newest = one(connection, f"SELECT max(created_at) FROM {table}")
            assert isinstance(newest, datetime)
            assert datetime(2027, 2, 1, tzinfo=UTC) < newest <= anchor, table


def test_the_servers_time_zone_does_not_show_in_the_rows(isp: tuple[str, DemoSummary], fresh_database: str) -> None:
    name = urlsplit(fresh_database).path.lstrip("/")
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} SET timezone = 'Asia/Tokyo'").format(sql.Identifier(name)))
    create_isp(fresh_database, scale=SCALE)
    assert fingerprints(fresh_database) == fingerprints(isp[0])


def test_the_summary_counts_what_is_there(isp: tuple[str, DemoSummary], source: psycopg.Connection) -> None:
    counted = {name: one(source, f"SELECT count(*) FROM {name}") for name in ALL_TABLES}
    assert isp[1].rows == counted
    assert min(isp[1].rows.values()) > 0
    assert 0.8 * 250_000 * SCALE < isp[1].total < 1.2 * 250_000 * SCALE


def test_sizes_follow_the_scale_and_never_reach_zero() -> None:
    assert ISP.rows(100)["customers"] == 100 * ISP.rows(1)["customers"] == 720_000
    assert min(ISP.rows(1e-9).values()) >= 3


def test_a_tiny_scale_still_has_rows_in_every_table(fresh_database: str) -> None:
    assert min(create_isp(fresh_database, scale=0.0001).rows.values()) > 0


def test_the_database_has_the_24_business_tables_and_three_of_the_application(source: psycopg.Connection) -> None:
    tables = source.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert {name for (name,) in tables} == set(ALL_TABLES)
    assert len(EXPORTED_TABLES) == 24
    assert one(source, "SELECT count(*) FROM pg_namespace WHERE nspname = 'demo'") == 0


def test_every_foreign_key_is_validated_and_indexed(source: psycopg.Connection) -> None:
    unindexed = """
        SELECT count(*), count(*) FILTER (WHERE NOT convalidated), count(*) FILTER (WHERE NOT EXISTS (
            SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1]))
        FROM pg_constraint c WHERE contype = 'f'
    """
    foreign_keys, unvalidated, without_index = source.execute(unindexed).fetchone() or (0, 0, 0)
    assert foreign_keys > 30
    assert (unvalidated, without_index) == (0, 0)


@pytest.mark.parametrize(
    ("rule", "offenders"),
    [
        (
            "an invoice's total is the sum of its items",
            "SELECT i.id FROM invoices i LEFT JOIN invoice_items l ON l.invoice_id = i.id"
            " GROUP BY i.id HAVING i.total IS DISTINCT FROM sum(l.total)",
        ),
        ("an item's total is quantity times price", "SELECT 1 FROM invoice_items WHERE total <> quantity * unit_price"),
        (
            "what is paid is the sum of the payments",
            "SELECT i.id FROM invoices i LEFT JOIN payments p ON p.invoice_id = i.id"
            " GROUP BY i.id HAVING i.paid_amount <> coalesce(sum(p.amount), 0) OR i.paid_amount > i.total",
        ),
        (
            "a payment is its invoice's customer's, and not older than the invoice",
            "SELECT p.id FROM payments p JOIN invoices i ON i.id = p.invoice_id"
            " WHERE i.customer_id <> p.customer_id OR p.payment_date < i.created_at",
        ),
        (
            "what a customer owes is what the invoices leave open",
            "SELECT c.id FROM customers c LEFT JOIN invoices i ON i.customer_id = c.id AND i.status <> 'cancelled'"
            " GROUP BY c.id HAVING c.total_due <> coalesce(sum(i.total - i.paid_amount), 0)",
        ),
        (
            "an invoice's status says what was paid",
            "SELECT 1 FROM invoices WHERE status <> CASE WHEN paid_amount = total THEN 'paid' WHEN paid_amount > 0"
            " THEN 'partial' WHEN status = 'cancelled' THEN 'cancelled' WHEN due_date < '2026-11-20' THEN 'overdue'"
            " ELSE 'unpaid' END::invoice_status",
        ),
        (
            "every payment is one income of the same amount",
            "SELECT p.id FROM payments p FULL JOIN (SELECT * FROM transactions WHERE type = 'income') t"
            " ON t.payment_id = p.id WHERE t.amount IS DISTINCT FROM p.amount",
        ),
        (
            "a commission is the reseller's rate of the payment",
            "SELECT 1 FROM reseller_commissions c JOIN payments p ON p.id = c.payment_id JOIN resellers r"
            " ON r.id = c.reseller_id WHERE c.amount <> round(p.amount * r.commission_rate / 100, 2)",
        ),
        (
            "only a reseller's own customers earn a commission",
            "SELECT 1 FROM reseller_commissions c WHERE NOT EXISTS (SELECT FROM reseller_customers o"
            " WHERE (o.reseller_id, o.customer_id) = (c.reseller_id, c.customer_id))",
        ),
        (
            "a salary is basic plus allowances less deductions",
            "SELECT 1 FROM payroll WHERE net_salary <> basic_salary + allowances - deductions",
        ),
        (
            "an item's last movement ends in its status",
            "SELECT 1 FROM inventory_items i JOIN LATERAL (SELECT to_status FROM stock_movements m"
            " WHERE m.item_id = i.id ORDER BY m.id DESC LIMIT 1) m ON true WHERE m.to_status <> i.status",
        ),
        (
            "a meter moves by what was used",
            "SELECT 1 FROM metered_usage_logs WHERE end_meter - start_meter <> quantity",
        ),
        ("phones are 01 and nine digits", "SELECT 1 FROM customers WHERE phone !~ '^01[3-9][0-9]{8}$'"),
    ],
)
def test_the_figures_agree(source: psycopg.Connection, rule: str, offenders: str) -> None:
    assert one(source, f"SELECT count(*) FROM ({offenders}) offenders") == 0, rule


@pytest.mark.parametrize(
    "present",
    [
        "name ~ '[অ-হ]'",
        "address ~ '[অ-হ]'",
        "name ~ '[A-Z]'",
        "name LIKE '%''%'",
        "name LIKE '%\"%'",
        "address LIKE '%,%'",
        "address LIKE E'%\\n%'",
        "address IS NULL",
        "notes LIKE E'%\\r\\n%'",
        "notes LIKE E'%\\t%'",
        "notes LIKE '=%'",
        "notes LIKE '+%'",
        "notes LIKE '-%'",
        "notes LIKE '@%'",
        "notes LIKE '%😊%'",
        "notes = ''",
        "notes = 'NULL'",
        "notes LIKE ' %'",
        "notes IS NULL",
        "alt_phone LIKE '+880%'",
        "alt_phone IS NULL",
        "metadata IS NULL",
        "metadata = 'null'::jsonb",
        "cardinality(tags) = 0",
        "latitude IS NULL",
        "expiry_date IS NULL",
        "router_id IS NULL",
        "total_due > 0",
    ],
)
def test_customers_hold_the_odd_values_that_exports_trip_over(source: psycopg.Connection, present: str) -> None:
    assert one(source, f"SELECT count(*) FROM customers WHERE {present}"), present


@pytest.mark.acceptance("1.6")
def test_the_safe_views_show_no_secret(source: psycopg.Connection) -> None:
    private = {"nid", "bank_account", "bank_name", "password", "password_hash", "api_password", "api_secret"}
    for view in SAFE_VIEWS:
        cursor = source.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(view)))
        columns = [column.name for column in cursor.description or ()]
        assert not [name for name in columns if looks_secret(name) or name in private], view
        assert SECRET_MARK not in str(cursor.fetchall())


def test_every_secret_carries_the_mark_and_no_exported_table_holds_one(source: psycopg.Connection) -> None:
    marked = {
        name
        for name in ALL_TABLES
        if one(source, f"SELECT count(*) FROM {name} t WHERE t::text LIKE %s", f"%{SECRET_MARK}%")
    }
    assert marked == {"employees", "mikrotik_users", "routers", "sessions", "api_keys"}


def test_the_backup_role_reads_exactly_what_the_catalogs_read(source: psycopg.Connection) -> None:
    readable = source.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')"
        " AND has_table_privilege(%s, oid, 'SELECT')",
        [BACKUP_ROLE],
    )
    catalog = load_catalog(BUILT_IN_CATALOGS / "isp.yaml")
    assert {name for (name,) in readable} == {spec.relation or name for name, spec in catalog.tables.items()}


@pytest.mark.acceptance("1.6")
@pytest.mark.parametrize("table", ["employees", "payroll", "mikrotik_users", "routers", *APPLICATION_TABLES])
def test_the_backup_role_can_not_read_secrets(backup_role: psycopg.Connection, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        backup_role.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))


def test_the_backup_role_reads_the_safe_views_and_can_write_nothing(backup_role: psycopg.Connection) -> None:
    for relation in (*SAFE_VIEWS, "customers"):
        assert one(backup_role, f"SELECT count(*) FROM {relation}")
    assert one(backup_role, "SELECT last_value FROM ticket_comments_id_seq")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        backup_role.execute("CREATE TEMP TABLE t ()")
    backup_role.execute("SET default_transaction_read_only = off")
    for statement in ("DELETE FROM customers", "UPDATE employees_safe SET name = ''", "CREATE TABLE t ()"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            backup_role.execute(statement.encode())


def test_the_backup_role_waits_for_nothing_without_end(backup_role: psycopg.Connection) -> None:
    assert one(backup_role, "SHOW statement_timeout") == "1h"
    assert one(backup_role, "SHOW lock_timeout") == "10s"


def test_a_second_creation_is_refused_and_changes_nothing(isp: tuple[str, DemoSummary]) -> None:
    before = fingerprints(isp[0])
    with pytest.raises(RefusedError, match=r"already has .*customers"):
        create_isp(isp[0], scale=0.5)
    assert fingerprints(isp[0]) == before


def test_existence_is_all_of_the_tables(isp: tuple[str, DemoSummary], fresh_database: str) -> None:
    assert isp_exists(isp[0])
    assert not isp_exists(fresh_database)
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE customers ()")
    assert not isp_exists(fresh_database)


def test_a_creation_that_fails_leaves_nothing_behind(fresh_database: str) -> None:
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        connection.execute("CREATE TYPE task_type AS ENUM ('mine')")
    with pytest.raises(SourceError, match="task_type"):
        create_isp(fresh_database, scale=SCALE)
    with psycopg.connect(fresh_database) as connection:
        assert one(connection, "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'demo')") == 0


@pytest.mark.parametrize("scale", [0, -1, 1001, float("nan")])
def test_an_impossible_scale_is_refused(fresh_database: str, scale: float) -> None:
    with pytest.raises(UsageError, match="scale must be"):
        create_isp(fresh_database, scale=scale)


def test_an_anchor_without_a_timezone_is_refused(fresh_database: str) -> None:
    with pytest.raises(UsageError, match="no timezone"):
        create_isp(fresh_database, anchor=datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(SourceUnavailableError, match=r"127\.0\.0\.1:1") as caught:
        isp_exists("postgresql://app:hunter2@127.0.0.1:1/isp")
    assert "hunter2" not in str(caught.value)


def test_the_catalog_lists_the_sheets_and_columns_that_were_asked_for() -> None:
    catalog = load_catalog(BUILT_IN_CATALOGS / "isp.yaml")
    assert set(catalog.tables) == set(EXPORTED_TABLES)
    assert {rule.table for rule in catalog.excluded} == set(APPLICATION_TABLES)
    sheets = {catalog.sheet_of(name): ", ".join(spec.columns) for name, spec in catalog.tables.items()}
    assert {name: titles for name, titles in sheets.items() if name not in {"Ticket Comments", "Payroll"}} == {
        "Customers": "user_id, name, phone, address, area, package, status, due, expiry",
        "Payments": "customer, amount, method, date, received_by",
        "Invoices": "invoice_number, customer, total, status, issue_date, due_date",
        "Invoice Items": "invoice, description, qty, unit_price, total",
        "Billing Records": "customer, package, amount, status, billing_date, due_date",
        "Transactions": "type, amount, payment_method, category, date, description",
        "Support Tickets": "ticket_number, customer, subject, category, priority, status",
        "Service Tasks": "customer, title, type, status, priority, assigned_to, scheduled_date",
        "Inventory": "product, serial, MAC, status, purchase_price, supplier",
        "Stock Movements": "item, from_status, to_status, quantity, date",
        "Cable Usage": "product, customer, quantity, color, core_count, date",
        "Employees": "name, code, department, designation, status, joining_date",
        "Leave Requests": "employee, leave_type, start, end, status",
        "Reminders": "customer, type, channel, message, sent_at",
        "Call Records": "customer, notes, call_date",
        "PPPoE Users": "customer, username, profile, status, router",
        "Packages": "name, speed, price, validity_days",
        "Routers": "name, ip_address, mode, is_active",
        "Resellers": "name, phone, code, commission_rate, status",
        "Reseller Customers": "reseller, customer",
        "Reseller Commissions": "reseller, customer, amount, status",
        "Areas": "name",
    }


def test_the_customer_catalog_has_its_17_columns() -> None:
    catalog = load_catalog(BUILT_IN_CATALOGS / "isp_customers.yaml")
    assert ", ".join(catalog.tables["customers"].columns) == (
        "User ID, Name, Phone, Alt Phone, Address, Area, Package, Speed, Price, Status, Connection Type, "
        "Billing Cycle, Expiry Date, Total Due, PPPoE Username, Router, Created At"
    )
    assert catalog.tables["customers"].sheet_file == "backup_%Y-%m-%d_%H-%M.csv"
    assert catalog.excluded_reason("public", "payments")


@pytest.mark.parametrize("name", ["isp", "isp_customers"])
def test_every_sheet_column_leads_somewhere_the_backup_role_may_read(
    backup_role: psycopg.Connection, source: psycopg.Connection, name: str
) -> None:
    """Follows each source by hand, through `references` first and the database's foreign keys then."""
    catalog = load_catalog(BUILT_IN_CATALOGS / f"{name}.yaml")
    foreign = source.execute(
        "SELECT conrelid::regclass::text, a.attname, confrelid::regclass::text FROM pg_constraint c"
        " JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] WHERE contype = 'f'"
    )
    targets = {(relation, column): target for relation, column, target in foreign}
    for table, spec in catalog.tables.items():
        for text in spec.columns.values():
            path = parse_sheet_source(text)
            relation, columns = spec.relation or table, [path.column]
            if isinstance(path, Back):
                relation, columns = path.relation, [path.column, path.key]
            else:
                for key in path.keys:
                    declared = spec.references.get(key, "").rpartition(".")[0]
                    relation = declared or targets[relation, key]
            wanted = sql.SQL(", ").join(map(sql.Identifier, columns))
            backup_role.execute(sql.SQL("SELECT {} FROM {} LIMIT 1").format(wanted, sql.Identifier(relation)))
