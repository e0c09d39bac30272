"""A catalog against its database: what fits, what fails, and what nobody decided about."""

from __future__ import annotations

import pytest

from backup_pipeline.operations.doctor import check_catalog, compare_catalog
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline_tests.core.values import catalog, database, relation
from backup_pipeline_tests.operations.conftest import SHOP


def test_a_catalog_of_every_table_fits(shop_url: str) -> None:
    report = check_catalog(SHOP, PostgresSource(shop_url))
    assert report.fits
    assert report.ready == {"goods": "public.goods", "sold": "public.sold"}
    assert (report.failed, report.unlisted, report.excluded) == ({}, (), {})


def test_a_missing_table_fails_alone_with_the_nearest_name() -> None:
    report = compare_catalog(
        catalog({"good": None, "sold": None}), database(relation("goods", "id"), relation("sold", "id"))
    )
    assert not report.fits
    assert list(report.failed) == ["good"]
    assert "public.goods" in report.failed["good"].do
    assert list(report.ready) == ["sold"]


@pytest.mark.acceptance("1.1")
def test_a_table_that_nobody_decided_about_is_told_but_fits() -> None:
    shop = database(relation("goods", "id"), relation("new", "id"), relation("locked", "id", readable=False))
    report = compare_catalog(catalog({"goods": None}), shop)
    assert report.fits
    assert report.unlisted == ("public.locked", "public.new")
    assert report.unreadable == ("public.locked",)


def test_a_table_that_is_left_out_on_purpose_is_told_with_the_reason() -> None:
    left_out = [{"table": "cache", "reason": "can be computed again"}]
    report = compare_catalog(
        catalog({"goods": None}, excluded=left_out), database(relation("goods", "id"), relation("cache", "id"))
    )
    assert (report.excluded, report.unlisted) == ({"public.cache": "can be computed again"}, ())


def test_an_open_secret_refuses_the_whole_catalog() -> None:
    report = compare_catalog(catalog({"users": None}), database(relation("users", "id", "password")))
    assert not report.fits
    assert report.refused is not None
    assert "users.password" in report.refused.what
