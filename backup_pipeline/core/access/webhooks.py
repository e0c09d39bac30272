"""Webhooks: events sent to programs elsewhere, signed so that they know who sent them, and tried again for three days.

Signed as Standard Webhooks (standardwebhooks.com) has it: `webhook-id`, `webhook-timestamp` and `webhook-signature`,
which is `v1,` and the base64 of HMAC-SHA256 over id, timestamp and body with dots between.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from backup_pipeline.core.access import checked_name
from backup_pipeline.core.errors import BackupError, UsageError
from backup_pipeline.core.runs import RealtimeEvent
from backup_pipeline.core.scope import Actor, business_folder

KINDS = ("backup", "verification", "hold", "restore", "run_request", "drill", "alert", "business", "payment")
"""What events are about, as the first word of their kind says."""
_SECRET_PREFIX = "whsec_"  # noqa: S105  # the beginning of one
_LONGEST_URL = 500
CLAIMED_FOR = timedelta(seconds=60)
"""So long one process has a delivery for itself; a sender waits at most a third of it."""
_NAT64 = IPv6Network("64:ff9b::/96")
_WAITS = tuple(timedelta(seconds=seconds) for seconds in (10, 60, 300, 1_800, 3_600, 7_200, 21_600))
_GIVEN_UP_AFTER = timedelta(days=3)
_IN_A_LINE = re.compile(r"[\x21-\x7e]+")


class WebhookRefusedError(BackupError):
    """The receiver did not take it, or must not be asked."""


@dataclass(frozen=True)
class Webhook:
    """Where events are sent: those of `kinds` (none: all), of one business (None: of all). `secret` is sealed.

    `last_event` is the number of the newest event that was looked at. A webhook that is disabled gets nothing.
    """

    number: int
    name: str
    url: str
    secret: str
    created_at: datetime
    actor: Actor
    kinds: tuple[str, ...] = ()
    business: str | None = None
    last_event: int = 0
    disabled_at: datetime | None = None


@dataclass(frozen=True)
class NewWebhook:
    """A webhook to be made. UsageError for what can be none."""

    name: str
    url: str
    kinds: tuple[str, ...] = ()
    business: str | None = None

    def __post_init__(self) -> None:
        checked_name(self.name)
        if unknown := [kind for kind in self.kinds if kind not in KINDS]:
            message = f"{unknown[0][:40]!r} is no kind of event."
            raise UsageError(message, do=f"There are {', '.join(KINDS)}.")
        if self.business is not None:
            try:
                business_folder(self.business)
            except ValueError as error:
                message = f"{error}."
                raise UsageError(message) from None


@dataclass(frozen=True)
class WebhookDelivery:
    """An event on its way to a webhook: how often it was tried, what the receiver answered, when it is tried again."""

    number: int
    webhook: int
    event: RealtimeEvent
    created_at: datetime
    attempts: int = 0
    next_try_at: datetime | None = None
    delivered_at: datetime | None = None
    given_up_at: datetime | None = None
    status: int | None = None
    last_error: str | None = None

    @property
    def body(self) -> bytes:
        """What is sent; the same, byte for byte, however often."""
        event = self.event
        data = {**event.detail, "catalog": event.catalog, "business": event.business, "subject": event.subject}
        document = {"id": event.number, "type": event.kind, "timestamp": event.at.isoformat(), "data": data}
        return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def settled_delivery(
    delivery: WebhookDelivery, now: datetime, *, status: int | None = None, error: str | None = None
) -> WebhookDelivery:
    """The delivery after a try: over without an `error`, else with the time of the next, or given up."""
    tried = replace(delivery, status=status, last_error=error, next_try_at=None)
    if error is None:
        return replace(tried, delivered_at=now)
    if now - delivery.created_at > _GIVEN_UP_AFTER:
        return replace(tried, given_up_at=now)
    return replace(tried, next_try_at=now + _WAITS[min(delivery.attempts, len(_WAITS)) - 1])


def new_secret() -> str:
    """A secret that a webhook is signed with."""
    return _SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signed_headers(delivery: WebhookDelivery, secret: str, now: datetime) -> Mapping[str, str]:
    """The headers by which the receiver knows who sent the body, and that it is new."""
    number, at = f"evt_{delivery.webhook}_{delivery.event.number}", str(int(now.astimezone(UTC).timestamp()))
    key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX))
    digest = hmac.new(key, b".".join((number.encode(), at.encode(), delivery.body)), hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "User-Agent": "backup-pipeline",
        "webhook-id": number,
        "webhook-timestamp": at,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def check_url(url: str, *, private: bool) -> None:
    """UsageError unless events may be sent there: https, or where `private` addresses are allowed http, too."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        named, parts = False, urlsplit("")
    schemes = ("https", "http") if private else ("https",)
    odd = parts.username is not None or parts.fragment or len(url) > _LONGEST_URL or not _IN_A_LINE.fullmatch(url)
    if not named or parts.scheme not in schemes or odd:
        message = "A webhook wants the URL of its receiver: https, without a user, a password or a fragment, in ASCII."
        raise UsageError(message, do="Such as https://dashboard.example.com/hooks/backup.")


def check_addresses(host: str, addresses: Collection[str]) -> None:
    """WebhookRefusedError where one of a host's addresses is no public one: nobody reaches our own network by a URL."""
    inside = [address for address in addresses if not _is_public(ip_address(address.partition("%")[0]))]
    if inside or not addresses:
        message = f"{host} is {inside[0]}, an address of a private network." if inside else f"{host} has no address."
        raise WebhookRefusedError(
            message, do="BACKUP_WEBHOOK_PRIVATE=true allows receivers in private networks, for whoever runs the server."
        )


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        # What a gateway of 6to4 or NAT64 makes of it is an address of IPv4: that one counts, too.
        behind = IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address.sixtofour
        if address.is_site_local or (behind is not None and not _is_public(behind)):
            return False
    return address.is_global and not address.is_multicast
