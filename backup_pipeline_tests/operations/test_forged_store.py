"""A store under a hostile hand: forged manifests and bundles whose checksums fit. Nothing leaves its folder."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.core.errors import BackupError, StoreError, VerificationError
from backup_pipeline.core.manifest import read_manifest, sealed, unsealed
from backup_pipeline.core.names import MOST_DIRECTORY, MOST_DOCUMENT, MOST_PARTS
from backup_pipeline.core.ports import Silence
from backup_pipeline.core.restore import Mode, RestoreRequest
from backup_pipeline.core.restore import dump as restore_tokens
from backup_pipeline.core.verification import Level
from backup_pipeline.formats.bundle import BundleReader
from backup_pipeline.formats.files import FileFormats
from backup_pipeline.operations.browse import Document, OpenBackup
from backup_pipeline.operations.restore.transfer import Fetching, plan_restore
from backup_pipeline.operations.verify import VerifyRequest, verify_backup
from backup_pipeline.postgres.restore import PostgresTarget
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.memory import MB, peak
from backup_pipeline_tests.operations.conftest import Made
from backup_pipeline_tests.operations.made import verify_ports

Body = dict[str, Any]
FORGERIES: dict[str, Callable[[Body], object]] = {
    "a table": lambda body: body["tables"][0].update(name="../../../../../../../../outside/x"),
    "a table, from the root": lambda body: body["tables"][0].update(name="/outside/x"),
    "a file": lambda body: body["tables"][0]["files"][0].update(name="../../outside/x"),
    "the bundle": lambda body: body["bundle"].update(name="../../outside/x"),
    "the catalog": lambda body: body.update(catalog="../outside"),
    "an entry": lambda body: body["entries"].update({"../../outside/x": "ab"}),
    "a type": lambda body: body["tables"][0]["columns"][0].update(pg_type="int); DROP TABLE goods; --"),
    "a default": lambda body: body["tables"][0]["columns"][0].update(pg_type="int DEFAULT pg_sleep(9)"),
    "the timezone": lambda body: body.update(timezone="../../../etc/passwd"),
}


def verified(made: Made) -> str:
    """What a verification finds."""
    report = verify_backup(made.place, VerifyRequest(Level.REFERENCES), verify_ports(made.store))
    return "\n".join(finding.message for finding in report.findings)


def planned(made: Made, spool: Path, url: str) -> None:
    ports = ports_for_test(store=made.store, ledger=made.ledger, spool=spool)
    plan_restore(RestoreRequest(made.attempt.backup_id, mode=Mode.NEW), PostgresTarget(url), ports)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_manifest_is_refused_before_anything_is_made_of_it(
    made: Made, forgery: str, tmp_path: Path, shop_url: str
) -> None:
    body = unsealed(made.store.get(made.place.manifest), "here")
    FORGERIES[forgery](body)
    made.store.put(made.place.manifest, [sealed(body)])
    assert "is not a manifest of format" in verified(made)
    with pytest.raises(BackupError):
        planned(made, tmp_path, shop_url)
    assert not [*tmp_path.rglob("*")]


def with_member(made: Made, name: str, content: bytes, size: int) -> None:
    """The bundle with `content` in the place of a member, `size` times over; every checksum is made to fit."""
    before = zipfile.ZipFile(io.BytesIO(made.store.get(made.bundle)))
    packed, digest = io.BytesIO(), hashlib.sha256()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as forged:
        for other in before.namelist():
            if other != name:
                forged.writestr(other, before.read(other))
        with forged.open(name, "w", force_zip64=True) as member:
            for _ in range(size):
                member.write(content)
                digest.update(content)
    data = packed.getvalue()
    made.store.put(made.bundle, [data])
    body: Body = unsealed(made.store.get(made.place.manifest), "here")
    body["entries"][name] = digest.hexdigest()
    body["bundle"].update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    made.store.put(made.place.manifest, [sealed(body)])
    made.manifest = read_manifest(made.store.get(made.place.manifest), "here")


def test_a_schema_that_unpacks_to_hundreds_of_times_its_size_takes_no_memory(made: Made) -> None:
    with_member(made, "schema.sql", b"-- a comment that says nothing at all\n" * 27_600, 80)
    assert len(made.store.get(made.bundle)) < 4 * MB
    data = made.store.get(made.place.manifest)
    known = replace(made.attempt, manifest_sha256=hashlib.sha256(data).hexdigest())
    opened = OpenBackup(known, made.place, Document(data, made.manifest))
    fetching = Fetching(opened, (made.store, FileFormats(), Silence()))
    with peak() as taken, pytest.raises(VerificationError, match=r"schema\.sql has more bytes than the 67,108,864"):
        fetching.dump()
    assert taken.bytes < 2.5 * MOST_DOCUMENT
    with peak() as taken:
        assert "Member schema.sql of the bundle has more bytes than the 67,108,864" in verified(made)
    assert taken.bytes < 2.5 * MOST_DOCUMENT


def test_a_schema_of_nothing_but_signs_is_refused(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes more memory than it has bytes."""
    monkeypatch.setattr(restore_tokens, "MOST_TOKENS", 100_000)
    with_member(made, "schema.sql", b";" * MB, 10)
    with peak() as taken:
        assert "can not be used by a restore: it has more than 100,000 words and signs" in verified(made)
    assert taken.bytes < 100 * MB


