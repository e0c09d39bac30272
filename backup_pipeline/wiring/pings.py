"""The dead-man pings of an installation."""

from __future__ import annotations

from datetime import timedelta

from pydantic import SecretStr

from backup_pipeline.alerts.pings import HttpPinger, PingUrls
from backup_pipeline.core.pings import NoPings, Signal
from backup_pipeline.core.ports import Pinger
from backup_pipeline.settings import Settings


def open_settings_pinger(settings: Settings) -> Pinger:
    """Who is pinged; nobody where no URL is set."""
    every = {signal: _url(settings, signal) for signal in Signal}
    known = {signal: url.get_secret_value() for signal, url in every.items() if url is not None}
    own = {key: url.get_secret_value() for name, url in settings.ping_urls.items() if (key := _key(name)) is not None}
    if not known and not own:
        return NoPings()
    timeout = timedelta(seconds=settings.ping_timeout_s)
    return HttpPinger(PingUrls(known, own), method=settings.ping_method, timeout=timeout)


def _url(settings: Settings, signal: Signal) -> SecretStr | None:
    urls = {
        Signal.START: settings.ping_start_url,
        Signal.SUCCESS: settings.ping_success_url,
        Signal.FAIL: settings.ping_fail_url,
    }
    return urls[signal]


def _key(name: str) -> tuple[Signal, str] | None:
    """`start_url_isp` as a signal and a catalog."""
    signal, separator, catalog = name.partition("_url_")
    return (Signal(signal), catalog) if separator and signal in set(Signal) else None
