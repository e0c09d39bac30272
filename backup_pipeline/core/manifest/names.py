"""Fields of a document that become paths, or stand in statements: each is held to its grammar as it is read."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from backup_pipeline.core.catalog_rules import timezone_name
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.ids import parse_backup_id
from backup_pipeline.core.names import bundle_path, catalog_folder, file_name, table_folder
from backup_pipeline.core.type_names import type_name


def _backup_id(text: str) -> str:
    try:
        return str(parse_backup_id(text))
    except UsageError as error:
        raise ValueError(error.what) from error


def _type(text: str) -> str:
    type_name(text)
    return text


BackupIdText = Annotated[str, AfterValidator(_backup_id)]
CatalogName = Annotated[str, AfterValidator(catalog_folder)]
TableName = Annotated[str, AfterValidator(table_folder)]
FileName = Annotated[str, AfterValidator(file_name)]
BundlePath = Annotated[str, AfterValidator(bundle_path)]
Timezone = Annotated[str, AfterValidator(timezone_name)]
PgType = Annotated[str, AfterValidator(_type)]
