"""Reading catalogs: a YAML file becomes a Catalog, or an error with file, line, field and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from backup_pipeline.catalogs.lines import LinedYaml, read_lined_yaml
from backup_pipeline.catalogs.reasons import place_of, reason_of
from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.errors import CatalogError, NotFoundError


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
