"""Tests of the catalogs that come with the project, against the sheets their source documents ask for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backup_pipeline.catalogs import load_catalogs
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.catalog.rules import Through, parse_sheet_source
from backup_pipeline.core.names import local_name
from backup_pipeline.settings import BUILT_IN_CATALOGS

# The tables in the order in which they were asked for.
TABLES = [
    *("customers", "payments", "invoices", "invoice_items", "billing_records", "transactions", "support_tickets"),
    *("ticket_comments", "service_tasks", "inventory_items", "stock_movements", "metered_usage_logs", "employees"),
    *("leave_requests", "payroll", "reminder_logs", "call_records", "mikrotik_users", "packages", "routers"),
    *("resellers", "reseller_customers", "reseller_commissions", "areas"),
]

# Sheet, what is read, columns: as the document lists them.
SHEETS = [
    ("Customers", "customers", "user_id, name, phone, address, area, package, status, due, expiry"),
    ("Payments", "payments", "customer, amount, method, date, received_by"),
    ("Invoices", "invoices", "invoice_number, customer, total, status, issue_date, due_date"),
    ("Invoice Items", "invoice_items", "invoice, description, qty, unit_price, total"),
    ("Billing Records", "billing_records", "customer, package, amount, status, billing_date, due_date"),
    ("Transactions", "transactions", "type, amount, payment_method, category, date, description"),
    ("Support Tickets", "support_tickets", "ticket_number, customer, subject, category, priority, status"),
    ("Service Tasks", "service_tasks", "customer, title, type, status, priority, assigned_to, scheduled_date"),
    ("Inventory", "inventory_items", "product, serial, MAC, status, purchase_price, supplier"),
    ("Stock Movements", "stock_movements", "item, from_status, to_status, quantity, date"),
    ("Cable Usage", "metered_usage_logs", "product, customer, quantity, color, core_count, date"),
    ("Employees", "employees_safe", "name, code, department, designation, status, joining_date"),
    ("Leave Requests", "leave_requests", "employee, leave_type, start, end, status"),
    ("Reminders", "reminder_logs", "customer, type, channel, message, sent_at"),
    ("Call Records", "call_records", "customer, notes, call_date"),
    ("PPPoE Users", "mikrotik_users_safe", "customer, username, profile, status, router"),
    ("Packages", "packages", "name, speed, price, validity_days"),
    ("Routers", "routers_safe", "name, ip_address, mode, is_active"),
    ("Resellers", "resellers", "name, phone, code, commission_rate, status"),
    ("Reseller Customers", "reseller_customers", "reseller, customer"),
    ("Reseller Commissions", "reseller_commissions", "reseller, customer, amount, status"),
    ("Areas", "areas", "name"),
]
UNLISTED_SHEETS = {"Ticket Comments", "Payroll"}  # asked for as tables; the document gives them no columns

CUSTOMER_COLUMNS = (
    "User ID, Name, Phone, Alt Phone, Address, Area, Package, Speed, Price, Status, Connection Type, Billing Cycle, "
    "Expiry Date, Total Due, PPPoE Username, Router, Created At"
)


@pytest.fixture(scope="module")
def catalogs() -> dict[str, Catalog]:
    return load_catalogs(BUILT_IN_CATALOGS)


@pytest.fixture(scope="module")
def isp(catalogs: dict[str, Catalog]) -> Catalog:
    return catalogs["isp"]


@pytest.fixture(scope="module")
def customers(catalogs: dict[str, Catalog]) -> Catalog:
    return catalogs["isp_customers"]


def test_each_file_is_named_after_its_catalog(catalogs: dict[str, Catalog]) -> None:
    assert {path.stem for path in BUILT_IN_CATALOGS.glob("*.yaml")} == set(catalogs)


@pytest.mark.acceptance("1.1")
def test_the_isp_has_its_24_tables_in_order(isp: Catalog) -> None:
    assert len(TABLES) == 24
    assert list(isp.tables) == TABLES


@pytest.mark.acceptance("1.2", "1.3", "1.4")
@pytest.mark.parametrize(("sheet", "relation", "columns"), SHEETS)
def test_a_sheet_has_the_columns_that_were_asked_for(isp: Catalog, sheet: str, relation: str, columns: str) -> None:
    (table,) = [name for name in isp.tables if isp.sheet_of(name) == sheet]
    assert ", ".join(isp.tables[table].columns) == columns
    assert isp.relation_of(table) == ("public", relation)


@pytest.mark.acceptance("1.2", "1.3", "1.4")
def test_there_is_no_sheet_that_nobody_asked_for(isp: Catalog) -> None:
    assert {isp.sheet_of(name) for name in isp.tables} == {sheet for sheet, *_ in SHEETS} | UNLISTED_SHEETS


@pytest.mark.acceptance("1.5")
@pytest.mark.parametrize("table", ["employees", "payroll", "mikrotik_users", "routers"])
def test_what_holds_secrets_is_read_through_its_safe_view(isp: Catalog, table: str) -> None:
    assert isp.relation_of(table) == ("public", f"{table}_safe")
    assert isp.tables[table].covers == (table,)
    assert isp.tables[table].key


def test_look_ups_show_names(isp: Catalog) -> None:
    for name, spec in isp.tables.items():
        for title in {"customer", "area", "package", "reseller", "employee", "router"} & set(spec.columns):
            source = parse_sheet_source(spec.columns[title])
            assert isinstance(source, Through), name
            assert source.keys, name
            assert source.column == "name", name


@pytest.mark.acceptance("0.3")
def test_the_customer_list_has_its_17_columns(customers: Catalog) -> None:
    assert list(customers.tables) == ["customers"]
    assert ", ".join(customers.tables["customers"].columns) == CUSTOMER_COLUMNS
    assert len(customers.tables["customers"].columns) == 17


@pytest.mark.acceptance("1.13")
@pytest.mark.parametrize(
    ("catalog", "instant", "bundle"),
    [
        ("isp", datetime(2026, 2, 28, 21, 35, tzinfo=UTC), "full_backup_2026-03-01_03-35.zip"),
        ("isp_customers", datetime(2026, 3, 1, 12, 30, tzinfo=UTC), "customer_backup_2026-03-01_18-30.zip"),
    ],
)
def test_bundles_are_named_in_dhakas_time(
    catalogs: dict[str, Catalog], catalog: str, instant: datetime, bundle: str
) -> None:
    declared = catalogs[catalog]
    assert local_name(declared.bundle_name, instant, declared.timezone) == bundle


@pytest.mark.acceptance("0.5")
def test_the_customer_list_is_named_as_it_was_asked_for(customers: Catalog) -> None:
    template = customers.tables["customers"].sheet_file
    assert template is not None
    at = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    assert local_name(template, at, customers.timezone) == "backup_2026-03-01_18-30.csv"


@pytest.mark.acceptance("0.12")
def test_every_built_in_runs_daily_at_midnight_in_dhaka(catalogs: dict[str, Catalog]) -> None:
    isps = [catalog for name, catalog in catalogs.items() if name.startswith("isp")]
    assert [(c.schedule, c.timezone) for c in isps] == [("0 0 * * *", "Asia/Dhaka")] * 2


def test_the_customer_list_decides_about_every_other_table(customers: Catalog) -> None:
    assert customers.excluded_reason("public", "payments")
    assert customers.excluded_reason("crm", "notes")
