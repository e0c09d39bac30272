"""Tables for downstream assets: who names a table as an argument gets its rows, in the form of the annotation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, get_args, get_origin

import dagster as dg
import pyarrow as pa

from backup_pipeline.core.errors import NotFoundError, UsageError
from backup_pipeline.core.ports import Ports
from backup_pipeline.formats import tables
from backup_pipeline.operations.read import ReadRequest, dates_of, read_partition
from backup_pipeline.orchestration.resources import WHAT_TO_DO, BackupResource, resource_key, told_as_failure

TABLE = "backup_pipeline/table"
"""In an asset's metadata: the table that it is, `catalog/table`, whatever its key was translated to."""
PARTIAL = "allow_missing_partitions"
"""In the metadata of an `AssetIn`, as Dagster's own IO managers have it: days without a partition are left out."""

_FORMS: Mapping[str, Callable[[pa.Table, str], Any]] = {
    "pandas.DataFrame": lambda rows, _: tables.as_pandas(rows),
    "pyarrow.Table": lambda rows, _: rows,
    "polars.DataFrame": lambda rows, _: tables.as_polars(rows),
    "polars.LazyFrame": lambda rows, _: tables.as_polars(rows).lazy(),
    "duckdb.DuckDBPyRelation": tables.as_relation,
}
_DEFAULT = "pandas.DataFrame"


def reader_key(catalog: str) -> str:
    """The name by which Dagster knows what loads the tables of a catalog."""
    return f"{catalog}_tables"


def of_table(spec: dg.AssetSpec, catalog: str, table: str) -> dg.AssetSpec:
    """`spec` as that of a table which others can name as an argument."""
    return spec.merge_attributes(metadata={TABLE: f"{catalog}/{table}"}).with_io_manager_key(reader_key(catalog))


class TableReader(dg.ConfigurableIOManager):
    """Gives downstream assets the rows of a table's partition, every file compared with its record's SHA-256.

    The annotation says the form: a pyarrow Table, a pandas or polars DataFrame, a polars LazyFrame, a DuckDB relation;
    without one it is pandas. `dict[str, …]` has the rows of several days by their partition keys.
    """

    backups: dg.ResourceDependency[BackupResource]

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Nothing is written by this: a Failure that says so."""
        message = "The tables of a backup are written by their backup alone; this IO manager only reads them."
        raise dg.Failure(message, metadata={WHAT_TO_DO: "Give the asset another io_manager_key."}, allow_retries=False)

    def load_input(self, context: dg.InputContext) -> Any:
        """The rows of the run's partition; of the newest, for an asset that has no partitions.

        A Failure, with what there is, for a partition that is not there, a file that is not the one that was written,
        or one that no key of this process opens.
        """
        with told_as_failure(context.log, retried=True):
            form, several = _form_of(context.dagster_type.typing_type)
            zone = getattr(context.asset_partitions_def, "timezone", "UTC")
            with _asked(context, self.backups) as asked:
                days = asked.days() if several else [asked.day()]
                loaded = {day.isoformat(): _FORMS[form](asked.rows(day), zone) for day in days}
            return loaded if several else next(iter(loaded.values()))


def resources_of(backups: Mapping[str, BackupResource]) -> Mapping[str, BackupResource | TableReader]:
    """The resources of each catalog, by the names that Dagster knows them by."""
    own = {resource_key(catalog): resource for catalog, resource in backups.items()}
    return {**own, **{reader_key(catalog): TableReader(backups=resource) for catalog, resource in backups.items()}}


def _form_of(annotation: Any) -> tuple[str, bool]:
    """The name of the form, and whether it is wanted of each of several days."""
    if get_origin(annotation) in {dict, Mapping}:
        return _form_of(get_args(annotation)[-1])[0], True
    if annotation is Any or annotation is None:
        return _DEFAULT, False
    package = str(getattr(annotation, "__module__", "")).partition(".")[0].lstrip("_")
    name = f"{package}.{getattr(annotation, '__name__', annotation)}"
    if name not in _FORMS:
        message = f"A table can not be given as {name}."
        do = f"Annotate the argument with one of {', '.join(_FORMS)}, or with dict[str, …] of one."
        raise UsageError(message, do=do)
    return name, False


@dataclass(frozen=True)
class _Asked:
    """A table as one input of a step asks for it."""

    context: dg.InputContext
    catalog: str
    table: str
    ports: Ports

    @property
    def mapped(self) -> Sequence[date]:
        """The days that Dagster maps to the run's partition: all of them, where the asset has no partitions."""
        return [date.fromisoformat(key) for key in self.context.asset_partition_keys]

    @property
    def of_partitions(self) -> bool:
        """Whether the asset that asks has partitions itself."""
        step = self.context.step_context
        return any(step.has_asset_partitions_for_output(name) for name in step.op_def.output_dict)

    def day(self) -> date:
        """The day whose rows an argument gets that holds those of one."""
        mapped = self.mapped
        if len(mapped) == 1:
            return mapped[0]
        if self.of_partitions:
            message = (
                f"{len(mapped)} partitions of {self.catalog}/{self.table} belong to this run, and one is asked for."
            )
            raise UsageError(message, do="Annotate the argument with dict[str, …], or choose by a partition_mapping.")
        key = self.context.partition_key if self.context.has_partition_key else None
        return next((day for day in mapped if day.isoformat() == key), None) or self._there(mapped)[-1]

    def days(self) -> Sequence[date]:
        """The days whose rows `dict[str, …]` gets: all of the run's, or those that have a partition."""
        partial = bool((self.context.definition_metadata or {}).get(PARTIAL))
        mapped = self.mapped
        return mapped if self.of_partitions and not partial else self._there(mapped)

    def rows(self, day: date) -> pa.Table:
        """The rows of a day, compared."""
        request, ports = ReadRequest(self.catalog, self.table, day), self.ports
        rows = read_partition(request, store=ports.store, formats=ports.formats, clock=ports.clock)
        about = {name.decode(): value.decode() for name, value in rows.schema.metadata.items()}
        origin = f"{rows.num_rows:,} rows of {day}, snapshot of {about['snapshot_at']}, backup {about['backup_id']}"
        self.context.log.info("Input %s: %s; compared with the SHA-256 of the record.", self.context.name, origin)
        return rows

    def _there(self, days: Sequence[date]) -> Sequence[date]:
        there = sorted({*days} & {*dates_of(self.catalog, self.table, self.ports.store)})
        if there:
            return there
        message = f"Table {self.table} of catalog {self.catalog} has no partition in {self.ports.store.url}."
        raise NotFoundError(message, do="Materialize the table first: a backup makes its partition.")


@contextmanager
def _asked(context: dg.InputContext, backups: BackupResource) -> Iterator[_Asked]:
    upstream = context.upstream_output
    name = (upstream.definition_metadata or {}).get(TABLE) if upstream is not None else None
    if not isinstance(name, str):
        message = f"Asset {context.asset_key.to_user_string()} is not known as a table: its metadata lack {TABLE!r}."
        raise UsageError(message, do="Keep the metadata of the specs that you change, as merge_attributes does.")
    catalog, _, table = name.rpartition("/")
    with backups.open_named(catalog) as ports:
        yield _Asked(context, catalog, table, ports)
