"""The statements of docs/deployment.md: with what they grant a backup works, and the doctor finds nothing too much."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.ledger.migrate import examine_ledger
from backup_pipeline.settings import PROJECT
from backup_pipeline.wiring.addresses import utc_now
from backup_pipeline_tests.orchestration.conftest import Install
from backup_pipeline_tests.orchestration.installation import Installation

PASSWORD = "of a test/only"


def _blocks() -> list[str]:
    page = (PROJECT / "docs" / "deployment.md").read_text()
    return re.findall(r"```sql\n(.*?)```", page.split("## Least rights")[1], re.DOTALL)


def _url(of: str, user: str, database: str | None = None) -> str:
    parts = conninfo_to_dict(of)
    where = f"{parts['host']}:{parts['port']}/{database or parts['dbname']}"
    return f"postgresql://{user}:{quote(PASSWORD, safe='')}@{where}"


@pytest.fixture
def granted(install: Install) -> Iterator[tuple[Installation, str, str]]:
    """An installation, and the URLs of the roles that the page makes for its source and for a ledger."""
    with install() as site:
        database = str(conninfo_to_dict(site.source_url)["dbname"])
        owner = str(conninfo_to_dict(site.source_url)["user"])
        reader, writer, dagster, ledger, runs = (f"{name}_{database}" for name in ("r", "w", "d", "ledger", "runs"))
        source, ledgers = _blocks()
        names = {"backup_reader": reader, "shop_owner": f'"{owner}"', "DATABASE shop": f'DATABASE "{database}"'}
        for before, after in names.items():
            source = source.replace(before, after)
        ledgers = re.sub(r"\bbackup_ledger\b", ledger, ledgers)
        ledgers = re.sub(r"\bDATABASE dagster OWNER dagster\b", f"DATABASE {runs} OWNER {dagster}", ledgers)
        ledgers = re.sub(r"ROLE dagster\b", f"ROLE {dagster}", ledgers)
        ledgers = re.sub(r"\b(ROLE|OWNER|TO) backup\b", rf"\1 {writer}", ledgers)
        with psycopg.connect(site.source_url, autocommit=True) as session:
            for block in (source, ledgers):
                for statement in re.sub(r"--.*", "", block).replace("'…'", f"'{PASSWORD}'").split(";"):
                    with suppress(psycopg.errors.DuplicateObject):  # roles that another ledger of this server has
                        session.execute(f"{statement};".encode())
            try:
                yield site, _url(site.source_url, reader), _url(site.source_url, writer, ledger)
            finally:
                for each in (ledger, runs):
                    session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(each)))
                for role in (reader, writer, dagster):
                    session.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(role)))
                    session.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_the_roles_of_the_page_are_enough_for_a_backup_and_for_nothing_else(
    granted: tuple[Installation, str, str],
) -> None:
    site, reader, writer = granted
    site.configure(BACKUP_SOURCE_URL=reader, BACKUP_LEDGER_URL=writer)
    with psycopg.connect(reader, autocommit=True) as session:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            session.execute("DELETE FROM customers")
        session.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("DELETE FROM customers")
    SqlLedger.create(writer).close()  # as `backup` and `rebuild` do
    facts = examine_ledger(writer, utc_now)
    assert (facts.readonly, facts.console) == ((), ())  # people can sign in at the console, too
    result = site.run()
    assert result.success, result
    with psycopg.connect(writer) as session:
        rows = session.execute("SELECT status, record_count FROM backup_logs WHERE status <> 'expected'").fetchall()
    assert [(status.startswith("success"), count > 1000) for status, count in rows] == [(True, True)]
