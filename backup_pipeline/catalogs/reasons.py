"""What is wrong with a part of a catalog, in words of the catalog: what was found there, and what it wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from backup_pipeline.core.catalog import Anomalies, Catalog, Excluded, Shrinkage, TableSpec
from backup_pipeline.core.retention import ManualRule, Retention, Rule

Loc = Sequence[str | int]

_REASON = "a reason of at least 3 letters"
_SHRINKAGE = "a mapping such as {ratio: 0.5, floor: 100}"
_COUNT = "a whole number, 0 or more"
_ANOMALIES = "a mapping such as {ratio: 0.5, floor_rows: 100}"
_COLUMN = "the name of a column"
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
        "grace_minutes": "a whole number from 0 to 1440",
        "shrinkage": _SHRINKAGE,
        "anomalies": _ANOMALIES,
        "retention": "a mapping such as {automatic: {keep_within: 30 days}, manual: {keep_within: forever}}",
        "owners": "a list of e-mail addresses and teams, such as [team:data]",
        "views": "a list of views that look-ups may read, such as [customers_safe]",
        "tables": "a mapping of at least one table, such as {customers: }",
        "excluded": "a list of entries such as {table: tmp_imports, reason: scratch}",
    },
    TableSpec: {
        "relation": "the table or view that is read: `name` or `schema.name`",
        "kind": "`view`, `materialized view` or `foreign table`; nothing for a table",
        "covers": "a list of tables, such as [employees]",
        "description": "text, such as Who pays us",
        "key": "a list of columns, such as [id]",
        "references": "a mapping `column: table.column`",
        "sheet": "a name for the sheet, such as Customers",
        "sheet_file": "a file name that ends in .csv, such as customers_%Y-%m-%d.csv",
        "columns": "a mapping `title: source`, such as {Name: name}",
        "exclude": "a mapping `column: reason`",
        "mask": "a list of columns, such as [password]",
        "allow": "a mapping `column: reason`",
        "shrinkage": _SHRINKAGE,
        "anomalies": _ANOMALIES,
    },
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
    "views": "the name of a view: `name` or `schema.name`",
    "tables": "a mapping of the table's fields, or nothing at all",
    "excluded": "an entry such as {table: tmp_imports, reason: scratch}",
    "covers": "the name of a table: `name` or `schema.name`",
    "key": _COLUMN,
    "references": "what the column points to: `table.column`",
    "columns": "where the values come from, such as name or area_id.name",
    "exclude": _REASON,
    "mask": _COLUMN,
    "allow": _REASON,
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


def _unknown_field(loc: Loc) -> str:
    allowed = list(_WANTS[_model_at(loc[:-1])])
    close = get_close_matches(str(loc[-1]), allowed, n=1)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    return f"no such field.{hint} Allowed: {', '.join(allowed)}."


def _wanted(loc: Loc) -> str:
    """What belongs at `loc`: the field of a model, or one entry of such a field."""
    wants = _WANTS[_model_at(loc[:-1])] if loc else {}
    is_entry = len(loc) > 1 and str(loc[-2]) in _WANTS_INSIDE and _model_at(loc[:-1]) is _model_at(loc[:-2])
    return _WANTS_INSIDE[str(loc[-2])] if is_entry else wants.get(str(loc[-1]), "another value")


def _shown(given: object) -> str:
    match given:
        case dict():
            return " (given: a mapping)"
        case list() | tuple():
            return " (given: a list)"
    return f" (given: {given!r})"


def _model_at(loc: Loc) -> type[BaseModel]:
    """The model whose fields stand at `loc`, or that holds the field at `loc`."""
    match loc:
        case ["shrinkage", *_] | ["tables", _, "shrinkage", *_]:
            return Shrinkage
        case ["anomalies", *_] | ["tables", _, "anomalies", *_]:
            return Anomalies
        case ["excluded", _, *_]:
            return Excluded
        case ["retention", *inner]:
            return Rule if inner[:1] in (["automatic"], ["manual"]) else Retention
        case ["tables", _, *_]:
            return TableSpec
    return Catalog