def test_a_parquet_file_that_goes_on_after_its_size_is_cut_off_there(made: Made) -> None:
    """What a hostile ZIP unpacks to fills no disk: the manifest says how many bytes there are."""
    name = "parquet/goods/part-00000.parquet"
    with_member(made, name, b"\0" * MB, 80)
    with peak() as taken:
        found = verified(made)
    assert f"Member {name} of the bundle has more bytes than the " in found
    assert taken.bytes < 50 * MB


def test_a_bundle_with_two_members_of_one_name_has_none_of_them(made: Made) -> None:
    packed = io.BytesIO(made.store.get(made.bundle))
    with zipfile.ZipFile(packed, "a") as forged, pytest.warns(UserWarning, match="Duplicate"):
        forged.writestr("schema.sql", "DROP TABLE goods;")
    data = packed.getvalue()
    with pytest.raises(VerificationError, match=r"has 2 members schema\.sql: which one is meant"):
        BundleReader(lambda start, length: data[start : start + length], len(data)).read("schema.sql")


def test_a_directory_of_members_without_end_is_not_read() -> None:
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * (3 * MOST_DIRECTORY // len(entry))
    data = directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0)
    with peak() as taken, pytest.raises(VerificationError, match="its directory has more than the 25,165,824 bytes"):
        BundleReader(lambda start, length: data[start : start + length], len(data))
    assert taken.bytes < 3 * MOST_DIRECTORY


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"[" * 100_000, "is not a manifest"),
        (b"{" + b'"a":' * 50_000, "is not a manifest"),
        (b"[" + b"[]," * (MOST_PARTS // 2) + b"[]]", "values, more than the 4,000,000 that are read"),
        (b" " * (MOST_DOCUMENT + 1), "has more bytes than the 67,108,864"),
        (b'{"format_version": ' + b"9" * 1_000_000 + b"}", "is not a manifest"),
    ],
)
def test_a_manifest_that_would_take_all_memory_is_refused(made: Made, document: bytes, message: str) -> None:
    made.store.put(made.place.manifest, [document])
    with peak() as taken:
        assert message in verified(made)
    assert taken.bytes < 3 * MOST_DOCUMENT


def test_a_document_as_large_as_a_disk_is_not_read_into_memory(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.put("shop/manifest.json", [b"{}"])
    with (store.root / "shop" / "manifest.json").open("wb") as file:
        file.truncate(1 << 40)
    with peak() as taken, pytest.raises(StoreError, match="has 1,099,511,627,776 bytes, where a document has at most"):
        store.get("shop/manifest.json")
    assert taken.bytes < MB


def test_what_is_forged_here_is_otherwise_a_backup(made: Made) -> None:
    """Else the tests above would prove nothing."""
    assert verified(made) == ""
    body = json.loads(made.store.get(made.place.manifest))
    assert {"tables", "bundle", "entries", "timezone", "catalog"} <= body.keys()
