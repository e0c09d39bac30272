"""Many questions in one transaction: as many round trips less, the same rights, and an error undoes all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from backup_pipeline.core.access import Role, User
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.errors import LedgerError, RefusedError
from backup_pipeline.core.ledger import Hold, Status
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.ledger.attempts import NOON, attempt, outcome
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.web.deciding import open_office

BACKUP = attempt().backup_id


@pytest.fixture
def ledger() -> ScratchLedger:
    made = new_ledger()
    made.begin(attempt())
    made.end(BACKUP, outcome(Status.SUCCESS))
    return made


@contextmanager
def counted(ledger: ScratchLedger) -> Iterator[list[str]]:
    """The transactions that begin meanwhile."""
    begun: list[str] = []

    def note(_: Connection) -> None:
        begun.append("begin")

    event.listen(ledger._engine, "begin", note)
    try:
        yield begun
    finally:
        event.remove(ledger._engine, "begin", note)


def test_all_that_is_asked_is_one_transaction(ledger: ScratchLedger) -> None:
    with counted(ledger) as begun, ledger.at_once() as reader:
        assert reader.get(BACKUP) is not None
        assert reader.listings.totals().backups == 1
        with reader.at_once() as again:
            assert again.restores.list() == []
    assert len(begun) == 1


def test_an_error_undoes_all_of_it_and_the_ledger_goes_on(ledger: ScratchLedger) -> None:
    def both() -> None:
        with ledger.at_once() as reader:
            reader.hold(BACKUP, Hold(RAHIM, "a reason"))
            reader.hold("not-there", None)

    with pytest.raises(LedgerError, match="not-there"):
        both()
    found = ledger.get(BACKUP)
    assert found is not None
    assert found.hold is None


def test_a_person_has_no_more_rights_than_before_and_nobody_has_the_persons_later(ledger: ScratchLedger) -> None:
    ledger.begin(attempt("of-b2", scope=Scope("retail", business="b2")))
    admin = User(7, "babul", Role.BUSINESS_ADMIN, NOON, businesses=("b1",))
    with ledger.as_person(PersonIdentity(admin)).at_once() as reader:
        assert reader.get("of-b2") is None
        assert reader.as_person(PersonIdentity(User(8, "karim", Role.SUPER_ADMIN, NOON))).get("of-b2") is not None
        assert reader.get("of-b2") is None
    assert ledger.get("of-b2") is not None


def test_the_overview_the_calendar_and_the_report_read_at_once(tmp_path: Path) -> None:
    """Two for the session, one for the page; what says how people sign in may be one more."""
    office = open_office(new_ledger(), tmp_path, days=2)
    browser = office.as_("karim")
    browser.get("/report")  # the clock of the ledger is asked, too, and the statistics are made once
    for path in ("/", "/report", "/calendar"):
        with counted(office.ledger) as begun:
            assert browser.get(path).status_code == 200
        assert len(begun) <= 4, path


def test_what_is_known_of_a_day_is_never_older_than_the_ledger(ledger: ScratchLedger) -> None:
    """Rows that were read once are kept: only as long as they are the same."""
    since = NOON - timedelta(days=400)
    [before] = ledger.listings.days("isp", since)
    assert ledger.listings.days("isp", since) == [before]
    ledger.execute("UPDATE backup_logs SET table_counts = '{\"goods\": 7}', late = true")
    [after] = ledger.listings.days("isp", since)
    assert (after.table_counts, after.late) == ({"goods": 7}, True)
    assert not before.late


def test_a_refusal_is_one_in_it_too(ledger: ScratchLedger) -> None:
    viewer = User(9, "nila", Role.VIEWER, NOON)
    with pytest.raises(RefusedError), ledger.as_person(PersonIdentity(viewer)).at_once() as reader:
        reader.hold(BACKUP, Hold(RAHIM, "a reason"))
