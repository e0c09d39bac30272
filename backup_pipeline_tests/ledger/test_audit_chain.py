"""The chain of the audit: whoever writes, however many at once, from the first row that there ever was."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import create_engine

from backup_pipeline.core.access import Role, User
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.audit import AuditFilter
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.ledger import ledger_url
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.ledger.migrate import CONSOLE, CONSOLE_PEOPLE, MIGRATIONS, upgrade
from backup_pipeline.operations.access import verify_audit
from backup_pipeline_tests.actors import KARIM, RAHIM
from backup_pipeline_tests.ledger.attempts import NOON
from backup_pipeline_tests.ledger.logins import as_login, new_login
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger

EVENT = AuditEvent(NOON, RAHIM, "hold", "b1", {"reason": "প্রমাণ ✓", "n": 1.50, "nested": {"b": [1, None], "a": ""}})
OWNER = User(1, "owner", Role.BUSINESS_ADMIN, NOON, businesses=("b1",))


@pytest.fixture(scope="module")
def ledger() -> ScratchLedger:
    return new_ledger()


def test_many_who_write_at_once_make_one_chain_in_the_order_of_the_numbers(ledger: ScratchLedger) -> None:
    """People who see nothing of the audit are among them."""
    person = ledger.as_person(PersonIdentity(OWNER, 3, "10.0.0.1", "r1"))
    own = replace(EVENT, actor=OWNER.actor)

    def write(number: int) -> None:
        if number % 3:
            ledger.audit(EVENT)
        else:
            person.audit(own)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(60)))
    ledger.adopt([], [EVENT, EVENT])
    report = verify_audit(ledger)
    assert report.holds, report.broken
    assert report.rows == 62


@pytest.mark.acceptance("3.27")
@pytest.mark.parametrize(
    ("tampering", "first"),
    [
        ("UPDATE backup_audit SET detail = '{}' WHERE id = %s", 0),
        ("UPDATE backup_audit SET at = at + interval '1 microsecond' WHERE id = %s", 0),
        ("UPDATE backup_audit SET address = '10.0.0.9' WHERE id = %s", 0),
        ("UPDATE backup_audit SET backup_id = NULL WHERE id = %s", 0),
        ("DELETE FROM backup_audit WHERE id = %s", 1),
        ("UPDATE backup_audit SET previous = repeat('0', 64), sha256 = repeat('1', 64) WHERE id = %s", 0),
    ],
)
def test_whatever_is_changed_is_found_at_its_row(ledger: ScratchLedger, tampering: str, first: int) -> None:
    for _ in range(3):
        ledger.audit(EVENT)
    numbers = [entry.number for entry in ledger.audit_rows.page(AuditFilter(), limit=3)][::-1]
    with psycopg.connect(ledger.url) as session:
        session.execute("ALTER TABLE backup_audit DISABLE TRIGGER backup_audit_append_only")
        session.execute("CREATE TEMP TABLE kept AS SELECT * FROM backup_audit")
        session.execute(tampering.encode(), [numbers[1]])
        session.commit()
        broken = verify_audit(ledger).broken
        session.execute("DELETE FROM backup_audit")
        session.execute("ALTER TABLE backup_audit DISABLE TRIGGER ALL")
        session.execute("INSERT INTO backup_audit OVERRIDING SYSTEM VALUE SELECT * FROM kept")
        for name in ("backup_audit_append_only", "backup_audit_in_turn", "backup_audit_chain"):
            session.execute(sql.SQL("ALTER TABLE backup_audit ENABLE ALWAYS TRIGGER {}").format(sql.Identifier(name)))
        session.execute("DROP TABLE kept")
    assert broken is not None
    assert broken.number == numbers[1 + first]
    assert verify_audit(ledger).holds


def test_a_row_that_claims_another_place_gets_its_own(ledger: ScratchLedger) -> None:
    with psycopg.connect(ledger.url) as session:
        session.execute("SET session_replication_role = replica")
        row = "INSERT INTO backup_audit (at, actor, action, previous, sha256) VALUES (now(), 'x', 'x', 'mine', 'mine')"
        session.execute(row)
    assert verify_audit(ledger).holds


def test_who_can_not_see_the_row_before_can_not_write(ledger: ScratchLedger) -> None:
    with psycopg.connect(ledger.url) as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with pytest.raises(psycopg.errors.RaiseException, match="read committed"):
            session.execute("INSERT INTO backup_audit (at, actor, action) VALUES (now(), 'x', 'x')")


def test_rows_are_found_by_who_what_when_and_page_by_page() -> None:
    with closing(new_ledger()) as ledger:
        for minute in range(5):
            ledger.audit(replace(EVENT, at=NOON + timedelta(minutes=minute), actor=(RAHIM, KARIM)[minute % 2]))
        ledger.audit(AuditEvent(NOON, KARIM, "100%_sure", detail={"user": "x"}))
        rows = ledger.audit_rows

        def numbers(**wanted: object) -> list[int]:
            return [entry.number for entry in rows.page(AuditFilter(**wanted))]  # type: ignore[arg-type]

        assert numbers(actor="karim") == [6, 4, 2]
        assert numbers(action="100%_sure") == [6]
        assert numbers(words="প্রমাণ") == [5, 4, 3, 2, 1]
        assert numbers(words="%") == []
        assert numbers(backup_id="b1", since=NOON + timedelta(minutes=2), before=NOON + timedelta(minutes=4)) == [4, 3]
        first = rows.page(AuditFilter(), limit=4)
        second = rows.page(AuditFilter(), before=first[-1].number, limit=4)
        assert [entry.number for entry in (*first, *second)] == [6, 5, 4, 3, 2, 1]
        assert rows.actions() == ["100%_sure", "hold"]


@pytest.fixture
def without_rights(fresh_database: str) -> Callable[[], str]:
    """The URL of an owner of the ledger's database who is no superuser and may make no role."""

    def made() -> str:
        owner = new_login(fresh_database, member_of="backup_pipeline_writer")
        with psycopg.connect(fresh_database) as session:
            session.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(owner)))
        return as_login(fresh_database, owner)

    return made


