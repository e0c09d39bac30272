"""Modules that are loaded when something of them is first used: the one way to put an import off.

    with lazily():
        from backup_pipeline.wiring import ports   # nothing of it runs before `ports.open_ledger`

A command's `--help`, and a backup of little data, take about as long as the loading of what they import. The block
stands below a file's other imports and names modules, never names out of them: to have a name, its module is loaded.
Python 3.15 has this in the language (PEP 810).
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from threading import RLock
from types import ModuleType
from typing import Any

_PLACE = {"__path__", "__file__", "__cached__"}
"""What the import system looks for, and a module may lack, before its file runs."""


@contextmanager
def lazily() -> Iterator[None]:
    """What is imported while the context lasts, and not loaded yet, is loaded when it is first used, in any thread.

    Errors of loading come then, too.
    """
    sys.meta_path.insert(0, _FINDER)
    try:
        yield
    finally:
        sys.meta_path.remove(_FINDER)


_processes_of_one_command: set[int] = set()
"""This process, when it is the program: it does one command and ends."""


@contextmanager
def uncollected() -> Iterator[None]:
    """No look for garbage while the context lasts: loading modules makes none, and millions of objects to look at."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            if os.getpid() in _processes_of_one_command:
                gc.freeze()  # else the next object that is made has all of this looked through, which stays anyway
            gc.enable()


_COLLECT_AFTER = 200_000
"""Objects, once the work has begun: of what Dagster makes nearly all lives on, or is gone without a look."""


def begin_program() -> None:
    """This process does one command and ends: `settle` may take what there is for good."""
    _processes_of_one_command.add(os.getpid())


def settle() -> None:
    """What there is now stays to the program's end, and nobody looks through it for garbage any more.

    For where the loading is done and the work begins. Nothing in a process that goes on with other things.
    """
    if os.getpid() in _processes_of_one_command:
        gc.collect(0)
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER)


class _Unloaded(ModuleType):
    """A module whose file has not run: it has its name, its place and its sub-modules, and nothing else."""

    def __getattr__(self, name: str) -> Any:
        if name in _PLACE or (_FINDER in sys.meta_path and _is_module(self, name)):
            raise AttributeError(name)  # an import of a sub-module asks, and then looks for it itself
        _load(self)
        return ModuleType.__getattribute__(self, name)


class _LazyFileLoader(SourceFileLoader):
    """Makes an `_Unloaded`; `_load` runs its file."""

    def __init__(self, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self.lock = RLock()
        self.started = False

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Unloaded(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing yet."""


class _LazyFinder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _LazyFileLoader(fullname, spec.loader.path)
        return spec


_FINDER = _LazyFinder()


def _is_module(package: ModuleType, name: str) -> bool:
    path = package.__dict__.get("__path__")
    return path is not None and PathFinder.find_spec(f"{package.__name__}.{name}", path) is not None


def _load(module: ModuleType) -> None:
    """Run the file of `module` in it, and before that those of the packages it is in, as an import does."""
    parent = sys.modules.get(module.__name__.rpartition(".")[0])
    if isinstance(parent, _Unloaded):
        _load(parent)
    spec = module.__spec__
    loader = spec.loader if spec is not None else None
    if spec is None or not isinstance(loader, _LazyFileLoader):
        return  # another thread has done it
    with loader.lock:
        if loader.started:  # the file imports itself on a detour
            return
        loader.started = True
        file = SourceFileLoader(loader.name, loader.path)
        try:
            with uncollected():
                file.exec_module(module)
        except BaseException:
            loader.started = False
            raise
        module.__loader__ = spec.loader = file
        module.__class__ = ModuleType
