"""A primary with a streaming standby, both on loopback, gone at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.embedded.cluster import Home
from backup_pipeline.postgres.programs import find_binaries
from backup_pipeline_tests.servers.postgres import THROWAWAY, throwaway_server

STREAMING = {"wal_receiver_status_interval": "1", "hot_standby_feedback": "off", "max_standby_streaming_delay": "30s"}
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Streaming:
    """A primary, and the standby that follows it."""

    primary: EmbeddedPostgres
    standby: EmbeddedPostgres

    def primary_url(self, database: str) -> str:
        return self.primary.url(database)

    def standby_url(self, database: str) -> str:
        return self.standby.url(database)

    def wait(self) -> None:
        """Until the standby has replayed everything that the primary wrote so far."""
        with psycopg.connect(self.primary.url("postgres"), autocommit=True) as session:
            [(written,)] = session.execute("SELECT pg_current_wal_insert_lsn()::text").fetchall()
        deadline = time.monotonic() + _PATIENCE_S
        with psycopg.connect(self.standby.url("postgres"), autocommit=True) as session:
            while session.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [written]).fetchone() != (True,):
                assert time.monotonic() < deadline, "the standby does not catch up"
                time.sleep(0.05)

    def configure(self, **settings: str) -> None:
        """Change settings of the standby."""
        with psycopg.connect(self.standby.url("postgres"), autocommit=True) as session:
            for name, value in settings.items():
                session.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
            session.execute("SELECT pg_reload_conf()")


@contextmanager
def streaming(home: Path) -> Iterator[Streaming]:
    """A primary in `home`, and a standby that was made of it by pg_basebackup and streams from it."""
    with throwaway_server(home / "primary") as primary:
        copy = Home((home / "standby").resolve())
        copy.make()
        copy.cluster.mkdir(mode=0o700)
        _base_backup(primary, copy)
        shutil.copy(Home(home / "primary").password, copy.password)
        try:
            with EmbeddedPostgres(copy.path, options=THROWAWAY) as standby:
                yield Streaming(primary, standby)
        finally:
            shutil.rmtree(copy.path, ignore_errors=True)


def _base_backup(primary: EmbeddedPostgres, copy: Home) -> None:
    program = find_binaries(needs=("pg_basebackup",)).tool("pg_basebackup")
    connection = primary.connection
    place = f"host={connection.host} port={connection.port} user=postgres password={connection.password}"
    command = [str(program), "-D", str(copy.data), "-d", place, "-R", "-X", "stream", "--checkpoint=fast", "--no-sync"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
