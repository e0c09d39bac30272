"""`prune`, `hold`, `release` and `delete`: what people see, what scripts get, and that nothing goes unconfirmed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from backup_pipeline.cli.up import clean_up_at_start
from backup_pipeline.core.ledger import Attempt, Outcome, Status
from backup_pipeline.core.ports import Store
from backup_pipeline.core.scope import PROGRAM, Scope
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.browse import place_of
from backup_pipeline.settings import Settings
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline_tests.actors import KARIM
from backup_pipeline_tests.cli.conftest import Run, made_installation
from backup_pipeline_tests.cli.installation import Installation
from backup_pipeline_tests.core.retained import backup
from backup_pipeline_tests.operations.shelved import BUNDLE, bundle_of, filed, manifest_of
from backup_pipeline_tests.servers.swift import SwiftServer

DAY = timedelta(days=1)
SALTS = count(1)
FILES = ("file_name", "file_path", "sha256", "manifest_sha256")


@pytest.fixture(scope="module")
def installation(postgres_server: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One of this file's own, because its backups are removed."""
    with made_installation(postgres_server, tmp_path_factory.mktemp("pruned")) as made:  # type: ignore[arg-type]
        yield made


@pytest.fixture
def ledger(installation: Installation) -> Iterator[SqlLedger]:
    found = SqlLedger(installation.environment["BACKUP_LEDGER_URL"])
    yield found
    found.close()


def aged(ledger: SqlLedger, store: Store, number: int, *, first: int = 40) -> list[Attempt]:
    """Old automatic backups, the newest first, in the ledger and in the store, each of a day of its own."""
    made = []
    for back in range(number):
        at = datetime.now(UTC).replace(microsecond=0) - (first + back) * DAY
        row = replace(backup(at, salt=next(SALTS)), status=Status.RUNNING, finished_at=None)
        ledger.begin(row)
        known = filed(row)
        told = {name: getattr(known, name) for name in (*FILES, "snapshot_at", "file_size_bytes", "table_counts")}
        told |= {"verification": Verification(Level.BYTES, at)}
        ledger.end(row.backup_id, Outcome(Status.SUCCESS, at + timedelta(minutes=5), **told))
        store.put(place_of(row).bundle(BUNDLE), [bundle_of(row)])
        store.put(place_of(row).manifest, [manifest_of(row)])
        found = ledger.get(row.backup_id)
        assert found is not None
        made.append(found)
    return made


@pytest.fixture
def rows(ledger: SqlLedger, installation: Installation) -> list[Attempt]:
    """Five automatic backups that are older than thirty days."""
    return aged(ledger, DirectoryStore(installation.store), 5)


def _status(ledger: SqlLedger, row: Attempt) -> str:
    found = ledger.get(row.backup_id)
    assert found is not None
    return str(found.status)


def test_without_confirmation_the_plan_is_shown_and_nothing_is_removed(
    run: Run, rows: list[Attempt], ledger: SqlLedger, installation: Installation
) -> None:
    before = ledger.audits()
    ended = run("prune", "--catalog", "shop")
    assert ended.code == 0
    lines = {line.split()[1]: line for line in ended.out.splitlines() if "-full-" in line}
    assert "keep" in lines[installation.good.backup_id]
    assert "the newest good backup; kept for ever" in lines[installation.good.backup_id]
    assert "min_keep: 3 automatic backups always stay" in lines[rows[2].backup_id]
    assert lines[rows[4].backup_id].startswith("remove")
    assert "keep_within: 30 days were over at" in lines[rows[4].backup_id]
    assert "Nothing was removed. To do it: backup-pipeline prune --catalog shop --confirm" in ended.err
    assert ledger.audits() == before
    assert (installation.store / place_of(rows[4]).manifest).exists()


