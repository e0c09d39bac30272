"""A catalog in somebody's own Dagster project: as a component in `defs.yaml`, or as definitions in Python."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import Field

from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.orchestration import definitions
from backup_pipeline.orchestration.assets import placed
from backup_pipeline.orchestration.internals import TranslationFn, TranslationFnResolver
from backup_pipeline.orchestration.keys import Event
from backup_pipeline.orchestration.resources import BackupResource
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import utc_now

Automation = Literal["running", "stopped"]


@dataclass(frozen=True)
class BackupAsset:
    """What an asset is of: a table of the catalog, or its `bundle`."""

    catalog: Catalog
    name: str


_VARIABLE = re.compile(r"""\{\{\s*env(?:\.(\w+)|\(\s*['"](\w+)['"]\s*\))\s*\}\}""")


def _text_or_variable(context: dg.ResolutionContext, value: str | None) -> str | None:
    """`{{ env.NAME }}` as the variable itself: read when a run needs it, and shown in the UI by its name."""
    variable = _VARIABLE.fullmatch(value.strip()) if value else None
    if variable is not None:
        return dg.EnvVar(variable[1] or variable[2])
    resolved: str | None = context.resolve_value(value, as_type=str) if value else None
    return resolved


# Any: pydantic would make plain text of a variable, its name taken for its value.
Text = Annotated[Any, dg.Resolver(_text_or_variable, model_field_type=str | None, inject_before_resolve=False)]
Translation = Annotated[
    TranslationFn[BackupAsset] | None,
    TranslationFnResolver[BackupAsset](lambda asset: {"table": asset.name, "catalog": asset.catalog.catalog}),
]


class BackupScaffolder(dg.Scaffolder[Any]):
    """Writes a `defs.yaml` that reads its two addresses from the environment, and a catalog to fill in."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """A component in YAML, or in Python; and `catalog.yaml` beside it, unless one is there."""
        attributes = {
            "catalog": "catalog.yaml",
            "source_url": "{{ env.BACKUP_SOURCE_URL }}",
            "ledger_url": "{{ env.BACKUP_LEDGER_URL }}",
            "automation": "stopped",
        }
        dg.scaffold_component(request, attributes)
        catalog = (request.target_path.parent if request.append else request.target_path) / "catalog.yaml"
        if not catalog.exists():
            catalog.write_text(f"{_CATALOG}start_date: '{utc_now():%Y-%m-%d}'\n", encoding="utf-8")


_CATALOG = """\
# What is backed up. `backup-pipeline catalog init --source URL` writes this file from a database; every field is
# explained in docs/catalog.md.
catalog: shop
timezone: UTC
tables:
  customers:
"""


@dg.scaffold_with(BackupScaffolder)
class BackupComponent(dg.Component, dg.Resolvable, dg.Model):
    """Backups of a PostgreSQL database: an asset a table, a bundle, jobs, schedules and sensors, all by one catalog.

    What is not given is as the settings of the process have it (the variables BACKUP_…). Override `get_asset_spec` to
    name and describe the assets, and `execute` to do something before and after the rows are read.
    """

    catalog: Annotated[str, Field(description="The catalog's file, from the folder of this component.")]
    source_url: Annotated[Text, Field(description="The database that is backed up, by a role that may only read.")] = (
        None
    )
    ledger_url: Annotated[Text, Field(description="The database that holds backup_logs; made where missing.")] = None
    store: Annotated[Text, Field(description="Where backups go: file:///path or s3://bucket/prefix.")] = None
    s3_endpoint_url: Annotated[Text, Field(description="Of an S3 store other than AWS.")] = None
    s3_region: Annotated[Text, Field(description="The region of the bucket.")] = None
    second_store: Annotated[Text, Field(description="Where each backup is copied to, after the store.")] = None
    workers: Annotated[int | None, Field(ge=1, le=32, description="Tables read side by side.")] = None
    work_dir: Annotated[Text, Field(description="The folder of files in the making.")] = None
    age_recipients: Annotated[Text, Field(description="age recipients that backups are encrypted to, by spaces.")] = (
        None
    )
    alert_urls: Annotated[Text, Field(description="Apprise URLs of who is alerted, by spaces.")] = None
    dagster_url: Annotated[Text, Field(description="Where people find the Dagster UI.")] = None
    automation: Annotated[Automation, Field(description="Whether schedules and sensors run by default.")] = "stopped"
    translation: Annotated[
        Translation, Field(description="Key, group, tags … of each asset; `spec`, `table` and `catalog` are known.")
    ] = None

    def get_asset_spec(self, spec: dg.AssetSpec, asset: BackupAsset) -> dg.AssetSpec:
        """`spec` as it is to stand in this project, its key too; its dependencies follow the new keys by themselves."""
        return self.translation(spec, asset) if self.translation else spec

    def execute(self, context: dg.AssetExecutionContext, events: Iterator[Event]) -> Iterator[Event]:
        """Do the step: the export of tables, or the bundle. It begins when the first of `events` is asked for."""
        yield from events

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions of the catalog."""
        folder = context.path.parent if context.path.is_file() else context.path
        catalog_file = (folder / self.catalog).resolve()
        catalog = load_catalog(catalog_file)
        values = {name: getattr(self, name) for name in _SHARED if getattr(self, name) is not None}
        resource = resource_of(catalog_file, values)
        described = placed(
            catalog,
            lambda spec, name: self.get_asset_spec(spec, BackupAsset(catalog, name)),
            self.execute,
            in_s3=resource.in_s3,
        )
        return definitions.backup_definitions(described, resource, running=self.automation == "running")


_SHARED = frozenset(BackupComponent.model_fields) & frozenset(BackupResource.model_fields)


def backup_definitions(
    catalog: Path | str, *, automation: Automation = "stopped", settings: Settings | None = None, **fields: Any
) -> dg.Definitions:
    """The definitions of the catalog in this file, to be merged with those of a project.

    `fields` are those of `BackupResource`, such as `source_url=dg.EnvVar("SHOP_URL")`; what is not given is as
    `settings`, or else the variables BACKUP_…, have it.
    """
    file = Path(catalog).resolve()
    resource = resource_of(file, fields, settings)
    return definitions.backup_definitions(load_catalog(file), resource, running=automation == "running")


def resource_of(catalog_file: Path, fields: Mapping[str, Any], settings: Settings | None = None) -> BackupResource:
    """The resource of the catalog in this file, whose ledger is made where it is missing."""
    defaults = (settings or Settings()).updated(catalogs=catalog_file)  # other files of its folder are no catalogs
    return BackupResource(**{"create_ledger": True, "defaults": defaults, **fields})
