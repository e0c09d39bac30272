"""One business is brought back to any of its backups, and nobody else notices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backup_pipeline.core.businesses.restores import EVERY_CHOICE, RowChange
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import RefusedError, StalePlanError
from backup_pipeline.core.listing import BackupFilter
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.demo import RETAIL, create_system, trade
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.business_state import DuckKeyStates
from backup_pipeline.operations.businesses import TickRequest, run_tick
from backup_pipeline.operations.businesses.restore import (
    BusinessRestoreReport,
    BusinessRestoreRequest,
    restore_business,
)
from backup_pipeline.postgres.business_restore import PostgresBusinessTarget
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.systems.system import catalog_of

OWNERS = {
    "businesses": "t.id",
    "products": "t.business_id",
    "customers": "t.business_id",
    "workers": "t.business_id",
    "sales": "t.business_id",
    "sale_items": "(SELECT s.business_id FROM sales s WHERE s.id = t.sale_id)",
    "payments": "(SELECT s.business_id FROM sales s WHERE s.id = t.sale_id)",
    "tax_rates": "NULL",
}


@dataclass
class Shops:
    url: str
    spool: Path
    ledger: ScratchLedger = field(default_factory=new_ledger)
    store: MemoryStore = field(default_factory=MemoryStore)
    catalog: Catalog = field(default_factory=lambda: catalog_of("retail"))

    @property
    def states(self) -> DuckKeyStates:
        return DuckKeyStates(self.spool / "state")

    def ports(self) -> Any:
        source = PostgresSource(self.url)
        return ports_for_test(source=source, store=self.store, ledger=self.ledger, spool=self.spool)

    def tick(self) -> dict[str, str]:
        report = run_tick(TickRequest(self.catalog, RAHIM), self.states, self.ports())
        assert report.tick.misses == ()
        return {str(each.attempt.scope.business): each.attempt.backup_id for each in report.stored}

    def do(self, *statements: str) -> None:
        with psycopg.connect(self.url) as session:
            for statement in statements:
                session.execute(statement.encode())

    def content(self, business: str, *, others: bool = False) -> dict[str, list[str]]:
        """Every row of the business, or of everybody else, table by table."""
        found = {}
        with psycopg.connect(self.url) as session:
            for table, owner in OWNERS.items():
                is_own = f"({owner})::text IS NOT DISTINCT FROM '{business}'"
                where = f"NOT ({is_own})" if others else is_own
                rows = session.execute(f"SELECT t::text FROM {table} t WHERE {where} ORDER BY 1".encode()).fetchall()
                found[table] = [row for (row,) in rows]
        return found

    def restore(self, backup_id: str, confirmed: str | None = None, **more: Any) -> BusinessRestoreReport:
        attempt = self.ledger.get(backup_id)
        assert attempt is not None
        request = BusinessRestoreRequest(self.catalog, attempt, RAHIM, confirmed=confirmed, reason="a test", **more)
        return restore_business(request, PostgresBusinessTarget(self.url), self.states, self.ports())


@pytest.fixture(scope="module")
def shops(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shops]:
    with temporary_database(postgres_server) as url:
        create_system(url, RETAIL, scale=0.02)
        yield Shops(url, tmp_path_factory.mktemp("shops"))


@pytest.mark.acceptance("3.8", "3.10")
def test_a_business_is_as_it_was_at_any_tick_and_the_others_are_as_they_are(shops: Shops) -> None:
    made = [shops.tick()]
    business = sorted(made[0])[0]
    history = [shops.content(business)]
    for number in range(3):
        trade(shops.url, RETAIL, number, shops=5)
        made.append(shops.tick())
        history.append(shops.content(business))
    shops.do(
        f"DELETE FROM payments WHERE sale_id IN (SELECT id FROM sales WHERE business_id = '{business}')",
        f"DELETE FROM sales WHERE business_id = '{business}'",
        f"UPDATE customers SET name = 'broken', balance = -1 WHERE business_id = '{business}'",
        f"INSERT INTO customers (business_id, name) VALUES ('{business}', 'later')",
        f"UPDATE products SET price = price + 1 WHERE business_id = '{business}'",
    )
    trade(shops.url, RETAIL, 99, shops=5)
    before, others = shops.content(business), shops.content(business, others=True)
    for place in (3, 1, 2, 0):
        assert made[place][business] in {row.backup_id for row in shops.ledger.list() if row.scope.business == business}
        planned = shops.restore(made[place][business])
        assert (planned.done, planned.diff.conflicts) == (False, ())
        assert shops.content(business) == before, "a plan changes nothing"
        done = shops.restore(made[place][business], planned.diff.digest)
        before = shops.content(business)
        assert before == history[place]
        assert shops.content(business, others=True) == others
        safety = shops.ledger.get(str(done.safety))
        assert safety is not None
        assert (safety.kind, safety.type, safety.scope.business) == (Kind.FULL, Trigger.MANUAL, business)
        event = shops.ledger.audits(made[place][business], limit=1)[0]
        assert (event.action, event.detail["plan"], event.detail["before"]) == (
            "business restored", done.diff.digest, done.safety,
        )  # fmt: skip
    assert shops.tick()[business], "the next tick has it as it is now"


def test_lists_show_incremental_backups_to_who_asks_for_them(shops: Shops) -> None:
    business = next(iter(_fresh(shops)))
    trade(shops.url, RETAIL, 200, shops=5)
    newest = shops.tick()[business]
    page = shops.ledger.listings.page
    assert {row.kind for row in page(BackupFilter(catalog="retail"), limit=500).rows} == {Kind.FULL}
    assert {row.kind for row in page(BackupFilter(kind=Kind.INCREMENTAL)).rows} == {Kind.INCREMENTAL}
    assert [row.backup_id for row in page(BackupFilter(text=newest)).rows] == [newest]


def test_the_plan_says_what_changes_column_by_column(shops: Shops) -> None:
    business, backup_id = next(iter(_fresh(shops).items()))
    shops.do(
        f"UPDATE products SET price = price + 1, stock = 0 WHERE business_id = '{business}' AND stock > 0",
        f"INSERT INTO customers (business_id, name) VALUES ('{business}', 'new'), ('{business}', 'newer')",
    )
    tables = {each.name: each for each in shops.restore(backup_id).diff.tables}
    assert (tables["customers"].create, tables["customers"].update, tables["customers"].delete) == (0, 0, 2)
    assert set(tables["products"].columns) == {"price", "stock"}
    assert tables["products"].columns["price"] == tables["products"].update > 0
    kept = shops.restore(backup_id, choices=EVERY_CHOICE - {RowChange.DELETE}).diff
    assert {each.name: each.delete for each in kept.tables}["customers"] == 0
    only = shops.restore(backup_id, tables=("products",))
    assert [each.name for each in only.diff.tables] == ["products"]
    done = shops.restore(backup_id, only.diff.digest, tables=("products",))
    assert done.done
    assert {each.name: each.delete for each in shops.restore(backup_id).diff.tables}["customers"] == 2


def _fresh(shops: Shops) -> dict[str, str]:
    """A backup of each business as it is now."""
    shops.do("UPDATE businesses SET owner_name = owner_name || '.'")
    return dict(sorted(shops.tick().items()))


def _unpaid(business: str) -> str:
    paid = "EXISTS (SELECT FROM payments p WHERE p.sale_id = s.id)"
    return f"(SELECT s.id FROM sales s WHERE business_id = '{business}' AND NOT {paid} LIMIT 1)"


@pytest.mark.acceptance("3.39")
def test_what_people_write_meanwhile_is_not_lost_the_plan_is_stale(shops: Shops) -> None:
    business, backup_id = next(iter(_fresh(shops).items()))
    shops.do(f"UPDATE customers SET name = 'broken' WHERE business_id = '{business}'")
    planned = shops.restore(backup_id)
    shops.do(f"INSERT INTO customers (business_id, name) VALUES ('{business}', 'written meanwhile')")
    now, backups = shops.content(business), len(shops.ledger.list())
    with pytest.raises(StalePlanError, match="The plan is stale"):
        shops.restore(backup_id, planned.diff.digest)
    assert shops.content(business) == now
    assert len(shops.ledger.list()) == backups, "nothing is made for what is refused"


@pytest.mark.acceptance("3.39")
def test_what_is_in_the_way_is_said_and_nothing_is_done(shops: Shops) -> None:
    (business, backup_id), (other, _) = list(_fresh(shops).items())[:2]
    moved = f"(SELECT id FROM workers WHERE business_id = '{business}' LIMIT 1)"
    shops.do(f"UPDATE workers SET business_id = '{other}' WHERE id = {moved}")
    planned = shops.restore(backup_id)
    assert planned.diff.conflicts[0] == "1 rows of workers are another business's by now"
    now, others = shops.content(business), shops.content(business, others=True)
    with pytest.raises(RefusedError, match="another business's by now"):
        shops.restore(backup_id, planned.diff.digest)
    # A row of somebody else that refers to what would go.
    backup_id = _fresh(shops)[business]
    shops.do(
        f"INSERT INTO customers (id, business_id, name) VALUES ('{'c' * 32}', '{business}', 'later')",
        f"UPDATE sales SET customer_id = '{'c' * 32}' WHERE id = {_unpaid(other)}",
    )
    planned = shops.restore(backup_id)
    assert "violates foreign key constraint" in planned.diff.conflicts[0]
    assert now != others


def test_a_business_that_is_gone_comes_back(shops: Shops) -> None:
    """Closed, it is backed up all the same before it changes; deleted, there is nothing to keep."""
    business, backup_id = list(_fresh(shops).items())[-1]
    then = shops.content(business)
    shops.do(
        f"UPDATE businesses SET status = 'closed' WHERE id = '{business}'",
        f"UPDATE customers SET name = 'broken' WHERE business_id = '{business}'",
    )
    done = shops.restore(backup_id, shops.restore(backup_id).diff.digest)
    safety = shops.ledger.get(str(done.safety))
    assert safety is not None
    assert safety.type is Trigger.MANUAL
    assert shops.content(business) == then
    own_sales = f"sale_id IN (SELECT id FROM sales WHERE business_id = '{business}')"
    shops.do(
        *(f"DELETE FROM {table} WHERE {own_sales}" for table in ("payments", "sale_items")),
        *(f"DELETE FROM {t} WHERE business_id = '{business}'" for t in ("sales", "workers", "customers", "products")),
        f"DELETE FROM businesses WHERE id = '{business}'",
    )
    done = shops.restore(backup_id, shops.restore(backup_id).diff.digest)
    assert (done.done, done.safety) == (True, None)
    assert shops.content(business) == then


def test_a_trigger_that_wants_otherwise_is_in_the_way(shops: Shops) -> None:
    business, backup_id = next(iter(_fresh(shops).items()))
    shops.do(
        f"UPDATE customers SET name = 'broken' WHERE business_id = '{business}'",
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := 'mine'; RETURN NEW; END $$",
        "CREATE TRIGGER keep BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION keep()",
    )
    planned = shops.restore(backup_id)
    assert "a trigger" in planned.diff.conflicts[0]
    shops.do("DROP TRIGGER keep ON customers")
    assert shops.restore(backup_id).diff.conflicts == ()


def test_a_cascade_never_takes_rows_of_others(shops: Shops) -> None:
    (business, backup_id), (other, _) = list(_fresh(shops).items())[:2]
    shops.do(
        f"INSERT INTO sales (id, business_id, number, worker_id, total) SELECT '{'d' * 32}', '{business}', 9999, id, 1 "
        f"FROM workers WHERE business_id = '{business}' LIMIT 1",
        "CREATE TABLE IF NOT EXISTS letters (id int PRIMARY KEY, sale_id uuid REFERENCES sales ON DELETE CASCADE)",
        "ALTER TABLE sales ADD COLUMN copy_of uuid REFERENCES sales ON DELETE CASCADE",
        f"UPDATE sales SET copy_of = '{'d' * 32}' WHERE id = {_unpaid(other)}",
    )
    planned = shops.restore(backup_id)
    assert "rows that are not of the business would change in public.sales" in planned.diff.conflicts[0]
    backup_id = _fresh(shops)[business]
    shops.do(
        f"INSERT INTO customers (id, business_id, name) VALUES ('{'e' * 32}', '{business}', 'later')",
        "CREATE TABLE badges (id int PRIMARY KEY, customer_id uuid REFERENCES customers ON DELETE CASCADE)",
        f"INSERT INTO badges VALUES (1, '{'e' * 32}')",
    )
    conflict = "rows that are not of the business would change in public.badges"
    assert shops.restore(backup_id).diff.conflicts == (conflict,), "the catalog has no such table"
