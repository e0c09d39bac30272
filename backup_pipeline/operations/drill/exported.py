"""The fourth step: the scratch database exported as its source was, with the catalog that the backup asks for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.drill_catalog import drill_catalog
from backup_pipeline.core.drill_ports import Scratch
from backup_pipeline.core.errors import CatalogError
from backup_pipeline.operations.drill.asked import Subject
from backup_pipeline.operations.export import ExportRequest, export_tables
from backup_pipeline.operations.results import TableResult

EXPORTED = "exported"


def export_again(subject: Subject, scratch: Scratch) -> Mapping[str, TableResult]:
    """Export every table of the backup; the result of each.

    A table whose look-ups the database does not have (the catalog was changed since) is exported without any.
    """
    tables = tuple(entry.name for entry in subject.manifest.tables)
    results = _export(subject, scratch, tables, drill_catalog(subject.manifest, subject.bench.request.catalog))
    unfit = tuple(name for name, result in results.items() if isinstance(result.error, CatalogError))
    if unfit and subject.bench.request.catalog is not None:
        results |= _export(subject, scratch, unfit, drill_catalog(subject.manifest, None))
    return results


def exported_files(subject: Subject, table: str) -> Path:
    """The folder of a table's files."""
    return subject.bench.folder(EXPORTED) / table


def _export(subject: Subject, scratch: Scratch, tables: tuple[str, ...], catalog: Catalog) -> dict[str, TableResult]:
    bench = subject.bench
    request = ExportRequest(
        backup_id=subject.manifest.backup_id,
        catalog=catalog,
        tables=tables,
        day=subject.manifest.partition_date,
        late=True,
        spool=bench.folder(EXPORTED),
        workers=bench.ports.workers,
        before={},
    )
    ports = replace(bench.ports.exporting, source=scratch.source, store=bench.shop.store("again"))
    with closing(export_tables(request, ports)) as results:
        return {result.table: result for result in results}