def test_with_confirmation_it_goes_and_list_says_so(
    run: Run, rows: list[Attempt], ledger: SqlLedger, installation: Installation
) -> None:
    ended = run("prune", "--catalog", "shop", "--confirm")
    assert ended.code == 0, ended.err
    assert "removed" in ended.out
    assert _status(ledger, rows[4]) == "expired"
    assert not (installation.store / place_of(rows[4]).manifest).exists()
    assert _status(ledger, installation.good) == "success"
    assert rows[4].backup_id in run("list", "--status", "expired", "--limit", "100").out
    again = run("prune", "--catalog", "shop", "--confirm")
    assert "removed backups 0, dates of partitions 0" in again.out
    [pruned, *_] = [event for event in ledger.audits() if event.action == "pruned"]
    assert str(pruned.actor) == "rahim"


@pytest.mark.acceptance("2.28")
def test_what_was_due_while_nothing_ran_goes_when_up_begins_and_nobody_confirms_it(
    run: Run, rows: list[Attempt], ledger: SqlLedger
) -> None:
    """As `up` does it: by the rules, once, in the program's name; without anything to do it says so."""
    first, second = ([line for line in clean_up_at_start(Settings()) if "shop:" in line] for _ in range(2))
    assert [line for line in first if re.fullmatch(r"Clean-up     shop: [1-9] backups removed", line)] == first != []
    assert second == ["Clean-up     shop: nothing is due"]
    assert _status(ledger, rows[4]) == "expired"
    [prune] = [event for event in ledger.audits(limit=20) if event.action == "prune"][:1]
    assert prune.actor == PROGRAM


def test_as_json_plan_and_report_are_one_document(run: Run, rows: list[Attempt]) -> None:
    told = json.loads(run("prune", "--catalog", "shop", "--json").out)
    assert told["reports"] == []
    [plan] = told["plans"]
    assert {each["backup_id"]: each["removed"] for each in plan["backups"]}[rows[4].backup_id] is True
    told = json.loads(run("prune", "--catalog", "shop", "--json", "--confirm").out)
    assert rows[4].backup_id in [each["backup_id"] for each in told["reports"][0]["removed"]]


def test_an_unknown_catalog_is_not_found(run: Run) -> None:
    ended = run("prune", "--catalog", "nothing")
    assert ended.code == 10
    assert "Use one of shop" in ended.err


def test_a_held_backup_is_listed_as_held_and_stays_until_it_is_released(
    run: Run, rows: list[Attempt], ledger: SqlLedger
) -> None:
    name = rows[4].backup_id
    ended = run("hold", name, "--reason", "the audit [of] 2026", "--until", "2999-06-30")
    assert ended.code == 0, ended.err
    assert f"Backup {name} is held by rahim until 2999-06-30 18:00 UTC: the audit [of] 2026." in ended.out
    [line] = [line for line in run("list", "--limit", "100").out.splitlines() if name in line]
    assert " held " in line
    assert "held by rahim until 2999-06-30 18:00 UTC: the audit [of] 2026" in run("show", name).out
    run("prune", "--catalog", "shop", "--confirm")
    assert _status(ledger, rows[4]) == "success"
    refused = run("delete", name, "--confirm", name)
    assert refused.code == 21
    assert "release ID" in refused.err
    assert run("release", name, "--reason", "done").out == f"Backup {name} is released: the rules count for it again.\n"
    assert run("release", name).out == f"Backup {name} was not held.\n"
    told = json.loads(run("prune", "--catalog", "shop", "--json").out)["plans"][0]["backups"]
    [verdict] = [each for each in told if each["backup_id"] == name]
    assert not any("held" in reason for reason in verdict["reasons"])


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--reason", ""], 2),
        (["--reason", "x", "--until", "2020-01-01"], 2),
        (["--reason", "x", "--until", "soon"], 2),
        ([], 2),
    ],
)
def test_a_hold_that_makes_no_sense_is_refused(run: Run, options: list[str], code: int) -> None:
    assert run("hold", "latest", *options).code == code


def test_a_hold_may_be_given_as_a_time(run: Run, installation: Installation, ledger: SqlLedger) -> None:
    assert run("hold", "latest", "--reason", "for a while", "--until", "90d").code == 0
    row = ledger.get(installation.good.backup_id)
    assert row is not None
    assert row.hold is not None
    assert row.hold.until is not None
    assert abs(row.hold.until - datetime.now(UTC) - 90 * DAY) < timedelta(minutes=5)
    run("release", "latest")


