"""A catalog's file that would take all time or memory is refused, with its line and what to do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from backup_pipeline.catalogs import read_lined_yaml
from backup_pipeline.core.errors import CatalogError
from backup_pipeline_tests.memory import MB, peak

LISTS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
MERGES = "m0: &m0 {x: 1, y: 2}\n" + "".join(
    f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}\n" for n in range(1, 12)
)
LONG = f"text: &text {'x ' * 50_000}\nall: [{', '.join(['*text'] * 1000)}]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LISTS, "with its aliases the file has more than"),
        (MERGES, "with its aliases the file has more than"),
        (LONG, "with its aliases the file has more than"),
        ("a: &a [*a]\n", "contains itself"),
        ("a: " + "[" * 2000 + "\n", "nested too deep"),
        ("a: " + "9" * 10_000 + "\n", "not YAML: Exceeds the limit"),
        ("a: x\n" * 2_000_000, "has more than 8,388,608 bytes, too many for a catalog"),
    ],
    ids=["lists", "merges", "a long text", "itself", "deep", "a long number", "a large file"],
)
def test_a_bomb_is_refused_at_once(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "shop.yaml").write_text(text)
    started = time.perf_counter()
    with peak() as taken, pytest.raises(CatalogError, match=message) as caught:
        read_lined_yaml(tmp_path / "shop.yaml")
    assert time.perf_counter() - started < 10
    assert taken.bytes < 200 * MB
    assert str(tmp_path / "shop.yaml") in caught.value.what


def test_an_alias_that_is_used_as_one_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text("a: &a {x: [1, 2]}\nb: *a\nc:\n  <<: *a\n  y: 3\n")
    assert read_lined_yaml(tmp_path / "shop.yaml").data == {
        "a": {"x": [1, 2]},
        "b": {"x": [1, 2]},
        "c": {"x": [1, 2], "y": 3},
    }
