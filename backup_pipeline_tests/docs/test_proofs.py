"""Tests of what docs/operations.md says is proven: each test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
DOC = (TESTS.parent / "docs" / "operations.md").read_text(encoding="utf-8")
PROOF = re.compile(r"`(?:backup_pipeline_tests/)?((?:[a-z_0-9]+/)*test_[a-z_0-9]+\.py)(?:::(test_\w+))?")


def test_each_proof_that_the_page_names_is_there() -> None:
    proofs = PROOF.findall(DOC)
    assert len(proofs) > 100
    missing = [
        f"{file}::{name}"
        for file, name in proofs
        if not (TESTS / file).is_file() or (name and f"def {name}(" not in (TESTS / file).read_text(encoding="utf-8"))
    ]
    assert missing == []
