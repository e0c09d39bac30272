"""The ledger's database, named as libpq can name it."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.ledger.connect import ensure_database
from backup_pipeline.ledger.examine import examine_ledger
from backup_pipeline.ledger.migrate import upgrade
from backup_pipeline_tests.operations.made import now


@pytest.fixture
def service(fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service file in which `ledger` is an empty database."""
    with psycopg.connect(fresh_database) as session:
        info = session.info
        lines = {"host": info.host, "port": info.port, "dbname": info.dbname, "user": info.user}
        lines["password"] = info.password
    file = tmp_path / "services"
    file.write_text("[ledger]\n" + "".join(f"{name}={value}\n" for name, value in lines.items()))
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    return file


def test_a_service_is_a_ledger(service: Path) -> None:
    url = "postgresql:///?service=ledger"
    ensure_database(url)
    upgrade(url)
    facts = examine_ledger(url, now)
    assert facts.revision == facts.wanted
    service.write_text(service.read_text().replace("dbname=", "dbname=no_"))
    with pytest.raises(LedgerError):
        ensure_database(url)
