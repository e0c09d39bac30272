"""Ticks and accounts: the registry of the source makes them, and a feature that is off pauses a business."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from backup_pipeline.core.payments.accounts import AccountFilter, AccountStatus, Feature
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.operations.payments import MoneyPorts, account_of
from backup_pipeline.operations.payments.accounts import switch_feature
from backup_pipeline.operations.payments.analytics import AnalyticsType, OverviewDocument, analyse
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.businesses.trial import Trial
from backup_pipeline_tests.servers.postgres import temporary_database


@pytest.fixture(scope="module")
def shop(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A trial after its first tick."""
    with temporary_database(postgres_server) as url:
        trial = Trial(url, tmp_path_factory.mktemp("shop"), 5)
        trial.prepare()
        trial.tick()
        yield trial
        trial.close()


def _ports(trial: Trial) -> MoneyPorts:
    return MoneyPorts(trial.ledger, lambda: datetime.now(UTC))


def _overview(trial: Trial) -> OverviewDocument:
    document = analyse(AnalyticsType.OVERVIEW, _ports(trial)).document
    assert isinstance(document, OverviewDocument)
    return document


@pytest.mark.acceptance("3.19")
def test_a_tick_registers_who_is_in_the_registry_as_it_says(shop: Trial) -> None:
    with psycopg.connect(shop.url) as session:
        session.execute("UPDATE shops SET name = 'Rupa Stores', status = 'closed' WHERE id = 2")
        rows = session.execute("SELECT id::text, name, status = 'active' FROM shops").fetchall()
    before = shop.ledger.events.newest()
    shop.tick()
    known = shop.ledger.businesses.list(AccountFilter(catalog="trial"))
    assert {(each.business, each.name, each.status is AccountStatus.ACTIVE) for each in known} == set(rows)
    changed = [each.business for each in shop.ledger.events.since(before, 100) if each.kind == "business.changed"]
    assert changed == ["2"]


@pytest.mark.acceptance("3.23", "3.31")
def test_a_business_whose_backups_are_off_is_not_due_until_they_are_on_again(shop: Trial) -> None:
    active = [each.business for each in shop.ledger.businesses.list(AccountFilter(statuses=(AccountStatus.ACTIVE,)))]
    paused, *others = active
    account = account_of(shop.ledger, paused)
    switch_feature(account, Feature.BACKUPS, _ports(shop), RAHIM, enabled=False)
    with psycopg.connect(shop.url) as session:
        session.execute("INSERT INTO logs SELECT id, 'told' FROM shops WHERE id::text = ANY (%s)", [active])
    report = shop.tick()
    shop.wrong.clear()  # what was left out is not as the source has it, as was wanted
    assert paused in report.tick.left_out
    assert {each.attempt.scope.business for each in report.stored} == set(others)
    seen = _overview(shop)
    assert (seen.due, seen.protected, seen.paused) == (len(others), len(others), 1)
    switch_feature(account, Feature.BACKUPS, _ports(shop), RAHIM, enabled=True)
    report = shop.tick()
    assert paused in {each.attempt.scope.business for each in report.stored}
    assert shop.wrong == [], "what it missed meanwhile is in its backup now"
    assert (_overview(shop).due, _overview(shop).protected) == (len(active), len(active))


def test_a_business_that_is_gone_is_not_called_right_any_more(shop: Trial) -> None:
    while shop.long:
        shop.end_a_long_transaction()
    gone = shop.ledger.businesses.list(AccountFilter(statuses=(AccountStatus.ACTIVE,)))[-1].business
    with psycopg.connect(shop.url) as session:
        session.execute("DELETE FROM shops WHERE id::text = %s", [gone])
    ticks = [shop.tick().tick for _ in range(2)]
    assert [gone in tick.left_out for tick in ticks] == [True, True]
    record = shop.ledger.ticks.newest_records("trial", [gone])[gone]
    assert ticks[0].snapshot_at is not None
    assert record.confirmed_until < ticks[0].snapshot_at
