"""How to reach a running embedded PostgreSQL, and the file in its home that says so."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

import psutil
import psycopg
from psycopg.pq import Conninfo

from backup_pipeline.demo.cluster import SUPERUSER, Home

LOOPBACK = "127.0.0.1"
# Two readings of one process's start may differ when the clock is set between them.
_SAME_START_SECONDS = 5.0


@dataclass(frozen=True)
class Connection:
    """Address, process and superuser of a running server.

    `host` is an address, or the folder of the server's socket. `pid` is the server's and `created` that process's
    start, in epoch seconds; `owner` is the pid of the program that started it and will end it.
    """

    host: str
    port: int
    pid: int
    created: float
    owner: int
    password: str = field(repr=False)
    superuser: str = SUPERUSER

    def url(self, database: str, user: str = SUPERUSER, *, password: str | None = None) -> str:
        """The libpq URL of `database`. Without `password` the superuser's is used, whoever `user` is."""
        secret = self.password if password is None else password
        names = [quote(part, safe="") for part in (user, secret, database)]
        by_socket = self.host.startswith("/")
        place = "" if by_socket else f"{self.host}:{self.port}"
        parameters = {"host": self.host, "port": str(self.port)} if by_socket else {}
        parameters |= _against_environment("" if by_socket else self.host)
        query = f"?{urlencode(parameters, safe='/', quote_via=quote)}" if parameters else ""
        return f"postgresql://{names[0]}:{names[1]}@{place}/{names[2]}{query}"

    def accepts(self) -> bool:
        """Whether the server lets the superuser in. SCRAM proves both sides: a stranger on that port does not pass."""
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5, require_auth="scram-sha-256").close()
        except psycopg.OperationalError:
            return False
        return True


def _against_environment(address: str) -> dict[str, str]:
    """Parameters against PG* variables that are meant for another server: those that would lead elsewhere, or fail.

    `address` is the server's; empty: it is reached by a socket.
    """
    ours = {
        "hostaddr": address,
        "sslmode": "disable",
        "sslnegotiation": "postgres",
        "sslcertmode": "disable",
        "gssencmode": "disable",
        "channel_binding": "disable",
        "require_auth": "scram-sha-256",
        "target_session_attrs": "any",
        "options": "",
    }
    given = {option.keyword.decode(): option for option in Conninfo.get_defaults()}
    foreign = (name for name in ours if name in given and given[name].val not in {None, b"", given[name].compiled})
    return {name: ours[name] for name in foreign}


def running(home: Path) -> Connection | None:
    """The server that runs in `home` now and accepts connections, whoever started it; None when there is none."""
    connection = read_connection(Home(home.resolve()))
    if connection and _alive(connection) and connection.accepts():
        return connection
    return None


def read_connection(home: Home) -> Connection | None:
    """What `connection.json` says, true or stale; None when it is absent or not whole."""
    with suppress(OSError, ValueError, TypeError):
        return Connection(**json.loads(home.connection.read_text()))
    return None


def read_role_password(home: Path, role: str) -> str | None:
    """The password of a role of the demo; None where it has none of its own."""
    with suppress(FileNotFoundError):
        return Home(home.resolve()).role_password(role).read_text()
    return None


def make_role_password(home: Path, role: str) -> str:
    """A new password, made at random, in a file that only its owner may read. FileExistsError where one is there."""
    password = secrets.token_urlsafe(24)
    path = Home(home.resolve()).role_password(role)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password)
    return password


def write_connection(home: Home, connection: Connection) -> None:
    """Write `connection.json`, readable by its owner alone, under its name only when whole."""
    draft = home.connection.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(connection), file)
    draft.replace(home.connection)


def _alive(connection: Connection) -> bool:
    """Whether that very process lives, and its program too: a server whose parent has changed is about to end."""
    with suppress(psutil.Error):
        server = psutil.Process(connection.pid)
        same = abs(server.create_time() - connection.created) < _SAME_START_SECONDS
        return same and server.ppid() == connection.owner
    return False
