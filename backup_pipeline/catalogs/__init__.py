"""The catalogs: YAML files that declare business systems; read, or an error with file, line, field and cause."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from backup_pipeline.core.catalog.businesses import Businesses, FullRule, Quota
from backup_pipeline.core.catalog.model import (
    Anomalies,
    Catalog,
    ChannelSource,
    Communication,
    DocumentSource,
    Excluded,
    JsonShape,
    MessageSource,
    Shrinkage,
    TableSpec,
    Validation,
)
from backup_pipeline.core.errors import CatalogError, NotFoundError
from backup_pipeline.core.retention import ManualRule, Retention, Rule

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


class _LoaderInC(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # no libyaml: no such class
    """The same, ten times as fast; what it refuses is read by the other, whose words people know."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


_OPENING = "[{-?"
"""What begins a part inside of another one on the same line."""
_DEEPEST = 4_000
"""libyaml goes into parts inside of parts on C's own stack, which has room for many times that."""


@dataclass(frozen=True)
class LinedYaml:
    """The data of a YAML file; `lines` maps the path of each part (numbers as text) to its line, counted from 1."""

    data: object
    lines: Mapping[Loc, int]

    def line(self, loc: Sequence[str | int]) -> int:
        """The line of `loc`, or of the nearest part around it that stands in the file."""
        part_loc = tuple(str(part) for part in loc)
        while part_loc and part_loc not in self.lines:
            part_loc = part_loc[:-1]
        return self.lines.get(part_loc, 1)


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
        return _read(path, text)
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


def _read(path: Path, text: str) -> LinedYaml:
    """In C where that is safe: a line that only indents needs as many letters as it is deep."""
    if len(text) < _MOST_BYTES // 8 and sum(map(text.count, _OPENING)) < _DEEPEST:
        try:
            return _lined(path, text, _LoaderInC)
        except (yaml.YAMLError, ValueError):
            pass
    return _lined(path, text, _Loader)


def _lined(path: Path, text: str, kind: type[yaml.SafeLoader]) -> LinedYaml:
    loader = kind(text)
    lines: dict[Loc, int] = {}
    node = loader.get_single_node()
    if node is None:
        return LinedYaml(None, lines)
    _Walk(path, lines).go(node)
    return LinedYaml(loader.construct_document(node), lines)


Location = Sequence[str | int]

