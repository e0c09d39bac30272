"""The demo's backup role has a password of its own, which opens nothing else."""

from __future__ import annotations

import stat
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from backup_pipeline.core.errors import SettingsError, SourceError
from backup_pipeline.demo import BACKUP_ROLE, CAR_AUDIO
from backup_pipeline.embedded.cluster import Home
from backup_pipeline.settings import Settings, given_settings
from backup_pipeline.wiring.addresses import declared_catalogs, owner_url, postgres_home, source_url
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


def test_a_demo_that_is_made_brings_its_catalog_and_its_source(tmp_path: Path) -> None:
    home = tmp_path / "postgres"
    settings = given_settings(home=tmp_path)
    with throwaway_server(home) as server:
        with pytest.raises(SettingsError, match="source of catalog car_audio is not set"):
            source_url(settings, "car_audio")
        assert create_demo(server, home, lambda _: None, CAR_AUDIO, scale=0.001)
        assert "car_audio" in declared_catalogs(settings)
        assert _role(source_url(settings, "car_audio")) == CAR_AUDIO.role
        assert _role(owner_url(settings, "car_audio")) == "postgres"
        assert source_url(settings, "car_audio").partition("@")[2].endswith("/car_audio")


def test_a_demo_that_could_not_be_made_brings_no_catalog(tmp_path: Path) -> None:
    home = tmp_path / "postgres"
    with throwaway_server(home) as server:
        server.ensure_database(CAR_AUDIO.name)
        with psycopg.connect(server.url(CAR_AUDIO.name), autocommit=True) as session:
            session.execute("CREATE TYPE membership AS ENUM ('mine')")
        with pytest.raises(SourceError):
            create_demo(server, home, lambda _: None, CAR_AUDIO, scale=0.001)
        assert "car_audio" not in declared_catalogs(given_settings(home=tmp_path))
