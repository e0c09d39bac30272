"""How a catalog writes the name of a relation: `name`, `schema.name`, or quoted as in `"my schema"."odd.name"`."""

from __future__ import annotations

import re

_PART = r'(?:"(?:[^"]|"")+"|[^."]+)'
_NAMES = re.compile(rf"{_PART}(?:\.{_PART})*")
_RULE = 'Put a name that has a dot or a quote in it in double quotes: "my schema"."odd.name".'


def split_relation(text: str) -> tuple[str | None, str]:
    """The schema (None where it is not given) and the name written as `text`; ValueError when it is neither."""
    parts = _split(text)
    if len(parts) > 2:
        message = f"{text!r} is not a relation: allowed are `name` and `schema.name`. {_RULE}"
        raise ValueError(message)
    *schema, name = (_bare(part) for part in parts)
    return (schema[0] if schema else None), name


def split_reference(text: str) -> tuple[str, str]:
    """The relation, still as it is written, and the column of `relation.column`; ValueError when it is neither."""
    *relation, column = _split(text)
    if not 1 <= len(relation) <= 2:
        message = f"{text!r} is not a reference: allowed are `table.column` and `schema.table.column`. {_RULE}"
        raise ValueError(message)
    return ".".join(relation), _bare(column)


def write_relation(schema: str | None, name: str) -> str:
    """The text that `split_relation` reads as this schema and name."""
    return ".".join(_quoted(part) for part in (schema, name) if part is not None)


def _split(text: str) -> list[str]:
    if not _NAMES.fullmatch(text):
        message = f"{text!r} is not a name. {_RULE}"
        raise ValueError(message)
    return re.findall(_PART, text)


def _bare(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[^\W\d][\w$]*", name) else '"' + name.replace('"', '""') + '"'
