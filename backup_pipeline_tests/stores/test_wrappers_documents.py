"""What a machine remembers of its own documents: theirs alone, for a while, and no backup depends on it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from backup_pipeline.stores.wrappers import WrittenOutlines


def test_a_document_is_known_by_what_lies_in_the_store(tmp_path: Path) -> None:
    written = WrittenOutlines(tmp_path / "written")
    written.remember(b"ciphertext", b"plain")
    assert written.recall(b"ciphertext") == b"plain"
    assert written.recall(b"another") is None
    assert (tmp_path / "written").stat().st_mode & 0o777 == 0o700
    assert [file.stat().st_mode & 0o777 for file in (tmp_path / "written").iterdir()] == [0o600]


def test_what_is_older_than_forty_days_is_forgotten(tmp_path: Path) -> None:
    written = WrittenOutlines(tmp_path)
    for name, days in ((b"old", 41), (b"young", 39)):
        written.remember(name, name)
        at = time.time() - days * 86_400
        os.utime(max(tmp_path.iterdir(), key=lambda file: file.stat().st_mtime), (at, at))
    written.remember(b"new", b"new")
    assert [written.recall(name) for name in (b"old", b"young", b"new")] == [None, b"young", b"new"]


def test_where_it_can_not_be_kept_people_are_told_and_nothing_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").write_text("in the way")
    written = WrittenOutlines(tmp_path / "a file" / "written")
    written.remember(b"ciphertext", b"plain")
    assert written.recall(b"ciphertext") is None
    assert "is not remembered" in caplog.text
    nothing = WrittenOutlines(None)
    nothing.remember(b"ciphertext", b"plain")
    assert nothing.recall(b"ciphertext") is None
