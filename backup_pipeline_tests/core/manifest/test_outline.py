"""The outline of an encrypted manifest: all that anybody may know, and found to be changed when it was."""

from __future__ import annotations

import json

import pytest

from backup_pipeline.core.errors import DecryptError, VerificationError
from backup_pipeline.core.keys import encrypted_name, is_gzipped, plain_name
from backup_pipeline.core.manifest import EncryptionEntry, PartitionRecord, read_manifest, read_partition, seal
from backup_pipeline.core.manifest.outline import Outline, PartitionOutline, concealed, hidden, read_outline
from backup_pipeline_tests.core.test_manifest import resealed, stored, table

TO = ("age1owner", "age1escrow")


def test_the_outline_says_which_backup_it_is_and_nothing_of_what_is_in_it() -> None:
    data = concealed(seal(stored(reason="before the audit")), "here", TO, "CIPHERTEXT")
    found = read_outline(data, "here")
    assert (found.backup_id, found.bundle, found.snapshot_at) == (
        stored().backup_id,
        stored().bundle,
        stored().snapshot.taken_at,
    )
    assert found.encryption == EncryptionEntry(recipients=TO)
    assert found.ciphertext == "CIPHERTEXT"
    for word in ("customers", "uuid", "গ্রাহক", "before the audit", 'isp"/', "18.1", "log-ins", "schedule"):
        assert word not in data.decode()


def test_whoever_reads_it_as_a_manifest_is_told_to_whom_it_is_encrypted() -> None:
    data = concealed(seal(stored()), "here", TO, "CIPHERTEXT")
    with pytest.raises(DecryptError, match="here is encrypted to age1owner, age1escrow"):
        read_manifest(data, "here")


def test_a_program_that_knows_no_encryption_refuses_it() -> None:
    """It asks for fields that are not there: nothing is restored as if the backup were empty."""
    body = json.loads(concealed(seal(stored()), "here", TO, "CIPHERTEXT"))
    del body["ciphertext"], body["encryption"]
    with pytest.raises(VerificationError, match="wants a value"):
        read_manifest(resealed(json.dumps(body, ensure_ascii=False).encode()), "here")


def test_the_record_of_a_partition_has_an_outline_too() -> None:
    record = PartitionRecord(catalog="isp", partition_date=stored().partition_date, table=table())
    data = concealed(seal(record), "here", TO, "CIPHERTEXT")
    assert isinstance(hidden(data, "here"), PartitionOutline)
    assert b"customers" not in data
    with pytest.raises(DecryptError):
        read_partition(data, "here")


def test_a_readable_document_has_none() -> None:
    assert hidden(seal(stored()), "here") is None
    with pytest.raises(VerificationError):
        read_outline(seal(stored()), "here")


def test_any_change_of_an_outline_is_found() -> None:
    data = concealed(seal(stored()), "here", TO, "CIPHERTEXT")
    assert isinstance(hidden(data, "here"), Outline)
    for old, new in ((b"age1owner", b"age1thief"), (b"CIPHERTEXT", b"CIPHERTEXU"), (b"success", b"failure")):
        with pytest.raises(VerificationError, match="was changed"):
            hidden(data.replace(old, new), "here")


@pytest.mark.parametrize("name", ["part-00000.parquet", "sheet-00000.csv", "x.gz", "a.age", "গ্রাহক (2).csv"])
@pytest.mark.parametrize("gzipped", [False, True])
def test_a_name_comes_back(name: str, gzipped: bool) -> None:
    made = encrypted_name(name, gzipped=gzipped)
    assert is_gzipped(made) == gzipped or name.endswith(".gz")
    assert plain_name(made) == name or name.endswith(".gz")