_REASON = "a reason of at least 3 letters"
_SHRINKAGE = "a mapping such as {ratio: 0.5, floor: 100}"
_COUNT = "a whole number, 0 or more"
_ANOMALIES = "a mapping such as {ratio: 0.5, floor_rows: 100}"
_SAMPLE = "a whole number from 0 to 20"
_COLUMN = "the name of a column"
_TABLE = "the name of a table of this catalog"
_TIME = "a time such as 240 s, 5 minutes or 24 hours"
_SIZE = "a size such as 50 MB or 5 GB"
_STATUSES = "a list of statuses, such as [SENT, DELIVERED]"
_HOW_MANY = "a whole number from 0 to 10000"
_RULE = {
    "keep_last": _HOW_MANY,
    "keep_within": "a time such as 30 days, 6 months, 1 year, or forever",
    "keep_hourly": _HOW_MANY,
    "keep_daily": _HOW_MANY,
    "keep_weekly": _HOW_MANY,
    "keep_monthly": _HOW_MANY,
    "keep_yearly": _HOW_MANY,
    "min_keep": _HOW_MANY,
    "grace_minutes": "a whole number of minutes, 0 or more",
}
_WANTS: Mapping[type[BaseModel], Mapping[str, str]] = {
    Catalog: {
        "catalog": "a name such as shop: up to 40 of a-z, 0-9 and _, a letter first",
        "title": "text, such as The shop",
        "timezone": "an IANA name such as Asia/Dhaka",
        "schema": "the name of a schema, such as public",
        "schedule": 'a cron line of five fields such as "0 0 * * *", or null',
        "start_date": "a date such as 2026-01-31",
        "bundle_name": "a file name that ends in .zip, such as full_backup_%Y-%m-%d.zip",
        "csv": "plain or gzip",
        "reason_required": "true or false",
        "grace_minutes": "a whole number from 0 to 1440",
        "runs": "a whole number from 1 to 64",
        "shrinkage": _SHRINKAGE,
        "anomalies": _ANOMALIES,
        "sample_rows": _SAMPLE,
        "retention": "a mapping such as {automatic: {keep_within: 30 days}, manual: {keep_within: forever}}",
        "communication": "a mapping such as {sms: {table: sms_logs, status: status, succeeded: [SENT]}}",
        "validation": "a mapping such as {region: GB, share: 0.05, on_invalid: report}",
        "businesses": "a mapping such as {registry: businesses, key: id, every: 5 minutes}",
        "owners": "a list of e-mail addresses and teams, such as [team:data]",
        "legacy": "a list of folders of the store, such as [backups/comprehensive]",
        "views": "a list of views that look-ups may read, such as [customers_safe]",
        "tables": "a mapping of at least one table, such as {customers: }",
        "excluded": "a list of entries such as {table: tmp_imports, reason: scratch}",
    },
    TableSpec: {
        "relation": "the table or view that is read: `name` or `schema.name`",
        "kind": "`view`, `materialized view` or `foreign table`; nothing for a table",
        "covers": "a list of tables, such as [employees]",
        "business": "a path such as business_id or sale_id.business_id, or `shared`",
        "description": "text, such as Who pays us",
        "key": "a list of columns, such as [id]",
        "references": "a mapping `column: table.column`",
        "sheet": "a name for the sheet, such as Customers",
        "sheet_file": "a file name that ends in .csv, such as customers_%Y-%m-%d.csv",
        "columns": "a mapping `title: source`, such as {Name: name}",
        "validation": "a mapping `column: kind`, such as {email: email}",
        "json": "a mapping such as {name: smsLogs, case: camel}",
        "exclude": "a mapping `column: reason`",
        "mask": "a list of columns, such as [password]",
        "sensitive": "a list of columns, such as [account_number]",
        "allow": "a mapping `column: reason`",
        "shrinkage": _SHRINKAGE,
        "anomalies": _ANOMALIES,
        "sample_rows": _SAMPLE,
    },
    Communication: {
        "sms": "a mapping such as {table: sms_logs, status: status, succeeded: [SENT, DELIVERED]}",
        "email": "a mapping such as {table: email_log, status: status, succeeded: [SENT, OPENED]}",
        "documents": "a mapping such as {table: documents, status: status, generated: [generated]}",
        "channels": "a mapping such as {table: communication_log, channel: channel}",
    },
    MessageSource: {
        "table": _TABLE,
        "status": _COLUMN,
        "succeeded": _STATUSES,
        "opens": _COLUMN,
        "clicks": _COLUMN,
        "bounced": _STATUSES,
    },
    DocumentSource: {
        "table": _TABLE,
        "status": _COLUMN,
        "generated": _STATUSES,
        "downloads": _COLUMN,
        "name": _COLUMN,
        "template": _COLUMN,
    },
    ChannelSource: {"table": _TABLE, "channel": _COLUMN},
    Validation: {
        "region": "a country of two letters, such as GB",
        "share": "a number from 0 to 1",
        "on_invalid": "report or quarantine",
    },
    Businesses: {
        "registry": "the table with a row for each business",
        "key": _COLUMN,
        "name": _COLUMN,
        "active": "a condition such as \"status = 'active'\"",
        "every": _TIME,
        "full": "a mapping such as {every: 24 hours, chain: 24}",
        "deadline": _TIME,
        "quota": "a mapping such as {file: 50 MB, total: 5 GB}",
        "retention": "a mapping such as {keep_within: 48 hours, keep_hourly: 168}",
    },
    FullRule: {"every": _TIME, "chain": "a whole number from 0 to 24"},
    Quota: {"file": _SIZE, "total": _SIZE},
    JsonShape: {"name": "a name for the table, such as smsLogs", "case": "plain or camel"},
    Excluded: {"table": "the name of a table, or a pattern such as tmp_*", "reason": _REASON},
    Shrinkage: {"ratio": "a number from 0 to 1", "floor": _COUNT},
    Anomalies: {
        "ratio": "a number between 0 and 1",
        "floor_rows": _COUNT,
        "floor_bytes": _COUNT,
        "trailing": "a whole number from 0 to 100",
        "allow": "a mapping `kind: reason`",
    },
    Retention: {
        "automatic": "a rule such as {keep_within: 30 days, keep_monthly: 12}",
        "manual": "a rule such as {keep_within: forever}",
        "schedule": 'a cron line of five fields such as "0 3 * * 0", or null',
    },
    Rule: _RULE,
    ManualRule: _RULE,
}
_WANTS_INSIDE: Mapping[str, str] = {
    "owners": "an e-mail address, or `team:` and a name",
    "legacy": "a folder of the store, such as backups/comprehensive",
    "views": "the name of a view: `name` or `schema.name`",
    "tables": "a mapping of the table's fields, or nothing at all",
    "excluded": "an entry such as {table: tmp_imports, reason: scratch}",
    "covers": "the name of a table: `name` or `schema.name`",
    "key": _COLUMN,
    "references": "what the column points to: `table.column`",
    "columns": "where the values come from, such as name or area_id.name",
    "exclude": _REASON,
    "mask": _COLUMN,
    "sensitive": _COLUMN,
    "allow": _REASON,
    "validation": "what the column holds, such as email",
}


