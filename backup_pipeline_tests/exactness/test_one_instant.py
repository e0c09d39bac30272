"""All tables of an export show one instant, however busy the writers are; and the proof sees it when they do not."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from backup_pipeline.postgres import session as postgres_session
from backup_pipeline_tests.exactness.exporting import Export, Exporter, public
from backup_pipeline_tests.exactness.loading import session

RUNS = 20
ACCOUNTS, BALANCE = 60, 1000
TABLES = ("accounts", "transfers", "orders", "order_lines", "totals")
_CREATE = """
CREATE TABLE accounts (id int PRIMARY KEY, balance numeric(12,2) NOT NULL, filler text);
INSERT INTO accounts SELECT i, 1000, repeat('x', 300) FROM generate_series(1, 60) i;
CREATE TABLE transfers (id bigint GENERATED ALWAYS AS IDENTITY, source int, target int, amount numeric(12,2));
CREATE TABLE orders (id uuid PRIMARY KEY, lines int);
CREATE TABLE order_lines (order_id uuid, number int, PRIMARY KEY (order_id, number));
CREATE TABLE totals (what text PRIMARY KEY, n bigint);
INSERT INTO totals VALUES ('transfers', 0), ('orders', 0);
"""
_TRANSFER = """
WITH moved AS (UPDATE accounts SET balance = balance + CASE id WHEN {source} THEN -{amount} ELSE {amount} END
               WHERE id IN ({source}, {target}) RETURNING id),
     noted AS (INSERT INTO transfers (source, target, amount) VALUES ({source}, {target}, {amount}))
UPDATE totals SET n = n + 1 WHERE what = 'transfers'"""
_ORDER = """
WITH made AS (INSERT INTO orders VALUES (gen_random_uuid(), {lines}) RETURNING id),
     filled AS (INSERT INTO order_lines SELECT id, n FROM made, generate_series(1, {lines}) n)
UPDATE totals SET n = n + 1 WHERE what = 'orders'"""


@contextmanager
def writers(url: str) -> Iterator[None]:
    """Two sessions that move money and add orders all the time."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def write(seed: int) -> None:
        chance = random.Random(seed)
        try:
            with session(url) as connection:
                while not stop.is_set():
                    source, target = sorted(chance.sample(range(1, ACCOUNTS + 1), 2))
                    amount = chance.randint(1, 500) / 100
                    connection.execute(_TRANSFER.format(source=source, target=target, amount=amount))
                    connection.execute(_ORDER.format(lines=chance.randint(1, 4)))
        except BaseException as error:  # noqa: BLE001  told to the test below
            failed.append(error)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed, failed


def broken(export: Export) -> list[str]:
    """Which of the invariants the exported files break."""
    accounts, transfers, orders, lines, totals = (export.parquet(table).to_pylist() for table in TABLES)
    counted = {row["what"]: row["n"] for row in totals}
    balance = dict.fromkeys(range(1, ACCOUNTS + 1), Decimal(BALANCE))
    for row in transfers:
        balance[row["source"]] -= row["amount"]
        balance[row["target"]] += row["amount"]
    found = {
        "money is neither made nor lost": sum(row["balance"] for row in accounts) == ACCOUNTS * BALANCE,
        "every balance is what the transfers make it": {row["id"]: row["balance"] for row in accounts} == balance,
        "every transfer is counted": counted["transfers"] == len(transfers),
        "every order is counted": counted["orders"] == len(orders),
        "every order has its lines": Counter(r["order_id"] for r in lines) == {r["id"]: r["lines"] for r in orders},
    }
    return [invariant for invariant, holds in found.items() if not holds]


@pytest.fixture
def exporter(fresh_database: str, tmp_path: Path) -> Exporter:
    with session(fresh_database) as connection:
        connection.execute(_CREATE)
    return Exporter(fresh_database, tmp_path, workers=3, page_rows=20, options={"page_bytes": 8000})


@pytest.mark.parametrize("runs", [RUNS // 2, pytest.param(RUNS, marks=pytest.mark.slow)])
def test_every_invariant_holds_in_every_run(exporter: Exporter, runs: int) -> None:
    transfers = []
    with writers(exporter.url):
        for _ in range(runs):
            export = exporter.export(public(TABLES))
            assert broken(export) == []
            assert {export.entry(table).snapshot.id for table in TABLES} == {export.entry("orders").snapshot.id}
            transfers.append(export.entry("transfers").row_count)
            _shorten(exporter.url)
    assert len(set(transfers)) > runs // 2, "the writers hardly wrote"


def test_without_the_shared_snapshot_the_invariants_break(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_session, "join_sql", lambda _: "SELECT 1")
    seen: list[str] = []
    with writers(exporter.url):
        for _ in range(RUNS):
            export = exporter.export(public(TABLES))
            if not any(export.error(table) for table in TABLES) and (seen := broken(export)):
                break
    assert seen


def _shorten(url: str) -> None:
    """Start the transfers afresh, so that no run takes longer than the first."""
    with session(url) as connection, connection.transaction():
        connection.execute("LOCK totals IN EXCLUSIVE MODE")  # every writer asks for it before it has changed a row
        connection.execute("DELETE FROM transfers")
        connection.execute(f"UPDATE accounts SET balance = {BALANCE}")
        connection.execute("DELETE FROM order_lines")
        connection.execute("DELETE FROM orders")
        connection.execute("UPDATE totals SET n = 0")
