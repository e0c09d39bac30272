"""What is unusual about a backup as a whole: tables that come and go, references that lead nowhere."""

from __future__ import annotations

from typing import Any

from backup_pipeline.core.anomalies import BackupContents, History, Shape, judge_backup, table_shape
from backup_pipeline.core.manifest import AnomalyEntry, TableEntry
from backup_pipeline.core.names import Kind
from backup_pipeline_tests.core.entries import good, table
from backup_pipeline_tests.core.values import catalog

ORDERS, PEOPLE = table("orders"), table("people", rows=70)
SHOP = catalog({"orders": None, "people": None})
REFERENCE = "orders(person_id) → people(id)"


def before(*tables: TableEntry, held: bool = False, **fields: Any) -> History:
    """The full backup `b0` of these tables."""
    shape = Shape(backup_id="b0", tables={one.name: table_shape(one) for one in tables}, **fields)
    attempt = good(0, {one.name: one.row_count for one in tables})
    return History((attempt,), shape.tables, shape, frozenset({"b0"} if held else ()))


def judge(now: BackupContents, history: History) -> list[tuple[str, str]]:
    return [(one.kind, one.table) for one in judge_backup(now, history, SHOP)]


def full(*tables: TableEntry, **fields: Any) -> BackupContents:
    return BackupContents(Kind.FULL, tables, **fields)


def test_a_table_nobody_has_decided_about_is_told_when_it_comes() -> None:
    now = full(ORDERS, unlisted=("public.new", "public.known"))
    assert judge(now, before(ORDERS, unlisted=("public.known",))) == [("new_table", "public.new")]
    [found] = judge_backup(now, before(ORDERS, unlisted=("public.known",)), SHOP)
    assert (found.held, found.severity) == ("b0", "info")
    assert "exclude it with a reason" in found.do


def test_the_catalog_s_own_decisions_are_no_anomalies() -> None:
    both = before(ORDERS, PEOPLE)
    assert judge(full(ORDERS, excluded={"public.people": "no more"}), both) == []
    assert judge(full(ORDERS, table("folk", relation="public.people")), both) == []  # under another name
    assert judge(full(ORDERS, PEOPLE), before(ORDERS)) == []  # listed since
    assert judge(full(ORDERS, unlisted=("public.people",)), before(ORDERS, excluded=("public.people",))) == []
    covering = table("folk", relation="public.folk_safe", covers=(("public", "people"),))
    assert judge(full(ORDERS, covering), both) == []


def test_a_table_that_is_not_backed_up_any_more_is_told_once_with_its_rows() -> None:
    now = full(ORDERS, unlisted=("public.people",))
    [found] = judge_backup(now, before(ORDERS, PEOPLE), SHOP)
    assert (found.kind, found.table, found.usual) == ("vanished_table", "people", 70)
    assert "70 rows" in found.message


def test_a_selective_backup_lacks_tables_by_right() -> None:
    assert judge(BackupContents(Kind.SELECTIVE, (ORDERS,)), before(ORDERS, PEOPLE)) == []


def test_the_first_backup_has_nothing_to_differ_from() -> None:
    assert judge(full(ORDERS, unlisted=("public.x",)), History()) == []


def _after(found: tuple[AnomalyEntry, ...], *, held: bool) -> History:
    return before(ORDERS, held=held, unlisted=("public.new",), anomalies=found, orphans={REFERENCE: 5})


def test_what_was_told_stands_until_it_is_released_or_gone() -> None:
    now = full(ORDERS, unlisted=("public.new",))
    found = judge_backup(now, before(ORDERS, PEOPLE), SHOP)
    assert {(one.kind, one.standing) for one in found} == {("new_table", False), ("vanished_table", False)}
    again = judge_backup(now, _after(found, held=True), SHOP)
    assert {(one.kind, one.standing, one.held) for one in again} == {
        ("new_table", True, "b0"),
        ("vanished_table", True, "b0"),
    }
    assert judge(now, _after(found, held=False)) == []
    assert judge(full(ORDERS, PEOPLE), _after(found, held=True)) == []


def test_references_that_begin_to_lead_nowhere_are_told() -> None:
    now = full(ORDERS, PEOPLE, orphans={REFERENCE: 5})
    [found] = judge_backup(now, before(ORDERS, PEOPLE, orphans={REFERENCE: 0}), SHOP)
    assert (found.kind, found.table, found.subject, found.now) == ("orphans", "orders", REFERENCE, 5)
    assert "5 rows refer to no row" in found.message
    [again] = judge_backup(now, _after((found,), held=True), SHOP)
    assert again.standing
    assert judge(now, _after((found,), held=False)) == []


def test_references_that_were_never_counted_or_never_held_are_no_change() -> None:
    now = full(ORDERS, PEOPLE, orphans={REFERENCE: 150})
    assert judge(now, before(ORDERS, PEOPLE)) == []
    assert judge(now, before(ORDERS, PEOPLE, orphans={REFERENCE: 60})) == []  # no more than the floor
    assert judge(now, before(ORDERS, PEOPLE, orphans={REFERENCE: 49})) == [("orphans", "orders")]
    assert judge(now, before(ORDERS, PEOPLE, orphans={REFERENCE: 200})) == []


def test_what_the_catalog_expects_is_not_told() -> None:
    lax = catalog({"orders": {"anomalies": {"allow": {"orphans": "no keys there"}}}, "people": None})
    now = full(ORDERS, PEOPLE, orphans={REFERENCE: 5}, unlisted=("public.new",))
    history = before(ORDERS, PEOPLE, orphans={REFERENCE: 0})
    assert [one.kind for one in judge_backup(now, history, lax)] == ["new_table"]
    never = catalog({"orders": None}, anomalies={"trailing": 0})
    assert judge_backup(now, history, never) == ()
