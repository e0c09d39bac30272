"""Alerts through Apprise to real servers, dead ones and stalling ones."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest

from backup_pipeline.alerts import LogAlerter, alerter_for
from backup_pipeline.alerts.channels import TIMEOUT, AppriseAlerter, title_of
from backup_pipeline.core.alerts import Alert, Delivery, Severity
from backup_pipeline.core.ports import Alerter
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.alerts.servers import Mailbox, Webhook, free_port, http_server, smtp_server, stalling_server

ALERT = Alert(
    severity=Severity.FAILURE,
    title="customers could not be read — গ্রাহক",
    what="The backup of isp failed: 1 of 24 tables. <b>&amp; বাংলা</b>",
    do="Look at the grants of customers,\nthen run it again.",
    scope=Scope("isp"),
    backup_id="20261120T180000Z-full-1f3a9c2e",
    run_url="http://127.0.0.1:3000/runs/1",
    at=datetime(2026, 11, 20, 18, 0, 5, tzinfo=UTC),
    tables={"customers": "permission denied", "গ্রাহক": "column_a_with_*stars*_and_\\n gone"},
)
SECRETS = ("hush-hush", "t0ps3cret", "p4thTok3n")
WEBHOOKS_WITH_SECRETS = [
    "json://user:hush-hush@127.0.0.1:{port}/hooks/p4thTok3n?-token=t0ps3cret&+X-Key=hush-hush",
    "form://127.0.0.1:{port}/p4thTok3n/t0ps3cret",
    "ntfy://hush-hush@127.0.0.1:{port}/p4thTok3n?auth=token",
    "gotify://127.0.0.1:{port}/p4thTok3nhush-hush",
]
MAILS_WITH_SECRETS = [
    "mailto://user:hush-hush@127.0.0.1:{port}?from=a@example.com&to=b@example.com",
    "mailto://user:h%75sh-hush@127.0.0.1:{port}?from=a@example.com&to=b@example.com",
]


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with smtp_server() as mailbox:
        yield mailbox


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with http_server() as webhook:
        yield webhook


def _mailto(port: int, to: str = "ops@example.com") -> str:
    return f"mailto://127.0.0.1:{port}?from=backup@example.com&to={to}"


@pytest.mark.acceptance("2.25")
def test_a_mail_arrives_with_subject_and_body_intact(mailbox: Mailbox) -> None:
    channel = f"mailto://127.0.0.1:{mailbox.port}/ops@example.com"
    assert AppriseAlerter([_mailto(mailbox.port)]).send(ALERT) == [Delivery(channel)]
    (mail,) = mailbox.mails
    assert mail["Subject"] == "[backup isp] FAILED: customers could not be read — গ্রাহক"
    assert mail["From"].addresses[0].addr_spec == "backup@example.com"
    assert mailbox.recipients == ["ops@example.com"]
    body = mail.get_body(("plain",))
    assert body is not None
    assert body.get_content().replace("\r\n", "\n").strip() == ALERT.body().strip()


def test_a_webhook_gets_title_body_and_type(webhook: Webhook) -> None:
    url = f"json://127.0.0.1:{webhook.port}/hooks/p4thTok3n"
    assert AppriseAlerter([url]).send(ALERT) == [Delivery(f"json://127.0.0.1:{webhook.port}")]
    (body,) = webhook.bodies
    assert webhook.paths == ["/hooks/p4thTok3n"]
    assert (body["title"], body["message"], body["type"]) == (title_of(ALERT), ALERT.body().strip(), "failure")


@pytest.mark.parametrize(
    ("severity", "word", "kind"),
    [
        (Severity.INFO, "INFO", "info"),
        (Severity.WARNING, "WARNING", "warning"),
        (Severity.FAILURE, "FAILED", "failure"),
    ],
)
def test_the_severity_is_in_title_and_type(webhook: Webhook, severity: Severity, word: str, kind: str) -> None:
    alert = Alert(severity=severity, title="two\nlines", what="w", do="d", scope=Scope("isp"))
    AppriseAlerter([f"json://127.0.0.1:{webhook.port}"]).send(alert)
    assert [(body["title"], body["type"]) for body in webhook.bodies] == [(f"[backup isp] {word}: two lines", kind)]


def test_a_dead_channel_does_not_hide_the_living(mailbox: Mailbox, webhook: Webhook) -> None:
    dead = free_port()
    urls = [f"json://127.0.0.1:{dead}", _mailto(mailbox.port), _mailto(dead), f"json://127.0.0.1:{webhook.port}"]
    deliveries = AppriseAlerter(urls).send(ALERT)
    assert [delivery.error is None for delivery in deliveries] == [False, True, False, True]
    assert all("onnection refused" in (deliveries[i].error or "") for i in (0, 2))
    assert (len(mailbox.mails), len(webhook.bodies)) == (1, 1)


def test_an_endpoint_that_says_no_is_quoted() -> None:
    with http_server(503) as webhook:
        (delivery,) = AppriseAlerter([f"json://127.0.0.1:{webhook.port}"]).send(ALERT)
    assert "503" in (delivery.error or "")


def test_a_recipient_that_is_refused_is_quoted(mailbox: Mailbox) -> None:
    (delivery,) = AppriseAlerter([_mailto(mailbox.port, "nobody@example.com")]).send(ALERT)
    assert "no such user here" in (delivery.error or "")


def test_a_stalling_channel_costs_no_more_than_the_timeout(webhook: Webhook) -> None:
    with stalling_server() as port:
        urls = [f"json://127.0.0.1:{port}", _mailto(port), f"json://127.0.0.1:{webhook.port}"]
        started = time.monotonic()
        deliveries = AppriseAlerter(urls, timeout=timedelta(seconds=0.5)).send(ALERT)
        assert time.monotonic() - started < 2
    late = "No answer within 0.5 seconds."
    assert [delivery.error for delivery in deliveries] == [late, late, None]


def test_a_stalling_channel_does_not_keep_the_process_from_ending() -> None:
    program = (
        "import sys; from datetime import timedelta; from backup_pipeline.alerts.channels import AppriseAlerter;"
        "from backup_pipeline_tests.alerts.test_channels_apprise import ALERT;"
        "AppriseAlerter([sys.argv[1]], timeout=timedelta(seconds=0.2)).send(ALERT); print('sent', flush=True)"
    )
    with stalling_server() as port:
        command = [sys.executable, "-c", program, f"mailto://127.0.0.1:{port}?from=a@example.com&to=b@example.com"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        assert process.stdout.readline() == b"sent\n"
        started = time.monotonic()
        process.communicate(timeout=14)
    assert process.returncode == 0
    assert time.monotonic() - started < 3


def test_alerts_in_quick_succession_are_not_slowed_down(mailbox: Mailbox) -> None:
    alerter = AppriseAlerter([_mailto(mailbox.port)], timeout=timedelta(seconds=2))
    assert [alerter.send(ALERT)[0].error for _ in range(4)] == [None] * 4


@pytest.mark.parametrize(
    ("url", "channel", "advice"),
    [
        ("nope://hush-hush@t0ps3cret", "channel 1 (nope://)", "Apprise knows no service nope://"),
        ("mailto://", "channel 1 (mailto://)", "mailto://{user}:{password}@{host}:{port}/{targets}"),
        ("mailto://127.0.0.1?to=ops@example.com", "channel 1 (mailto://)", "?from=backup@example.com"),
        ("slack://hush-hush", "channel 1 (slack://)", "/{token_a}/{token_b}/{token_c}/{targets}"),
        ("hush-hush", "channel 1 (no URL)", "it does not begin with a service such as mailto://"),
        ("", "channel 1 (no URL)", "it does not begin with a service such as mailto://"),
    ],
)
def test_a_malformed_url_is_a_delivery_that_says_what_is_allowed(url: str, channel: str, advice: str) -> None:
    (delivery,) = AppriseAlerter([url]).send(ALERT)
    assert delivery.channel == channel
    assert advice in (delivery.error or "")
    assert not [secret for secret in SECRETS if secret in f"{delivery}"]


@contextmanager
def _everything_logged() -> Iterator[StringIO]:
    """What the root logger is told at any level. (`caplog` also listens where nothing is passed on to the root.)"""
    root, text = logging.getLogger(), StringIO()
    handler, level = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _shown(url: str, capfd: pytest.CaptureFixture[str]) -> str:
    """Everything that comes out of an alert which `url` fails to deliver."""
    with _everything_logged() as logged:
        alerter = AppriseAlerter([url])
        (delivery,) = alerter.send(ALERT)
    assert delivery.error
    assert "was not delivered to" in logged.getvalue()
    streams = capfd.readouterr()
    return f"{delivery} {alerter.channels} {alerter._channels} {logged.getvalue()} {streams.out} {streams.err}"


@pytest.mark.parametrize("url", [*WEBHOOKS_WITH_SECRETS, *MAILS_WITH_SECRETS])
def test_no_secret_comes_out_when_nobody_listens(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    shown = _shown(url.format(port=free_port()), capfd)
    assert "onnection refused" in shown
    assert not [secret for secret in SECRETS if secret in shown]


@pytest.mark.parametrize("url", WEBHOOKS_WITH_SECRETS)
def test_no_secret_comes_out_when_the_endpoint_says_no(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    with http_server(503) as webhook:
        shown = _shown(url.format(port=webhook.port), capfd)
    assert "503" in shown
    assert not [secret for secret in SECRETS if secret in shown]


@pytest.mark.parametrize("url", MAILS_WITH_SECRETS)
def test_no_secret_comes_out_when_a_mail_server_has_no_login(
    url: str, mailbox: Mailbox, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = _shown(url.format(port=mailbox.port), capfd)
    assert not [secret for secret in SECRETS if secret in shown]


def test_a_service_that_raises_becomes_a_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("hush-hush exploded")

    monkeypatch.setattr("apprise.Apprise.notify", explode)
    (delivery,) = AppriseAlerter([f"json://user:hush-hush@127.0.0.1:{free_port()}"]).send(ALERT)
    assert delivery.error == "RuntimeError: *** exploded"


def test_without_urls_the_alert_goes_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    alerter: Alerter = alerter_for([], timeout=TIMEOUT)
    assert isinstance(alerter, LogAlerter)
    assert alerter.send(ALERT) == [Delivery("log")]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "BACKUP_ALERT_URLS is not set" in record.getMessage()
    assert ALERT.body() in record.getMessage()


def test_with_urls_the_alert_goes_through_apprise() -> None:
    assert isinstance(alerter_for(["json://127.0.0.1"], timeout=TIMEOUT), AppriseAlerter)
