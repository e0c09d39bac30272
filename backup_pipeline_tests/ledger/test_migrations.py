"""The migrations: whole, repeatable, safe to start twice, and silent about logging."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
from alembic import autogenerate, migration
from sqlalchemy import create_engine, make_url

from backup_pipeline.core.errors import LedgerError, UsageError
from backup_pipeline.core.ledger import Hold
from backup_pipeline.core.scope import CATCH_UP
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline.ledger import ensure_database, ledger_url
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.ledger.console_tables import metadata
from backup_pipeline.ledger.migrate import (
    VERSION_TABLE,
    head_revision,
    migrate_back,
    require_roles,
    upgrade,
)
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.ledger.attempts import NOON, attempt
from backup_pipeline_tests.ledger.logins import as_login, new_login
from backup_pipeline_tests.ledger.revisions import alembic_script, current_revision, step


def test_an_empty_database_is_brought_to_the_newest_revision(fresh_database: str) -> None:
    assert current_revision(fresh_database) is None
    upgrade(fresh_database)
    assert current_revision(fresh_database) == head_revision()


def test_the_files_of_the_migrations_are_named_after_their_revisions() -> None:
    script = alembic_script()
    assert script.get_current_head() == head_revision()
    for revision in script.walk_revisions():
        assert Path(revision.path).name.partition("_")[0] == revision.revision


def test_upgrading_again_keeps_every_row(fresh_database: str) -> None:
    upgrade(fresh_database)
    ledger = SqlLedger(fresh_database)
    ledger.begin(attempt())
    upgrade(fresh_database)
    assert ledger.get("b1") == attempt()
    ledger.close()


def test_a_ledger_of_the_first_revision_gets_what_is_missing_and_keeps_its_rows(fresh_database: str) -> None:
    step(fresh_database, up_to="r0007")
    row = attempt()
    told = (row.backup_id, row.scope.catalog, row.kind, row.type, row.status, row.partition_date, row.created_at)
    columns = "backup_id, catalog, kind, type, status, partition_date, created_at, started_at, created_by"
    with psycopg.connect(fresh_database) as connection:
        values = [*told, row.started_at, str(row.actor)]
        connection.execute(f"INSERT INTO backup_logs ({columns}) VALUES ({', '.join(['%s'] * 9)})", values)
    upgrade(fresh_database)
    ledger = SqlLedger(fresh_database)
    assert ledger.get("b1") == row
    assert ledger.restores.list() == []
    assert ledger.threads.list() == []
    ledger.close()


@pytest.mark.parametrize(
    ("before", "at", "after"),
    [
        ("2", NOON, Verification(Level.CONTENTS, NOON)),
        ("1 FAILED", NOON, Verification(Level.BYTES, NOON, passed=False)),
        (None, NOON, Verification(None, NOON, passed=False)),
        (None, None, None),
    ],
)
def test_a_verification_that_was_text_is_read_as_what_it_meant(
    fresh_database: str, before: str | None, at: datetime | None, after: Verification | None
) -> None:
    step(fresh_database, up_to="r0008")
    columns = "backup_id, catalog, kind, type, status, partition_date, created_at, started_at, created_by, held_by"
    values = ("b1", "isp", "full", "manual", "success", NOON.date(), NOON, NOON, "catch-up", "rahim", before, at)
    with psycopg.connect(fresh_database) as connection:
        insert = f"INSERT INTO backup_logs ({columns}, verification_level, verified_at)"
        connection.execute(f"{insert} VALUES ({', '.join(['%s'] * 12)})", values)
    upgrade(fresh_database)
    ledger = SqlLedger(fresh_database)
    row = ledger.get("b1")
    ledger.close()
    assert row is not None
    assert (row.verification, row.actor, row.hold) == (after, CATCH_UP, Hold(RAHIM, ""))


def test_the_migrations_make_exactly_the_tables_the_code_uses(fresh_database: str) -> None:
    upgrade(fresh_database)
    engine = create_engine(ledger_url(fresh_database))
    with engine.connect() as connection:
        options = {
            "version_table": VERSION_TABLE,
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or not name.startswith("api_usage_logs_"),
        }  # the months of the log come and go
        assert (
            autogenerate.compare_metadata(migration.MigrationContext.configure(connection, opts=options), metadata)
            == []
        )
    engine.dispose()


def test_without_being_confirmed_going_back_only_says_what_would_go(fresh_database: str) -> None:
    upgrade(fresh_database)
    with psycopg.connect(fresh_database) as connection:
        connection.execute(
            "INSERT INTO users (name, role, created_at, actor) VALUES ('rahim', 'viewer', now(), 'karim')"
        )
        [count] = connection.execute("SELECT count(*) FROM users").fetchone() or (0,)
    tried = migrate_back(fresh_database, "r0009", confirm=False)
    assert (tried.before, tried.after) == (head_revision(), "r0009")
    assert tried.dropped["users"] == count
    assert "backup_logs" not in tried.dropped
    assert current_revision(fresh_database) == head_revision()
    for revision in ("r9999", head_revision()):
        with pytest.raises(UsageError, match=revision):
            migrate_back(fresh_database, revision, confirm=True)


def test_threads_that_upgrade_at_once_all_succeed(fresh_database: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(upgrade, [fresh_database] * 4))
    assert current_revision(fresh_database) == head_revision()


def test_processes_that_upgrade_at_once_all_succeed(fresh_database: str) -> None:
    program = "import sys; from backup_pipeline.ledger.migrate import upgrade; sys.stdin.read(1); upgrade(sys.argv[1])"
    command = [sys.executable, "-c", program, fresh_database]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    for process in processes:
        process.stdin.write("g")  # all of them wait for this, so that they start together
        process.stdin.flush()
    errors = [process.communicate(timeout=30)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    assert current_revision(fresh_database) == head_revision()


def test_the_root_logger_stays_as_it_was(fresh_database: str) -> None:
    root, ours = logging.getLogger(), logging.getLogger("backup_pipeline")
    before = (root.level, list(root.handlers), ours.disabled)
    upgrade(fresh_database)
    assert (root.level, list(root.handlers), ours.disabled) == before


def test_a_failed_migration_leaves_nothing_behind(fresh_database: str) -> None:
    with psycopg.connect(fresh_database) as connection:
        connection.execute("CREATE TABLE backup_audit (mine int)")
    with pytest.raises(LedgerError, match="backup_audit"):
        upgrade(fresh_database)
    with psycopg.connect(fresh_database) as connection:
        assert connection.execute("SELECT to_regclass('backup_logs')").fetchone() == (None,)


def test_a_ledger_newer_than_the_code_is_left_alone(fresh_database: str) -> None:
    upgrade(fresh_database)
    with psycopg.connect(fresh_database) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = 'r9999'")
    with pytest.raises(LedgerError, match="r9999"):
        upgrade(fresh_database)


def test_a_ledger_older_than_the_first_revision_is_left_alone(fresh_database: str) -> None:
    upgrade(fresh_database)
    with psycopg.connect(fresh_database) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = 'r0006'")
    with pytest.raises(LedgerError, match="r0006") as refused:
        upgrade(fresh_database)
    assert "rebuild" in refused.value.do


@pytest.mark.acceptance("3.28")
def test_a_missing_database_is_created(fresh_database: str) -> None:
    name = f'ledger "{uuid.uuid4().hex}'
    url = make_url(fresh_database).set(database=name).render_as_string(hide_password=False)
    ledger = SqlLedger.create(url)
    ledger.begin(attempt())
    assert ledger.get("b1") == attempt()
    ledger.close()
    ensure_database(url)
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        quoted = psycopg.sql.Identifier(name)
        connection.execute(psycopg.sql.SQL("DROP DATABASE {}").format(quoted))


def test_a_missing_database_is_created_by_whoever_comes_first(fresh_database: str) -> None:
    name = f"ledger_{uuid.uuid4().hex}"
    url = make_url(fresh_database).set(database=name).render_as_string(hide_password=False)
    with ThreadPoolExecutor(4) as threads:
        for ledger in threads.map(SqlLedger.create, [url] * 4):
            ledger.close()
    assert current_revision(url) == head_revision()
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("DROP DATABASE {}").format(psycopg.sql.Identifier(name)))


def test_a_missing_database_that_may_not_be_created_names_the_statement(fresh_database: str) -> None:
    user = new_login(fresh_database)
    url = make_url(as_login(fresh_database, user)).set(database="not_there").render_as_string(hide_password=False)
    with pytest.raises(LedgerError) as refused:
        SqlLedger.create(url)
    assert f'CREATE DATABASE "not_there" OWNER "{user}"' in refused.value.do


def test_missing_roles_are_created_and_joined(fresh_database: str) -> None:
    owner = new_login(fresh_database, "CREATEROLE")
    writer, person = f"writer_{uuid.uuid4().hex}", f"person_{uuid.uuid4().hex}"
    engine = create_engine(ledger_url(as_login(fresh_database, owner)))
    with engine.begin() as connection:
        require_roles(connection, writer=writer, people=(person,))
        require_roles(connection, writer=writer, people=(person,))
    engine.dispose()
    with psycopg.connect(fresh_database) as connection:
        found = connection.execute(
            "SELECT rolname, rolcanlogin, pg_has_role(%s, oid, 'USAGE') FROM pg_roles WHERE rolname = ANY(%s)",
            (owner, [writer, person]),
        ).fetchall()
    assert sorted(found) == sorted([(writer, False, True), (person, False, False)])


def test_ledgers_of_one_cluster_that_need_the_same_roles_at_once_agree(fresh_database: str) -> None:
    owner = new_login(fresh_database, "CREATEROLE")
    writer, person = f"writer_{uuid.uuid4().hex}", f"person_{uuid.uuid4().hex}"
    engine = create_engine(ledger_url(as_login(fresh_database, owner)))
    together = threading.Barrier(4)

    def need(_: int) -> None:
        with engine.begin() as connection:
            together.wait(10)
            require_roles(connection, writer=writer, people=(person,))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(need, range(4)))
    engine.dispose()


def test_a_role_that_may_not_be_created_is_asked_for(fresh_database: str) -> None:
    engine = create_engine(ledger_url(as_login(fresh_database, new_login(fresh_database))))
    with engine.begin() as connection, pytest.raises(LedgerError) as refused:
        require_roles(connection, writer="backup_pipeline_writer", people=("no such role",))
    engine.dispose()
    assert 'CREATE ROLE "no such role" NOLOGIN' in refused.value.do
