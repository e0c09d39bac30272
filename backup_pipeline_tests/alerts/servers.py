"""Real endpoints on the loopback to send alerts to."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from backup_pipeline_tests.servers.serving import served


class Mailbox:
    """What an SMTP server received, and where it listens; it refuses recipients that begin with `nobody`."""

    def __init__(self) -> None:
        self.port = 0
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Accept or refuse one recipient."""
        if address.startswith("nobody"):
            return "550 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep the mail."""
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(message_from_bytes(content, EmailMessage, policy=policy.default))
        self.recipients += envelope.rcpt_tos
        return "250 OK"


@contextmanager
def smtp_server() -> Iterator[Mailbox]:
    """A real SMTP server without TLS and login."""
    mailbox = Mailbox()
    mailbox.port = free_port()
    controller = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


class Webhook:
    """What an HTTP endpoint received, where it listens, and the status it answers with."""

    def __init__(self, answer: int) -> None:
        self.answer = answer
        self.port = 0
        self.paths: list[str] = []
        self.bodies: list[Any] = []
        self.received: list[tuple[dict[str, str], bytes]] = []


@contextmanager
def http_server(answer: int = 200) -> Iterator[Webhook]:
    """A real HTTP server that answers `answer`."""
    webhook = Webhook(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            webhook.paths.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            webhook.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
            webhook.bodies.append(json.loads(body) if body.startswith(b"{") else body)
            self.send_response(webhook.answer)
            self.end_headers()

    with served(Handler) as webhook.port:
        yield webhook


@contextmanager
def stalling_server() -> Iterator[int]:
    """The port of a server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
