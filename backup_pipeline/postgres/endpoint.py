"""Where the source database is: its URL taken apart, and the connection strings made of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from psycopg import Error
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.core.secrets import is_unambiguous, redact, redact_url

_QUOTED = re.compile(r'"[^"]*"|\'[^\']*\'')
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://")
_SCHEMES = ("postgresql://", "postgres://")
# A peer that is gone without a word is noticed within a minute; the system's own patience is two hours.
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
_EXAMPLE = "Write it as postgresql://user:password@host:5432/database; %-encode special characters of the password."


@dataclass(frozen=True)
class Endpoint:
    """A database and the role that reads it. Its text, `isp at db:5432 as app`, is fit for people."""

    host: str
    port: str
    database: str
    user: str
    shown_url: str
    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f"{self.database} at {self.host}:{self.port} as {self.user}"

    def conninfo(self, role: str, connect_timeout_s: int) -> str:
        """The libpq connection string of one connection; `role` says in the server's own views what it is for."""
        # Without client_encoding libpq would hand out the server's encoding, and Arrow would call it UTF-8.
        return make_conninfo(
            self.url,
            application_name=f"backup_pipeline {role}",
            connect_timeout=connect_timeout_s,
            client_encoding="UTF8",
            **self._keepalives(),
        )

    def conninfo_without_password(self) -> str:
        """The connection string that may stand in a process list; the password goes another way."""
        kept = {k: v for k, v in conninfo_to_dict(self.url).items() if k not in {"password", "sslpassword"}}
        return make_conninfo(**{name: str(value) for name, value in (kept | self._keepalives()).items()})

    def _keepalives(self) -> dict[str, int]:
        """Those that the URL does not set."""
        given = conninfo_to_dict(self.url)
        return {name: value for name, value in _KEEPALIVES.items() if name not in given}

    @property
    def password(self) -> str:
        """The password inside the URL; empty when there is none."""
        return str(conninfo_to_dict(self.url).get("password") or "")

    def redact(self, text: str) -> str:
        """`text` without anything secret of this endpoint."""
        return redact(text, *self.secrets)


def parse_endpoint(url: str, *, name: str = "The source URL") -> Endpoint:
    """The endpoint of a `postgresql://` URL; SettingsError, without its password, when it is none.

    `name` is what people call the URL: the variable it stands in.
    """
    parts, shown = _taken_apart(url, name)
    return Endpoint(
        host=parts.get("host") or parts.get("hostaddr") or "the local socket",
        port=parts.get("port") or "5432",
        database=parts.get("dbname") or parts.get("user") or "the default database",
        user=parts.get("user") or "the default user",
        shown_url=shown,
        url=url,
        secrets=tuple(parts[name] for name in ("password", "sslpassword") if parts.get(name)),
    )


def _taken_apart(url: str, name: str) -> tuple[dict[str, str], str]:
    """The parts of a URL, and how it may be shown."""
    if not url.startswith(_SCHEMES):
        scheme = _SCHEME.match(url)
        start = f"it starts with {scheme[1]!r}" if scheme else "it has no scheme"
        message = f"{name} is not a PostgreSQL URL: {start}."
        raise SettingsError(message, do=_EXAMPLE)
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
        shown = redact_url(url)
    except (Error, ValueError) as error:
        # What libpq quotes may be a piece of the password.
        reason = _QUOTED.sub('"…"', " ".join(str(error).split())).rstrip(".")
        message = f"{name} is malformed: {reason}."
        raise SettingsError(message, do=_EXAMPLE) from None
    if not is_unambiguous(url):
        message = f"{name} is malformed: its password holds a character that ends it."
        raise SettingsError(message, do=_EXAMPLE)
    if not all(port.isdigit() for port in parts.get("port", "0").split(",")):
        message = f"{name} is malformed: its port is not a number."
        raise SettingsError(message, do=_EXAMPLE)
    return parts, shown
