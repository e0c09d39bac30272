"""YAML with line numbers: the data of a file, and on which line each part of it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from backup_pipeline.core.errors import CatalogError

Loc = tuple[str, ...]
_MOST_BYTES = 8 << 20
_MOST_PARTS = 200_000
"""With each alias counted as what it stands for: a thousand tables with two hundred lines each."""


class _Loader(yaml.SafeLoader):
    """YAML whose plain words mean themselves: `No` and `2026-01-01` are text, only `true` and `false` are not."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if not tag.endswith((":bool", ":timestamp"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))


@dataclass(frozen=True)
class LinedYaml:
    """The data of a YAML file; `lines` maps the path of each part (numbers as text) to its line, counted from 1."""

    data: object
    lines: Mapping[Loc, int]

    def line(self, loc: Sequence[str | int]) -> int:
        """The line of `loc`, or of the nearest part around it that stands in the file."""
        at = tuple(str(part) for part in loc)
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at, 1)


def read_lined_yaml(path: Path) -> LinedYaml:
    """The YAML file at `path`; CatalogError with file and line when it is unreadable, malformed or repeats a key."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        text = data.decode()
    except FileNotFoundError as error:
        message = f"There is no file {path}."
        raise CatalogError(message, do="Give the path of a catalog, a UTF-8 YAML file.") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        message = f"{path} can not be read: {reason}."
        raise CatalogError(message, do="Give the path of a catalog, a UTF-8 YAML file.") from error
    if len(data) > _MOST_BYTES:
        message = f"{path} has more than {_MOST_BYTES:,} bytes, too many for a catalog."
        raise CatalogError(message, do="Split it into several catalogs, or give the path of a catalog.")
    try:
        return _lined(path, text)
    except RecursionError as error:
        message = f"{path}: a part of it contains itself, or it is nested too deep."
        raise CatalogError(message, do="Write the part out instead of the `*alias`.") from error
    except ValueError as error:  # of a number with thousands of digits
        message = f"{path}: not YAML: {error}"
        raise CatalogError(message, do="Put what is no number into quotes.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        message = f"{where}: not YAML: {getattr(error, 'problem', None) or error}"
        raise CatalogError(message, do="Correct the line; text with `: ` or `#` in it wants quotes.") from error


@dataclass
class _Walk:
    """A walk through a file's nodes, each alias gone into as what it stands for, that notes where each part stands.

    CatalogError when a key stands twice, and when aliases of aliases make more of the file than anybody wrote.
    """

    path: Path
    lines: dict[Loc, int]
    letters: int = 0

    def go(self, node: yaml.Node, loc: Loc = ()) -> None:
        self.lines.setdefault(loc, node.start_mark.line + 1)
        self._count(node)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self._key(key, inner := (*loc, str(key.value)))
                self.go(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self.go(value, (*loc, str(index)))

    def _key(self, key: yaml.Node, loc: Loc) -> None:
        line = key.start_mark.line + 1
        if loc in self.lines:
            message = f"{self.path}:{line}: {key.value!r} stands twice (first on line {self.lines[loc]})."
            raise CatalogError(message, do="Keep one of the two.")
        self.lines[loc] = line

    def _count(self, node: yaml.Node) -> None:
        self.letters += len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        if len(self.lines) > _MOST_PARTS or self.letters > _MOST_BYTES:
            line = node.start_mark.line + 1
            message = f"{self.path}:{line}: with its aliases the file has more than {_MOST_PARTS:,} parts, or 8 MB."
            raise CatalogError(message, do="Write the parts out instead of the `*alias`, or split the catalog.")


def _lined(path: Path, text: str) -> LinedYaml:
    loader = _Loader(text)
    lines: dict[Loc, int] = {}
    node = loader.get_single_node()
    if node is None:
        return LinedYaml(None, lines)
    _Walk(path, lines).go(node)
    return LinedYaml(loader.construct_document(node), lines)
