"""The limits of the tree, checked by `make check`: a subject has one place, files and functions stay readable.

    python tools/house.py            # every limit that is broken, and exit code 1; nothing, and 0
    python tools/house.py --numbers  # what was measured too

CONTRIBUTING.md says why each limit is there.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "backup_pipeline"
MOST_FILES = 356  # the tree before the console has 199; a new subject may raise it, a second file of one may not
MOST_IN_A_FOLDER = 25  # files, beside its sub-folders
MOST_WITH_A_PREFIX = 3  # files `restore_*.py` of one folder; more are a folder `restore/`
MOST_LINES = 500  # unless the first lines say why
MOST_LINES_OF_A_FUNCTION = 50
MOST_PLACES_OF_SETTINGS = 6  # entry points that make `Settings`
LAZILY = "lazily"  # the one way to put an import off: `with lazily():` (backup_pipeline/lazy.py)
REASON = "Long because"  # how the first lines of a longer file begin to say why
FIRST_LINES = 12


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: Path
    source: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        """How long it is."""
        return self.source.count("\n")


def modules(root: Path) -> Sequence[Module]:
    """Every Python file under `root`, parsed."""
    paths = sorted(root.glob("**/*.py"))
    return [Module(path, source := path.read_text("utf-8"), ast.parse(source)) for path in paths]


def broken_limits(package: Sequence[Module]) -> Iterator[str]:
    """A sentence for each limit that is broken, with the place and the numbers."""
    if len(package) > MOST_FILES:
        yield f"{len(package)} files; at most {MOST_FILES}. Which subjects stand in more than one place?"
    yield from _crowded_folders(package)
    yield from _long_files(package)
    yield from _long_functions(package)
    yield from _names_of_two_classes(package)
    yield from _places_of_settings(package)
    yield from _imports_in_functions(package)
    yield from _names_imported_lazily(package)


def _crowded_folders(package: Sequence[Module]) -> Iterator[str]:
    folders: dict[Path, list[str]] = defaultdict(list)
    for module in package:
        if module.path.name != "__init__.py":
            folders[module.path.parent].append(module.path.stem)
    for folder, stems in folders.items():
        if len(stems) > MOST_IN_A_FOLDER:
            yield f"{folder}: {len(stems)} files; at most {MOST_IN_A_FOLDER} beside its sub-folders."
        for prefix, count in Counter(stem.split("_")[0] for stem in stems).items():
            if count > MOST_WITH_A_PREFIX:
                yield f"{folder}: {count} files begin with {prefix!r}; more than {MOST_WITH_A_PREFIX} are a folder."


def _long_files(package: Sequence[Module]) -> Iterator[str]:
    for module in package:
        first = "\n".join(module.source.splitlines()[:FIRST_LINES])
        if module.lines > MOST_LINES and REASON not in first:
            yield f"{module.path}: {module.lines} lines; above {MOST_LINES} its first lines say “{REASON} …”."


def _long_functions(package: Sequence[Module]) -> Iterator[str]:
    for module in package:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MOST_LINES_OF_A_FUNCTION:
                    yield f"{module.path}:{node.lineno} {node.name}: {lines} lines; at most {MOST_LINES_OF_A_FUNCTION}."


def _names_of_two_classes(package: Sequence[Module]) -> Iterator[str]:
    places: dict[str, list[str]] = defaultdict(list)
    for module in package:
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(f"{module.path}:{node.lineno}")
    for name, where in places.items():
        if len(where) > 1:
            yield f"Class {name} stands at {', '.join(where)}; a class name is unique in the package."


def _places_of_settings(package: Sequence[Module]) -> Iterator[str]:
    places = [place for module in package for place in _calls_of(module, "Settings")]
    if len(places) > MOST_PLACES_OF_SETTINGS:
        yield f"Settings are made at {len(places)} places; at most {MOST_PLACES_OF_SETTINGS}: {', '.join(places)}."


def _imports_in_functions(package: Sequence[Module]) -> Iterator[str]:
    for module in package:
        lines = {
            node.lineno
            for function in ast.walk(module.tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        for line in sorted(lines):
            yield f"{module.path}:{line}: an import inside a function; put it at the top, or below `with {LAZILY}():`."


def _names_imported_lazily(package: Sequence[Module]) -> Iterator[str]:
    """A name out of a module has that module loaded at once."""
    for module in package:
        for node in _lazy_imports(module):
            folder = Path(*(node.module or "").split("."))
            for name in node.names if str(folder).startswith(PACKAGE) else ():
                if not (folder / name.name).is_dir() and not (folder / f"{name.name}.py").is_file():
                    yield f"{module.path}:{node.lineno}: {name.name} is no module; name its module in `{LAZILY}`."


def _lazy_imports(module: Module) -> Iterator[ast.ImportFrom]:
    for block in module.tree.body:
        if isinstance(block, ast.With) and ast.unparse(block.items[0]) == f"{LAZILY}()":
            yield from (node for node in block.body if isinstance(node, ast.ImportFrom))


def _calls_of(module: Module, name: str) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield f"{module.path}:{node.lineno}"


def numbers(package: Sequence[Module]) -> Mapping[str, int]:
    """What the limits are about, measured."""
    functions = [n for m in package for n in ast.walk(m.tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    protocols = [
        node
        for module in package
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Protocol" for b in node.bases)
    ]
    lines = sorted(module.lines for module in package)
    return {
        "files": len(package),
        "lines": sum(lines),
        "median lines of a file": lines[len(lines) // 2] if lines else 0,
        "functions": len(functions),
        "protocols": len(protocols),
        "places that make Settings": sum(len(list(_calls_of(module, "Settings"))) for module in package),
    }


def main(arguments: Sequence[str]) -> int:
    """Print what is broken; the exit code."""
    parser = argparse.ArgumentParser(description="The limits of the tree.")
    parser.add_argument("--numbers", action="store_true", help="print what was measured, too")
    parser.add_argument("root", nargs="?", type=Path, default=Path(PACKAGE))
    options = parser.parse_args(arguments)
    package = modules(options.root)
    if options.numbers:
        for name, number in numbers(package).items():
            sys.stdout.write(f"{name}: {number:,}\n")
    broken = list(broken_limits(package))
    for sentence in broken:
        sys.stderr.write(f"{sentence}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
