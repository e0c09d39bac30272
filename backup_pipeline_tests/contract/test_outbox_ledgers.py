"""What every ledger promises of its outbox: one suite over the one in memory and the one in PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from backup_pipeline.core.alerts import CLAIM, GIVE_UP_AFTER, Alert, Severity
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ports import Ledger, Outbox
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.ledger.attempts import NOON

MAIL, CHAT = "mailtos://rahim@smtp.example.com", "slack://T…/"
ALERT = Alert(
    Severity.FAILURE, "Backup failed: ‘isp’", "It broke.", "Mend it.", Scope("isp"), "b1", at=NOON, tables={"a": "b"}
)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def outbox(ledger: Ledger) -> Outbox:
    return ledger.outbox


def test_an_alert_is_noted_for_each_channel_in_the_hands_of_who_adds_it(outbox: Outbox) -> None:
    mail, chat = outbox.add(ALERT, [MAIL, CHAT], NOON)
    assert chat.id > mail.id > 0
    assert [(entry.alert, entry.channel, entry.attempts) for entry in (mail, chat)] == [
        (ALERT, MAIL, 1),
        (ALERT, CHAT, 1),
    ]
    assert mail.claimed_until == NOON + CLAIM
    assert outbox.list() == [chat, mail]
    assert outbox.claim(NOON + MINUTE) is None
    assert outbox.claim(NOON + MINUTE, early=True) is None


def test_a_delivered_alert_is_listed_only_when_all_are_wanted(outbox: Outbox) -> None:
    [mail] = outbox.add(ALERT, [MAIL], NOON)
    done = outbox.settle(mail.id, None, NOON + MINUTE)
    assert done == replace(mail, delivered_at=NOON + MINUTE, claimed_until=None)
    assert outbox.list() == []
    assert outbox.list(undelivered=False) == [done]
    assert outbox.claim(NOON + 2 * CLAIM, early=True) is None


def test_what_failed_waits_for_its_time_and_comes_oldest_first(outbox: Outbox) -> None:
    first, second = outbox.add(ALERT, [MAIL, CHAT], NOON)
    for entry in (first, second):
        outbox.settle(entry.id, "connection refused \x00", NOON)
    assert outbox.claim(NOON + MINUTE / 2) is None
    taken = outbox.claim(NOON + MINUTE)
    assert taken is not None
    assert (taken.id, taken.attempts, taken.claimed_until) == (first.id, 2, NOON + MINUTE + CLAIM)
    assert str(taken.last_error).startswith("connection refused")
    assert outbox.claim(NOON + MINUTE, without={CHAT}) is None
    last = outbox.claim(NOON + MINUTE)
    assert last is not None
    assert last.id == second.id
    assert outbox.claim(NOON + MINUTE) is None


def test_a_person_need_not_wait(outbox: Outbox) -> None:
    [mail] = outbox.add(ALERT, [MAIL], NOON)
    outbox.settle(mail.id, "connection refused", NOON)
    assert outbox.claim(NOON) is None
    assert outbox.claim(NOON, early=True) is not None


def test_what_died_in_somebody_s_hands_is_due_again(outbox: Outbox) -> None:
    [mail] = outbox.add(ALERT, [MAIL], NOON)
    again = outbox.claim(NOON + CLAIM)
    assert again is not None
    assert (again.id, again.attempts) == (mail.id, 2)


def test_what_was_given_up_is_shown_and_only_a_person_tries_it(outbox: Outbox) -> None:
    [mail] = outbox.add(ALERT, [MAIL], NOON)
    late = NOON + GIVE_UP_AFTER
    given_up = outbox.settle(mail.id, "connection refused", late)
    assert outbox.list() == [given_up]
    assert given_up.given_up_at == late
    assert outbox.claim(late + CLAIM) is None
    tried = outbox.claim(late + CLAIM, early=True)
    assert tried is not None
    assert tried.given_up_at is None


def test_what_was_delivered_long_ago_is_forgotten_and_what_was_not_stays_for_ever(outbox: Outbox) -> None:
    told, young, given_up, waiting = (outbox.add(ALERT, [MAIL], NOON)[0] for _ in range(4))
    outbox.settle(told.id, None, NOON + MINUTE)
    outbox.settle(young.id, None, NOON + 2 * MINUTE)
    outbox.settle(given_up.id, "connection refused", NOON + GIVE_UP_AFTER)
    assert outbox.forget(NOON + 2 * MINUTE) == 1
    left = [entry.id for entry in outbox.list(undelivered=False)]
    assert left == [waiting.id, given_up.id, young.id]
    assert outbox.forget(NOON + timedelta(days=9999)) == 1
    [new] = outbox.add(ALERT, [CHAT], NOON)
    assert new.id > waiting.id


def test_what_is_not_there_can_not_be_settled(outbox: Outbox) -> None:
    with pytest.raises(LedgerError, match="99 is not in the outbox"):
        outbox.settle(99, None, NOON)


def test_of_many_that_look_at_once_each_alert_is_one_s(outbox: Outbox) -> None:
    for _ in range(4):
        for entry in outbox.add(ALERT, [MAIL, CHAT], NOON):
            outbox.settle(entry.id, "connection refused", NOON)

    def look(_: int) -> list[int]:
        taken = []
        while entry := outbox.claim(NOON + MINUTE):
            taken.append(entry.id)
        return taken

    with ThreadPoolExecutor(4) as threads:
        taken = [number for mine in threads.map(look, range(4)) for number in mine]
    assert sorted(taken) == sorted(set(taken))
    assert len(taken) == 8
