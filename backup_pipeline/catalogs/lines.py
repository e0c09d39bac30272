"""YAML with line numbers: the data of a file, and on which line each part of it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from backup_pipeline.core.errors import CatalogError

Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class LinedYaml:
    """The data of a YAML file; `lines` maps the path of each part to its line, counted from 1."""

    data: object
    lines: Mapping[Loc, int]

    def line(self, loc: Sequence[str | int]) -> int:
        """The line of `loc`, or of the nearest part around it that stands in the file."""
        at = tuple(loc)
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at, 1)


def read_lined_yaml(path: Path) -> LinedYaml:
    """The YAML file at `path`; CatalogError with file and line when it is unreadable, malformed or repeats a key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} can not be read: {error}"
        raise CatalogError(message, do="Give the path of a catalog, a UTF-8 YAML file.") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        message = f"{where}: not YAML: {getattr(error, 'problem', None) or error}"
        raise CatalogError(message, do="Correct the line; text with `: ` or `#` in it wants quotes.") from error
    lines: dict[Loc, int] = {}
    if node is not None:
        _walk(path, node, (), lines)
    return LinedYaml(data, lines)


def _walk(path: Path, node: yaml.Node, loc: Loc, lines: dict[Loc, int]) -> None:
    lines.setdefault(loc, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*loc, str(key.value))
            if inner in lines:
                message = f"{path}:{key.start_mark.line + 1}: {key.value!r} stands twice (first on line {lines[inner]})."
                raise CatalogError(message, do="Keep one of the two.")
            lines[inner] = key.start_mark.line + 1
            _walk(path, value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(path, value, (*loc, index), lines)
