"""One alert channel: an Apprise URL, the name it is shown under, and the secrets in it that must never be shown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, unquote, urlsplit

from apprise import Apprise, AppriseAsset, NotifyBase
from apprise.manager_plugins import NotificationManager

from backup_pipeline.core.secrets import redact

_EVERY_SERVICE = "Its form for every service is in Apprise's documentation, or `apprise --details` lists it."
_MAIL = {"mailto", "mailtos"}
_WORTH_HIDING = 4
"""Characters. Hiding shorter parts of a URL would garble every message; a password is hidden whatever its length."""


def asset() -> AppriseAsset:
    """How Apprise shall behave: in the thread that calls it, because its own executors keep a process alive."""
    return AppriseAsset(app_id="backup_pipeline", async_mode=False, service_timeout=0, interpret_emojis=False)


@dataclass(frozen=True)
class Channel:
    """`name` is fit for people; `url` and `secrets` are not. `error` says why the URL is none, or is None."""

    url: str = field(repr=False)
    name: str
    secrets: tuple[str, ...] = field(default=(), repr=False)
    error: str | None = None

    def redact(self, text: str) -> str:
        """`text` without the secrets of this channel."""
        return redact(text, *self.secrets)


def parse_channel(url: str, position: int) -> Channel:
    """The channel of an Apprise URL; one that is malformed is named by its `position` and its scheme alone."""
    scheme = _scheme(url)
    unnamed = f"channel {position} ({f'{scheme}://' if scheme else 'no URL'})"
    try:
        plugin = Apprise.instantiate(url, asset=asset())
        if plugin is None:
            return Channel(url, unnamed, error=_advice(scheme))
        name = _name(plugin)
        return Channel(url, name, _secrets(url, name, str(plugin.password or "")))
    except Exception as error:  # noqa: BLE001 - a hundred services take URLs apart; an alert raises for none of them
        return Channel(url, unnamed, error=f"This {scheme}:// URL can not be read ({type(error).__name__}).")


def named_apart(channels: Sequence[Channel]) -> tuple[Channel, ...]:
    """The channels, no two of one name: two hooks of one server differ only in what is not shown."""
    seen: Counter[str] = Counter()
    apart = []
    for channel in channels:
        seen[channel.name] += 1
        number = seen[channel.name]
        apart.append(channel if number == 1 else replace(channel, name=f"{channel.name} ({number})"))
    return tuple(apart)


def _name(plugin: NotifyBase) -> str:
    """What Apprise itself would show, without the query; of the path only the addresses of a mail.

    The path of a webhook, the topic of a push service: they are secrets as often as not.
    """
    parts = urlsplit(str(plugin.url(privacy=True)))  # type: ignore[no-untyped-call]
    path = unquote(parts.path).strip("/") if parts.scheme in _MAIL else ""
    return f"{parts.scheme}://{parts.netloc}/{path}".rstrip("/")


def _secrets(url: str, name: str, password: str) -> tuple[str, ...]:
    """Every part of `url` that `name` does not show, as written and decoded."""
    address, _, query = url.partition("://")[2].partition("?")
    parts = re.split(r"[/:@#]+", address) + [value for _, value in parse_qsl(query, keep_blank_values=True)]
    shown = set(re.split(r"[/:@#]+", name))
    hidden = {part for raw in parts for part in (raw, unquote(raw)) if len(part) >= _WORTH_HIDING and part not in shown}
    return tuple(sorted(hidden | ({password} if password else set())))


def _scheme(url: str) -> str:
    match = re.match(r"\s*([a-z][a-z0-9]{1,24})://", url, re.IGNORECASE)
    return match[1].lower() if match else ""


def _advice(scheme: str) -> str:
    services = NotificationManager()  # type: ignore[no-untyped-call]
    if not scheme:
        return (
            f"This is no Apprise URL: it does not begin with a service such as mailto:// or slack://. {_EVERY_SERVICE}"
        )
    if scheme not in services:
        return f"Apprise knows no service {scheme}://. {_EVERY_SERVICE}"
    forms = [form.replace("{schema}", scheme) for form in services[scheme].templates]
    known = " or ".join(sorted(forms, key=len)[-3:])
    sender = " Without a user it needs a sender: ?from=backup@example.com." if scheme in _MAIL else ""
    return f"This {scheme}:// URL lacks a part or has a wrong one. It can be {known}.{sender}"
