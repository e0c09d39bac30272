"""The seal: right for what was sealed, for nothing else, and for no other key; old readers read a sealed document."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.doctor import judge_seals
from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.keys import SEAL, check_seal, seal_in, with_seal
from backup_pipeline.core.manifest import read_manifest, seal, sealed
from backup_pipeline.formats.keys import Ed25519Keys, new_seal_key, parse_public_keys, parse_seal_key
from backup_pipeline_tests.core.test_manifest import stored

SECRET, PUBLIC = new_seal_key()
KEYS = Ed25519Keys(parse_seal_key(SECRET, where="TEST"))
READER = Ed25519Keys(None, parse_public_keys(PUBLIC, setting="TEST"))
OTHER = Ed25519Keys(parse_seal_key(new_seal_key()[0], where="TEST"))
PLAIN = seal(stored())
DATA = with_seal(PLAIN, "here", KEYS)


def with_fields(data: bytes, **fields: Any) -> bytes:
    """The document with other fields (None: without), its own checksum made right."""
    body = json.loads(data) | fields
    return sealed({name: value for name, value in body.items() if value is not None and name != "manifest_sha256"})


@pytest.mark.parametrize("keys", [KEYS, READER])
def test_what_was_sealed_is_right_for_whoever_has_the_public_key(keys: Ed25519Keys) -> None:
    check_seal(DATA, "here", keys, required=True)
    found = seal_in(DATA, "here")
    assert found is not None
    assert (found.key,) == READER.accepted


def test_a_reader_that_knows_no_seals_reads_it() -> None:
    assert read_manifest(DATA, "here") == stored()


def test_sealing_again_changes_nothing() -> None:
    assert with_seal(DATA, "here", KEYS) == DATA


@given(st.sampled_from(sorted(name for name in json.loads(DATA) if name not in {SEAL, "manifest_sha256"})))
def test_any_field_that_is_changed_breaks_it(name: str) -> None:
    with pytest.raises(VerificationError, match="was changed after it was sealed"):
        check_seal(
            with_fields(DATA, **{name: "other" if name != "format_version" else "1.99"}), "here", READER, required=False
        )


def test_one_without_a_seal_passes_unless_it_is_required() -> None:
    check_seal(PLAIN, "here", READER, required=False)
    with pytest.raises(VerificationError, match="has no seal, and one is required") as caught:
        check_seal(with_fields(DATA, seal=None), "here", READER, required=True)
    assert caught.value.exit_code == 20


def test_a_key_that_is_not_accepted_does_not_count() -> None:
    with pytest.raises(VerificationError, match=f"key {OTHER.signing}, which is none of those") as caught:
        check_seal(with_seal(PLAIN, "here", OTHER), "here", READER, required=False)
    assert "BACKUP_SEAL_PUBLIC_KEYS" in caught.value.do


def test_the_old_key_counts_as_long_as_its_public_key_is_listed() -> None:
    rotated = Ed25519Keys(OTHER.private, READER.public)
    check_seal(DATA, "here", rotated, required=True)
    check_seal(with_seal(PLAIN, "here", rotated), "here", OTHER, required=True)


@pytest.mark.parametrize("signature", ["", "no base64!", base64.b64encode(bytes(64)).decode()])
def test_a_signature_that_is_none_is_a_broken_seal(signature: str) -> None:
    with pytest.raises(VerificationError, match="its signature is not right"):
        check_seal(
            with_fields(DATA, seal={"key": READER.accepted[0], "signature": signature}), "here", READER, required=False
        )


@pytest.mark.parametrize("seal", ["text", {"key": 1}, [], {}])
def test_a_seal_of_another_shape_is_not_taken_for_none(seal: Any) -> None:
    with pytest.raises(VerificationError, match="has a seal that is none"):
        check_seal(with_fields(DATA, seal=seal), "here", READER, required=False)


def test_the_signature_is_the_one_that_the_page_tells_how_to_check() -> None:
    body = json.loads(DATA)
    signature = base64.b64decode(body.pop("seal")["signature"])
    del body["manifest_sha256"]
    signed = b"backup_pipeline seal 1\n" + json.dumps(body, ensure_ascii=False, indent=1).encode()
    READER.public[0].verify(signature, signed)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (KEYS, f"manifests are sealed with key {KEYS.signing}"),
        (READER, "count; nothing is sealed here"),
        (Ed25519Keys(), "manifests are not sealed: the ledger alone tells"),
    ],
    ids=["signing", "reading", "none"],
)
def test_the_doctor_says_who_would_notice(keys: Ed25519Keys, told: str) -> None:
    assert told in judge_seals("seal", keys).what
