"""The URLs of an installation, checked for their form before anything is started; nothing is connected."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import SplitResult, unquote, urlsplit

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.ledger.connect import ledger_url
from backup_pipeline.postgres.endpoint import parse_endpoint
from backup_pipeline.settings import Settings


@dataclass(frozen=True)
class _Kind:
    """A variable, and the form that its URL has."""

    variable: str
    form: str


_STORE_FORM = "file:///absolute/path or s3://bucket/prefix, without a user and a query"
_ENDPOINT_FORM = "https://s3.example.com or http://127.0.0.1:9000, without a user and a query"
_STORE = _Kind("BACKUP_STORE", _STORE_FORM)
_SECOND_STORE = _Kind("BACKUP_SECOND_STORE", _STORE_FORM)
_ENDPOINT = _Kind("BACKUP_S3_ENDPOINT_URL", _ENDPOINT_FORM)
_SECOND_ENDPOINT = _Kind("BACKUP_SECOND_S3_ENDPOINT_URL", _ENDPOINT_FORM)


def check_urls(settings: Settings) -> None:
    """SettingsError for the first URL that can not be meant: it names the variable, its scheme and the form wanted.

    For the doors where a person waits for an answer. A run that Dagster starts does not ask here: it writes its row and
    alerts people, whatever is wrong.
    """
    if settings.source_url:
        parse_endpoint(settings.source_url.get_secret_value(), name="BACKUP_SOURCE_URL")
    for catalog, url in settings.source_urls.items():
        parse_endpoint(url.get_secret_value(), name=f"BACKUP_SOURCE_URL_{catalog.upper()}")
    for name, url in settings.restore_targets.items():
        parse_endpoint(url.get_secret_value(), name=f"BACKUP_RESTORE_TARGET_URL_{name.upper()}")
    if settings.ledger_url:
        ledger_url(settings.ledger_url.get_secret_value())
    if settings.dagster_pg_url:
        _check_dagster(settings.dagster_pg_url.get_secret_value())
    _check_stores(settings)


def _check_stores(settings: Settings) -> None:
    for store, url in ((_STORE, settings.store), (_SECOND_STORE, settings.second_store)):
        if url:
            _check_store(store, url)
    endpoints = ((_ENDPOINT, settings.s3_endpoint_url), (_SECOND_ENDPOINT, settings.second_s3_endpoint_url))
    for endpoint, url in endpoints:
        if url:
            _check_s3_endpoint(endpoint, url)


def _check_dagster(url: str) -> None:
    # SQLAlchemy's way to name a driver means nothing to libpq, and is taken all the same.
    parse_endpoint(re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", url), name="DAGSTER_PG_URL")


def _check_store(kind: _Kind, url: str) -> None:
    parts = _split(kind, url)
    if parts.scheme == "memory":
        return
    if parts.scheme not in {"file", "s3"}:
        raise _wrong(kind, f"is not the URL of a store: {_start(url)}")
    if parts.scheme == "s3" and not parts.netloc:
        raise _wrong(kind, "names no bucket")
    path = PurePosixPath(unquote(parts.path))
    absolute = parts.netloc in {"", "localhost"} and path.is_absolute() and path != PurePosixPath("/")
    if parts.scheme == "file" and not absolute:
        raise _wrong(kind, "names no absolute path below /")


def _check_s3_endpoint(kind: _Kind, url: str) -> None:
    parts = _split(kind, url)
    if parts.scheme not in {"http", "https"}:
        raise _wrong(kind, f"is not the address of an S3 store: {_start(url)}")
    if not parts.hostname:
        raise _wrong(kind, "names no host")


def _split(kind: _Kind, url: str) -> SplitResult:
    """The parts of `url`; SettingsError when it has none, or parts that such a URL may not have."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _wrong(kind, "is malformed") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise _wrong(kind, "has a user, a query or a fragment")
    try:
        _ = parts.port
    except ValueError:
        raise _wrong(kind, "is malformed: its port is not a number up to 65535") from None
    return parts


def _start(url: str) -> str:
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]{0,30}):", url)
    return f"it starts with {scheme[1]!r}" if scheme else "it has no scheme"


def _wrong(kind: _Kind, reason: str) -> SettingsError:
    return SettingsError(f"{kind.variable} {reason}.", do=f"Write it as {kind.form}.")