@pytest.mark.acceptance("0.23")
def test_a_backup_is_deleted_when_its_id_is_typed_twice(
    run: Run, rows: list[Attempt], ledger: SqlLedger, installation: Installation
) -> None:
    name = rows[4].backup_id
    unconfirmed = run("delete", name)
    assert unconfirmed.code == 21
    assert f"backup-pipeline delete {name} --confirm {name}" in unconfirmed.err
    assert run("delete", name, "--confirm", rows[3].backup_id).code == 21
    assert _status(ledger, rows[4]) == "success"
    size = sum(found.size for found in DirectoryStore(installation.store).list(place_of(rows[4]).prefix))
    ended = run("delete", name, "--confirm", name, "--reason", "private data")
    assert ended.code == 0, ended.err
    assert ended.out == f"Backup {name} is deleted: 2 objects, {size:,} bytes.\n"
    assert _status(ledger, rows[4]) == "deleted"
    assert not (installation.store / place_of(rows[4]).prefix).exists()
    assert "deleted" in run("show", name).out


def test_the_newest_good_backup_can_not_be_deleted(run: Run, installation: Installation) -> None:
    name = installation.good.backup_id
    ended = run("delete", name, "--confirm", name)
    assert ended.code == 21
    assert "the newest good backup" in ended.err
    assert installation.bundle.exists()


def test_what_is_no_backup_can_not_be_deleted(run: Run) -> None:
    assert run("delete", "latest", "--confirm", "latest").code == 2
    missing = "20200101T000000Z-full-00000000"
    assert run("delete", missing, "--confirm", missing).code == 10


def test_while_somebody_else_writes_the_catalog_nothing_is_pruned(
    run: Run, rows: list[Attempt], ledger: SqlLedger
) -> None:
    from backup_pipeline.core.ledger import LIFE, Claim
    from backup_pipeline.ledger import this_owner

    lease = ledger.leases.acquire(Claim(Scope("shop"), "some backup", KARIM, this_owner()), LIFE)
    try:
        ended = run("prune", "--catalog", "shop", "--confirm")
    finally:
        ledger.leases.release(lease)
    assert ended.code == 11
    assert "karim" in ended.err
    assert _status(ledger, rows[4]) == "success"


def test_a_versioned_bucket_is_told_object_by_object_with_exit_code_3(
    run: Run, ledger: SqlLedger, s3_server: SwiftServer, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = s3_server.client()
    client.put_bucket_versioning(Bucket=s3_bucket, VersioningConfiguration={"Status": "Enabled"})
    rows = aged(ledger, S3Store(s3_bucket, "", s3_server.settings), 5, first=400)
    monkeypatch.setenv("BACKUP_STORE", f"s3://{s3_bucket}")
    monkeypatch.setenv("BACKUP_S3_ENDPOINT_URL", s3_server.endpoint_url)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    try:
        ended = run("prune", "--catalog", "shop", "--confirm")
        assert ended.code == 3
        told = [line for line in ended.out.splitlines() if line.startswith("VERSIONED ")]
        keys = [key for row in rows[3:] for key in (place_of(row).manifest, place_of(row).bundle("full_backup.zip"))]
        assert sorted(line.split()[1].rstrip(":") for line in told) == sorted(keys)
        assert _status(ledger, rows[4]) == "expired"
        row = ledger.get(rows[4].backup_id)
        assert row is not None
        assert len(row.warnings) == 2
        ended = run("prune", "--catalog", "shop", "--confirm", "--versions", "remove")
        assert ended.code == 0, ended.out + ended.err
        left = client.list_object_versions(Bucket=s3_bucket)
        assert not any(each["Key"] in keys for each in left.get("Versions", ()))
    finally:
        found = client.list_object_versions(Bucket=s3_bucket)
        for each in (*found.get("Versions", ()), *found.get("DeleteMarkers", ())):
            client.delete_object(Bucket=s3_bucket, Key=each["Key"], VersionId=each["VersionId"])
