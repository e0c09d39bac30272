"""YAML with line numbers: the data of a file, and on which line each part of it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from backup_pipeline.core.errors import CatalogError

Loc = tuple[str, ...]


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
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        message = f"There is no file {path}."
        raise CatalogError(message, do="Give the path of a catalog, a UTF-8 YAML file.") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        message = f"{path} can not be read: {reason}."
        raise CatalogError(message, do="Give the path of a catalog, a UTF-8 YAML file.") from error
    try:
        return _lined(path, text)
    except RecursionError as error:
        message = f"{path}: a part of it contains itself, or it is nested too deep."
        raise CatalogError(message, do="Write the part out instead of the `*alias`.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        message = f"{where}: not YAML: {getattr(error, 'problem', None) or error}"
        raise CatalogError(message, do="Correct the line; text with `: ` or `#` in it wants quotes.") from error


def _lined(path: Path, text: str) -> LinedYaml:
    loader = _Loader(text)
    lines: dict[Loc, int] = {}
    node = loader.get_single_node()
    if node is None:
        return LinedYaml(None, lines)
    _walk(path, node, (), lines)
    return LinedYaml(loader.construct_document(node), lines)


def _walk(path: Path, node: yaml.Node, loc: Loc, lines: dict[Loc, int]) -> None:
    lines.setdefault(loc, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*loc, str(key.value))
            if inner in lines:
                message = (
                    f"{path}:{key.start_mark.line + 1}: {key.value!r} stands twice (first on line {lines[inner]})."
                )
                raise CatalogError(message, do="Keep one of the two.")
            lines[inner] = key.start_mark.line + 1
            _walk(path, value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(path, value, (*loc, str(index)), lines)
