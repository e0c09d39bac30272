"""The metrics of a ledger, read back by Prometheus' own parser."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families

from backup_pipeline.core.copies import Copy, CopyStatus
from backup_pipeline.core.ledger import Attempt, Hold, Status
from backup_pipeline.core.names import Kind
from backup_pipeline.core.restore.requests import RestoreRow, RestoreStatus
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.statistics import KnownStates, Standing, ended_as, metrics_of
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline.operations.health import prometheus_text
from backup_pipeline_tests.actors import KARIM
from backup_pipeline_tests.core.entries import AT, good

HERE, THERE = "file:///backups", "s3://second/backups"
OLD = good(0, {"orders": 5}, warnings=("one",))
NEW = good(1, {"orders": 7, "পেমেন্ট": 0}, table_bytes={"orders": 70}, hold=Hold(KARIM, "audit"))
RESTORE = RestoreRow(
    "b0",
    Scope("isp"),
    "new",
    "postgresql://x",
    "x",
    KARIM,
    AT,
    id=3,
    status=RestoreStatus.DONE,
    started_at=AT,
    finished_at=AT + timedelta(seconds=9),
)


def series(
    *attempts: Attempt,
    copies: tuple[Copy, ...] = (),
    restores: tuple[RestoreRow, ...] = (),
    standings: tuple[Standing, ...] = (),
) -> dict[str, float]:
    """The values by series, as Prometheus reads the text; its names and labels must be what they were."""
    text = prometheus_text(metrics_of(known_states(*attempts, copies=copies, restores=restores, standings=standings)))
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert f"# TYPE {family.name}" in text
        for sample in family.samples:
            found[f"{sample.name}{dict(sorted(sample.labels.items()))}"] = sample.value
    return found


def known_states(
    *attempts: Attempt,
    copies: tuple[Copy, ...] = (),
    restores: tuple[RestoreRow, ...] = (),
    standings: tuple[Standing, ...] = (),
) -> KnownStates:
    """What is known of a ledger with these rows, four days after the first."""
    return KnownStates(attempts, _ends(attempts), copies, restores, standings, HERE, AT + timedelta(days=4))


def _ends(attempts: Sequence[Attempt]) -> Mapping[tuple[Scope, Status], int]:
    ends = ((row.scope, ended_as(row)) for row in attempts)
    return Counter((scope, end) for scope, end in ends if end is not None)


def test_each_destination_has_an_age_and_says_whether_it_is_fresh() -> None:
    found = series(
        standings=(
            Standing("isp", HERE, 3600.0, fresh=True),
            Standing("isp", THERE, 99999.0, fresh=False),
            Standing("shop", THERE, None, fresh=None),
        )
    )
    first, second, shop = (
        {"catalog": catalog, "destination": place}
        for catalog, place in (("isp", HERE), ("isp", THERE), ("shop", THERE))
    )
    assert (found[f"backup_age_seconds{first}"], found[f"backup_fresh{first}"]) == (3600, 1)
    assert (found[f"backup_age_seconds{second}"], found[f"backup_fresh{second}"]) == (99999, 0)
    assert not {f"backup_age_seconds{shop}", f"backup_fresh{shop}"} & set(found)
    assert found["backup_missed_total{'catalog': 'shop'}"] == 0  # it is there before the first event


def test_the_newest_good_full_backup_is_told_with_its_tables() -> None:
    failed = replace(good(2, {}), status=Status.FAILED, sha256=None)
    selective = good(3, {"orders": 1}, kind=Kind.SELECTIVE)
    found = series(selective, failed, NEW, OLD)
    isp = {"catalog": "isp"}
    at = NEW.created_at.timestamp()
    assert found[f"backup_last_success_timestamp_seconds{isp | {'destination': HERE}}"] == at
    assert found[f"backup_duration_seconds{isp}"] == 30
    assert found[f"backup_size_bytes{isp}"] == 1000
    assert found[f"backup_rows{isp | {'table': 'orders'}}"] == 7
    assert found[f"backup_rows{isp | {'table': 'পেমেন্ট'}}"] == 0
    assert found[f"backup_table_size_bytes{isp | {'table': 'orders'}}"] == 70
    assert found[f"backup_last_verified_timestamp_seconds{isp}"] == selective.created_at.timestamp()
    assert found[f"backup_held{isp}"] == 1
    assert found[f"backup_stored_bytes{isp}"] == 3000


def test_attempts_are_counted_by_how_they_ended_also_when_they_are_gone() -> None:
    gone, lost = replace(OLD, status=Status.DELETED), replace(OLD, backup_id="x", status=Status.DELETED, sha256=None)
    missed = replace(good(2, {}), status=Status.MISSED)
    found = series(missed, NEW, gone, lost, replace(good(4, {}), status=Status.RUNNING))
    counts = {
        status: found[f"backup_runs_total{ {'catalog': 'isp', 'status': status} }"]
        for status in ("success", "success_with_warnings", "failed", "canceled", "missed")
    }
    assert counts == {"success": 1, "success_with_warnings": 1, "failed": 1, "canceled": 0, "missed": 1}
    assert found["backup_missed_total{'catalog': 'isp'}"] == 1


def test_a_verification_that_found_something_is_none() -> None:
    broken = good(2, {}, verification=Verification(Level.BYTES, AT, passed=False))
    found = series(broken, OLD)
    assert found["backup_last_verified_timestamp_seconds{'catalog': 'isp'}"] == OLD.created_at.timestamp()


def test_a_second_destination_has_a_series_of_its_own() -> None:
    made = "20261120T180000Z-full-1f3a9c2e"
    copy = Copy(made, Scope("isp"), THERE, CopyStatus.GOOD, AT, verification=Verification(Level.BYTES, AT))
    older = replace(copy, backup_id="20261119T180000Z-full-1f3a9c2e")
    bad = replace(copy, backup_id="20261121T180000Z-full-1f3a9c2e", status=CopyStatus.FAILED)
    found = series(NEW, copies=(bad, copy, older))
    name = f"backup_last_success_timestamp_seconds{ {'catalog': 'isp', 'destination': THERE} }"
    assert found[name] == copy.made_at.timestamp()


def test_the_newest_restore_that_was_done_is_told() -> None:
    failed = replace(RESTORE, id=4, status=RestoreStatus.FAILED)
    older = replace(RESTORE, id=2, finished_at=AT + timedelta(seconds=99))
    found = series(NEW, restores=(failed, RESTORE, older))
    assert found["backup_restore_duration_seconds{'catalog': 'isp'}"] == 9


def test_an_empty_ledger_has_every_metric_and_no_value() -> None:
    assert series() == {}


def test_labels_never_name_a_backup_a_person_or_a_business() -> None:
    tenant = replace(NEW, scope=Scope("isp", business="b-7"), actor=KARIM)
    text = prometheus_text(metrics_of(KnownStates((tenant,), _ends((tenant,)), (), (), (), HERE, AT)))
    assert "b-7" not in text
    assert "karim" not in text
    assert "b1" not in text
