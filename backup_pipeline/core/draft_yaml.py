"""A drafted catalog as YAML that people read and go on editing; the same draft always gives the same text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

import yaml

from backup_pipeline.core.catalog import TableSpec
from backup_pipeline.core.draft import Draft

_WIDTH = 118
_NEVER_FOLD = 1 << 20
_HEAD = (
    "Drafted by `backup-pipeline catalog init`. It works as it is; read it through, then correct it: the timezone (of "
    "the sheets, of the dates, of the schedule), the sheets, and what counts as secret. docs/catalog.md explains every "
    "field."
)
_TOP = ("catalog", "title", "timezone", "schema", "schedule")
_TABLE = ("relation", "sheet", "description", "columns", "exclude", "allow")


def draft_yaml(draft: Draft) -> str:
    """The catalog as a YAML file, fields in the order of docs/catalog.md, with comments on what to look at."""
    return "\n".join(_lines(draft)) + "\n"


def _lines(draft: Draft) -> Iterator[str]:
    catalog = draft.catalog
    yield from _comment(_HEAD)
    declared = catalog.model_dump(by_alias=True)
    yield from _block({name: declared[name] for name in _TOP})
    yield ""
    yield "tables:"
    for name, spec in catalog.tables.items():
        if name in draft.keyless:
            yield "  # no key: give it a `key` (columns that are unique together) if it has one"
        yield from _block({"tables": {name: _fields(spec)}})[1:]
    if catalog.excluded:
        yield ""
        yield from _block({"excluded": [{"table": rule.table, "reason": rule.reason} for rule in catalog.excluded]})
    if draft.beside:
        yield ""
        yield from _comment("Not tables, so not backed up unless listed above: " + ", ".join(draft.beside))


def _fields(spec: TableSpec) -> dict[str, object]:
    declared = spec.model_dump(exclude_defaults=True)
    return {name: declared[name] for name in _TABLE if name in declared}


class _Dumper(yaml.SafeDumper):
    """YAML in which text that is not printable stands in double quotes, escaped: a line break in a name survives."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """A scalar in the plainest style that gives `text` back."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_text)


def _block(value: object) -> Sequence[str]:
    text = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=_NEVER_FOLD
    )
    return text.splitlines()


def _comment(text: str) -> list[str]:
    """A comment; what YAML can not hold in one (line breaks, control characters) is left out."""
    clean = "".join(c for c in " ".join(text.split()) if c.isprintable())
    return [f"# {line}" for line in wrap(clean, _WIDTH, break_long_words=False, break_on_hyphens=False)]
