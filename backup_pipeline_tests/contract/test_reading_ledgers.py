"""What every ledger promises of readings: one suite over the one in memory and the one in PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

from backup_pipeline.core.ledger import Owner, Reading
from backup_pipeline.core.ports import Ledger
from backup_pipeline.core.scope import command_line
from backup_pipeline_tests.actors import RAHIM

LONG, OVER = timedelta(minutes=5), timedelta(0)
MINE = Reading("b1", "verify", RAHIM, Owner("host", 4711, 1795252163.77))
OTHER = Reading("b1", "download", command_line("করিম"), Owner("elsewhere", 1, 2.0))


def _numbers(ledger: Ledger) -> list[int]:
    return [reading.number for reading in ledger.readings.list()]


def test_a_reading_comes_back_as_it_was_noted_until_it_ends(ledger: Ledger) -> None:
    begun = ledger.readings.begin(MINE, LONG)
    assert (begun.backup_id, begun.work, begun.actor, begun.owner) == ("b1", "verify", RAHIM, MINE.owner)
    assert begun.began_at is not None
    assert begun.expires_at is not None
    assert LONG <= begun.expires_at - begun.began_at < LONG + timedelta(seconds=1)
    assert ledger.readings.list() == [begun]
    ledger.readings.end(begun.number)
    assert ledger.readings.list() == []


def test_many_may_read_one_backup(ledger: Ledger) -> None:
    first, second = ledger.readings.begin(MINE, LONG), ledger.readings.begin(OTHER, LONG)
    assert first.number != second.number
    ledger.readings.end(first.number)
    assert [reading.actor for reading in ledger.readings.list()] == [OTHER.actor]


def test_one_that_gives_no_sign_ends_by_itself_and_is_forgotten(ledger: Ledger) -> None:
    dead = ledger.readings.begin(MINE, OVER)
    assert _numbers(ledger) == []
    ledger.readings.renew(dead.number, LONG)
    assert _numbers(ledger) == [dead.number]  # it was late, and nobody had forgotten it yet
    ledger.readings.renew(dead.number, OVER)
    living = ledger.readings.begin(OTHER, LONG)
    ledger.readings.renew(dead.number, LONG)
    assert _numbers(ledger) == [living.number]
