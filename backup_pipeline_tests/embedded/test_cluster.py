"""The embedded server is reached whatever the environment says of other servers."""

from __future__ import annotations

import psycopg
import psycopg2
import pytest
from psycopg.conninfo import conninfo_to_dict

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.embedded.cluster import LOOPBACK, Connection
from backup_pipeline.ledger.migrate import examine_ledger
from backup_pipeline_tests.doubles.ports import now
from backup_pipeline_tests.postgres.reading import snapshot_of

ELSEWHERE = {
    "PGHOST": "db.example.com",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGUSER": "nobody",
    "PGPASSWORD": "wrong",
    "PGDATABASE": "nothing",
    "PGSSLMODE": "verify-full",
    "PGSSLNEGOTIATION": "direct",
    "PGSSLCERTMODE": "require",
    "PGSSLROOTCERT": "/nonexistent/root.crt",
    "PGCHANNELBINDING": "require",
    "PGREQUIREAUTH": "password",
    "PGTARGETSESSIONATTRS": "standby",
    "PGOPTIONS": "-c default_transaction_read_only=on",
}


def test_without_such_variables_the_url_is_plain(postgres_server: EmbeddedPostgres) -> None:
    assert "?" not in postgres_server.url("postgres")


@pytest.mark.parametrize("name", [*ELSEWHERE, "all"])
def test_what_is_meant_for_another_server_leads_nowhere_else(
    postgres_server: EmbeddedPostgres, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in ELSEWHERE.items() if name == "all" else [(name, ELSEWHERE[name])]:
        monkeypatch.setenv(variable, value)
    url = postgres_server.url("postgres")
    with psycopg.connect(url) as session:
        assert session.execute("SHOW default_transaction_read_only").fetchone() == ("off",)
    psycopg2.connect(url).close()
    assert postgres_server.connection.accepts()
    assert examine_ledger(url, now).revision is None
    if name == "all":
        with snapshot_of(url) as snapshot:
            assert snapshot.try_dump()


def test_a_server_on_a_socket_is_not_looked_for_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    monkeypatch.setenv("PGSSLMODE", "require")
    by_socket = Connection("/run/my folder", 5433, 1, 0.0, 1, "h@sh")
    assert conninfo_to_dict(by_socket.url("drill")) | {"hostaddr": ""} == {
        "host": "/run/my folder",
        "port": "5433",
        "user": "postgres",
        "password": "h@sh",
        "dbname": "drill",
        "sslmode": "disable",
        "hostaddr": "",
    }
    assert Connection(LOOPBACK, 5433, 1, 0.0, 1, "x").url("drill").endswith("?hostaddr=127.0.0.1&sslmode=disable")
