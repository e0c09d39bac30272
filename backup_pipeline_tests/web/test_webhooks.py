"""Webhooks: signed, sent once, tried again, sent again by a button; and nowhere that nobody may reach."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import backup_pipeline.alerts.webhooks as sender
from backup_pipeline.alerts.webhooks import HttpWebhookSender
from backup_pipeline.core.access import Role
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.access.webhooks import WebhookDelivery, WebhookRefusedError, settled_delivery, signed_headers
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.runs import RealtimeEvent
from backup_pipeline.operations.access.webhooks import WebhookCourier, WebhookPorts, serve_webhooks
from backup_pipeline.wiring.access import webhook_ports
from backup_pipeline_tests.alerts.servers import free_port, http_server
from backup_pipeline_tests.orchestration.installation import until
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.web.deciding import Office, open_office
from backup_pipeline_tests.web.people import console_over

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
EVENT = RealtimeEvent(7, NOON, "backup", "shop", None, "b1", {"status": "success"})


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """An office that may send to this machine, with no webhook."""
    home = tmp_path_factory.mktemp("office")
    office = open_office(new_ledger(), home, days=1)
    office.ledger.execute("DELETE FROM webhooks")
    settings = office.console.settings.model_copy(update={"webhook_private": True})
    office.console.app.state.settings = settings
    return replace(office, console=replace(office.console, settings=settings))


def _ports(office: Office) -> WebhookPorts:
    return webhook_ports(office.console.settings, office.ledger.as_person(PersonIdentity()), office.console.clock)


def _made(office: Office, name: str, url: str, **fields: Any) -> tuple[int, str]:
    """The number and the secret of a webhook that karim makes on the page."""
    answer = office.as_("karim").post("/webhooks", data={"name": name, "url": url, **fields})
    assert answer.status_code == 200, answer.text
    (secret,) = re.findall(r'<code id="secret">(whsec_[\w+/=]+)</code>', answer.text)
    (number,) = re.findall(r'href="/webhooks/(\d+)">To its', answer.text)
    return int(number), secret


def _happen(office: Office, subject: str, kind: str = "backup", business: str | None = None) -> None:
    office.ledger.execute(
        "INSERT INTO realtime_events (kind, catalog, business, subject) VALUES (%s, 'shop', %s, %s)",
        [kind, business, subject],
    )


def _right(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """As a receiver looks, with nothing of ours: the recipe of Standard Webhooks."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return headers["webhook-signature"] == f"v1,{expected}"


def test_an_event_is_sent_signed_and_its_history_is_on_the_page(office: Office) -> None:
    with http_server() as receiver:
        number, secret = _made(office, "dashboard", f"http://127.0.0.1:{receiver.port}/hook", kind=["backup"])
        _happen(office, "b1")
        _happen(office, "drilled", kind="drill")
        with WebhookCourier(_ports(office), every_s=0.05):
            until(lambda: len(receiver.received) >= 1, 20)
            until(lambda: office.ledger.webhooks.deliveries(number)[0].delivered_at is not None, 20)
        [(headers, body)] = receiver.received
        assert _right(secret, headers, body)
        assert not _right(secret, headers, body + b" ")
        document = json.loads(body)
        assert (document["type"], document["data"]["subject"], receiver.paths) == ("backup", "b1", ["/hook"])
        page = office.as_("karim").get(f"/webhooks/{number}").text
        assert "delivered" in page
        delivery = office.ledger.webhooks.deliveries(number)[0].number
        again = office.as_("karim").post(f"/webhooks/{number}/deliveries/{delivery}/again")
        assert again.status_code == 303
        assert serve_webhooks(_ports(office)) == 1
        assert [each[1] for each in receiver.received] == [body, body], "the same, byte for byte"
        assert receiver.received[0][0]["webhook-id"] == receiver.received[1][0]["webhook-id"]
    assert office.as_("karim").post(f"/webhooks/{number}/off").status_code == 303
    with psycopg.connect(office.ledger.url) as session:
        rows = session.execute(
            "SELECT webhooks::text FROM webhooks UNION ALL SELECT backup_audit::text FROM backup_audit"
        )
        assert [text for (text,) in rows if secret in text] == [], "the secret is sealed"


