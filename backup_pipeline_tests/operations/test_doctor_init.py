"""A drafted catalog works as it is: it loads, plans, backs up and verifies, whatever the database is like."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import NotFoundError, UsageError
from backup_pipeline.core.verification import Level
from backup_pipeline.demo import create_isp
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.doctor import InitResult, init_catalog
from backup_pipeline.operations.verify import VerifyRequest, verify_backup
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline_tests.operations.made import Place, verify_ports
from backup_pipeline_tests.servers.odd_database import create_odd
from backup_pipeline_tests.servers.pagila import load_pagila, needs_pagila


def drafted(url: str, folder: Path) -> tuple[InitResult, Catalog]:
    """The draft of the database at `url`, and the catalog that its file gives."""
    result = init_catalog(PostgresSource(url))
    path = folder / "drafted.yaml"
    path.write_text(result.text, encoding="utf-8")
    return result, load_catalog(path)


def backed_up(url: str, folder: Path) -> tuple[Catalog, Mapping[str, int]]:
    """The drafted catalog, and the row count of each table in a backup made and verified with it."""
    result, catalog = drafted(url, folder)
    assert catalog == result.catalog
    assert result.plan.failed == {}
    assert result.plan.unlisted == ()
    place = Place(folder / "spool")
    attempt = place.back_up(url, catalog)
    report = verify_backup(place_of(attempt), VerifyRequest(Level.REFERENCES), verify_ports(place.store))
    assert (report.findings, report.level) == ((), Level.REFERENCES)
    return catalog, attempt.table_counts


def counted(url: str, catalog: Catalog) -> Mapping[str, int]:
    """The rows of each table, counted another way."""
    with psycopg.connect(url) as session:
        return {
            name: session.execute(
                sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(*catalog.relation_of(name)))
            ).fetchall()[0][0]
            for name in catalog.tables
        }


@needs_pagila
def test_pagila_goes_through_init_backup_and_verify_unchanged_by_hand(fresh_database: str, tmp_path: Path) -> None:
    load_pagila(fresh_database)
    catalog, rows = backed_up(fresh_database, tmp_path)
    assert rows == counted(fresh_database, catalog)
    assert len(catalog.tables) == 15
    assert rows["payment"] == 16049  # the partitioned parent, with the rows of its partitions
    assert not [name for name in catalog.tables if name.startswith("payment_")]
    assert catalog.tables["film"].columns["language"] == "language_id.name"
    assert catalog.tables["city"].columns["country"] == "country_id.country"
    assert set(catalog.tables["staff"].exclude) == {"password"}


def test_a_database_full_of_odd_names_is_backed_up_whole(fresh_database: str, tmp_path: Path) -> None:
    create_odd(fresh_database)
    catalog, rows = backed_up(fresh_database, tmp_path)
    assert rows == counted(fresh_database, catalog)
    assert rows["my_schema_odd_name"] == rows["odd_name"] == rows["dots_in_it_a_b"] == 1
    assert {rule.table for rule in catalog.excluded} == {"no_columns", "only_secrets"}


def test_the_isp_demo_gets_look_ups_and_loses_its_secrets(fresh_database: str, tmp_path: Path) -> None:
    create_isp(fresh_database, scale=0.005)
    result, catalog = drafted(fresh_database, tmp_path)
    assert result.plan.failed == {}
    assert catalog.tables["customers"].columns["area"] == "area_id.name"
    assert catalog.tables["invoice_items"].columns["invoice"] == "invoice_id.invoice_number"
    assert any("password" in column for column in catalog.tables["mikrotik_users"].exclude)
    assert "public.routers_safe" in result.text


def test_what_the_backup_role_may_not_read_is_left_out_with_the_reason(fresh_database: str, tmp_path: Path) -> None:
    create_isp(fresh_database, scale=0.005, backup_password="pw")
    server = fresh_database.rpartition("@")[2]
    result, catalog = drafted(f"postgresql://isp_backup:pw@{server}", tmp_path)
    reasons = {rule.table: rule.reason for rule in catalog.excluded}
    assert "GRANT SELECT ON" in reasons["employees"]
    assert "employees" not in catalog.tables
    assert (result.plan.failed, result.plan.unlisted) == ({}, ())


def test_the_same_database_gives_the_same_text_again(fresh_database: str) -> None:
    create_odd(fresh_database)
    source = PostgresSource(fresh_database)
    assert init_catalog(source).text == init_catalog(source).text


def test_an_empty_database_has_nothing_to_back_up(fresh_database: str) -> None:
    with pytest.raises(NotFoundError, match="no table that a backup could read"):
        init_catalog(PostgresSource(fresh_database))


@pytest.mark.parametrize(("name", "timezone", "told"), [("My Shop", "UTC", "My Shop"), ("shop", "Dhaka", "Dhaka")])
def test_a_name_or_timezone_that_is_none_is_a_wrong_request(shop_url: str, name: str, timezone: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        init_catalog(PostgresSource(shop_url), name=name, timezone=timezone)
