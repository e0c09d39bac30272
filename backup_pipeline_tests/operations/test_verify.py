"""Verifying: an untouched backup passes every level, and whatever is changed is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backup_pipeline.core.errors import NotFoundError, StoreUnavailableError
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.manifest import Manifest, seal
from backup_pipeline.core.ports import BytesMoved, Event, Store
from backup_pipeline.core.verification import Level, VerifyReport
from backup_pipeline.operations.verify import VerifyRequest, verify_attempt, verify_backup
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.stores import FaultyStore, StoreFault
from backup_pipeline_tests.operations.conftest import Made
from backup_pipeline_tests.operations.forging import rezip
from backup_pipeline_tests.operations.made import verify_ports


def verify(
    made: Made, *, level: Level = Level.CONTENTS, store: Store | None = None, row: Attempt | None = None
) -> VerifyReport:
    request = VerifyRequest(level)
    return verify_backup(made.place, request, verify_ports(store or made.store), row=row)


def test_an_untouched_backup_reaches_every_level(made: Made) -> None:
    report = verify(made, row=made.attempt)
    assert report.findings == ()
    assert report.passed
    assert report.level is Level.CONTENTS
    members = len(made.manifest.entries) + 2  # the manifest and the README besides
    assert report.objects == members + 2
    assert report.bytes == made.manifest.bundle.bytes == len(made.store.get(made.bundle))


@pytest.mark.parametrize("part", [0.02, 0.5, 0.999])
def test_one_turned_bit_anywhere_is_found(made: Made, part: float) -> None:
    data = bytearray(made.store.get(made.bundle))
    data[int(len(data) * part)] ^= 1
    made.store.put(made.bundle, [bytes(data)])
    report = verify(made)
    assert report.level is Level.PRESENT
    assert (report.findings[0].level, report.findings[0].object) == (Level.BYTES, made.bundle)


def test_a_damaged_entry_is_named(made: Made) -> None:
    name = "parquet/sold/part-00000.parquet"
    rezip(made, lambda members: members.update({name: members[name][:-1] + b"!"}))
    (finding,) = verify(made).findings
    assert finding.level is Level.CONTENTS
    assert finding.object == f"{made.bundle}!{name}"
    assert "SHA-256" in finding.message


def test_a_rezipped_bundle_with_the_same_entries_passes_so_the_other_tests_can_fail(made: Made) -> None:
    rezip(made, lambda members: None)
    assert verify(made).level is Level.CONTENTS


@pytest.mark.parametrize("name", ["sheets/goods.csv", "README.txt", "manifest.json", "schema.sql"])
def test_a_missing_entry_is_named(made: Made, name: str) -> None:
    rezip(made, lambda members: members.pop(name))
    report = verify(made)
    assert [(f.object, f.message) for f in report.findings] == [(f"{made.bundle}!{name}", "is missing.")]
    assert report.level is Level.BYTES


def test_an_entry_that_the_manifest_does_not_name_is_named(made: Made) -> None:
    rezip(made, lambda members: members.update({"parquet/goods/part-00001.parquet": b"more"}))
    (finding,) = verify(made).findings
    assert finding.object.endswith("!parquet/goods/part-00001.parquet")


def test_manifests_that_differ_are_found_with_the_field(made: Made) -> None:
    changed = Manifest(**{**made.manifest.model_dump(exclude={"bundle"}), "reason": "another"})
    rezip(made, lambda members: members.update({"manifest.json": seal(changed)}))
    (finding,) = verify(made).findings
    assert finding.message == "differs from the manifest beside the bundle in: reason."


def test_a_cut_off_bundle_is_found_by_its_size(made: Made) -> None:
    made.store.put(made.bundle, [made.store.get(made.bundle)[:5000]])
    report = verify(made)
    assert report.level is None
    assert "has 5,000 bytes" in report.findings[0].message
    assert {finding.level for finding in report.findings} == {Level.PRESENT, Level.BYTES, Level.CONTENTS}


def test_a_missing_bundle_is_one_finding(made: Made) -> None:
    made.store.delete([made.bundle])
    (finding,) = verify(made).findings
    assert (finding.level, finding.object, finding.message) == (Level.PRESENT, made.bundle, "is missing.")


def test_a_missing_manifest_is_one_finding(made: Made) -> None:
    made.store.delete([made.place.manifest])
    (finding,) = verify(made).findings
    assert finding.object == made.place.manifest


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [(b'"tester"', b'"nobody"', "changed after it was written"), (b"{", b"[", "is not a manifest")],
)
def test_an_edited_manifest_is_found(made: Made, old: bytes, new: bytes, told: str) -> None:
    made.store.put(made.place.manifest, [made.store.get(made.place.manifest).replace(old, new, 1)])
    (finding,) = verify(made).findings
    assert told in finding.message


def test_a_manifest_of_a_newer_major_format_is_found(made: Made) -> None:
    made.store.put(made.place.manifest, [seal(made.manifest.model_copy(update={"format_version": "2.0"}))])
    (finding,) = verify(made).findings
    assert "format version 2.0" in finding.message


def test_a_manifest_of_another_backup_is_found(made: Made) -> None:
    other = made.manifest.model_copy(update={"backup_id": "20200101T000000Z-full-00000000"})
    made.store.put(made.place.manifest, [seal(other)])
    report = verify(made)
    assert "describes another backup" in report.findings[0].message


def test_a_bundle_and_a_manifest_exchanged_together_are_found_by_what_the_ledger_remembers(made: Made) -> None:
    rezip(made, lambda members: None)
    report = verify(made, row=made.attempt)
    assert "contradicts the ledger: " in report.findings[0].message


def test_a_store_that_does_not_answer_is_an_error_and_no_finding(made: Made) -> None:
    down = FaultyStore(made.store)
    down.on("stream", StoreFault(error=StoreUnavailableError("no answer"), times=None))
    with pytest.raises(StoreUnavailableError):
        verify(made, store=down)


def test_progress_tells_of_every_byte_of_the_bundle(made: Made) -> None:
    class Counting:
        seen = 0

        def tell(self, event: Event) -> None:
            self.seen += event.bytes if isinstance(event, BytesMoved) else 0

    progress = Counting()
    verify_backup(made.place, VerifyRequest(), verify_ports(made.store, progress=progress))
    assert progress.seen >= made.manifest.bundle.bytes


def audited(made: Made) -> VerifyReport:
    return verify_attempt(made.attempt, VerifyRequest(), verify_ports(made.store, ledger=made.ledger), actor=RAHIM)


def test_the_outcome_goes_into_the_audit(made: Made) -> None:
    audited(made)
    made.store.delete([made.bundle])
    audited(made)
    bad, good = made.ledger.audits(made.attempt.backup_id)
    assert (str(good.actor), good.action, good.detail["level"], good.detail["findings"]) == ("rahim", "verify", 2, [])
    assert bad.detail["findings"] == [f"{made.bundle}: is missing."]


def test_the_error_of_a_report_carries_exit_code_20_and_the_first_finding(made: Made) -> None:
    made.store.delete([made.bundle])
    error = audited(made).error()
    assert error.exit_code == 20
    assert made.bundle in error.what


def test_an_attempt_without_a_bundle_can_not_be_verified(made: Made) -> None:
    made.attempt = replace(made.attempt, status=Status.FAILED)
    with pytest.raises(NotFoundError, match="is failed: it has no bundle"):
        audited(made)