def test_what_is_not_taken_is_tried_again_and_nothing_is_lost_meanwhile(office: Office) -> None:
    with http_server(answer=500) as receiver:
        number, _ = _made(office, "ill", f"http://127.0.0.1:{receiver.port}/")
        _happen(office, "b2")
        assert serve_webhooks(_ports(office)) == 1
        [waits] = office.ledger.webhooks.deliveries(number)
        assert (waits.attempts, waits.status, waits.delivered_at) == (1, 500, None)
        assert serve_webhooks(_ports(office)) == 0, "not before its time"
        receiver.answer = 204
        office.console.clock.move(seconds=11)
        assert serve_webhooks(_ports(office)) == 1
        [taken] = office.ledger.webhooks.deliveries(number)
        assert (taken.attempts, taken.status, taken.last_error) == (2, 204, None)
        office.as_("karim").post(f"/webhooks/{number}/off")
        _happen(office, "unheard")
        office.as_("karim").post(f"/webhooks/{number}/on")
        _happen(office, "heard")
        serve_webhooks(_ports(office))
        assert [row.event.subject for row in office.ledger.webhooks.deliveries(number)] == ["heard", "b2"]
    office.as_("karim").post(f"/webhooks/{number}/off")


def test_many_couriers_send_each_event_once_and_a_business_gets_its_own(office: Office) -> None:
    with http_server() as receiver:
        number, _ = _made(office, "own", f"http://127.0.0.1:{receiver.port}/", business="b1")
        for count in range(12):
            _happen(office, f"e{count}", business="b1" if count % 2 else "b2")
        with ThreadPoolExecutor(4) as pool:
            sum(pool.map(lambda _: serve_webhooks(_ports(office)), range(4)))
        subjects = sorted(body["data"]["subject"] for body in receiver.bodies)
        assert subjects == sorted(f"e{count}" for count in range(1, 12, 2))
    office.as_("karim").post(f"/webhooks/{number}/off")


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://10.1.2.3/",
        "https://192.168.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://0.0.0.0/",
        "https://[::ffff:127.0.0.1]/",
        "https://2130706433/",
        "https://localhost/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:a01:203::1]/",
        "https://[fec0::1]/",
        "https://224.0.0.1/",
    ],
)
def test_nothing_is_sent_into_our_own_network(url: str) -> None:
    with pytest.raises(WebhookRefusedError, match=r"private network|no address"):
        HttpWebhookSender().check(url)
    with pytest.raises(WebhookRefusedError):
        HttpWebhookSender().post(url, {}, b"{}")


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.215.14/",
        "https://user:secret@example.com/",
        "ftp://example.com/",
        "https:///x",
        "https://x:0/",
        "x",
        "https://b\u00fccher.example.com/",
        "https://example.com/a b",
    ],
)
def test_a_receiver_is_an_https_url_and_nothing_else(url: str) -> None:
    with pytest.raises(UsageError, match="wants the URL"):
        HttpWebhookSender().check(url)


