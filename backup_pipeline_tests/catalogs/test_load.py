"""A catalog's file that would take all time or memory is refused, with its line and what to do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from backup_pipeline import catalogs
from backup_pipeline.catalogs import read_lined_yaml
from backup_pipeline.core.errors import CatalogError
from backup_pipeline.settings import BUILT_IN_CATALOGS
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


SHOP = """\
catalog: shop   # a comment
start_date: 2026-01-31
tables:
  goods: {key: [id], reason: No, weight: 007, share: .5, big: 1_000, on: true, off: yes}
  "sold goods":
  - &first {a: 1}
  - *first
  ? - complex
  : value
  text: |
    two
    lines
"""


@pytest.mark.parametrize("path", sorted(BUILT_IN_CATALOGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_read_in_c_is_what_is_read_in_python(path: Path) -> None:
    for text in (
        path.read_text(),
        SHOP,
        SHOP.replace("\n", "\r\n"),
        SHOP.replace("comment", "\u2028\x85é"),
        "",
        "a: ''",
    ):
        assert outcome(path, text, catalogs._LoaderInC) == outcome(path, text, catalogs._Loader)


def outcome(path: Path, text: str, kind: type[yaml.SafeLoader]) -> object:
    try:
        return catalogs._lined(path, text, kind)
    except yaml.YAMLError:
        return "refused"


def test_a_catalog_is_read_in_c_and_a_deep_file_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(catalogs, "_Loader", None)
    assert read_lined_yaml(BUILT_IN_CATALOGS / "isp.yaml").line(["tables"]) > 1
    (tmp_path / "deep.yaml").write_text("[" * 200_000)  # C's own stack would not hold it
    with pytest.raises(TypeError):
        read_lined_yaml(tmp_path / "deep.yaml")
