"""Finding one backup, and its manifest."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from backup_pipeline.core.errors import NotFoundError, UsageError, VerificationError
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.names import Kind
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline.operations.browse import bundle_place, find_backup, find_sound_backup, stored_manifest
from backup_pipeline_tests.core.retained import days
from backup_pipeline_tests.doubles.ports import now
from backup_pipeline_tests.operations.conftest import Made
from backup_pipeline_tests.servers.ledgers import new_ledger


def add(made: Made, salt: str, **changed: object) -> Attempt:
    """Another row, a minute younger."""
    older = made.attempt
    fields = {
        "backup_id": older.backup_id[:-8] + salt,
        "created_at": older.created_at + timedelta(minutes=1),
        **changed,
    }
    attempt = replace(older, **fields)  # type: ignore[arg-type]
    made.ledger.put(attempt)
    return attempt


def test_an_id_finds_its_backup(made: Made) -> None:
    assert find_backup(made.attempt.backup_id, made.ledger) == made.attempt


@pytest.mark.parametrize("text", ["", "newest", "20261120T180000Z-full", "../../etc/passwd"])
def test_what_is_no_id_is_a_wrong_request(made: Made, text: str) -> None:
    with pytest.raises(UsageError, match="is not a backup id"):
        find_backup(text, made.ledger)


def test_an_unknown_id_is_not_found_and_the_error_says_where_ids_are(made: Made) -> None:
    with pytest.raises(NotFoundError) as caught:
        find_backup("20261120T180000Z-full-00000000", made.ledger)
    assert caught.value.exit_code == 10
    assert "backup-pipeline list" in caught.value.do


def test_an_id_of_another_catalog_is_not_found(made: Made) -> None:
    with pytest.raises(NotFoundError, match="of catalog isp"):
        find_backup(made.attempt.backup_id, made.ledger, catalog="isp")


def test_latest_passes_over_failed_ones_selective_ones_and_single_tables(made: Made) -> None:
    add(made, "f0000001", status=Status.FAILED)
    add(made, "f0000002", status=Status.SUCCESS, kind=Kind.TABLES)
    add(made, "f0000005", status=Status.SUCCESS, kind=Kind.SELECTIVE)
    assert find_backup("latest", made.ledger) == made.attempt


def test_latest_is_the_newest_good_one_also_with_warnings(made: Made) -> None:
    newer = add(made, "f0000003", status=Status.SUCCESS_WITH_WARNINGS)
    assert find_backup("latest", made.ledger) == newer


def test_latest_of_a_catalog_is_of_that_catalog(made: Made) -> None:
    add(made, "f0000004", scope=Scope("isp"))
    assert find_backup("latest", made.ledger, catalog="shop") == made.attempt


def test_latest_of_nothing_says_how_to_make_one() -> None:
    with pytest.raises(NotFoundError, match="no good full backup yet of catalog isp") as caught:
        find_backup("latest", new_ledger(), catalog="isp")
    assert "backup-pipeline backup" in caught.value.do
    assert "selective" not in caught.value.do


def test_where_all_good_ones_are_selective_the_advice_names_the_newest_by_its_id(made: Made) -> None:
    add(made, "f0000006", kind=Kind.SELECTIVE, scope=Scope("isp"), created_at=now() - timedelta(seconds=30))
    newest = add(made, "f0000007", kind=Kind.SELECTIVE, scope=Scope("isp"), created_at=now())
    with pytest.raises(NotFoundError, match="no good full backup") as caught:
        find_backup("latest", made.ledger, catalog="isp")
    assert f"by its id, {newest.backup_id}" in caught.value.do


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"status": Status.FAILED}, "is failed: it has no bundle"),
        ({"status": Status.RUNNING}, "is running: it has no bundle"),
        ({"status": Status.DELETED}, "its bundle is gone"),
        ({"status": Status.SUCCESS, "kind": Kind.TABLES}, "exported single tables"),
    ],
)
def test_an_attempt_without_a_bundle_says_why(made: Made, changed: dict[str, object], told: str) -> None:
    with pytest.raises(NotFoundError, match=told):
        bundle_place(replace(made.attempt, **changed))  # type: ignore[arg-type]


def test_the_manifest_is_the_one_that_was_stored(made: Made) -> None:
    assert stored_manifest(made.attempt, made.store) == made.manifest


def test_a_missing_manifest_asks_for_the_right_store(made: Made) -> None:
    made.store.delete([made.place.manifest])
    with pytest.raises(NotFoundError) as caught:
        stored_manifest(made.attempt, made.store)
    assert "BACKUP_STORE" in caught.value.do


def test_a_damaged_manifest_is_a_failed_verification(made: Made) -> None:
    made.store.put(made.place.manifest, [b"{}"])
    with pytest.raises(VerificationError):
        stored_manifest(made.attempt, made.store)


def test_the_latest_that_was_found_damaged_is_refused_and_the_last_sound_one_named() -> None:
    ledger, (newest, older, oldest) = new_ledger(), days(3)
    damaged = Verification(Level.BYTES, newest.created_at, passed=False)
    unreadable = Verification(None, older.created_at, passed=False)
    for row in (replace(newest, verification=damaged), replace(older, verification=unreadable), oldest):
        ledger.put(row)
    with pytest.raises(VerificationError, match=f"{newest.backup_id}, did not verify on ") as caught:
        find_sound_backup("latest", ledger, catalog="shop")
    assert f"nothing was found wrong with is {oldest.backup_id}" in caught.value.do
    assert find_sound_backup("latest", ledger, store="second").backup_id == newest.backup_id
    assert find_sound_backup(newest.backup_id, ledger).backup_id == newest.backup_id
    assert find_backup("latest", ledger).backup_id == newest.backup_id


def test_the_latest_of_several_catalogs_is_not_guessed() -> None:
    ledger, (newest, older) = new_ledger(), days(2)
    for row in (newest, replace(older, scope=Scope("other"))):
        ledger.put(row)
    with pytest.raises(UsageError, match="`latest` may be a backup of other, shop") as caught:
        find_sound_backup("latest", ledger)
    assert "--catalog NAME" in caught.value.do
    assert find_sound_backup("latest", ledger, catalog="other").backup_id == older.backup_id
    assert find_sound_backup(newest.backup_id, ledger).backup_id == newest.backup_id