def test_a_name_that_means_another_address_a_moment_later_leads_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked up once for each try, and asked at the address that was looked at."""
    looked_up: list[str] = []

    def lookup(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    with http_server() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        url = f"http://hooks.example.com:{receiver.port}/x"
        assert HttpWebhookSender(private=True).post(url, {"Content-Type": "application/json"}, b"{}") == 200
        monkeypatch.undo()
        assert receiver.received[0][0]["host"] == f"hooks.example.com:{receiver.port}"
    assert looked_up.count("hooks.example.com") == 1


def test_an_answer_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_WHOLE_S", 0.5)

    def drip(server: socket.socket) -> None:
        caller, _ = server.accept()
        with caller, suppress(OSError):
            caller.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
            for _ in range(50):
                caller.sendall(b"x")
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(drip, server)
        with pytest.raises(WebhookRefusedError, match=r"no answer within 0\.5 seconds"):
            HttpWebhookSender(private=True).post(f"http://127.0.0.1:{server.getsockname()[1]}/", {}, b"{}")


def test_a_receiver_without_an_answer_holds_up_nobody_else(office: Office) -> None:
    with http_server() as receiver:
        lost, _ = _made(office, "lost", f"http://127.0.0.1:{free_port()}/")
        number, _ = _made(office, "well", f"http://127.0.0.1:{receiver.port}/")
        for count in range(3):
            _happen(office, f"held{count}")
        assert serve_webhooks(_ports(office)) == 4, "asked once in a round, not for each event"
        assert all(row.delivered_at is not None for row in office.ledger.webhooks.deliveries(number))
        assert sorted(row.attempts for row in office.ledger.webhooks.deliveries(lost)) == [0, 0, 1]
    for each in (lost, number):
        office.as_("karim").post(f"/webhooks/{each}/off")


def test_what_waits_when_a_webhook_is_switched_off_is_not_sent_later(office: Office) -> None:
    with http_server(answer=500) as receiver:
        number, _ = _made(office, "paused", f"http://127.0.0.1:{receiver.port}/")
        _happen(office, "old")
        assert serve_webhooks(_ports(office)) == 1
        office.as_("karim").post(f"/webhooks/{number}/off")
        [left] = office.ledger.webhooks.deliveries(number)
        assert (left.next_try_at, left.given_up_at is not None) == (None, True), "so that it is forgotten in its time"
        again = f"/webhooks/{number}/deliveries/{left.number}/again"
        refused = office.as_("karim").post(again)
        assert (refused.status_code, "switched off" in refused.text) == (403, True)
        receiver.answer = 200
        office.as_("karim").post(f"/webhooks/{number}/on")
        office.console.clock.move(seconds=60)
        assert serve_webhooks(_ports(office)) == 0
        assert office.as_("karim").post(again).status_code == 303
        assert serve_webhooks(_ports(office)) == 1
    office.as_("karim").post(f"/webhooks/{number}/off")


def test_a_page_says_why_a_receiver_is_refused(tmp_path: Any) -> None:
    ledger = new_ledger()
    console = console_over(ledger, tmp_path)
    browser = console.signed_in(console.user("karim", Role.SUPER_ADMIN))
    answer = browser.post("/webhooks", data={"name": "inside", "url": "https://169.254.169.254/"})
    assert (answer.status_code, "BACKUP_WEBHOOK_PRIVATE" in answer.text) == (422, True)
    assert ledger.webhooks.list() == []


def test_waits_grow_and_end_after_three_days() -> None:
    delivery = WebhookDelivery(1, 1, EVENT, NOON)
    waits = []
    for attempts in range(1, 9):
        tried = settled_delivery(replace(delivery, attempts=attempts), NOON, error="no")
        assert tried.next_try_at is not None
        waits.append(tried.next_try_at - NOON)
    assert waits == sorted(waits)
    assert waits[0] == timedelta(seconds=10)
    late = settled_delivery(replace(delivery, attempts=20), NOON + timedelta(days=4), error="no")
    assert (late.next_try_at, late.given_up_at is not None) == (None, True)


def test_a_signature_of_another_time_is_another() -> None:
    secret = "whsec_" + base64.b64encode(b"x" * 32).decode()
    first = signed_headers(WebhookDelivery(1, 1, EVENT, NOON), secret, NOON)
    later = signed_headers(WebhookDelivery(1, 1, EVENT, NOON), secret, NOON + timedelta(seconds=1))
    assert first["webhook-id"] == later["webhook-id"]
    assert first["webhook-signature"] != later["webhook-signature"]