def test_rows_of_before_are_chained_by_an_owner_who_may_not_change_them(
    fresh_database: str, without_rights: Callable[[], str], ledger_template: str
) -> None:
    url = without_rights()
    _migrate(url, "r0009")
    with psycopg.connect(url) as session:
        for number in range(3):
            session.execute(
                "INSERT INTO backup_audit (at, actor, action, detail) VALUES (%s, 'rahim', 'hold', %s)",
                [NOON, f'{{"n": {number}}}'],
            )
    upgrade(url)
    with closing(SqlLedger(url)) as ledger:
        ledger.audit(EVENT)
        report = verify_audit(ledger)
        assert (report.rows, report.broken) == (4, None)
    with psycopg.connect(url) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("UPDATE backup_audit SET actor = 'x'")


def test_the_way_back_keeps_the_rows_and_leaves_nothing_of_the_console(fresh_database: str) -> None:
    upgrade(fresh_database)
    with closing(SqlLedger(fresh_database)) as ledger:
        ledger.audit(EVENT)
    _migrate(fresh_database, "r0009", down=True)
    with psycopg.connect(fresh_database) as session:
        assert session.execute("SELECT actor, action FROM backup_audit").fetchall() == [("rahim", "hold")]
        left = session.execute(
            "SELECT polname FROM pg_policy WHERE polname ~ 'backup_viewer|business_admin|pipeline_console'"
        ).fetchall()
        assert left == []
        session.execute("INSERT INTO backup_audit (at, actor, action) VALUES (now(), 'karim', 'hold')")
    upgrade(fresh_database)
    with closing(SqlLedger(fresh_database)) as ledger:
        assert verify_audit(ledger).rows == 2
        assert verify_audit(ledger).holds


def test_roles_that_are_missing_are_asked_for_with_every_statement(
    fresh_database: str, without_rights: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from backup_pipeline.ledger import migrate

    monkeypatch.setattr(migrate, "CONSOLE", "no_such_console")
    monkeypatch.setattr(migrate, "CONSOLE_PEOPLE", ("no_such_viewer", *CONSOLE_PEOPLE[1:]))
    url = without_rights()
    with pytest.raises(LedgerError) as refused:
        upgrade(url)
    assert "CREATE ROLE no_such_viewer NOLOGIN; CREATE ROLE no_such_console NOLOGIN NOINHERIT" in refused.value.do
    assert "GRANT no_such_viewer, backup_business_admin, admin, super_admin TO no_such_console" in refused.value.do
    assert CONSOLE not in refused.value.do


def _migrate(url: str, revision: str, *, down: bool = False) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(ledger_url(url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)
    engine.dispose()
