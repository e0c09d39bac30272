"""Modules that are loaded when they are first used."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from backup_pipeline import lazy
from backup_pipeline.lazy import lazily


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `late`, empty but for a list of what ran; its modules are forgotten at the end."""
    folder = tmp_path / "late"
    folder.mkdir()
    (folder / "__init__.py").write_text("RAN = []\nRAN.append(__name__)\n")
    (folder / "leaf.py").write_text("from late import RAN\nRAN.append(__name__)\nVALUE = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "late"]:
        del sys.modules[name]


def lazy_module(name: str) -> ModuleType:
    with lazily():
        return import_module(name)


def is_loaded(name: str) -> bool:
    return type(sys.modules[name]) is ModuleType


def test_nothing_runs_before_a_name_is_wanted_and_then_the_package_runs_first(package: Path) -> None:
    leaf = lazy_module("late.leaf")
    assert (is_loaded("late"), is_loaded("late.leaf")) == (False, False)
    assert leaf.VALUE == 7
    assert sys.modules["late"].RAN == ["late", "late.leaf"]
    assert (is_loaded("late"), is_loaded("late.leaf")) == (True, True)


def test_to_name_a_module_out_of_its_package_runs_neither(package: Path) -> None:
    namespace: dict[str, ModuleType] = {}
    with lazily():
        exec("from late import leaf", namespace)
    assert not is_loaded("late")
    assert namespace["leaf"].VALUE == 7


def test_an_ordinary_import_elsewhere_loads_it(package: Path) -> None:
    lazy_module("late.leaf")
    namespace: dict[str, int] = {}
    exec("from late.leaf import VALUE", namespace)
    assert namespace["VALUE"] == 7


def test_what_is_loaded_already_stays_as_it_is(package: Path) -> None:
    leaf = import_module("late.leaf")
    assert lazy_module("late.leaf") is leaf
    assert leaf.RAN == ["late", "late.leaf"]


def test_where_it_lies_is_known_without_running_it(package: Path) -> None:
    leaf = lazy_module("late.leaf")
    assert leaf.__file__ == str(package / "leaf.py")
    assert not hasattr(leaf, "__path__")
    assert not is_loaded("late.leaf")


def test_an_error_comes_when_it_is_used_and_each_time(package: Path) -> None:
    (package / "broken.py").write_text("BEFORE = 1\nraise ImportError('no client here')\n")
    broken = lazy_module("late.broken")
    for _ in range(2):
        with pytest.raises(ImportError, match="no client here"):
            _ = broken.ANYTHING


def test_a_name_that_is_not_there_is_told_as_of_any_module(package: Path) -> None:
    with pytest.raises(AttributeError, match=r"late.leaf.*NOTHING"):
        _ = lazy_module("late.leaf").NOTHING


def test_a_module_that_is_not_there_is_told_at_once(package: Path) -> None:
    with pytest.raises(ModuleNotFoundError):
        lazy_module("late.nowhere")


def test_threads_that_want_it_at_the_same_time_get_it_whole(package: Path) -> None:
    (package / "slow.py").write_text("from late import RAN\nimport time\ntime.sleep(0.1)\nRAN.append(1)\nVALUE = 7\n")
    slow, values = lazy_module("late.slow"), []
    threads = [threading.Thread(target=lambda: values.append(slow.VALUE)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == [7] * 8
    assert slow.RAN == ["late", 1]


def test_it_can_be_loaded_again(package: Path) -> None:
    leaf = lazy_module("late.leaf")
    assert leaf.VALUE == 7
    (package / "leaf.py").write_text("VALUE = 800\n")
    assert importlib.reload(leaf).VALUE == 800


def test_the_imports_after_the_block_are_ordinary_ones(package: Path) -> None:
    lazy_module("late.leaf")
    assert lazy._FINDER not in sys.meta_path


def test_nobody_looks_for_garbage_while_it_loads(package: Path) -> None:
    (package / "busy.py").write_text("import gc\ncollects = gc.isenabled()\n")
    module = lazy_module(f"{package.name}.busy")
    assert module.collects is False
    assert gc.isenabled()


def test_what_the_program_has_loaded_is_not_looked_through_when_the_loading_ends(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(gc.isenabled()))
    # A test before this one may have been the program, in this process.
    monkeypatch.setattr(lazy, "_processes_of_one_command", set())
    (package / "busy.py").write_text("x = 1\n")
    assert lazy_module(f"{package.name}.busy").x == 1
    assert frozen == []
    monkeypatch.setattr(lazy, "_processes_of_one_command", {os.getpid()})
    assert lazy_module(f"{package.name}.leaf").VALUE == 7
    assert frozen == [False]
