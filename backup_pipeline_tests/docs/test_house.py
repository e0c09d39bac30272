"""The limits of the tree (`tools/house.py`): each that is broken is said with its place, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2] / "tools" / "house.py"


def limits(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HOUSE), *options, str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_tree_within_all_limits_passes_in_silence(tmp_path: Path) -> None:
    (tmp_path / "prune.py").write_text("class Plan:\n    pass\n", "utf-8")
    result = limits(tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_numbers_are_printed_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "prune.py").write_text("def prune() -> None:\n    Settings()\n", "utf-8")
    lines = limits(tmp_path, "--numbers").stdout.splitlines()
    assert "files: 1" in lines
    assert "functions: 1" in lines
    assert "places that make Settings: 1" in lines


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("\n" * 501, "prune.py: 501 lines; above 500 its first lines say"),
        ("def prune():\n" + "    x = 1\n" * 50, "prune.py:1 prune: 51 lines; at most 50."),
        ("def prune():\n    import json\n", "prune.py:2: an import inside a function"),
        ("Settings()\n" * 7, "Settings are made at 7 places; at most 6"),
        ("with lazily():\n    from backup_pipeline.lazy import lazily\n", "prune.py:2: lazily is no module"),
        ("class Plan:\n    pass\n\n\nclass Plan:\n    pass\n", "Class Plan stands at "),
    ],
    ids=["long file", "long function", "import in a function", "settings", "name imported lazily", "two classes"],
)
def test_what_is_broken_is_said_with_its_place(tmp_path: Path, source: str, sentence: str) -> None:
    (tmp_path / "prune.py").write_text(source, "utf-8")
    result = limits(tmp_path)
    assert result.returncode == 1
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_long_file_may_say_why(tmp_path: Path) -> None:
    (tmp_path / "prune.py").write_text('"""Prune.\n\nLong because it is one table.\n"""\n' + "\n" * 600, "utf-8")
    assert limits(tmp_path).returncode == 0


def test_files_of_one_prefix_are_a_folder_and_a_folder_has_25_at_most(tmp_path: Path) -> None:
    for name in (*(f"restore_{number}" for number in range(4)), *(f"verb{number}" for number in range(22))):
        (tmp_path / f"{name}.py").write_text("", "utf-8")
    result = limits(tmp_path)
    assert f"{tmp_path}: 26 files; at most 25 beside its sub-folders." in result.stderr
    assert f"{tmp_path}: 4 files begin with 'restore'; more than 3 are a folder." in result.stderr


def test_a_tree_has_356_files_at_most(tmp_path: Path) -> None:
    for number in range(17):
        (tmp_path / f"floor{number}").mkdir()
        for verb in range(21):
            (tmp_path / f"floor{number}" / f"verb{verb}.py").write_text("", "utf-8")
    assert "357 files; at most 356." in limits(tmp_path).stderr
