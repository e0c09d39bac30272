"""A ledger whose database is not there: the error says how to make and fill it, and that is true."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.ledger.backups import SqlLedger


def test_a_database_that_is_not_there_is_told_with_the_way_back(fresh_database: str) -> None:
    url = make_url(fresh_database).set(database='lost "one"').render_as_string(hide_password=False)
    ledger = SqlLedger(url)
    with pytest.raises(LedgerError, match=r"can not be reached: .*does not exist") as caught:
        ledger.list()
    ledger.close()
    assert not caught.value.transient
    assert "`backup-pipeline rebuild --confirm` makes it and fills it from the store" in caught.value.do
    assert 'CREATE DATABASE "lost ""one"""' in caught.value.do


def test_a_role_that_is_not_there_is_another_matter(fresh_database: str) -> None:
    url = make_url(fresh_database).set(username="nobody_of_that_name").render_as_string(hide_password=False)
    ledger = SqlLedger(url)
    with pytest.raises(LedgerError) as caught:
        ledger.list()
    ledger.close()
    assert "rebuild" not in caught.value.do


def test_tables_that_are_not_there_are_told_with_the_way_back(fresh_database: str) -> None:
    ledger = SqlLedger(fresh_database)
    with pytest.raises(LedgerError) as caught:
        ledger.list()
    ledger.close()
    assert "`backup-pipeline rebuild --confirm` also fills them" in caught.value.do
