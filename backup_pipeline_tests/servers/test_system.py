"""The system's servers, as the tests of connections find them."""

from __future__ import annotations

import psycopg
import pytest

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.servers.pooler import pooler
from backup_pipeline_tests.servers.tls import CERTIFIED, TlsServer


def test_the_tls_server_takes_nothing_else_and_knows_clients_by_certificate(tls_postgres: TlsServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(tls_postgres.url(sslmode="disable"))
    for locked in (False, True):
        with psycopg.connect(tls_postgres.certified_url("postgres", locked=locked)) as session:
            assert session.execute("SELECT current_user").fetchone() == (CERTIFIED,)


def test_the_pooler_gives_another_connection_to_each_transaction(
    system_postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> None:
    connection = system_postgres.connection
    place = (connection.host, connection.port)
    folder = tmp_path_factory.mktemp("pooler")
    with pooler(folder, place, {"postgres": connection.password}, server_round_robin=1, min_pool_size=4) as pooled:
        pooled.fill("postgres", "postgres")
        url = pooled.url("postgres", "postgres")
        with psycopg.connect(url, autocommit=True, prepare_threshold=None) as session:
            pids = {session.execute("SELECT pg_backend_pid()").fetchone() for _ in range(8)}
    assert len(pids) == 4
