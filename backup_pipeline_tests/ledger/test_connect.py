"""The ledger's database, named as libpq can name it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import Status
from backup_pipeline.ledger import ensure_database
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.ledger.migrate import examine_ledger, upgrade
from backup_pipeline_tests.doubles.ports import now
from backup_pipeline_tests.ledger.attempts import attempt, outcome


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


ODD = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Dhaka",
    "bytea_output": "escape",
    "extra_float_digits": "-10",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "exit_on_error": "on",
}


def test_settings_of_the_database_change_nothing_in_the_ledger(fresh_database: str) -> None:
    """What is written under odd settings is read as it was written."""
    name = sql.Identifier(fresh_database.rsplit("/", 1)[1].partition("?")[0])
    with psycopg.connect(fresh_database, autocommit=True) as session:
        for setting, value in ODD.items():
            session.execute(sql.SQL("ALTER DATABASE {} SET {} = {}").format(name, sql.SQL(setting), sql.Literal(value)))
    upgrade(fresh_database)
    made, ended = attempt(), outcome(Status.SUCCESS)
    with closing(SqlLedger(fresh_database)) as ledger:
        ledger.begin(made)
        ledger.end(made.backup_id, ended)
        found = ledger.get(made.backup_id)
    assert found is not None
    assert (found.created_at, found.finished_at) == (made.created_at, ended.finished_at)
    assert found.status == Status.SUCCESS
