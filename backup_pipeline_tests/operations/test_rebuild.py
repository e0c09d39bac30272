"""A rebuild: a lost ledger is made of the manifests, what contradicts the store is corrected, and the rest is left."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.ledger import Attempt, AuditEvent, Hold, Status, seal_hold
from backup_pipeline.core.manifest import StoredManifest, seal
from backup_pipeline.core.ports import Ledger, Ports, Second, Store
from backup_pipeline.core.rebuild import ChangeKind, RebuildPlan
from backup_pipeline.core.retention import Retention
from backup_pipeline.core.scope import NOBODY as UNKNOWN
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level, Verification, depth_of
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.rebuild import RebuildReport, RebuildRequest, plan_rebuild, rebuild
from backup_pipeline.operations.retention.hold import hold_backup
from backup_pipeline_tests.actors import RAHIM, TESTER
from backup_pipeline_tests.doubles.ports import now, ports_for_test
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.operations.conftest import SHOP, Made
from backup_pipeline_tests.operations.vault import STRANGER_SECRET, Vault
from backup_pipeline_tests.servers.ledgers import new_ledger

DEEP = Verification(Level.CONTENTS, datetime(2026, 11, 21, tzinfo=UTC))
RULES = SHOP.model_copy(update={"retention": Retention.model_validate({"manual": {"keep_within": "90 days"}})})


@dataclass(frozen=True)
class Rebuilding:
    """A rebuild of a ledger from a store; whatever runs there is dead."""

    request: RebuildRequest
    ports: Ports

    @property
    def ledger(self) -> Ledger:
        return self.ports.ledger

    def plan(self) -> RebuildPlan:
        return plan_rebuild(self.request, self.ports)

    def rebuild(self, plan: RebuildPlan) -> RebuildReport:
        return rebuild(plan, self.request, self.ports)


def ports_of(
    store: Store, ledger: Ledger, *, alive: bool = False, second: Second | None = None, **asked: Any
) -> Rebuilding:
    ports = ports_for_test(store=store, ledger=ledger, second=second, alive=lambda _: alive)
    return Rebuilding(RebuildRequest(TESTER, **{"catalogs": {"shop": RULES}, **asked}), ports)


def rebuilt(work: Rebuilding) -> RebuildPlan:
    plan = work.plan()
    work.rebuild(plan)
    return plan


def kinds(plan: RebuildPlan) -> list[ChangeKind]:
    return [change.kind for change in plan.changes]


def row_in(ledger: Ledger, backup_id: str) -> Attempt:
    found = ledger.get(backup_id)
    assert found is not None
    return found


def test_an_empty_ledger_becomes_what_it_was(made: Made) -> None:
    ports = ports_of(made.store, new_ledger())
    plan = ports.plan()
    assert kinds(plan) == [ChangeKind.ADD]
    assert ports.ledger.list() == []
    ports.rebuild(plan)
    row = row_in(ports.ledger, made.attempt.backup_id)
    lost: dict[str, Any] = {
        "owner": None,
        "heartbeat_at": None,
        "tables_wanted": (),
        "created_at": row.created_at,
        "due_at": None,
    }
    later: dict[str, Any] = {
        "finished_at": row.finished_at,
        "expires_at": row.expires_at,
    }
    assert row == replace(made.attempt, verification=row.verification, **lost, **later)
    assert depth_of(row.verification) == Level.PRESENT
    assert row.expires_at is not None
    assert row.expires_at - made.manifest.snapshot.taken_at > timedelta(days=89)
    assert ports.ledger.shapes.get(row.backup_id) is not None
    [whole, one] = ports.ledger.audits()
    assert (whole.action, whole.detail["add"]) == ("rebuild", 1)
    assert (one.actor, one.backup_id, one.detail["before"]) == (TESTER, row.backup_id, "no row")


def test_a_second_rebuild_has_nothing_to_do(made: Made) -> None:
    ports = ports_of(made.store, new_ledger())
    rebuilt(ports)
    before = row_in(ports.ledger, made.attempt.backup_id)
    plan = rebuilt(ports)
    assert (plan.empty, plan.changes, plan.agree) == (True, (), 1)
    assert row_in(ports.ledger, made.attempt.backup_id) == before


def test_a_row_that_agrees_is_not_changed_and_its_manifest_not_even_read(made: Made) -> None:
    made.store.put(made.place.manifest, [b"not json at all"])
    plan = rebuilt(ports_of(made.store, made.ledger))
    assert plan.changes == ()
    assert row_in(made.ledger, made.attempt.backup_id) == made.attempt


@pytest.mark.parametrize("status", [Status.FAILED, Status.RUNNING, Status.DELETED, Status.MISSED])
def test_a_row_that_denies_a_backup_is_corrected(made: Made, status: Status) -> None:
    wrong = replace(made.attempt, status=status, error_message="lost", due_at=now(), record_count=None, sha256=None)
    made.ledger.put(wrong)
    plan = rebuilt(ports_of(made.store, made.ledger))
    assert kinds(plan) == [ChangeKind.CORRECT]
    row = row_in(made.ledger, wrong.backup_id)
    assert (row.status, row.error_message, row.record_count) == (Status.SUCCESS, None, 2500)
    assert (row.due_at, row.owner, row.created_at) == (wrong.due_at, wrong.owner, wrong.created_at)
    assert rebuilt(ports_of(made.store, made.ledger)).changes == ()


def test_a_due_time_is_known_again_and_belongs_to_one_row(made: Made) -> None:
    at, ledger = made.attempt.started_at.astimezone(ZoneInfo(SHOP.timezone)), new_ledger()
    due = at.replace(second=0, microsecond=0)
    scheduled = {"shop": SHOP.model_copy(update={"schedule": f"{at.minute} {at.hour} * * *"})}
    rebuilt(ports_of(made.store, ledger, catalogs=scheduled))
    assert row_in(ledger, made.attempt.backup_id).due_at == due
    other = new_ledger()
    older = replace(made.attempt, backup_id="20261001T000000Z-full-00000001", status=Status.MISSED, due_at=due)
    other.put(older)
    rebuilt(ports_of(made.store, other, catalogs=scheduled))
    assert row_in(other, made.attempt.backup_id).due_at is None


def test_a_backup_that_is_being_made_is_left_alone(made: Made) -> None:
    made.ledger.put(replace(made.attempt, status=Status.RUNNING))
    assert rebuilt(ports_of(made.store, made.ledger, alive=True)).changes == ()


def test_a_manifest_that_contradicts_the_row_is_told_and_not_taken_over(made: Made) -> None:
    other = replace(made.attempt, file_size_bytes=1, sha256="0" * 64, verification=DEEP)
    made.ledger.put(other)
    plan = rebuilt(ports_of(made.store, made.ledger))
    [change] = plan.changes
    assert (change.kind, plan.empty) == (ChangeKind.PROBLEM, True)
    assert "ledger and manifest contradict each other (file_size_bytes, sha256)" in change.reason
    assert f"rebuild --accept {other.backup_id} --confirm" in change.reason
    assert row_in(made.ledger, other.backup_id) == other


def test_a_person_may_accept_it_and_its_verification_begins_anew(made: Made) -> None:
    other = replace(made.attempt, file_size_bytes=1, sha256="0" * 64, manifest_sha256="1" * 64, verification=DEEP)
    made.ledger.put(other)
    [change] = rebuilt(ports_of(made.store, made.ledger, accepted=frozenset({other.backup_id}))).changes
    assert change.kind is ChangeKind.CORRECT
    row = row_in(made.ledger, other.backup_id)
    assert (row.file_size_bytes, row.sha256) == (made.manifest.bundle.bytes, made.manifest.bundle.sha256)
    assert (row.manifest_sha256, depth_of(row.verification)) == (made.attempt.manifest_sha256, 0)


def test_what_the_row_lacks_is_filled_in_and_what_was_verified_stays(made: Made) -> None:
    poor = replace(made.attempt, record_count=None, table_counts={}, verification=DEEP)
    made.ledger.put(poor)
    [change] = rebuilt(ports_of(made.store, made.ledger)).changes
    assert (change.kind, change.reason.partition(": ")[2]) == (ChangeKind.CORRECT, "record_count")
    row = row_in(made.ledger, poor.backup_id)
    assert (row.record_count, row.verification) == (made.attempt.record_count, DEEP)


def test_a_deleted_backup_whose_folder_holds_something_else_now_is_not_taken_for_it(made: Made) -> None:
    deleted = replace(made.attempt, status=Status.DELETED, sha256="0" * 64)
    made.ledger.put(deleted)
    [change] = rebuilt(ports_of(made.store, made.ledger)).changes
    assert (change.kind, row_in(made.ledger, deleted.backup_id)) == (ChangeKind.PROBLEM, deleted)


def test_what_nothing_vouches_for_is_said_to_be_so(made: Made) -> None:
    [change] = ports_of(made.store, new_ledger()).plan().changes
    assert "nothing vouches for it" in change.reason


def test_a_hold_outlives_the_ledger(made: Made) -> None:
    until = now() + timedelta(days=10)
    hold_backup(made.attempt, Hold(RAHIM, "the audit", until), ports_for_test(store=made.store, ledger=made.ledger))
    ledger = new_ledger()
    rebuilt(ports_of(made.store, ledger))
    hold = row_in(ledger, made.attempt.backup_id).hold
    assert hold is not None
    assert (hold.actor, hold.until) == (UNKNOWN, until)


def test_a_hold_that_the_row_lacks_is_put_back_one_that_is_over_is_not(made: Made) -> None:
    made.store.put(made.place.hold, [seal_hold(made.attempt.backup_id, now() - timedelta(days=1))])
    assert rebuilt(ports_of(made.store, made.ledger)).changes == ()
    made.store.put(made.place.hold, [b"{"])
    assert kinds(rebuilt(ports_of(made.store, made.ledger))) == [ChangeKind.HOLD]
    row = row_in(made.ledger, made.attempt.backup_id)
    assert row.hold is not None
    assert row.hold.until is None
    assert replace(row, hold=None) == made.attempt
    assert rebuilt(ports_of(made.store, made.ledger)).changes == ()


@pytest.fixture
def two(made: Made) -> tuple[Made, Attempt]:
    """The backup, and an older one that only the ledger knows."""
    older = replace(made.attempt, backup_id="20261001T000000Z-full-00000001")
    made.ledger.put(older)
    return made, older


def test_a_row_whose_backup_is_gone_says_so(two: tuple[Made, Attempt]) -> None:
    made, older = two
    assert kinds(rebuilt(ports_of(made.store, made.ledger))) == [ChangeKind.GONE]
    row = row_in(made.ledger, older.backup_id)
    assert row.status is Status.DELETED
    assert "nobody removed it with this program" in (row.error_message or "")
    assert row_in(made.ledger, made.attempt.backup_id) == made.attempt


def test_a_good_copy_elsewhere_keeps_the_row_of_a_lost_backup(two: tuple[Made, Attempt]) -> None:
    made, older = two
    made.ledger.copies.put(Copy(older.backup_id, Scope("shop"), "s3://far", CopyStatus.GOOD, now(), verification=DEEP))
    [problem] = rebuilt(ports_of(made.store, made.ledger)).problems
    assert "s3://far" in problem.reason
    assert row_in(made.ledger, older.backup_id) == older


def test_a_removal_that_was_begun_is_prunes_to_finish(two: tuple[Made, Attempt]) -> None:
    made, older = two
    made.ledger.audit(AuditEvent(now(), RAHIM, "removing", older.backup_id, {"to": "deleted"}))
    [problem] = rebuilt(ports_of(made.store, made.ledger)).problems
    assert "prune" in problem.reason
    assert row_in(made.ledger, older.backup_id) == older


def test_an_empty_store_is_taken_for_the_wrong_one(made: Made) -> None:
    plan = rebuilt(ports_of(MemoryStore(), made.ledger))
    assert kinds(plan) == [ChangeKind.PROBLEM]
    assert "BACKUP_STORE" in plan.changes[0].reason
    assert row_in(made.ledger, made.attempt.backup_id) == made.attempt


@pytest.mark.parametrize("damage", ["manifest", "bundle", "short", "elsewhere"])
def test_what_is_no_backup_gets_no_row(made: Made, damage: str) -> None:
    if damage == "manifest":
        made.store.put(made.place.manifest, [made.store.get(made.place.manifest)[:-20]])
    elif damage == "bundle":
        made.store.delete([made.bundle])
    elif damage == "short":
        made.store.put(made.bundle, [b"PK"])
    else:
        made.store.put(made.place.manifest.replace(made.attempt.backup_id, "20261001T000000Z-full-00000001"), [b"{}"])
    ledger = new_ledger()
    plan = rebuilt(ports_of(made.store, ledger))
    assert len(plan.problems) == 1
    assert len(ledger.list()) == (1 if damage == "elsewhere" else 0)


def test_a_row_that_moved_since_the_plan_is_left_to_the_next_rebuild(made: Made) -> None:
    ports = ports_of(made.store, new_ledger())
    plan = ports.plan()
    mine = replace(made.attempt, status=Status.RUNNING)
    ports.ledger.begin(mine)
    report = ports.rebuild(plan)
    assert (len(report.written), len(report.moved)) == (0, 1)
    assert row_in(ports.ledger, mine.backup_id) == mine


def test_a_backup_that_came_back_since_the_plan_is_not_called_gone(two: tuple[Made, Attempt]) -> None:
    made, older = two
    ports = ports_of(made.store, made.ledger)
    plan = ports.plan()
    made.store.put(place_of(older).manifest, [b"{}"])
    assert len(ports.rebuild(plan).moved) == 1
    assert row_in(made.ledger, older.backup_id) == older


def test_copies_in_the_second_store_are_known_again_and_alone_they_are_enough(made: Made) -> None:
    second = Second("s3://far", made.store)
    ledger = new_ledger()
    rebuilt(ports_of(made.store, ledger, second=second))
    [copy] = ledger.copies.list()
    assert (copy.store, copy.good, copy.bytes) == ("s3://far", True, made.manifest.bundle.bytes)
    fresh = new_ledger()
    plan = rebuilt(ports_of(made.store, fresh, second=second, from_second=True))
    assert kinds(plan) == [ChangeKind.ADD]
    assert len(fresh.copies.list()) == 1
    assert rebuilt(ports_of(MemoryStore(), fresh, second=second)).problems[0].reason.count("--store second") == 1
    assert row_in(fresh, made.attempt.backup_id).status is Status.SUCCESS


def test_an_encrypted_backup_is_known_without_a_key_and_counted_with_one(vault: Vault) -> None:
    ledger = new_ledger()
    ports = ports_of(vault.server.elsewhere("stranger", keys=[STRANGER_SECRET]).store, ledger)
    rebuilt(ports)
    row = row_in(ledger, vault.attempt.backup_id)
    assert (row.actor, row.record_count, row.status) == (UNKNOWN, None, vault.attempt.status)
    assert (row.sha256, row.snapshot_at) == (vault.attempt.sha256, vault.attempt.snapshot_at)
    assert rebuilt(ports).changes == ()
    assert kinds(rebuilt(ports_of(vault.server.owner.store, ledger))) == [ChangeKind.CORRECT]
    row = row_in(ledger, vault.attempt.backup_id)
    assert (row.actor, row.record_count) == (TESTER, vault.attempt.record_count)


@pytest.mark.slow
def test_thousands_of_manifests_are_read_side_by_side(made: Made) -> None:
    bundle = made.store.get(made.bundle)
    for salt, hour in itertools.product(range(40), range(24)):
        backup_id = f"20261001T{hour:02d}0000Z-full-{salt:08x}"
        body = {**json.loads(made.store.get(made.place.manifest)), "backup_id": backup_id}
        manifest = StoredManifest.model_validate(body)
        place = replace(made.place, backup_id=backup_id)
        made.store.put(place.bundle(manifest.bundle.name), [bundle])
        made.store.put(place.manifest, [seal(manifest)])
    ledger = new_ledger()
    began = now()
    work = ports_of(made.store, ledger)
    plan = work.plan()
    assert now() - began < timedelta(seconds=30)
    work.rebuild(plan)
    assert len(plan.changes) == len(ledger.list()) == 961
