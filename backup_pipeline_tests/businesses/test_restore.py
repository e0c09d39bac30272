"""One business is brought back to any of its backups, and nobody else notices."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import (
    LockedError,
    NotFoundError,
    PreflightRefusedError,
    RefusedError,
    StalePlanError,
    TargetError,
    UsageError,
)
from backup_pipeline.core.listing import BackupFilter
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Progress
from backup_pipeline.core.restore import EVERY_CHANGE, Mode, RestoreRequest, RowChange, Selection
from backup_pipeline.core.restore.businesses import BusinessPlan, BusinessReport, parse_rows
from backup_pipeline.core.restore.requests import Address, Plan, RestoreRow, RestoreStatus, kept_plan, kept_report
from backup_pipeline.core.scope import Actor, ActorKind
from backup_pipeline.demo import RETAIL, create_system, trade
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.business_state import DuckKeyStates
from backup_pipeline.operations import restore as restores
from backup_pipeline.operations.businesses import TickRequest, run_tick
from backup_pipeline.operations.businesses.restore import BusinessWork, back_up_now, backup_of_moment
from backup_pipeline.operations.restore import Confirmation, RestoreOutcome, decisions
from backup_pipeline.operations.restore.requests import RestoreCaller, TargetDatabase, planned
from backup_pipeline.postgres.business_restore import PostgresBusinessTarget
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.ports import Absent, ports_for_test
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.systems.system import catalog_of

KARIM = Actor(ActorKind.PERSON, "karim")
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

    def back_up(self, business: str, actor: Actor, reason: str) -> str:
        return back_up_now(self.catalog, business, actor, reason, self.states, self.ports())

    def target(self, back_up: Callable[[str, Actor, str], str] | None = None) -> TargetDatabase:
        work = BusinessWork(self.catalog, PostgresBusinessTarget(self.url), back_up or self.back_up)
        return TargetDatabase(Address(self.url, "retail"), Absent(), lambda row, plan: "", str, work)

    def plan(self, backup_id: str, **chosen: Any) -> BusinessPlan:
        plan = planned(wanted(backup_id, **chosen), self.target(), self.ports())
        assert isinstance(plan, BusinessPlan)
        return plan

    def restore(self, plan: BusinessPlan, **more: Any) -> BusinessReport:
        """Do what was planned, by who has seen it."""
        outcome = self.perform(plan.request, Door(plan.digest), **more)
        assert isinstance(outcome.report, BusinessReport)
        return outcome.report

    def perform(self, request: RestoreRequest | RestoreRow, door: Door, **more: Any) -> RestoreOutcome:
        needs = isinstance(request, RestoreRow)
        return restores.restore(
            request, self.target(**more), self.ports(), RestoreCaller(RAHIM, needs_approval=needs), door
        )

    def ask(self, backup_id: str, **chosen: Any) -> RestoreRow:
        """A request that karim has approved."""
        door, caller = Door(), RestoreCaller(RAHIM)
        row, plan = restores.request_restore(wanted(backup_id, **chosen), self.target(), self.ports(), caller, door)
        return decisions.approve(row.id, KARIM, self.ports(), of_plan=plan.digest)

    def newest(self) -> RestoreRow:
        return self.ledger.restores.list(limit=1)[0]


@dataclass
class Door:
    """Whoever stands there has seen the plan of a digest; without one they approve whatever they are shown."""

    digest: str | None = None
    shown: list[Plan] = field(default_factory=list)

    def show(self, row: RestoreRow, plan: Plan) -> None:
        self.shown.append(plan)

    def confirm(self, row: RestoreRow, plan: Plan) -> Confirmation:
        if self.digest not in {None, plan.digest}:
            message = "The plan is stale."
            raise StalePlanError(message)
        return Confirmation(plan.confirm_name)

    def watching(self, row: RestoreRow, progress: Progress) -> AbstractContextManager[Progress]:
        return nullcontext(progress)


def wanted(backup_id: str, tables: tuple[str, ...] = (), **selection: Any) -> RestoreRequest:
    chosen = Selection(**selection)
    return RestoreRequest(backup_id, tables, Mode.DIFFERENCE, actor=RAHIM, reason="a test", selection=chosen)


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
        f"UPDATE customers SET name = name || '?', balance = -1 WHERE business_id = '{business}'",
        f"INSERT INTO customers (business_id, name) VALUES ('{business}', 'later')",
        f"UPDATE products SET price = price + 1 WHERE business_id = '{business}'",
    )
    trade(shops.url, RETAIL, 99, shops=5)
    before, others = shops.content(business), shops.content(business, others=True)
    for place in (3, 1, 2, 0):
        assert made[place][business] in {row.backup_id for row in shops.ledger.list() if row.scope.business == business}
        plan = shops.plan(made[place][business])
        assert (plan.refused, plan.diff.conflicts) == (False, ())
        assert shops.content(business) == before, "a plan changes nothing"
        done = shops.restore(plan)
        before = shops.content(business)
        assert before == history[place]
        assert shops.content(business, others=True) == others
        assert done.others["public.customers"] == len(others["customers"])
        safety = shops.ledger.get(str(done.safety_backup_id))
        assert safety is not None
        assert (safety.kind, safety.type, safety.scope.business) == (Kind.FULL, Trigger.MANUAL, business)
        row = shops.newest()
        assert (row.status, row.scope.business, (row.plan or {})["digest"]) == (
            RestoreStatus.DONE, business, plan.digest,
        )  # fmt: skip
        assert kept_report(row.report or {}) == done
        events = [event.action for event in shops.ledger.audits(made[place][business])]
        assert events[:3] == ["restore done", "restore started", "restore requested"]
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
    plan = shops.plan(backup_id)
    tables = {each.name: each for each in plan.diff.tables}
    assert (tables["customers"].create, tables["customers"].update, tables["customers"].delete) == (0, 0, 2)
    assert set(tables["products"].columns) == {"price", "stock"}
    assert tables["products"].columns["price"] == tables["products"].update > 0
    changed = tables["products"].examples[0]
    assert (changed.change, set(changed.values)) == (RowChange.UPDATE, {"price", "stock"})
    assert changed.values["stock"][0] == "0"
    assert {row.values["name"][0] for row in tables["customers"].examples} == {"new", "newer"}
    kept = kept_plan(json.loads(json.dumps(plan.as_json())))
    assert isinstance(kept, BusinessPlan)
    assert (kept.digest, kept.diff, kept.selection) == (plan.digest, plan.diff, plan.selection)
    changes = tuple(change for change in EVERY_CHANGE if change is not RowChange.DELETE)
    without = shops.plan(backup_id, changes=changes).diff
    assert {each.name: each.delete for each in without.tables}["customers"] == 0
    only = shops.plan(backup_id, tables=("products",))
    assert [each.name for each in only.diff.tables] == ["products"]
    shops.restore(only)
    assert {each.name: each.delete for each in shops.plan(backup_id).diff.tables}["customers"] == 2


@pytest.mark.acceptance("3.8")
def test_single_rows_come_back_by_their_keys_and_others_of_the_business_stay(shops: Shops) -> None:
    business, backup_id = next(iter(_fresh(shops).items()))
    then = shops.content(business)
    shops.do(
        f"UPDATE products SET price = price + 1 WHERE business_id = '{business}'",
        f"UPDATE customers SET name = name || '?' WHERE business_id = '{business}'",
    )
    now = shops.content(business)
    keys = [
        row.key for table in shops.plan(backup_id).diff.tables for row in table.examples if table.name == "products"
    ]
    door = Door()
    shops.perform(wanted(backup_id, rows={"products": tuple(keys[:2])}), door)
    [plan] = door.shown
    assert isinstance(plan, BusinessPlan)
    assert [(each.name, each.update) for each in plan.diff.tables] == [("products", 2)]
    after = shops.content(business)
    assert len(set(after["products"]) - set(now["products"])) == 2
    assert set(after["products"]) - set(now["products"]) <= set(then["products"])
    assert {name: rows for name, rows in after.items() if name != "products"} == {
        name: rows for name, rows in now.items() if name != "products"
    }
    shops.perform(wanted(backup_id, ("products",), but={"products": (keys[2],)}), Door())
    assert len(set(shops.content(business)["products"]) - set(then["products"])) == 1, "all but one are as they were"
    with pytest.raises(NotFoundError, match="has no row 00000000-0000-0000-0000-000000000000 of products"):
        shops.plan(backup_id, rows={"products": ("00000000-0000-0000-0000-000000000000",)})
    with pytest.raises(NotFoundError, match="no table of businesses called tax_rates"):
        shops.plan(backup_id, rows={"tax_rates": ("x",)})
    with pytest.raises(UsageError, match="names no row"):
        parse_rows(["products"])


def test_a_row_of_another_business_is_none_of_this_one(shops: Shops) -> None:
    (_, backup_id), (other, _) = list(_fresh(shops).items())[:2]
    with psycopg.connect(shops.url) as session:
        row = session.execute("SELECT id::text FROM products WHERE business_id = %s LIMIT 1", [other]).fetchone()
    assert row is not None
    with pytest.raises(NotFoundError, match="has no row"):
        shops.plan(backup_id, rows={"products": (row[0],)})


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
    shops.do(f"UPDATE customers SET name = name || '?' WHERE business_id = '{business}'")
    plan, row = shops.plan(backup_id), shops.ask(backup_id)
    shops.do(f"INSERT INTO customers (business_id, name) VALUES ('{business}', 'written meanwhile')")
    now, backups = shops.content(business), len(shops.ledger.list())
    with pytest.raises(StalePlanError, match="The plan is stale"):
        shops.restore(plan)
    with pytest.raises(StalePlanError, match="customers: 1 rows to delete, not 0"):
        shops.perform(row, Door())
    assert shops.content(business) == now
    assert len(shops.ledger.list()) == backups, "nothing is made for what is refused"

    def written_meanwhile(business: str, actor: Actor, reason: str) -> str:
        safety = shops.back_up(business, actor, reason)
        shops.do(f"UPDATE customers SET balance = 7 WHERE business_id = '{business}'")
        return safety

    with pytest.raises(StalePlanError, match="customers: rows have other values"):
        shops.restore(shops.plan(backup_id), back_up=written_meanwhile)
    ended = shops.newest()
    assert (ended.status, "rows have other values" in str(ended.error_message)) == (RestoreStatus.FAILED, True)
    assert len(shops.content(business)["customers"]) == len(now["customers"])


@pytest.mark.acceptance("3.9", "3.10")
def test_a_request_waits_for_another_person_and_is_done_once(shops: Shops) -> None:
    business, backup_id = next(iter(_fresh(shops).items()))
    then = shops.content(business)
    shops.do(f"UPDATE customers SET name = name || '?' WHERE business_id = '{business}'")
    row, plan = restores.request_restore(wanted(backup_id), shops.target(), shops.ports(), RestoreCaller(RAHIM), Door())
    now = shops.content(business)
    with pytest.raises(RefusedError, match="not approved yet"):
        shops.perform(row, Door())
    with pytest.raises(RefusedError, match="who can not approve it too"):
        decisions.approve(row.id, RAHIM, shops.ports())
    with pytest.raises(StalePlanError):
        decisions.approve(row.id, KARIM, shops.ports(), of_plan="0" * 64)
    assert shops.content(business) == now
    approved = decisions.approve(row.id, KARIM, shops.ports(), of_plan=plan.digest)
    assert any(table["examples"] for table in (approved.plan or {})["diff"]["tables"]), "whoever decides sees rows"
    outcome = shops.perform(approved, Door())
    assert shops.content(business) == then
    done = shops.newest()
    assert (done.status, done.decided_actor, done.id) == (RestoreStatus.DONE, KARIM, outcome.row.id)
    assert not any(table["examples"] for table in (done.plan or {})["diff"]["tables"]), "and nobody does after it"
    assert kept_plan(done.plan or {}).digest == plan.digest
    with pytest.raises(RefusedError, match="performed once"):
        shops.perform(done, Door())


def test_a_restore_that_is_killed_half_way_changes_nothing_and_its_request_says_so(shops: Shops) -> None:
    business, backup_id = next(iter(_fresh(shops).items()))
    shops.do(f"UPDATE customers SET name = name || '?' WHERE business_id = '{business}'")
    plan, now = shops.plan(backup_id), shops.content(business)
    lock = f"hashtextextended('backup_pipeline restores retail/{business}', 0)"
    with psycopg.connect(shops.url, autocommit=True) as session:
        session.execute(f"SELECT pg_advisory_lock({lock})".encode())
        with pytest.raises(LockedError, match="Another restore of business"):
            shops.restore(plan)
    killed = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    shops.do(
        "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(30); RETURN NEW; END $$",
        "CREATE TRIGGER slowly BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION slowly()",
    )
    failures: list[Exception] = []

    def run() -> None:
        try:
            shops.restore(plan)
        except Exception as error:  # noqa: BLE001 - it is looked at below
            failures.append(error)

    # The plan that is made first finds the trigger's sleep too: that one is ended, and so is the restore of it.
    worker = threading.Thread(target=run)
    worker.start()
    with psycopg.connect(shops.url, autocommit=True) as session:
        while worker.is_alive():
            session.execute(killed.encode())
            worker.join(0.05)
    shops.do("DROP TRIGGER slowly ON customers", "DROP FUNCTION slowly")
    assert isinstance(failures[0], TargetError)
    row = shops.newest()
    assert (row.status, "could not be restored" in str(row.error_message)) == (RestoreStatus.FAILED, True)
    assert shops.content(business) == now


def test_the_backup_of_a_moment_is_the_newest_of_then_or_earlier(shops: Shops) -> None:
    business, first = next(iter(_fresh(shops).items()))
    second = _fresh(shops)[business]
    taken = {each: shops.ledger.get(each) for each in (first, second)}
    moments = [row.snapshot_at for row in taken.values() if row is not None and row.snapshot_at is not None]
    between = moments[0] + (moments[1] - moments[0]) / 2
    ports = shops.ports()
    assert backup_of_moment("retail", business, between, ports).backup_id == first
    assert backup_of_moment("retail", business, moments[1], ports).backup_id == second
    with pytest.raises(NotFoundError, match="There is no backup of business"):
        backup_of_moment("retail", business, moments[0].replace(year=2020), ports)
    with pytest.raises(UsageError, match="still to come"):
        backup_of_moment("retail", business, moments[0].replace(year=2126), ports)
    shops.do(f"UPDATE customers SET name = name || '?' WHERE business_id = '{business}'")
    told = shops.plan(first, at=between).remarks
    assert [remark.severity.value for remark in told] == ["warning"], "what came after it is in no backup"
    assert replace(shops.plan(first), request=wanted(first)).remarks == ()


@pytest.mark.acceptance("3.39")
def test_what_is_in_the_way_is_said_and_nothing_is_done(shops: Shops) -> None:
    (business, backup_id), (other, _) = list(_fresh(shops).items())[:2]
    moved = f"(SELECT id FROM workers WHERE business_id = '{business}' LIMIT 1)"
    shops.do(f"UPDATE workers SET business_id = '{other}' WHERE id = {moved}")
    plan = shops.plan(backup_id)
    assert plan.diff.conflicts[0].message == "1 rows of workers are another business's by now."
    now, others = shops.content(business), shops.content(business, others=True)
    with pytest.raises(PreflightRefusedError, match="another business's by now"):
        shops.restore(plan)
    # A row of somebody else that refers to what would go.
    backup_id = _fresh(shops)[business]
    shops.do(
        f"INSERT INTO customers (id, business_id, name) VALUES ('{'c' * 32}', '{business}', 'later')",
        f"UPDATE sales SET customer_id = '{'c' * 32}' WHERE id = {_unpaid(other)}",
    )
    [conflict] = shops.plan(backup_id).diff.conflicts
    assert "violates foreign key constraint" in conflict.message
    assert (conflict.table, "still referenced" in conflict.detail) == ("sales", True)
    assert now != others


def test_a_business_that_is_gone_comes_back(shops: Shops) -> None:
    """Closed, it is backed up all the same before it changes; deleted, there is nothing to keep."""
    business, backup_id = list(_fresh(shops).items())[-1]
    then = shops.content(business)
    shops.do(
        f"UPDATE businesses SET status = 'closed' WHERE id = '{business}'",
        f"UPDATE customers SET name = name || '?' WHERE business_id = '{business}'",
    )
    done = shops.restore(shops.plan(backup_id))
    safety = shops.ledger.get(str(done.safety_backup_id))
    assert safety is not None
    assert safety.type is Trigger.MANUAL
    assert shops.content(business) == then
    own_sales = f"sale_id IN (SELECT id FROM sales WHERE business_id = '{business}')"
    shops.do(
        *(f"DELETE FROM {table} WHERE {own_sales}" for table in ("payments", "sale_items")),
        *(f"DELETE FROM {t} WHERE business_id = '{business}'" for t in ("sales", "workers", "customers", "products")),
        f"DELETE FROM businesses WHERE id = '{business}'",
    )
    done = shops.restore(shops.plan(backup_id))
    assert done.safety_backup_id is None
    assert shops.content(business) == then


def test_a_trigger_that_wants_otherwise_is_in_the_way(shops: Shops) -> None:
    business, backup_id = next(iter(_fresh(shops).items()))
    shops.do(
        f"UPDATE customers SET name = name || '?' WHERE business_id = '{business}'",
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := 'mine'; RETURN NEW; END $$",
        "CREATE TRIGGER keep BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION keep()",
    )
    assert "a trigger" in shops.plan(backup_id).diff.conflicts[0].message
    shops.do("DROP TRIGGER keep ON customers")
    assert shops.plan(backup_id).diff.conflicts == ()


def test_a_cascade_never_takes_rows_of_others(shops: Shops) -> None:
    (business, backup_id), (other, _) = list(_fresh(shops).items())[:2]
    shops.do(
        f"INSERT INTO sales (id, business_id, number, worker_id, total) SELECT '{'d' * 32}', '{business}', 9999, id, 1 "
        f"FROM workers WHERE business_id = '{business}' LIMIT 1",
        "CREATE TABLE IF NOT EXISTS letters (id int PRIMARY KEY, sale_id uuid REFERENCES sales ON DELETE CASCADE)",
        "ALTER TABLE sales ADD COLUMN copy_of uuid REFERENCES sales ON DELETE CASCADE",
        f"UPDATE sales SET copy_of = '{'d' * 32}' WHERE id = {_unpaid(other)}",
    )
    [conflict] = shops.plan(backup_id).diff.conflicts
    assert "rows that are not of the business, or not chosen, would change in public.sales" in conflict.message
    backup_id = _fresh(shops)[business]
    shops.do(
        f"INSERT INTO customers (id, business_id, name) VALUES ('{'e' * 32}', '{business}', 'later')",
        "CREATE TABLE badges (id int PRIMARY KEY, customer_id uuid REFERENCES customers ON DELETE CASCADE)",
        f"INSERT INTO badges VALUES (1, '{'e' * 32}')",
    )
    [conflict] = shops.plan(backup_id).diff.conflicts
    assert conflict.message == "rows that are not of the business, or not chosen, would change in public.badges"
