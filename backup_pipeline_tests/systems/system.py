"""A demo system backed up once for the tests of a module: its database, its backup, its renderings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.ports import Silence
from backup_pipeline.demo import DemoSystem, create_system
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.files import FileFormats
from backup_pipeline.operations.download import AuditTrail, Destination, render_backup
from backup_pipeline.settings import BUILT_IN_CATALOGS
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.ports import now
from backup_pipeline_tests.drill.rehearsing import Rehearsing, backed_up
from backup_pipeline_tests.servers.postgres import temporary_database


@dataclass
class BackedUp:
    """A demo, and one full backup of it by its owner."""

    url: str
    backup: Rehearsing
    folder: Path

    @property
    def manifest(self) -> Any:
        return self.backup.place.manifest

    def rendered(self, kind: Rendering) -> Path:
        place, attempt = self.backup.place, self.backup.attempt
        return render_backup(
            attempt,
            kind,
            Destination(self.folder, force=True),
            store=place.store,
            formats=FileFormats(),
            audit=AuditTrail(place.ledger, now, RAHIM),
            progress=Silence(),
        )

    def one(self, query: str, *values: object) -> Any:
        with psycopg.connect(self.url) as session:
            row = session.execute(query.encode(), values or None).fetchone()
        assert row is not None
        return row[0]

    def stored_bytes(self) -> bytes:
        """Every byte of the store, members of bundles unpacked or not."""
        return b"".join(self.backup.stored().values())


def catalog_of(name: str) -> Catalog:
    return load_catalog(BUILT_IN_CATALOGS / f"{name}.yaml")


@contextmanager
def backed_up_system(server: EmbeddedPostgres, system: DemoSystem, folder: Path, scale: float) -> Iterator[BackedUp]:
    with temporary_database(server) as url:
        create_system(url, system, scale=scale)
        yield BackedUp(url, backed_up(url, folder, catalog_of(system.catalogs[0])), folder)


def parsed(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
