"""The commands against a server that takes TLS alone and a pooler, with a password that no URL holds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.postgres.reading import run_sql
from backup_pipeline_tests.servers.pooler import pooler
from backup_pipeline_tests.servers.tls import TlsServer

pytestmark = pytest.mark.slow

SHOP = """
CREATE TABLE goods (id int PRIMARY KEY, name text);
INSERT INTO goods SELECT i, 'x' FROM generate_series(1, 50) i;
CREATE TABLE sold (id int PRIMARY KEY, good int REFERENCES goods); INSERT INTO sold VALUES (1, 1);
CREATE ROLE clerk LOGIN PASSWORD 'r e@d'; GRANT pg_read_all_data TO clerk"""


def run(environment: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    program = str(Path(sys.executable).parent / "backup-pipeline")
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("bindir", ["the system's", "the wheel's"])
def test_a_shop_behind_tls_is_backed_up_drilled_and_restored(
    tls_postgres: TlsServer, tmp_path: Path, bindir: str
) -> None:
    run_sql(tls_postgres.url(), "DROP DATABASE IF EXISTS store", "DROP DATABASE IF EXISTS empty")
    run_sql(tls_postgres.url(), "DROP ROLE IF EXISTS clerk", "CREATE DATABASE store", "CREATE DATABASE empty")
    run_sql(tls_postgres.url("store"), SHOP)
    connection = tls_postgres.server.connection
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "BACKUP_HOME": str(tmp_path / "home"),
        "BACKUP_CATALOGS": str(tmp_path),
        "BACKUP_CATALOG": "store",
        "BACKUP_SOURCE_URL": f"postgresql://clerk@localhost:{connection.port}/store",
        "PGPASSWORD": "r e@d",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(tls_postgres.authority.root),
    }
    if bindir == "the wheel's":
        from backup_pipeline.postgres.programs import find_binaries

        environment["BACKUP_PG_BIN"] = str(find_binaries().bindir)
    code, text = run(environment, "catalog", "init", "--name", "store", "--out", str(tmp_path / "store.yaml"))
    assert code == 0, text
    code, text = run(environment, "doctor")
    [line] = [line for line in text.splitlines() if "pg_dump" in line]
    assert ("connects" in line, "libpq" in line) == (True, bindir == "the wheel's"), text
    assert "problem source" not in text
    for command in (["backup"], ["drill"]):
        code, text = run(environment, *command)
        assert code == 0, text
    target = f"postgresql://postgres@localhost:{connection.port}/empty"
    there = {**environment, "PGPASSWORD": connection.password}
    code, text = run(there, "restore", "latest", "--target-url", target, "--confirm", "empty")
    assert code == 0, text
    assert run_sql(tls_postgres.url("empty"), "SELECT count(*) FROM goods") == [(50,)]


def test_a_pooler_is_refused_by_backup_and_doctor(
    system_postgres: EmbeddedPostgres, system_database: str, tmp_path: Path
) -> None:
    run_sql(system_database, "CREATE TABLE goods (id int PRIMARY KEY)")
    connection, database = system_postgres.connection, system_database.rpartition("/")[2]
    (tmp_path / "shop.yaml").write_text("catalog: shop\ntimezone: UTC\ntables:\n  goods: {}\n")
    users = {"postgres": connection.password}
    with pooler(tmp_path / "pooler", (connection.host, connection.port), users, default_pool_size=4) as made:
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "BACKUP_HOME": str(tmp_path / "home"),
            "BACKUP_CATALOGS": str(tmp_path),
            "BACKUP_CATALOG": "shop",
            "BACKUP_SOURCE_URL": made.url(database, "postgres"),
        }
        for command, wanted in (("backup", 1), ("doctor", 1)):
            code, text = run(environment, command)
            assert code == wanted, text
            assert "gives each transaction whichever of its connections is free" in " ".join(text.split())
