"""How an S3 store is reached: endpoint, region, credentials, patience. Loads no client: most stores are not in S3."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.core.secrets import redact_url
from backup_pipeline.stores.lock import Lock
from backup_pipeline.stores.s3_sse import ServerSide


@dataclass(frozen=True)
class S3Settings:
    """How to reach S3. What is None comes from the usual AWS chain: environment, profile, SSO, instance role.

    `connect_timeout` bounds one connection attempt, `transfer_timeout` one request that moves a part (16 MiB: two
    minutes ask for 4.5 Mbit/s, as four move at once), `answer_timeout` one request that moves nothing, `retry_for` the
    time in which a failing request is tried again. So a dead endpoint fails within about `retry_for + connect_timeout`.
    `lock` is what objects that stay are locked with, `sse` how the server encrypts every object.
    """

    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    connect_timeout: timedelta = timedelta(seconds=5)
    answer_timeout: timedelta = timedelta(seconds=10)
    transfer_timeout: timedelta = timedelta(minutes=2)
    retry_for: timedelta = timedelta(seconds=8)
    lock: Lock | None = None
    sse: ServerSide | None = None

    def __post_init__(self) -> None:
        """Raise SettingsError for an endpoint that is no URL, or half of a pair of keys."""
        if self.endpoint_url is not None:
            _check_endpoint(self.endpoint_url)
        if (self.access_key_id is None) != (self.secret_access_key is None):
            what = "Only one of the S3 access key id and the S3 secret access key is set"
            raise SettingsError(what, do="Set both, or neither to use the usual AWS chain.")


def is_aws(endpoint: str) -> bool:
    """Whether `endpoint` is Amazon's own."""
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        what = f"Not an S3 endpoint: {redact_url(endpoint)!r}"
        raise SettingsError(
            what,
            do="Give a URL such as https://s3.example.com or http://127.0.0.1:9000, without user, password or query.",
        )