def place_of(detail: ErrorDetails) -> list[str | int]:
    """Where the mistake is: keys and indexes from the top; empty for the catalog as a whole."""
    within = detail.get("ctx", {}).get("at", ())
    return [part for part in (*detail["loc"], *within) if part != "[key]"]


def reason_of(detail: ErrorDetails) -> str:
    """One sentence: what is wrong there, and what is allowed. Never in pydantic's own words."""
    match detail["type"]:
        case "extra_forbidden" | "invalid_key":
            return _unknown_field(place_of(detail))
        case "value_error" | "contradiction":  # the rules of the catalog say themselves what is allowed
            reason = detail["msg"].removeprefix("Value error, ").rstrip(".")
            return f"{reason}."
        case "enum":
            return f"wants {detail['ctx']['expected']}{_shown(detail['input'])}."
        case "missing":
            return f"is missing; wants {_wanted(place_of(detail))}."
    return _unfit_value(detail)


def _unfit_value(detail: ErrorDetails) -> str:
    given = detail["input"]
    wanted = "text before the colon" if "[key]" in detail["loc"] else _wanted(place_of(detail))
    if detail["type"] == "string_type" and isinstance(given, int | float):
        kind = "true or false" if isinstance(given, bool) else "a number"
        return f"{given!r} is read as {kind} here: put it in quotes; wants {wanted}."
    if given is None or given in ("", {}, []):
        return f"is empty; wants {wanted}."
    return f"wants {wanted}{_shown(given)}."


def _unknown_field(loc: Location) -> str:
    allowed = list(_WANTS[_model_of(loc[:-1])])
    close = get_close_matches(str(loc[-1]), allowed, n=1)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    return f"no such field.{hint} Allowed: {', '.join(allowed)}."


def _wanted(loc: Location) -> str:
    """What belongs at `loc`: the field of a model, or one entry of such a field."""
    wants = _WANTS[_model_of(loc[:-1])] if loc else {}
    is_entry = len(loc) > 1 and str(loc[-2]) in _WANTS_INSIDE and _model_of(loc[:-1]) is _model_of(loc[:-2])
    return _WANTS_INSIDE[str(loc[-2])] if is_entry else wants.get(str(loc[-1]), "another value")


def _shown(given: object) -> str:
    match given:
        case dict():
            return " (given: a mapping)"
        case list() | tuple():
            return " (given: a list)"
    return f" (given: {given!r})"


