"""A trial of ticks: a database that is changed in every way people change databases, and the truth of each snapshot.

The truth is read by plain SQL in the very snapshot that a tick has opened. Beside it two cruder ways keep copies of
their own: one that asks a row's own xmin alone, and one that asks `updated_at`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from psycopg.types.string import TextLoader

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.ports import Snapshot, Source, Store, StoredObject
from backup_pipeline.formats.business_state import DuckKeyStates
from backup_pipeline.ledger import alive, this_owner
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.businesses import TickReport, TickRequest, run_tick
from backup_pipeline.operations.businesses.chain import BusinessState, read_state
from backup_pipeline.operations.businesses.shared import take_tick_part
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger

SCHEMA = """
CREATE TYPE mood AS ENUM ('calm', 'busy');
CREATE TABLE shops (id int PRIMARY KEY, name text NOT NULL, status text NOT NULL DEFAULT 'active', mood mood);
CREATE TABLE customers (
    id bigint PRIMARY KEY, shop_id int NOT NULL REFERENCES shops ON DELETE CASCADE, name text, worth numeric(10,2),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE orders (
    id uuid PRIMARY KEY, shop_id int REFERENCES shops ON DELETE CASCADE, total numeric, day date,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE items (
    id bigint PRIMARY KEY, order_id uuid NOT NULL REFERENCES orders ON DELETE CASCADE ON UPDATE CASCADE, qty int,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE parts (
    item_id bigint REFERENCES items ON DELETE CASCADE ON UPDATE CASCADE, n int, what text, PRIMARY KEY (item_id, n));
CREATE TABLE notes (id text PRIMARY KEY, order_id uuid, line text);
CREATE TABLE logs (shop_id int, line text);
CREATE TABLE tags (order_id uuid REFERENCES orders ON DELETE CASCADE ON UPDATE CASCADE, tag text);
CREATE TABLE visits (id bigint, shop_id int, at date NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE VIEW totals AS SELECT shop_id, count(*) AS n, sum(total) AS total FROM orders GROUP BY shop_id;
CREATE TABLE rates (code text PRIMARY KEY, percent int);
INSERT INTO shops SELECT n, 'shop ' || n FROM generate_series(1, 7) n;
INSERT INTO rates VALUES ('a', 5);
"""
CATALOG = Catalog.model_validate(
    {
        "catalog": "trial",
        "timezone": "UTC",
        "businesses": {
            "registry": "shops",
            "name": "name",
            "active": "status = 'active'",
            "full": {"every": "24 hours", "chain": 5},
        },
        "tables": {
            "shops": {"business": "id"},
            "customers": {"business": "shop_id"},
            "orders": {"business": "shop_id"},
            "items": {"business": "order_id.shop_id"},
            "parts": {"business": "item_id.order_id.shop_id"},
            "notes": {"business": "order_id.shop_id", "references": {"order_id": "orders.id"}},
            "logs": {"business": "shop_id"},
            "tags": {"business": "order_id.shop_id"},
            "visits": {"business": "shop_id"},
            "totals": {"business": "shop_id", "kind": "view"},
            "rates": {"business": "shared"},
        },
    }
)
BUSINESS = {
    "shops": "t.id",
    "customers": "t.shop_id",
    "orders": "t.shop_id",
    "items": "(SELECT o.shop_id FROM orders o WHERE o.id = t.order_id)",
    "parts": "(SELECT o.shop_id FROM items i JOIN orders o ON o.id = i.order_id WHERE i.id = t.item_id)",
    "notes": "(SELECT o.shop_id FROM orders o WHERE o.id = t.order_id)",
    "logs": "t.shop_id",
    "tags": "(SELECT o.shop_id FROM orders o WHERE o.id = t.order_id)",
    "visits": "t.shop_id",
    "totals": "t.shop_id",
}
"""How the truth finds the business of a row."""
_OWN_XMIN = "age(t.xmin) <= age(%(since)s::text::xid)"
Rows = Mapping[str, Mapping[str, Counter[Any]]]
"""Of each business, of each table, the rows."""


@dataclass
class Crude:
    """A cruder way: the rows that it finds changed replace its own; what is gone from the table it drops."""

    table: str
    found: str
    rows: dict[Any, tuple[str, Any]] = field(default_factory=dict)
    since: Any = None

    def look(self, session: psycopg.Connection[Any]) -> None:
        business, key = BUSINESS[self.table], "t.item_id::text || '/' || t.n" if self.table == "parts" else "t.id::text"
        where = self.found if self.since is not None else "true"
        sql = f"SELECT {key}, {business}, t.* FROM {self.table} t WHERE {where}"
        for row_key, owner, *row in session.execute(sql, {"since": self.since} if self.since is not None else None):
            self.rows[row_key] = (str(owner), tuple(row))
        alive = {row_key for (row_key,) in session.execute(f"SELECT {key} FROM {self.table} t")}
        self.rows = {row_key: row for row_key, row in self.rows.items() if row_key in alive}


class Watched:
    """The port `Source` of a trial: the truth is read when a snapshot opens, in it."""

    def __init__(self, inner: Source, trial: Trial) -> None:
        self._inner, self._trial = inner, trial

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @contextmanager
    def snapshot(self, progress: Any = None, *, lock_timeout_s: float | None = None) -> Iterator[Snapshot]:
        with self._inner.snapshot(progress, lock_timeout_s=lock_timeout_s) as snapshot:
            self._trial.read_truth(snapshot.entry.id)
            yield snapshot


class Trial:
    """A database, its ticks, and what is wrong with their chains."""

    def __init__(self, url: str, folder: Path, seed: int, source: str | None = None) -> None:
        self.url, self.source, self.random = url, source or url, Random(seed)
        self.ledger: ScratchLedger = new_ledger()
        self.store: Store = MemoryStore()
        self.states = DuckKeyStates(folder / "state")
        self.spool = folder / "spool"
        self.spool.mkdir(exist_ok=True)
        self.truth: Rows = {}
        self.active: dict[str, bool] = {}
        self.newest: dict[str, str] = {}
        self.kept: dict[str, BusinessState] = {}
        self.reports: list[TickReport] = []
        self.wrong: list[str] = []
        self.crude_wrong = {"xmin": 0, "updated_at": 0}
        self.crude = {
            "xmin": [Crude(t, _OWN_XMIN) for t in ("customers", "orders", "items", "parts")],
            "updated_at": [Crude(t, "t.updated_at > %(since)s") for t in ("customers", "orders", "items")],
        }
        self.long: list[psycopg.Connection[Any]] = []
        self._numbers = iter(range(1, 10**9))
        self.among_processes = False
        """Whether others die as processes do, and are known by that."""

    def prepare(self) -> None:
        with psycopg.connect(self.url) as session:
            session.execute(SCHEMA)
        for _ in range(12):
            self.change()

    def close(self) -> None:
        for session in self.long:
            session.close()

    def ports(self) -> Any:
        source = Watched(PostgresSource(self.source), self)
        given = {"owner": this_owner(), "alive": alive} if self.among_processes else {}
        return ports_for_test(source=source, store=self.store, ledger=self.ledger, spool=self.spool, **given)

    def tick(self, **more: Any) -> TickReport:
        """A tick, and what is wrong with every business's newest chain now."""
        catalog = more.pop("catalog", CATALOG)
        report = run_tick(TickRequest(catalog, RAHIM, **more), self.states, self.ports())
        self.reports.append(report)
        for stored in report.stored:
            assert stored.attempt.scope.business is not None
            self.newest[stored.attempt.scope.business] = stored.attempt.backup_id
        if more.get("only") is None:
            self.compare()
        assert report.unaccounted == {}, report.unaccounted
        assert report.differing == {}, report.differing
        assert report.tick.misses == (), report.tick.misses
        return report

    def compare(self) -> None:
        """Every active business as its chain has it, against the truth."""
        for business, tables in self.truth.items():
            if not self.active.get(business):
                continue
            backup_id = self.newest[business]
            state = self.kept.get(business)
            if state is None or state.manifest.backup_id != backup_id:
                row = self.ledger.get(backup_id)
                assert row is not None
                state = self.kept[business] = read_state(row, self.ports())
            for table, rows in tables.items():
                kept = state.tables[table]
                there = Counter(map(_plain, zip(*(c.to_pylist() for c in kept.rows.columns), strict=True)))
                if there != rows:
                    less, more = rows - there, there - rows
                    self.wrong.append(f"tick {len(self.reports)}, {business}.{table}: lacks {less}, has {more}")

    def read_truth(self, snapshot: str) -> None:
        with psycopg.connect(self.source) as session:
            session.execute("SET timezone = 'UTC'")
            session.adapters.register_loader("date", TextLoader)
            session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            session.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'".encode())
            shops = session.execute("SELECT id::text, status = 'active' FROM shops").fetchall()
            self.active = dict(shops)
            truth: dict[str, dict[str, Counter[Any]]] = {b: {t: Counter() for t in BUSINESS} for b, _ in shops}
            for table, business in BUSINESS.items():
                for owner, *row in session.execute(f"SELECT {business}, t.* FROM {table} t".encode()):
                    if owner is not None and str(owner) in truth:
                        truth[str(owner)][table][_plain(row)] += 1
            self.truth = truth
            self._be_crude(session)

    def _be_crude(self, session: psycopg.Connection[Any]) -> None:
        xmin, now = session.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text, now()").fetchone() or (
            "",
            "",
        )
        with suppress(psycopg.errors.UndefinedColumn):
            for name, tables in self.crude.items():
                for each in tables:
                    each.look(session)
                    each.since = str(int(xmin) % 2**32) if name == "xmin" else now
                    owners: dict[str, Counter[Any]] = {}
                    for owner, row in each.rows.values():
                        owners.setdefault(owner, Counter())[_plain(row)] += 1
                    for business, truth in self.truth.items():
                        self.crude_wrong[name] += owners.get(business, Counter()) != truth[each.table]

    # What people do.

    def change(self) -> None:
        """A transaction of a few statements with savepoints; perhaps it is not committed for long, or never."""
        random = self.random
        session = psycopg.connect(self.url)
        session.execute("SET lock_timeout = '300ms'")
        try:
            for _ in range(random.randint(1, 4)):
                self._statement(session)
            fate = random.random()
            if fate < 0.12 and len(self.long) < 3:
                self.long.append(session)
                return
            session.rollback() if fate < 0.18 else session.commit()
        except psycopg.Error:
            session.rollback()
        session.close()

    def end_a_long_transaction(self) -> None:
        if self.long:
            session = self.long.pop(self.random.randrange(len(self.long)))
            self.random.choice([session.commit, session.commit, session.rollback])()
            session.close()

    def _statement(self, session: psycopg.Connection[Any]) -> None:
        """One statement within a savepoint, which is kept or not."""
        random = self.random
        session.execute("SAVEPOINT s")
        try:
            session.execute(random.choice(self._statements())().encode())
        except (psycopg.errors.IntegrityError, psycopg.errors.LockNotAvailable, psycopg.errors.CheckViolation):
            session.execute("ROLLBACK TO s")
            return
        session.execute("ROLLBACK TO s" if random.random() < 0.1 else "RELEASE s")

    def _statements(self) -> list[Any]:
        return [
            self._add_order, self._add_order, self._add_order, self._add_customers, self._move_order, self._move_order,
            self._move_item, self._change_rows, self._change_rows, self._delete_rows, self._delete_rows, self._new_key,
            self._log, self._log, self._visit, self._note, self._move_customers, self._shop, self._orphan,
        ]  # fmt: skip

    def _shop_id(self, *, none: bool = False) -> str:
        return "NULL" if none and self.random.random() < 0.2 else str(self.random.randint(1, 7))

    def _some(self, table: str, key: str = "id", most: int = 2) -> str:
        return f"(SELECT {key} FROM {table} ORDER BY md5({key}::text || '{self.random.random()}') LIMIT {most})"

    def _add_order(self) -> str:
        n = next(self._numbers)
        return (
            "WITH o AS (INSERT INTO orders (id, shop_id, total, day) "
            f"SELECT md5('{n}')::uuid, s.id, {n}.50, '2026-01-05' "
            f"FROM (VALUES ({self._shop_id(none=True)}::int)) v(id) LEFT JOIN shops s USING (id) RETURNING id), "
            f"i AS (INSERT INTO items (id, order_id, qty) SELECT {n}000 + g, o.id, g FROM o, generate_series(1, 3) g "
            f"RETURNING id), t AS (INSERT INTO tags SELECT o.id, 'tag ' || g FROM o, generate_series(1, 2) g) "
            "INSERT INTO parts SELECT i.id, g, 'part' FROM i, generate_series(1, 2) g"
        )

    def _add_customers(self) -> str:
        n = next(self._numbers)
        return f"INSERT INTO customers SELECT {n}000 + g, {self._shop_id()}, 'c', g FROM generate_series(1, 3) g"

    def _move_order(self) -> str:
        new = f"shop_id = {self._shop_id(none=True)}, updated_at = clock_timestamp()"
        return f"UPDATE orders SET {new} WHERE id IN {self._some('orders')}"

    def _move_item(self) -> str:
        return f"UPDATE items SET order_id = {self._some('orders', most=1)} WHERE id IN {self._some('items')}"

    def _move_customers(self) -> str:
        return f"UPDATE customers SET shop_id = {self._shop_id()} WHERE id IN {self._some('customers')}"

    def _change_rows(self) -> str:
        n, forgets = next(self._numbers), self.random.random() < 0.3
        stamp = "" if forgets else ", updated_at = clock_timestamp()"
        return self.random.choice(
            [
                f"UPDATE customers SET name = 'n{n}'{stamp} WHERE id IN {self._some('customers')}",
                f"UPDATE items SET qty = {n}{stamp} WHERE id IN {self._some('items')}",
                f"UPDATE parts SET what = 'w{n}' WHERE item_id IN {self._some('items', most=1)}",
                f"UPDATE orders SET total = {n}, day = 'infinity'{stamp} WHERE id IN {self._some('orders', most=1)}",
                f"UPDATE orders SET total = {n}{stamp} WHERE id IN {self._some('orders', most=1)}",
                f"UPDATE notes SET line = 'l{n}' WHERE id IN {self._some('notes')}",
                f"UPDATE tags SET tag = 't{n}' WHERE order_id IN {self._some('orders')}",
            ]
        )

    def _delete_rows(self) -> str:
        return self.random.choice(
            [
                f"DELETE FROM customers WHERE id IN {self._some('customers')}",
                f"DELETE FROM orders WHERE id IN {self._some('orders', most=1)}",
                f"DELETE FROM items WHERE id IN {self._some('items')}",
                f"DELETE FROM parts WHERE item_id IN {self._some('items')}",
                f"DELETE FROM notes WHERE id IN {self._some('notes')}",
                f"DELETE FROM logs WHERE ctid IN {self._some('logs', 'ctid')}",
                f"DELETE FROM tags WHERE ctid IN {self._some('tags', 'ctid')}",
                f"DELETE FROM visits WHERE id IN {self._some('visits')}",
            ]
        )

    def _new_key(self) -> str:
        n = next(self._numbers)
        return self.random.choice(
            [
                f"UPDATE orders SET id = md5('k{n}')::uuid WHERE id IN {self._some('orders', most=1)}",
                f"UPDATE items SET id = {n}777 WHERE id IN {self._some('items', most=1)}",
                f"UPDATE parts SET n = n + 10 WHERE item_id IN {self._some('items', most=1)}",
                f"UPDATE visits SET at = at + 31 WHERE at < '2026-01-20' AND id IN {self._some('visits', most=1)}",
                f"UPDATE customers SET id = {n}888 WHERE id IN {self._some('customers', most=1)}",
            ]
        )

    def _log(self) -> str:
        return f"INSERT INTO logs SELECT {self._shop_id(none=True)}::int, 'same' FROM generate_series(1, 2)"

    def _visit(self) -> str:
        n = next(self._numbers)
        day = f"'2026-0{self.random.randint(1, 2)}-1{self.random.randint(0, 9)}'::date"
        return f"INSERT INTO visits VALUES ({n}, {self._shop_id(none=True)}::int, {day})"

    def _note(self) -> str:
        return f"INSERT INTO notes VALUES ('{next(self._numbers)}', {self._some('orders', most=1)}, 'note')"

    def _shop(self) -> str:
        n = self.random.randint(1, 7)
        return self.random.choice(
            [
                f"UPDATE shops SET status = CASE status WHEN 'active' THEN 'closed' ELSE 'active' END WHERE id = {n}",
                f"UPDATE shops SET mood = 'busy' WHERE id = {n}",
                f"INSERT INTO shops VALUES ({n}, 'again') ON CONFLICT DO NOTHING",
                f"DELETE FROM shops WHERE id = {n}"
                if self.random.random() < 0.3
                else f"UPDATE shops SET name = name || '!' WHERE id = {n}",
            ]
        )

    def _orphan(self) -> str:
        """A note's order goes away and comes back under it: nothing enforces that reference."""
        return (
            "WITH gone AS (DELETE FROM orders WHERE id IN "
            "(SELECT order_id FROM notes ORDER BY id LIMIT 1) RETURNING *) "
            f"INSERT INTO logs SELECT 1, 'orphan {next(self._numbers)}' FROM gone"
        )

    def upheaval(self) -> None:
        """Something larger, outside of any transaction that others have open."""
        n = next(self._numbers)
        sql = self.random.choice(
            [
                "TRUNCATE logs", "TRUNCATE visits_1", "TRUNCATE parts", "TRUNCATE notes", "VACUUM FULL orders",
                "VACUUM FULL items", "CLUSTER customers USING customers_pkey", "VACUUM FREEZE",
                f"ALTER TABLE notes ADD COLUMN more_{n} int DEFAULT {n}", f"ALTER TYPE mood ADD VALUE 'm{n}'",
                "ALTER TABLE visits DETACH PARTITION visits_2", "ALTER TABLE visits ATTACH PARTITION visits_2 "
                "FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')", "ALTER TYPE mood RENAME VALUE 'busy' TO 'hectic'",
                "ALTER TYPE mood RENAME VALUE 'hectic' TO 'busy'",
                "ALTER TABLE customers ALTER worth TYPE numeric(12,2)",
            ]
        )  # fmt: skip
        with psycopg.connect(self.url, autocommit=True) as session, suppress(psycopg.Error):
            session.execute("SET lock_timeout = '300ms'")
            session.execute(sql.encode())

    def step(self) -> None:
        """Some changes, perhaps an upheaval, then a tick."""
        for _ in range(self.random.randint(0, 6)):
            self.change()
        if self.random.random() < 0.25:
            self.end_a_long_transaction()
        if self.random.random() < 0.12:
            self.upheaval()
        self.tick()


def _plain(row: Any) -> tuple[Any, ...]:
    """A row as it compares: numbers and dates as texts, because some of them have no other form in files."""
    return tuple(str(v) if isinstance(v, Decimal | date) and not isinstance(v, datetime) else v for v in row)


def execute(trial: Trial, *statements: str) -> None:
    """Statements of a trial's people, in one transaction."""
    with psycopg.connect(trial.url) as session:
        for statement in statements:
            session.execute(statement.encode())


def active(trial: Trial) -> list[str]:
    """The keys of the businesses that are backed up."""
    return sorted(key for key, is_active in trial.active.items() if is_active)


# Ticks, and parts of them, in a process that is killed:
# python -m backup_pipeline_tests.businesses.trial WORK SOURCE LEDGER FOLDER KILLED_AT (WORK `tick`: all of one).

SHARING = CATALOG.model_copy(
    update={"businesses": CATALOG.businesses.model_copy(update={"runs": 3}) if CATALOG.businesses else None}
)


class DeadlyStore(DirectoryStore):
    """A store whose process is killed as it begins to keep its `killed_at`th object."""

    kept, killed_at = 0, 0

    def keep(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> StoredObject:
        DeadlyStore.kept += 1
        if DeadlyStore.kept == DeadlyStore.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().keep(key, chunks, replace=replace)


def killed_process(work: str, trial: Trial, killed_at: int) -> None:
    """Do the work in a process of its own until it is killed."""
    folder = trial.spool.parent
    words = (work, trial.source, trial.ledger.url, str(folder), str(killed_at))
    done = subprocess.run([sys.executable, "-m", __name__, *words], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL


def main(work: str, source: str, ledger: str, folder: Path, killed_at: int) -> None:
    """Do it as a run of Dagster of this machine does."""
    DeadlyStore.killed_at = killed_at
    with closing(SqlLedger(ledger)) as rows:
        ports = ports_for_test(
            source=PostgresSource(source),
            ledger=rows,
            store=DeadlyStore(folder / "store"),
            spool=folder / "spool",
            owner=this_owner(),
            alive=alive,
        )
        if work == "tick":
            run_tick(TickRequest(SHARING, RAHIM), DuckKeyStates(folder / "state"), ports)
        else:
            take_tick_part(work, SHARING, ports, "run-2")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), int(sys.argv[5]))
