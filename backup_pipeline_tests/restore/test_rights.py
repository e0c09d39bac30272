"""Whose rights a restore has: code of a hostile source gets nothing without any, and a superuser is warned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from backup_pipeline.core.restore import Mode, RemarkSeverity, RestorePlan
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.operations.restore.transfer import plan_restore, run_restore
from backup_pipeline.postgres.restore import PostgresTarget, TargetOptions
from backup_pipeline_tests.restore.bench import back_up, rows, run
from backup_pipeline_tests.servers.hostile import PLACES, loot, make_hostile, places

OWNER = "restore_owner"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "server.key"
    path.write_text("of nobody's business")
    path.chmod(0o600)
    return path


@pytest.fixture
def owned_database(postgres_server: EmbeddedPostgres, empty_database: str) -> Iterator[str]:
    """An empty database of a role that owns it and may do nothing else; the role's URL."""
    name = conninfo_to_dict(empty_database)["dbname"]
    run(empty_database, f"CREATE ROLE {OWNER} LOGIN PASSWORD 'only-a-test'; GRANT ALL ON SCHEMA public TO {OWNER}")
    with psycopg.connect(empty_database, autocommit=True) as session:
        session.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(str(name)), sql.Identifier(OWNER))
        )
    try:
        yield postgres_server.url(str(name), OWNER, password="only-a-test")
    finally:
        run(empty_database, f"REASSIGN OWNED BY {OWNER} TO postgres; DROP OWNED BY {OWNER}; DROP ROLE {OWNER}")


def warnings(plan: RestorePlan) -> str:
    return "\n".join(
        f"{remark.message} {remark.do}" for remark in plan.remarks if remark.severity is RemarkSeverity.WARNING
    )


def test_a_hostile_source_gets_nothing_from_a_role_without_rights(
    fresh_database: str, owned_database: str, empty_database: str, tmp_path: Path, secret: Path
) -> None:
    marker = tmp_path / "left"
    make_hostile(fresh_database, secret, marker, for_superusers=False)
    bench = back_up(fresh_database, tmp_path)
    assert "superuser" not in warnings(bench.plan(owned_database, Mode.NEW))
    bench.restore(owned_database, Mode.NEW)
    noted = loot(empty_database)
    assert places(noted) >= PLACES - {"index", "index predicate"}, "that no code ran would prove nothing"
    assert {row["who"] for row in noted} == {OWNER}
    assert not [row for row in noted if row["super"] or row["got"]]
    assert [*tmp_path.glob("left*")] == []


def test_a_superuser_is_warned_and_offered_a_role(fresh_database: str, empty_database: str, tmp_path: Path) -> None:
    run(fresh_database, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    text = warnings(back_up(fresh_database, tmp_path).plan(empty_database, Mode.NEW))
    assert "Role postgres is a superuser: functions of the backup" in text
    assert "BACKUP_RESTORE_ROLE" in text


def test_what_a_restore_makes_belongs_to_the_role_that_it_works_as(
    fresh_database: str, owned_database: str, empty_database: str, tmp_path: Path
) -> None:
    assert OWNER in owned_database
    run(fresh_database, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    bench = back_up(fresh_database, tmp_path)
    target = PostgresTarget(empty_database, options=TargetOptions(role=OWNER))
    plan = plan_restore(bench.request(Mode.NEW), target, bench.ports)
    text = warnings(plan)
    assert f"The restore works as role {OWNER}, but role postgres, which logged in, is a superuser" in text
    report = run_restore(replace(plan), target, bench.ports, safety=None)
    assert report.notes == ()
    assert rows(empty_database, "SELECT tableowner FROM pg_tables WHERE tablename = 't'") == [(OWNER,)]
    assert rows(empty_database, "SELECT current_user") == [("postgres",)]
