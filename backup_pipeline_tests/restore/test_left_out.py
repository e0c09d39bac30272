"""A whole backup into an empty database: what can not be made there is left out and named, and the rest comes back."""

from __future__ import annotations

from pathlib import Path

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.restore import Mode
from backup_pipeline_tests.ledger.logins import as_login, new_login
from backup_pipeline_tests.restore.bench import back_up_catalog, one, run, warnings
from backup_pipeline_tests.restore.by_hand import unpacked

SHOP = """
CREATE TABLE sessions (id int PRIMARY KEY); INSERT INTO sessions VALUES (5);
CREATE TABLE goods (id int PRIMARY KEY); INSERT INTO goods VALUES (1);
CREATE TABLE visits (id int PRIMARY KEY, session int REFERENCES sessions, good int REFERENCES goods);
INSERT INTO visits VALUES (1, 5, 1);
CREATE VIEW seen AS SELECT id FROM sessions; CREATE VIEW seen_again AS SELECT id FROM seen;
"""
CATALOG = Catalog.model_validate(
    {
        "catalog": "shop",
        "timezone": "UTC",
        "tables": {"goods": {}, "visits": {}},
        "excluded": [{"table": name, "reason": "short-lived"} for name in ("sessions", "seen", "seen_again")],
    }
)


def test_a_foreign_key_to_a_table_that_stays_empty(fresh_database: str, empty_database: str, tmp_path: Path) -> None:
    run(fresh_database, SHOP)
    bench = back_up_catalog(fresh_database, tmp_path, CATALOG)
    told = warnings(bench.plan(empty_database, Mode.NEW))
    assert "visits_session_fkey: public.sessions is empty, the backup has no rows of it" in told
    bench.restore(empty_database, Mode.NEW)
    assert one(empty_database, "SELECT session FROM visits") == 5
    assert one(empty_database, "SELECT count(*) FROM pg_constraint WHERE contype = 'f'") == 1
    assert one(empty_database, "SELECT count(*) FROM seen_again") == 0


def test_a_hostile_name_of_a_table_that_could_not_be_read(
    fresh_database: str, empty_database: str, tmp_path: Path
) -> None:
    """It stands in schema.sql as a name, never as lines of its own, and every restore goes on."""
    name = 'open "" quote\n\\! touch owned\nDROP TABLE goods;\n\u202e'
    run(fresh_database, f'{SHOP}; ALTER TABLE visits DROP session; ALTER TABLE sessions RENAME TO "{name}"')
    run(fresh_database, "DROP VIEW seen CASCADE")
    login = new_login(fresh_database)
    run(fresh_database, f"GRANT SELECT ON goods, visits TO {login}")
    bench = back_up_catalog(as_login(fresh_database, login), tmp_path, CATALOG)
    schema = unpacked(bench, tmp_path / "bundle").folder / "schema.sql"
    lines = schema.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.startswith(("\\", "DROP")) or not line.isprintable()]
    bench.restore(empty_database, Mode.NEW)
    assert one(empty_database, "SELECT count(*) FROM visits") == 1


def test_what_needs_a_view_on_a_table_that_could_not_be_read(
    fresh_database: str, empty_database: str, tmp_path: Path
) -> None:
    run(fresh_database, SHOP)
    login = new_login(fresh_database)
    run(fresh_database, f"GRANT SELECT ON goods, visits, seen, seen_again TO {login}")
    bench = back_up_catalog(as_login(fresh_database, login), tmp_path, CATALOG)
    told = warnings(bench.plan(empty_database, Mode.NEW))
    assert "view seen: needs public.sessions, which the backup role could not read" in told
    assert "view seen_again: needs public.seen, which is left out too" in told
    bench.restore(empty_database, Mode.NEW)
    assert one(empty_database, "SELECT count(*) FROM visits") == 1
    assert one(empty_database, "SELECT count(*) FROM pg_class WHERE relkind = 'v' AND relname LIKE 'seen%%'") == 0
