"""Folders and files are for their owner alone, also those that were there before."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE

import pytest

from backup_pipeline.cli import main
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.folders import close_dagster, close_folders, folder_mode, make_folder, owner_only
from backup_pipeline_tests.reachable import open_to_others


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """That of most systems, under which others may read."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return S_IMODE(path.stat().st_mode)


def test_folders_that_an_earlier_version_left_open_are_closed_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    for folder in (home / "dagster" / "history", home / "store", work):
        folder.mkdir(parents=True)
    (home / "dagster" / "history" / "runs.db").write_text("customers")
    (work / "rows.csv").write_text("customers")
    work.chmod(0o775)
    settings = Settings(home=home, work_dir=work)
    with caplog.at_level(logging.WARNING):
        close_folders(settings)
    assert not [*open_to_others(home), *open_to_others(home / "dagster"), *open_to_others(home / "store")]
    assert (mode(home), mode(work)) == (folder_mode(), folder_mode())
    assert f"The folder {work} was open to others (mode 775)" in caplog.text
    assert caplog.text.count("was open to others") == 4
    caplog.clear()
    close_folders(settings)
    assert caplog.text == ""


def test_a_folder_of_a_read_only_disk_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)

    def refuse(folder: Path, mode: int, *, follow_symlinks: bool = True) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(folder))

    monkeypatch.setattr(Path, "chmod", refuse)
    close_folders(Settings(home=tmp_path))
    assert mode(tmp_path) == 0o755


def test_a_store_elsewhere_is_its_owners_to_open(tmp_path: Path) -> None:
    store = tmp_path / "home" / "store"
    store.mkdir(parents=True)
    store.chmod(0o2750)
    close_folders(Settings(home=tmp_path / "home", store=store.as_uri()))
    assert mode(store) == 0o2750


def test_new_folders_are_closed_with_their_parents(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    assert {mode(tmp_path / "a"), mode(tmp_path / "a" / "b"), mode(tmp_path / "a" / "b" / "c")} == {folder_mode()}
    assert folder_mode() & 0o066 == 0


def test_dagsters_own_folders_are_closed_in_a_home_that_is_somebody_elses(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "history").mkdir()
    close_dagster(tmp_path)
    assert mode(tmp_path) == 0o755
    assert {mode(tmp_path / name) for name in ("history", "schedules", "compute_logs", "storage")} == {0o700}


def test_what_a_command_writes_is_its_owners_and_the_umask_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with owner_only():
        (tmp_path / "file").touch()
    assert mode(tmp_path / "file") == 0o600
    monkeypatch.chdir(tmp_path)
    assert main(["key", "new", "--to", str(tmp_path / "own.key")]) == 0
    assert mode(tmp_path / "own.key") == 0o600
    assert os.umask(0o022) == 0o022
