"""pgbouncer before a server, as the system's packages install it; tests skip by name where it is not."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from backup_pipeline.embedded.cluster import Dependent, choose_identity
from backup_pipeline_tests.alerts.servers import free_port

_PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
_CONFIGURATION = """
[databases]
* = host={host} port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
admin_users = {admin}
pool_mode = {mode}
ignore_startup_parameters = extra_float_digits
{more}
"""
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Pooler:
    """A running pgbouncer. `users` are the roles that it lets in, with their passwords."""

    port: int
    users: dict[str, str]

    def url(self, database: str, user: str) -> str:
        """The URL of a database through the pooler."""
        names = [quote(part, safe="") for part in (user, self.users[user], database)]
        return f"postgresql://{names[0]}:{names[1]}@127.0.0.1:{self.port}/{names[2]}"

    def fill(self, database: str, user: str, connections: int = 4) -> None:
        """Have the pool open so many connections to the server: by as many transactions at once."""
        with ExitStack() as opened:
            for _ in range(connections):
                session = opened.enter_context(psycopg.connect(self.url(database, user), prepare_threshold=None))
                session.execute("SELECT 1")


@contextmanager
def pooler(
    folder: Path, server: tuple[str, int], users: dict[str, str], *, mode: str = "transaction", **more: str | int
) -> Iterator[Pooler]:
    """pgbouncer before the server at host and port; `more` are settings of its own, such as `min_pool_size`."""
    if _PROGRAM is None:
        pytest.skip("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
    folder.mkdir(parents=True, exist_ok=True)
    made = Pooler(free_port(), users)
    file, listed = folder / "pgbouncer.ini", folder / "users.txt"
    listed.write_text("".join(f'"{user}" "{password}"\n' for user, password in users.items()))
    settings = "\n".join(f"{name} = {value}" for name, value in more.items())
    host, server_port = server
    file.write_text(
        _CONFIGURATION.format(
            host=host, server_port=server_port, port=made.port, users=listed, admin=next(iter(users)), mode=mode,
            more=settings,
        )
    )  # fmt: skip
    identity = choose_identity(Path(_PROGRAM))
    if identity.mode == "switched":
        for path in (folder, file, listed):
            os.chown(path, identity.uid, identity.gid)
    with (folder / "pgbouncer.log").open("wb") as log:
        child = Dependent([_PROGRAM, str(file)], identity, log=log.fileno())
        try:
            _wait(made, child, folder)
            yield made
        finally:
            child.stop()


def _wait(made: Pooler, child: Dependent, folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not child.exited.wait(0.02):
        with suppress(OSError), closing(socket.create_connection(("127.0.0.1", made.port), timeout=1)):
            return
        assert time.monotonic() < deadline, "pgbouncer does not listen"
    pytest.fail(f"pgbouncer ended: {(folder / 'pgbouncer.log').read_text()}")


def pooled_settings(made: Pooler, database: str, user: str, names: tuple[str, ...]) -> set[tuple[str, ...]]:
    """What the pool's connections have set, as whoever gets them next sees it; one tuple a connection, each once."""
    shown = ", ".join(f"current_setting('{name}')" for name in names)
    seen = set()
    with psycopg.connect(made.url(database, user), autocommit=True, prepare_threshold=None) as session:
        for _ in range(24):
            row = session.execute(f"SELECT {shown}".encode()).fetchone()
            assert row is not None
            seen.add(tuple(row))
    return seen
