"""What signing in needs of this installation: the ledger as the console, and the key that seals second factors."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.errors import NotFoundError, RefusedError, SettingsError
from backup_pipeline.core.ports import Clock, Ledger
from backup_pipeline.core.ports.access import IdentityProvider
from backup_pipeline.lazy import lazily
from backup_pipeline.operations.access import AccessPorts
from backup_pipeline.operations.access.webhooks import WebhookPorts
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.folders import make_folder

with lazily():
    from cryptography import fernet

    from backup_pipeline import identities
    from backup_pipeline.alerts import webhooks

_KEY_FILE = "console.key"


@dataclass(frozen=True)
class ConsoleSealer:
    """Seals with BACKUP_CONSOLE_KEY, or with the key in BACKUP_HOME, which is made when it is first needed."""

    settings: Settings

    def seal(self, text: str) -> str:
        """What the ledger keeps."""
        return self._fernet().encrypt(text.encode()).decode()

    def unseal(self, sealed: str) -> str:
        """The text; RefusedError when it was sealed with another key."""
        try:
            return self._fernet().decrypt(sealed.encode()).decode()
        except fernet.InvalidToken as error:
            message = "It was sealed with another key of the console than this one has."
            raise RefusedError(
                message,
                do="Set BACKUP_CONSOLE_KEY as where it was sealed, or take a second factor away: "
                "`backup-pipeline user set NAME --no-second-factor`; a webhook is made anew.",
            ) from error

    def _fernet(self) -> fernet.Fernet:
        given = self.settings.console_key
        secret = given.get_secret_value() if given else _key_of(self.settings.home)
        return fernet.Fernet(base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()))


def _key_of(home: Path) -> str:
    """The key in a file of BACKUP_HOME, for its owner only; of two that make it at once one is kept."""
    path = home / _KEY_FILE
    if not path.is_file():
        make_folder(home)
        draft = home / f".{_KEY_FILE}.{secrets.token_hex(4)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    key = path.read_text("utf-8").strip()
    if not key:
        message = f"{path} is empty: second factors were sealed with what it held."
        raise SettingsError(message, do="Put it back from a copy, or remove it and set second factors up again.")
    return key


def access_ports(settings: Settings, ledger: Ledger, clock: Clock) -> AccessPorts:
    """What an operation on users and sessions needs, over a ledger for whoever asks."""
    return AccessPorts(ledger, clock, ConsoleSealer(settings))


def console_ports(settings: Settings, ledger: Ledger, clock: Clock) -> AccessPorts:
    """As `access_ports`, as the console itself: whoever has the ledger's URL needs no login."""
    return access_ports(settings, ledger.as_person(PersonIdentity()), clock)


def webhook_ports(settings: Settings, ledger: Ledger, clock: Clock) -> WebhookPorts:
    """What webhooks need, over a ledger for whoever asks."""
    sender = webhooks.HttpWebhookSender(private=settings.webhook_private)
    return WebhookPorts(ledger, clock, ConsoleSealer(settings), sender)


def welcome_url(settings: Settings, token: str, console: str = "http://127.0.0.1:3001") -> str:
    """The address of a link that works once; `console` is where the console is, unless BACKUP_CONSOLE_URL says so."""
    return f"{(settings.console_url or console).rstrip('/')}/welcome/{token}"


def open_provider(settings: Settings) -> IdentityProvider:
    """The provider of identities that people sign in at; NotFoundError where none is set."""
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        message = "No provider of identities is set."
        raise NotFoundError(message, do="Set BACKUP_OIDC_ISSUER and BACKUP_OIDC_CLIENT_ID (docs/console.md).")
    secret = settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else ""
    return identities.OidcProvider(identities.Client(settings.oidc_issuer, settings.oidc_client_id, secret))


def is_secure_way(settings: Settings, scheme: str, host: str | None) -> bool:
    """Whether a password may travel so: encrypted, on this machine alone, or as the operator decided.

    `host` is the name under which the browser knows the console.
    """
    if scheme == "https" or is_loopback(host):
        return True
    return settings.console_url is not None and urlsplit(settings.console_url).hostname == host


def is_loopback(host: str | None) -> bool:
    """Whether it is this machine, and nobody else's."""
    if host is None:
        return False
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