_MODELS_OF_FIELDS: Mapping[str | int, type[BaseModel]] = {
    "shrinkage": Shrinkage,
    "anomalies": Anomalies,
    "communication": Communication,
    "validation": Validation,
    "businesses": Businesses,
}
_MODELS_OF_TABLE_FIELDS: Mapping[str | int, type[BaseModel]] = {
    "shrinkage": Shrinkage,
    "anomalies": Anomalies,
    "json": JsonShape,
}
_MODELS_OF_PARTS: Mapping[tuple[str | int, str | int], type[BaseModel]] = {
    ("communication", "sms"): MessageSource,
    ("communication", "email"): MessageSource,
    ("communication", "documents"): DocumentSource,
    ("communication", "channels"): ChannelSource,
    ("businesses", "full"): FullRule,
    ("businesses", "quota"): Quota,
    ("businesses", "retention"): Rule,
}


def _model_of(loc: Location) -> type[BaseModel]:
    """The model whose fields stand at `loc`, or that holds the field at `loc`."""
    match loc:
        case ["communication" | "businesses" as field, kind, *_] if (field, kind) in _MODELS_OF_PARTS:
            return _MODELS_OF_PARTS[field, kind]
        case [field, *_] if field in _MODELS_OF_FIELDS:
            return _MODELS_OF_FIELDS[field]
        case ["tables", _, *inner]:
            return _MODELS_OF_TABLE_FIELDS.get(inner[0], TableSpec) if inner else TableSpec
        case ["excluded", _, *_]:
            return Excluded
        case ["retention", *inner]:
            return Rule if inner[:1] in (["automatic"], ["manual"]) else Retention
    return Catalog


def load_catalog(path: Path) -> Catalog:
    """The catalog in the file `path`; CatalogError naming each mistake by file, line and field."""
    source = read_lined_yaml(path)
    if not isinstance(source.data, dict):
        message = f"{path}:1: a catalog is a mapping that starts with `catalog:`."
        raise CatalogError(message, do="See docs/catalog.md, or write one with `backup-pipeline catalog init`.")
    try:
        return Catalog.model_validate(source.data)
    except ValidationError as error:
        mistakes = [_explain(path, source, detail) for detail in error.errors()]
        message = "\n".join(mistakes)
        raise CatalogError(message, do="Correct these lines; docs/catalog.md explains every field.") from None


def load_catalogs(folder: Path) -> dict[str, Catalog]:
    """Every catalog in `folder`, by name; CatalogError when there is none, or two share a name. A file is one."""
    catalogs: dict[str, tuple[Path, Catalog]] = {}
    for path in [folder] if folder.is_file() else sorted(folder.glob("*.yaml")):
        catalog = load_catalog(path)
        if catalog.catalog in catalogs:
            message = f"{path} and {catalogs[catalog.catalog][0]} are both named {catalog.catalog!r}."
            raise CatalogError(message, do="Rename one of the two.")
        catalogs[catalog.catalog] = (path, catalog)
    if not catalogs:
        message = f"There is no catalog (*.yaml) in {folder}."
        raise CatalogError(message, do="Write one with `backup-pipeline catalog init`, or correct BACKUP_CATALOGS.")
    return {name: catalog for name, (_, catalog) in catalogs.items()}


def named_catalog(name: str, catalogs: Mapping[str, Catalog], folder: Path) -> Catalog:
    """The catalog of that name among those of `folder`; NotFoundError, with those there are, when it is none."""
    if name not in catalogs:
        raise no_catalog(name, catalogs, folder)
    return catalogs[name]


def no_catalog(name: str, known: Iterable[str], folder: Path) -> NotFoundError:
    """The one answer of every command to a catalog that is not there."""
    message = f"There is no catalog {name!r} in {folder}."
    return NotFoundError(message, do=f"Use one of {', '.join(known)}, or set BACKUP_CATALOGS to another folder.")


def _explain(path: Path, source: LinedYaml, detail: ErrorDetails) -> str:
    loc = place_of(detail)
    field = ".".join(str(part) for part in loc) or "the catalog"
    return f"{path}:{source.line(loc)}: {field}: {reason_of(detail)}"
