"""Who may see and change readings and tallies, tried by roles that really log in."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest
from psycopg import sql

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import LIFE, Owner, Reading, Status
from backup_pipeline.core.scope import Scope
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.ledger.attempts import attempt, outcome
from backup_pipeline_tests.ledger.logins import as_login, new_login

READING = Reading("b1", "verify", RAHIM, Owner("host", 1, 1.0))


@pytest.fixture
def url(fresh_ledger: str) -> str:
    """The superuser's URL of a ledger with one reading, and one attempt that ended."""
    with closing(SqlLedger(fresh_ledger)) as ledger:
        ledger.readings.begin(READING, LIFE)
        ledger.begin(attempt("b1"))
        ledger.end("b1", outcome(Status.SUCCESS))
    return fresh_ledger


@pytest.mark.parametrize("group", ["admin", "super_admin", "backup_pipeline_writer"])
def test_a_member_notes_what_it_reads_and_its_attempts_count(url: str, group: str) -> None:
    member = as_login(url, new_login(url, member_of=group))
    with closing(SqlLedger(member)) as ledger:
        begun = ledger.readings.begin(READING, LIFE)
        ledger.readings.renew(begun.number, LIFE)
        assert len(ledger.readings.list()) == 2
        ledger.readings.end(begun.number)
        ledger.begin(attempt("b2"))
        ledger.end("b2", outcome(Status.FAILED))
        assert ledger.tallies.ends() == {(Scope("isp"), Status.SUCCESS): 1, (Scope("isp"), Status.FAILED): 1}
    for statement in ("DELETE FROM backup_tallies", "TRUNCATE backup_tallies", "TRUNCATE backup_readings"):
        with psycopg.connect(member) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(statement.encode())


def test_a_role_with_table_grants_still_sees_and_changes_nothing(url: str) -> None:
    stranger = new_login(url)
    with psycopg.connect(url) as session:
        grant = sql.SQL("GRANT ALL ON backup_readings, backup_tallies TO {}")
        session.execute(grant.format(sql.Identifier(stranger)))
    with closing(SqlLedger(as_login(url, stranger))) as ledger:
        assert ledger.readings.list() == []
        assert ledger.tallies.ends() == {}
        with pytest.raises(LedgerError, match="row-level security"):
            ledger.readings.begin(READING, LIFE)
    for table in ("backup_readings", "backup_tallies"):
        with psycopg.connect(as_login(url, stranger)) as session:
            assert session.execute(f"DELETE FROM {table}".encode()).rowcount == 0
