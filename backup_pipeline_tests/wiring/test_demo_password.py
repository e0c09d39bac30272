"""The demo's backup role has a password of its own, which opens nothing else."""

from __future__ import annotations

import stat
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from backup_pipeline.demo import BACKUP_ROLE
from backup_pipeline.embedded.cluster import Home
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import postgres_home, source_url
from backup_pipeline.wiring.embedded import create_demo
from backup_pipeline_tests.servers.postgres import throwaway_server


def test_the_backup_role_has_a_password_of_its_own_also_in_a_demo_that_had_none(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    home = postgres_home(settings)
    file = Home(home).role_password(BACKUP_ROLE)
    with throwaway_server(home) as server:
        assert create_demo(server, home, lambda _: None, scale=0.001)
        own = file.read_text()
        assert own != server.connection.password
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert own in source_url(settings, "isp")
        assert _role(source_url(settings, "isp")) == BACKUP_ROLE
        for user, password in ((BACKUP_ROLE, server.connection.password), ("postgres", own)):
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                _role(server.url("isp", user, password=password))

        # As an earlier version left it.
        file.unlink()
        shared = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(BACKUP_ROLE), server.connection.password)
        with psycopg.connect(server.url("isp"), autocommit=True) as session:
            session.execute(shared)
        assert _role(source_url(settings, "isp")) == BACKUP_ROLE
        assert not create_demo(server, home, lambda _: None, scale=0.001)
        assert file.read_text() not in {own, server.connection.password}
        assert _role(source_url(settings, "isp")) == BACKUP_ROLE


def _role(url: str) -> str:
    with psycopg.connect(url) as session:
        row = session.execute("SELECT current_user").fetchone()
        assert row is not None
        return str(row[0])
