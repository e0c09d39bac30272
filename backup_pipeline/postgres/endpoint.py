"""Where the source database is: its URL taken apart, and the connection strings made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import Error
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.core.secrets import is_unambiguous, redact, redact_url

_QUOTED = re.compile(r'"[^"]*"|\'[^\']*\'')
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://")
_SCHEMES = ("postgresql://", "postgres://")
# A peer that is gone without a word is noticed within a minute; the system's own patience is two hours.
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
SECRET_PARAMETERS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
"""Those of libpq's parameters that nobody may see."""
# What says how a server is found and chosen: no question any more once one is reached.
_CHOOSING = {"service", "servicefile", "host", "hostaddr", "port", "target_session_attrs", "load_balance_hosts"}
# libpq fills this in while it connects, though a list of its defaults has none.
_IMPLIED = {"sslcertmode": b"allow"}
_SERVICE = "service "
_EXAMPLE = "Write it as postgresql://user:password@host:5432/database; %-encode special characters of the password."


@dataclass(frozen=True)
class Endpoint:
    """A database and the role that reads it. Its text, `isp at db:5432 as app`, is fit for people.

    `address` is the URL that says where and as whom, and nothing else. `parameters` are libpq's, by name: what they
    leave open it takes from a service, the environment and its files, until `at` has fixed everything.
    """

    host: str
    port: str
    database: str
    user: str
    shown_url: str
    address: str
    parameters: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        if self.host.startswith(_SERVICE):
            return f"the database of {self.host}"
        return f"{self.database} at {self.host}:{self.port} as {self.user}"

    def conninfo(self, role: str, connect_timeout_s: int) -> str:
        """The libpq connection string of one connection; `role` says in the server's own views what it is for."""
        return make_conninfo(**{**self.parameters, **self._ours(role, connect_timeout_s)})

    def child_conninfo(self, role: str, connect_timeout_s: int) -> tuple[str, Mapping[str, str]]:
        """The connection string that may stand in a process list, and the secret parameters, which go another way.

        A program's libpq may be older than ours: what stands at its default is left out.
        """
        defaults = {option.keyword.decode(): option.compiled for option in Conninfo.get_defaults()}
        given = {k: v for k, v in self.parameters.items() if v.encode() != _IMPLIED.get(k, defaults.get(k))}
        public = {name: value for name, value in given.items() if name not in SECRET_PARAMETERS}
        hidden = {name: value for name, value in given.items() if name in SECRET_PARAMETERS}
        return make_conninfo(**{**public, **self._ours(role, connect_timeout_s)}), hidden

    def at(self, connection: psycopg.Connection[Any]) -> Endpoint:
        """The endpoint that `connection` reached: its server and nothing left open, wherever it came from.

        Of several hosts, or addresses of one name, it is the one; the name stays, because certificates are for names.
        What a service, the environment and password files said is said here.
        """
        known = {option.keyword.decode(): option.val.decode() for option in connection.pgconn.info if option.val}
        info = connection.info
        parameters = {name: value for name, value in known.items() if name not in _CHOOSING}
        parameters |= {"host": info.host, "port": str(info.port), "target_session_attrs": "any"}
        parameters |= {"hostaddr": info.hostaddr} if info.hostaddr else {}
        parameters |= {"password": info.password} if info.password else {}
        if connection.pgconn.ssl_in_use and known.get("sslmode") in {"allow", "prefer"}:
            parameters["sslmode"] = "require"
        secrets = (*self.secrets, *(parameters[name] for name in SECRET_PARAMETERS if parameters.get(name)))
        return replace(
            self,
            host=info.host,
            port=str(info.port),
            database=info.dbname,
            user=info.user,
            parameters=parameters,
            secrets=tuple(dict.fromkeys(secrets)),
        )

    def _ours(self, role: str, connect_timeout_s: int) -> dict[str, str]:
        """What every connection has, beside what the URL says."""
        # Without client_encoding libpq would hand out the server's encoding, and Arrow would call it UTF-8.
        ours = {
            "application_name": application_of(role),
            "connect_timeout": str(connect_timeout_s),
            "client_encoding": "UTF8",
        }
        return ours | {name: str(value) for name, value in _KEEPALIVES.items() if name not in self.parameters}

    def redact(self, text: str) -> str:
        """`text` without anything secret of this endpoint."""
        return redact(text, *self.secrets)


def application_of(role: str) -> str:
    """What a connection of ours for `role` is called in the server's views."""
    return f"backup_pipeline {role}"


def parse_endpoint(url: str, *, name: str = "The source URL") -> Endpoint:
    """The endpoint of a `postgresql://` URL; SettingsError, without its password, when it is none.

    `name` is what people call the URL: the variable it stands in.
    """
    parts, shown = _taken_apart(url, name)
    known = {**_defaults(parts), **parts}
    service = f"{_SERVICE}{known['service']}" if "service" in known else ""
    return Endpoint(
        host=known.get("host") or known.get("hostaddr") or service or "the local socket",
        port=known.get("port") or "5432",
        database=known.get("dbname") or service or known.get("user") or "the default database",
        user=known.get("user") or service or "the default user",
        shown_url=shown,
        parameters=parts,
        address=_address(parts, known),
        secrets=tuple(parts[name] for name in SECRET_PARAMETERS if parts.get(name)),
    )


def _address(parts: Mapping[str, str], known: Mapping[str, str]) -> str:
    """The URL that says where and as whom, and nothing else; libpq understands it."""
    host, user = known.get("host") or known.get("hostaddr") or "", parts.get("user", "")
    name, place = quote(user, safe=""), f"[{host}]" if ":" in host else quote(host, safe=",")
    port = f":{known['port']}" if "port" in parts or known.get("port", "5432") != "5432" else ""
    database = quote(known.get("dbname") or user, safe="")
    service = f"?service={quote(known['service'], safe='')}" if "service" in known else ""
    return f"postgresql://{name}{'@' if user else ''}{place}{port}/{database}{service}"


def _defaults(parts: Mapping[str, str]) -> dict[str, str]:
    """What libpq would take from its environment for these parameters; a service's may be anything."""
    found = {option.keyword.decode(): option.val.decode() for option in Conninfo.get_defaults() if option.val}
    if "service" in parts or "service" in found:
        return {name: value for name, value in found.items() if name == "service"}
    return {name: value for name, value in found.items() if name in {"host", "hostaddr", "port", "dbname", "user"}}


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
    # Of several hosts some may go without: `db1:5433,db2`.
    if not all(port.isdigit() or not port for port in parts.get("port", "0").split(",")):
        message = f"{name} is malformed: its port is not a number."
        raise SettingsError(message, do=_EXAMPLE)
    return parts, shown
