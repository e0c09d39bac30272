"""Where PostgreSQL's programs are found, and what is said when they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.postgres.programs import find_binaries


@pytest.mark.parametrize("version", [18, 16])
def test_the_wheel_brings_both_versions_with_their_client_tools(version: int) -> None:
    binaries = find_binaries(version=version)
    assert binaries.version == version
    assert binaries.tool("pg_dump").is_file()


def test_an_explicit_folder_is_taken_whatever_its_version_is() -> None:
    folder = find_binaries(version=16).bindir
    assert find_binaries(folder, version=18).version == 16


def test_an_explicit_folder_without_programs_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=str(tmp_path)) as caught:
        find_binaries(tmp_path)
    assert "pip install 'backup-pipeline[embedded]'" in caught.value.do


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match="pg_telepathy"):
        find_binaries().tool("pg_telepathy")


def test_a_program_that_is_not_postgres_is_refused(tmp_path: Path) -> None:
    impostor = tmp_path / "pg_dump"
    impostor.write_text("#!/bin/sh\necho broken >&2\n")
    impostor.chmod(0o700)
    with pytest.raises(SettingsError, match="does not run: broken"):
        find_binaries(tmp_path, needs=("pg_dump",))
