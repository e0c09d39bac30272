"""A cell of hundreds of megabytes through everything: memory in proportion, and the workbook without it."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.ports import Silence
from backup_pipeline.core.restore import Mode
from backup_pipeline.core.verification import Level
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.operations.browse import Ranges, place_of
from backup_pipeline.operations.verify import VerifyRequest, verify_backup
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline_tests.memory import MB, peak
from backup_pipeline_tests.operations.made import Place, verify_ports
from backup_pipeline_tests.restore.bench import Bench, one
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.servers.postgres import temporary_database

CATALOG = Catalog.model_validate({"catalog": "shop", "timezone": "UTC", "tables": {"notes": {}}})
_FIXED = 100 * MB
"""What a backup takes anyway."""


@pytest.mark.parametrize("size", [24 * MB, pytest.param(300 * MB, marks=pytest.mark.slow)])
def test_a_giant_takes_few_copies(
    fresh_database: str, postgres_server: EmbeddedPostgres, tmp_path: Path, size: int
) -> None:
    with psycopg.connect(fresh_database) as session:
        session.execute("CREATE TABLE notes (id int PRIMARY KEY, body text)")
        session.execute("INSERT INTO notes SELECT n, 'small' FROM generate_series(2, 100) n")
        session.execute("INSERT INTO notes VALUES (1, repeat('abcdefgh 12345,x', %s))", [size // 16])
    place = Place(tmp_path / "spool", DirectoryStore(tmp_path / "store"), new_ledger())
    with peak() as taken:
        attempt = place.back_up(fresh_database, CATALOG)
    assert taken.bytes < 7 * size + _FIXED
    with peak() as taken:
        report = verify_backup(place_of(attempt), VerifyRequest(Level.REFERENCES), verify_ports(place.store))
    assert report.findings == ()
    assert taken.bytes < 6 * size + _FIXED
    _renders(place, attempt.backup_id, tmp_path / "notes.xlsx")
    with temporary_database(postgres_server) as empty:
        with peak() as taken:
            Bench(place, attempt, tmp_path / "restore").restore(empty, Mode.NEW)
        assert taken.bytes < 7 * size + _FIXED
        digest = "SELECT count(*) || ' ' || sum(length(body)) || ' ' || max(md5(body)) FROM notes"
        assert one(empty, digest) == one(fresh_database, digest)


def _renders(place: Place, backup_id: str, path: Path) -> None:
    """The workbook, which has the beginning of the giant: in the memory of a small one."""
    attempt = place.ledger.get(backup_id)
    assert attempt is not None
    key = place_of(attempt).bundle(place.manifest.bundle.name)
    ranges = Ranges(place.store, key, place.manifest.bundle.bytes, Silence())
    bundle = place.formats.open_bundle(ranges.read, place.manifest.bundle.bytes)
    with path.open("wb") as out, peak() as taken:
        place.formats.render(Rendering.XLSX, place.manifest, bundle, out)
    assert taken.bytes < 60 * MB
