"""The shops that share one database: their demo, their catalog, and how each row finds its business."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.catalog.businesses import Condition, parse_active, parse_business, parse_duration, parse_size
from backup_pipeline.core.errors import CatalogError, NotFoundError, UsageError
from backup_pipeline.demo import CAR_AUDIO, RETAIL, create_system, trade
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.operations.doctor import check_catalog, init_catalog
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline.settings import BUILT_IN_CATALOGS
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.systems.system import catalog_of


@dataclass(frozen=True)
class Shops:
    url: str

    def one(self, query: str) -> Any:
        with psycopg.connect(self.url) as session:
            row = session.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


@pytest.fixture(scope="module")
def shops(postgres_server: EmbeddedPostgres) -> Iterator[Shops]:
    with temporary_database(postgres_server) as url:
        create_system(url, RETAIL, scale=0.05)
        yield Shops(url)


def test_five_businesses_with_rows_of_each_and_links_that_stay_inside(shops: Shops) -> None:
    assert shops.one("SELECT count(*) FROM businesses") == 5
    for table in ("products", "customers", "workers", "sales"):
        assert shops.one(f"SELECT min(n) FROM (SELECT count(*) n FROM {table} GROUP BY business_id) x") > 1, table
    for column, table in (("customer_id", "customers"), ("worker_id", "workers")):
        strays = (
            f"SELECT count(*) FROM sales s JOIN {table} o ON o.id = s.{column} WHERE o.business_id <> s.business_id"
        )
        assert shops.one(strays) == 0
    assert shops.one("SELECT count(*) FROM products WHERE business_id IS NULL") == 3


def test_two_creations_are_the_same_rows_and_as_many_businesses_as_are_wanted(
    shops: Shops, fresh_database: str
) -> None:
    create_system(fresh_database, RETAIL, scale=0.05, businesses=7)
    again = Shops(fresh_database)
    assert again.one("SELECT count(*) FROM businesses") == 7
    query = "SELECT md5(string_agg(t::text, E'\\n' ORDER BY id)) FROM products t WHERE sku LIKE 'SKU%%' AND {}"
    first = query.format(f"business_id = '{shops.one('SELECT min(id::text) FROM businesses')}'").replace("%%", "%")
    assert shops.one(first) == again.one(first)
    with pytest.raises(UsageError, match="can not have 3 businesses"):
        create_system(fresh_database, CAR_AUDIO, businesses=3)


def test_trade_changes_the_rows_of_some_shops(shops: Shops) -> None:
    before = shops.one("SELECT count(*) FROM sales"), shops.one("SELECT count(*) FROM sale_items")
    trade(shops.url, RETAIL, 1)
    after = shops.one("SELECT count(*) FROM sales"), shops.one("SELECT count(*) FROM sale_items")
    assert after[0] > before[0] - 3
    assert after[1] > before[1]
    changed = "SELECT count(DISTINCT business_id) FROM products WHERE xmin = pg_snapshot_xmin('{}'::pg_snapshot)::xid"
    newest = shops.one("SELECT max(xmin::text::bigint) FROM sales")
    assert shops.one(changed.format(f"{newest}:{newest}:")) == 3


@pytest.mark.acceptance("3.2")
def test_the_catalog_fits_its_database(shops: Shops) -> None:
    report = check_catalog(catalog_of("retail"), PostgresSource(shops.url))
    assert (report.failed, report.refused, report.unlisted) == ({}, None, ())
    assert list(report.ready) == list(RETAIL.exported)
    businesses = catalog_of("retail").businesses
    assert businesses is not None
    assert (businesses.cron, businesses.interval) == ("*/5 * * * *", timedelta(minutes=5))
    assert businesses.conditions == (Condition("status", "=", "active"),)


@pytest.mark.parametrize(
    ("table", "path", "message"),
    [
        ("sale_items", "sale_id.customer", "names the column 'customer'"),
        ("sale_items", "quantity", "is integer, but public.businesses.id is uuid"),
        ("payments", "method.business_id", "no foreign key on that column"),
        ("payments", "nowhere.business_id", "does not exist"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(shops: Shops, table: str, path: str, message: str) -> None:
    catalog = catalog_of("retail")
    spec = catalog.tables[table].model_copy(update={"business": path})
    wrong = catalog.model_copy(update={"tables": {**catalog.tables, table: spec}})
    report = check_catalog(wrong, PostgresSource(shops.url))
    assert list(report.failed) == [table]
    assert message in report.failed[table].what
    assert table not in report.ready


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("registry", "shops", "read shops, which is not there"),
        ("key", "city", "which is not unique"),
        ("name", "called", "names the column 'called'"),
        ("active", "state = 'x'", "names the column 'state'"),
    ],
)
def test_a_registry_that_is_wrong_is_refused(shops: Shops, field: str, value: str, message: str) -> None:
    catalog = catalog_of("retail")
    assert catalog.businesses is not None
    wrong = catalog.model_copy(update={"businesses": catalog.businesses.model_copy(update={field: value})})
    refused = check_catalog(wrong, PostgresSource(shops.url)).refused
    assert refused is not None
    assert message in refused.what


def _loaded(tmp_path: Path, old: str, new: str) -> None:
    text = (BUILT_IN_CATALOGS / "retail.yaml").read_text()
    assert old in text
    (tmp_path / "retail.yaml").write_text(text.replace(old, new, 1))
    load_catalog(tmp_path / "retail.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    business: sale_id.business_id\n", "", "retail.yaml:6[0-9]: tables.sale_items: table 'sale_items' has no"),
        ("business: shared", 'business: "sales[tax].id"', "tables.tax_rates.business: .*leads to many rows"),
        ("every: 5 minutes", "every: 7 minutes", "businesses.every: '7 minutes' does not divide an hour"),
        ("every: 5 minutes", "every: 5", "businesses.every: 5 is read as a number here"),
        ("deadline: 240 s", "deadline: 300 s", "businesses.deadline: '300 s' is not before the next tick"),
        ("status = 'active'", "status = 'x'; DROP TABLE y", "businesses.active: .* is not a condition"),
        ("chain: 24", "chain: 25", "businesses.full.chain: wants a whole number from 0 to 24"),
        ("file: 50 MB", "file: 50", "businesses.quota.file: 50 is read as a number"),
        ("file: 50 MB", "file: 50 XB", "businesses.quota.file: '50 XB' is not a size"),
        (
            "quota: {file: 50 MB, total: 5 GB}",
            "retention: {keep_within: 48}",
            "retail.yaml:18: businesses.retention.keep_within: 48 is read as a number",
        ),
        (
            "quota: {file: 50 MB, total: 5 GB}",
            "retention: {keep_weakly: 4}",
            "businesses.retention.keep_weakly: .*Did you mean `keep_weekly`",
        ),
        (
            "quota: {file: 50 MB, total: 5 GB}",
            "retention: {min_keep: 4}",
            "retention.keep_within: no `keep_` field asks",
        ),
        ("  registry: businesses\n", "", "businesses.registry: is missing"),
        ("  registry: businesses\n", "  registy: businesses\n", "Did you mean `registry`"),
    ],
)
def test_a_catalog_that_says_too_little_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(CatalogError, match=message):
        _loaded(tmp_path, old, new)


def test_a_table_of_a_business_wants_businesses(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("catalog: x\ntimezone: UTC\ntables:\n  a: {business: id}\n")
    with pytest.raises(CatalogError, match="no `businesses` stand in this catalog"):
        load_catalog(tmp_path / "x.yaml")


def test_a_draft_finds_every_path_by_foreign_keys(shops: Shops, tmp_path: Path) -> None:
    drafted = init_catalog(PostgresSource(shops.url), name="drafted", businesses="businesses.id")
    built_in = catalog_of("retail")
    paths = {name: spec.business for name, spec in drafted.catalog.tables.items()}
    assert {name: paths[name] for name in built_in.tables} == {n: t.business for n, t in built_in.tables.items()}
    assert paths["schema_migrations"] == "shared"
    (tmp_path / "drafted.yaml").write_text(drafted.text)
    loaded = load_catalog(tmp_path / "drafted.yaml")
    assert loaded == drafted.catalog
    assert check_catalog(loaded, PostgresSource(shops.url)).fits
    with pytest.raises(NotFoundError, match=r"no column shops\.id"):
        init_catalog(PostgresSource(shops.url), businesses="shops.id")


def test_what_is_written_of_times_sizes_paths_and_conditions() -> None:
    assert [parse_duration(t).total_seconds() for t in ("240 s", "1 minute", "5 minutes", "24 hours")] == [
        240, 60, 300, 86400,
    ]  # fmt: skip
    assert [parse_size(t) for t in ("1 kB", "50 MB", "5 GB")] == [1000, 50_000_000, 5_000_000_000]
    assert parse_business("shared") is None
    active = parse_active("closed_at is null and status <> 'x' and not locked AND paid and \"Odd\" IS NOT NULL")
    assert active == (
        Condition("closed_at", "is null"),
        Condition("status", "<>", "x"),
        Condition("locked", "false"),
        Condition("paid", "true"),
        Condition("Odd", "is not null"),
    )
    for text in ("", "a = b", "a = 'x' or b", "(SELECT 1)", "a = 'x'; b"):
        with pytest.raises(ValueError, match="is not a condition"):
            parse_active(text)
