"""Reading catalogs: a YAML file becomes a Catalog, or an error with file, line, field and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from backup_pipeline.catalogs.lines import LinedYaml, read_lined_yaml
from backup_pipeline.core.catalog import Catalog, Excluded, Shrinkage, TableSpec
from backup_pipeline.core.errors import CatalogError

BUILT_IN = Path(__file__).parent


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
    """Every catalog in `folder`, by name; CatalogError when there is none, or two share a name."""
    found: dict[str, tuple[Path, Catalog]] = {}
    for path in sorted(folder.glob("*.yaml")):
        catalog = load_catalog(path)
        if catalog.catalog in found:
            message = f"{path} and {found[catalog.catalog][0]} are both named {catalog.catalog!r}."
            raise CatalogError(message, do="Rename one of the two.")
        found[catalog.catalog] = (path, catalog)
    if not found:
        message = f"There is no catalog (*.yaml) in {folder}."
        raise CatalogError(message, do="Write one with `backup-pipeline catalog init`, or correct BACKUP_CATALOGS.")
    return {name: catalog for name, (_, catalog) in found.items()}


def _explain(path: Path, source: LinedYaml, detail: ErrorDetails) -> str:
    loc = [part for part in detail["loc"] if part != "[key]"]
    field = ".".join(str(part) for part in loc) or "the catalog"
    return f"{path}:{source.line(loc)}: {field}: {_reason(detail, loc)}"


def _reason(detail: ErrorDetails, loc: list[str | int]) -> str:
    if detail["type"] == "extra_forbidden":
        allowed = _fields(_model_at(loc[:-1]))
        close = get_close_matches(str(loc[-1]), allowed, n=1)
        hint = f" Did you mean `{close[0]}`?" if close else ""
        return f"no such field.{hint} Allowed: {', '.join(allowed)}."
    reason = detail["msg"].removeprefix("Value error, ").rstrip(".")
    given = detail.get("input")
    if detail["type"] == "string_type" and isinstance(given, int | float):
        return f"{given!r} is read as a number here: put it in quotes."
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{reason}{'' if repr(given) in reason else shown}."


def _model_at(loc: Iterable[str | int]) -> type[BaseModel]:
    parts = list(loc)
    if parts[:1] == ["shrinkage"] or (parts[:1] == ["tables"] and parts[2:3] == ["shrinkage"]):
        return Shrinkage
    if parts[:1] == ["excluded"]:
        return Excluded
    return TableSpec if parts[:1] == ["tables"] and len(parts) > 1 else Catalog


def _fields(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]
