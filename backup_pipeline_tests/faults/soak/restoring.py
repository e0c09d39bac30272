"""Steps that restore backups, in every mode and into whatever place, and kill restores."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from psycopg import sql

from backup_pipeline_tests.faults.soak.commands import Ended
from backup_pipeline_tests.faults.soak.model import Kept
from backup_pipeline_tests.faults.soak.shop import KEYED, TABLES, connect, prints_of
from backup_pipeline_tests.faults.soak.turn import Turn, need
from backup_pipeline_tests.faults.soak.verifying import picked, verify_fully
from backup_pipeline_tests.servers.postgres import temporary_database

_SPOIL = {
    "insert-missing": ("DELETE FROM documents WHERE id::text < '8'", "DELETE FROM state"),
    "upsert": (
        "UPDATE customers SET balance = -1, best_order = NULL",
        "DELETE FROM documents WHERE id::text < '8'",
        "DELETE FROM orders WHERE id % 3 = 0 AND id NOT IN (SELECT order_id FROM documents WHERE order_id IS NOT NULL)",
        "UPDATE orders SET amount = NULL",
    ),
    "replace": (
        "UPDATE customers SET name = 'oops'",
        "DELETE FROM documents WHERE id::text < '8'",
        "INSERT INTO notes SELECT n, 'more', now() FROM generate_series(1, 20) AS n",
        "DELETE FROM notes WHERE about = 3",
        "UPDATE state SET n = -1",
    ),
}
"""What happens to the restored tables before a restore in each mode must make them as the backup has them."""


def restore(turn: Turn) -> str:
    """A restore, and sometimes a second one over it: the very rows of the snapshot, or nothing and a clear word."""
    kept = picked(turn)
    if kept is None:
        return "there is none"
    chance = turn.chance
    tables = kept.tables if chance.random() < 0.5 else _some(turn, kept)
    with _target(turn) as (url, database, schema):
        words = ["restore", kept.backup_id, "--target-url", url, "--json", *_chosen(kept, tables)]
        words += ["--into-schema", schema] if schema != "public" else []
        ended = turn.run(*words)
        if not _came_back(turn, kept, tables, ended, (url, schema)):
            return f"{kept.backup_id}: refused, {kept.damage.harm if kept.damage else ''}"
        mode = chance.choice(["", *_SPOIL])
        if not mode or kept.damage:
            return f"{kept.backup_id}: {', '.join(tables)}"
        again = tables if mode == "replace" else tuple(table for table in tables if table in KEYED)
        if not again:
            return f"{kept.backup_id}: {', '.join(tables)}"
        _spoil(url, schema, mode, again)
        words = ["restore", kept.backup_id, "--target-url", url, "--json", "--mode", mode, *_chosen(kept, again)]
        words += ["--into-schema", schema] if schema != "public" else []
        ended = turn.run(*words, "--confirm", database, "--no-safety-backup")
        _came_back(turn, kept, again, ended, (url, schema), mode)
        return f"{kept.backup_id}: {', '.join(tables)}, then {mode} of {', '.join(again)}"


def _some(turn: Turn, kept: Kept) -> tuple[str, ...]:
    return tuple(turn.chance.sample(kept.tables, min(len(kept.tables), turn.chance.randint(1, 3))))


def _chosen(kept: Kept, tables: Collection[str]) -> list[str]:
    return [] if set(tables) == set(kept.tables) else [word for table in tables for word in ("--table", table)]


def _came_back(
    turn: Turn, kept: Kept, tables: Collection[str], ended: Ended, to: tuple[str, str], mode: str = "new"
) -> bool:
    """Whether it was restored, exactly; False when damage was told, and the target left alone."""
    if ended.code and kept.damage:
        need(ended.code in (10, 20), f"a damaged backup could not be restored, and that was told as {ended}")
        need(not _there(to[0], to[1]), f"a restore was refused, and left something: {ended}")
        turn.count("damages found", f"restore: {kept.damage.harm}")
        return False
    need(ended.code == 0, f"a restore of a whole backup failed: {ended}")
    with connect(to[0]) as session:
        found = prints_of(session, tables, to[1])
    n = turn.shop.at(found, kept.first, kept.last)
    need(n is not None, f"RESTORED WRONG: {kept.backup_id}, {mode} of {tables}: {found} never was: {ended}")
    turn.count("restores compared", mode)
    turn.count("tables compared", turn.site.name, len(tables))
    return True


@contextmanager
def _target(turn: Turn) -> Iterator[tuple[str, str, str]]:
    """An empty database, or an empty schema of one: URL, database, schema."""
    if turn.chance.random() < 0.4:
        with temporary_database(turn.world.server) as url:
            yield url, url.rpartition("/")[2], "public"
        return
    url, schema = turn.world.targets, f"step_{turn.number}"
    try:
        yield url, url.rpartition("/")[2], schema
    finally:
        with connect(url) as session:
            session.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def _there(url: str, schema: str) -> list[str]:
    """The tables that are there."""
    with connect(url) as session:
        found = session.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
        return [str(row[0]) for row in found]


def _spoil(url: str, schema: str, mode: str, tables: Collection[str]) -> None:
    """Change what was restored, as far as it is there."""
    there = _there(url, schema)
    with connect(url) as session:
        session.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
        for statement in _SPOIL[mode]:
            named = {table for table in TABLES if table in statement.replace("best_order", "")}
            if named <= set(tables) & set(there):
                session.execute(statement.encode())


def read_all(turn: Turn) -> int:
    """Every backup that is there: verified at the deepest level, and restored where it is whole."""
    for kept in turn.site.good.values():
        verify_fully(turn, kept, 3)
        if kept.damage is None:
            with _target(turn) as (url, _, schema):
                into = ["--into-schema", schema] if schema != "public" else []
                ended = turn.run("restore", kept.backup_id, "--target-url", url, "--json", *into)
                _came_back(turn, kept, kept.tables, ended, (url, schema))
    return len(turn.site.good)


def killed_restore(turn: Turn) -> str:
    """A restore that gets SIGKILL: the target is as it was, or has all of it."""
    kept = next(iter(turn.chance.sample(turn.whole(), 1)), None) if turn.whole() else None
    if kept is None:
        return "there is none"
    with _target(turn) as (url, _, schema):
        words = ["restore", kept.backup_id, "--target-url", url, "--json"]
        running = turn.start(*words, *(["--into-schema", schema] if schema != "public" else []))
        time.sleep(turn.chance.uniform(0.2, 2.5))
        running.kill()
        ended = turn.end(running)
        need(ended.code in (0, -9), f"a restore was to be killed, and failed otherwise: {ended}")
        _wait_for_the_server(url)
        there = _there(url, schema)
        turn.count("kills of restores", "done before" if there else "nothing is left")
        if there or not ended.code:
            done = Ended(ended.words, 0, ended.out, ended.err, ended.seconds)
            _came_back(turn, kept, kept.tables, done, (url, schema))
    return f"{kept.backup_id}: {'it is there' if there else 'nothing is there'}"


def _wait_for_the_server(url: str) -> None:
    """Until the server has noticed that its client is gone."""
    with connect(url) as session:
        for _ in range(200):
            asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = %s"
            row = session.execute(asked + " AND pid <> pg_backend_pid()", ["client backend"]).fetchone()
            if row == (0,):
                return
            time.sleep(0.02)
