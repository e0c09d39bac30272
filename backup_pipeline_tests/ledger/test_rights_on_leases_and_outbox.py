"""Who may see and change leases and the outbox, tried by roles that really log in."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import LIFE, Claim, Owner
from backup_pipeline.core.scope import Scope
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.ledger.attempts import NOON
from backup_pipeline_tests.ledger.logins import as_login, new_login

CLAIM = Claim(Scope("isp"), "b1", RAHIM, Owner("host", 1, 1.0))
ALERT = Alert(Severity.FAILURE, "Backup failed: isp", "It broke.", "Mend it.", Scope("isp"))
TABLES = ("leases", "alert_outbox")


@pytest.fixture
def url(fresh_ledger: str) -> str:
    """The superuser's URL of a ledger with one lease and one alert."""
    with closing(SqlLedger(fresh_ledger)) as ledger:
        ledger.leases.acquire(CLAIM, LIFE)
        ledger.outbox.add(ALERT, ["mailto://ops"], NOON)
    return fresh_ledger


@pytest.mark.parametrize("group", ["admin", "super_admin", "backup_pipeline_writer"])
def test_a_member_manages_both_and_takes_nothing_away(url: str, group: str) -> None:
    member = as_login(url, new_login(url, member_of=group))
    with closing(SqlLedger(member)) as ledger:
        lease = ledger.leases.get(Scope("isp"))
        assert lease is not None
        assert ledger.leases.renew(lease, LIFE) is not None
        ledger.leases.release(lease)
        [entry] = ledger.outbox.list()
        assert ledger.outbox.settle(entry.id, "refused", NOON + timedelta(minutes=1)).delivered_at is None
    purged = ["alert_outbox"] if group == "backup_pipeline_writer" else []
    with psycopg.connect(member) as session:
        for table in purged:  # what was not delivered is not there to be deleted
            assert session.execute(f"DELETE FROM {table}".encode()).rowcount == 0
    for table in set(TABLES) - set(purged):
        for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with psycopg.connect(member) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement.encode())


def test_the_purge_takes_delivered_alerts_away_and_only_as_the_writer(url: str) -> None:
    with closing(SqlLedger(url)) as ledger:
        [late] = ledger.outbox.list()
        [told] = ledger.outbox.add(ALERT, ["slack://ops"], NOON)
        ledger.outbox.settle(told.id, None, NOON + timedelta(minutes=1))
    for group, gone in (("admin", None), ("backup_pipeline_writer", 1)):
        with closing(SqlLedger(as_login(url, new_login(url, member_of=group)))) as ledger:
            if gone is None:
                with pytest.raises(LedgerError, match="permission denied"):
                    ledger.outbox.forget(NOON + timedelta(days=1))
            else:
                assert ledger.outbox.forget(NOON + timedelta(days=1)) == gone
                assert [entry.id for entry in ledger.outbox.list(undelivered=False)] == [late.id]


def test_a_role_with_table_grants_still_sees_and_changes_nothing(url: str) -> None:
    stranger = new_login(url)
    with psycopg.connect(url) as session:
        grant = sql.SQL("GRANT ALL ON leases, alert_outbox TO {}")
        session.execute(grant.format(sql.Identifier(stranger)))
    with closing(SqlLedger(as_login(url, stranger))) as ledger:
        assert ledger.leases.get(Scope("isp")) is None
        assert ledger.outbox.list() == []
        assert ledger.outbox.claim(NOON + timedelta(days=1), early=True) is None
        with pytest.raises(LedgerError, match="row-level security"):
            ledger.leases.acquire(CLAIM, LIFE, over=1)
        with pytest.raises(LedgerError, match="row-level security"):
            ledger.outbox.add(ALERT, ["mailto://ops"], NOON)
    for table in TABLES:
        with psycopg.connect(as_login(url, stranger)) as session:
            assert session.execute(f"DELETE FROM {table}".encode()).rowcount == 0
