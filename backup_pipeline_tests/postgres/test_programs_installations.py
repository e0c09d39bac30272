"""The PostgreSQL servers of this machine, with the extensions that each could make."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.postgres.programs import find_binaries, installations
from backup_pipeline_tests.servers.debian import need_extension, system_binaries


def test_the_wheel_s_servers_come_first_with_their_own_extensions() -> None:
    first = installations()[0]
    assert (Path(first.bindir), first.version) == (find_binaries().bindir, 18)
    assert "plpgsql" in first.extensions
    assert "hstore" not in first.extensions


def test_those_of_the_system_have_what_its_packages_brought() -> None:
    need_extension("hstore")
    system = system_binaries()
    by_folder = {server.bindir: server for server in installations()}
    assert by_folder[str(system.bindir)].version == system.version
    assert {"plpgsql", "hstore", "citext"} <= by_folder[str(system.bindir)].extensions


def test_the_folder_that_is_set_is_the_only_one(tmp_path: Path) -> None:
    bindir = find_binaries().bindir
    assert [server.bindir for server in installations(bindir)] == [str(bindir)]
    with pytest.raises(SettingsError, match="there is no postgres and no initdb there that runs"):
        installations(tmp_path)
