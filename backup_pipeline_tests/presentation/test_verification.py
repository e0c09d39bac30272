"""The report of a verification, level by level."""

from __future__ import annotations

from backup_pipeline.core.verification import Finding, Level, LevelReport, Remark, VerifyReport
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline.presentation.verification import verification_document
from backup_pipeline_tests.presentation.drawing import in_terminal


def report(*levels: LevelReport, wanted: Level = Level.CONTENTS) -> VerifyReport:
    """A report of these levels."""
    return VerifyReport("b1", "s3://store/b1", wanted, levels, 1_200_000, 2.5)


PRESENT = LevelReport(Level.PRESENT, ("manifest.json",))
BYTES = LevelReport(Level.BYTES, ("full.zip",))


def test_what_passed_says_what_it_proves_and_leaves_open() -> None:
    contents = LevelReport(Level.CONTENTS, ("full.zip!a",), remarks=(Remark(Level.CONTENTS, "a", "has no key"),))
    lines = in_terminal(verification_document(report(PRESENT, BYTES, contents))).splitlines()
    assert lines[:2] == ["Backup b1: reached level 2 (contents), 3 objects, 1.2 MB, 2.5 s", "In s3://store/b1"]
    assert [" ".join(line.split()) for line in lines[2:4]] == [
        f"0 (present) good {Level.PRESENT.proves}",
        f"1 (bytes) good {Level.BYTES.proves}",
    ]
    assert lines[-2:] == ["Note: Level 2: a: has no key", f"Nothing is wrong. {Level.CONTENTS.leaves_open}"]


def test_findings_are_named_and_nothing_is_called_good() -> None:
    damaged = LevelReport(Level.BYTES, ("full.zip",), findings=(Finding(Level.BYTES, "full.zip", "was [cut] off"),))
    document = verification_document(report(PRESENT, damaged))
    shown, page = in_terminal(document), markdown(document)
    assert "Level 1: full.zip: was [cut] off" in shown.splitlines()
    assert "1 FINDINGS" in shown
    assert "Nothing" not in shown
    assert "| 1 (bytes) | **1 FINDINGS** |" in page
    assert r"- **Level 1**: full.zip: was \[cut\] off" in page


def test_what_was_left_out_is_named_up_to_eight() -> None:
    left = tuple(f"full.zip!parquet/t{number}" for number in range(10))
    part = LevelReport(Level.CONTENTS, (), left, "sample 10%")
    shown = in_terminal(verification_document(report(PRESENT, BYTES, part)))
    names = ", ".join(f"parquet/t{number}" for number in range(8))
    assert f"Level 2 (contents), sample 10%: looked at nothing; left out {names} and 2 more." in shown
    assert "Nothing wrong was seen, but level 2 (contents) was not reached in full." in shown
