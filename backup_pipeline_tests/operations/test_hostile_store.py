"""Every way of reading a backup against every forgery, with the ledger alone, with the seal alone, encrypted or not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import psycopg
import pytest

from backup_pipeline.core.anomalies import shape_of
from backup_pipeline.core.copies import CopyStatus
from backup_pipeline.core.errors import BackupError, NotFoundError, VerificationError
from backup_pipeline.core.keys import seal_in
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.manifest import StoredBundle, sealed
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.ports import Second, Silence, Store
from backup_pipeline.core.rebuild import ChangeKind
from backup_pipeline.core.restore import RestoreRequest
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.verification import Level
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.decoder import FileFingerprints
from backup_pipeline.formats.files import EncryptedFormats, FileFormats
from backup_pipeline.formats.keys import Ed25519Keys
from backup_pipeline.operations.attempts import Request, Work, begin
from backup_pipeline.operations.backup import bundle_attempt, close_orphans
from backup_pipeline.operations.browse import opened_backup, stored_manifest
from backup_pipeline.operations.copy import copy_backup, order_of
from backup_pipeline.operations.download import AuditTrail, Destination, bundle_url, download_bundle, render_backup
from backup_pipeline.operations.drill import DrillRequest, drill
from backup_pipeline.operations.rebuild import RebuildRequest, plan_rebuild
from backup_pipeline.operations.restore.transfer import plan_restore
from backup_pipeline.operations.verify import VerifyRequest, verify_attempt
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline.stores.wrappers import EncryptedStore, SealedStore, WrittenOutlines
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.doubles.ports import now, ports_for_test
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.operations.conftest import SHOP
from backup_pipeline_tests.operations.hostile import (
    FORGERIES,
    KEYS,
    READER,
    Forgery,
    Hostile,
    another_bundle,
    both_replaced,
    both_replaced_and_the_seal_off,
    bundle_gone,
    bundles_exchanged,
    cut_off,
    manifest_gone,
    rolled_back,
    sealed_by_another_key,
)
from backup_pipeline_tests.operations.made import Place, verify_ports
from backup_pipeline_tests.operations.vault import OWNER, OWNER_SECRET, cipher_of
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.servers.swift import SwiftServer

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
SMALL_SQL = """
CREATE TABLE goods (id int PRIMARY KEY, name text NOT NULL, price numeric(10, 2));
CREATE TABLE sold (id int PRIMARY KEY, good_id int REFERENCES goods, at timestamptz);
INSERT INTO goods VALUES (1, 'tea', 2.5);
"""


class Signing(SealedStore):
    """A store that has URLs."""

    def sign(self, key: str, **_: object) -> str:
        return f"https://store/{key}"


@contextmanager
def two_backups(url: str, folder: Path, *, encrypted: bool, keys: Ed25519Keys) -> Iterator[Hostile]:
    """A store with two backups of one date, made with seals of `keys`."""
    raw, ledger = MemoryStore(), new_ledger()
    cipher = cipher_of(OWNER, keys=[OWNER_SECRET]) if encrypted else None
    formats = EncryptedFormats(FileFormats(), cipher) if cipher else FileFormats()

    def wrapped(inner: Store) -> Store:
        store: Store = Signing(inner, keys if keys.signing else READER) if keys.accepted else inner
        return EncryptedStore(store, cipher, WrittenOutlines(None)) if cipher else store

    place = Place(folder, wrapped(raw), ledger, formats=formats)
    older = place.back_up(url, SHOP)
    with psycopg.connect(url) as session:
        session.execute("INSERT INTO goods SELECT max(id) + 1, 'more tea', 3 FROM goods")
    yield Hostile(raw, wrapped, formats, older, place.back_up(url, SHOP))


@pytest.fixture(scope="module")
def database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    with temporary_database(postgres_server) as url:
        with psycopg.connect(url) as session:
            session.execute(SMALL_SQL)
        yield url


@pytest.fixture(scope="module", params=["plain", "encrypted"])
def sealed_pair(request: pytest.FixtureRequest, database: str, tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    folder = tmp_path_factory.mktemp("spool")
    with two_backups(database, folder, encrypted=request.param == "encrypted", keys=KEYS) as made:
        return made


@pytest.fixture(params=["ledger", "seal", "public key"])
def hostile(request: pytest.FixtureRequest, sealed_pair: Hostile) -> Hostile:
    """What notices: the ledger without any key, the seal without a ledger, or the seal by its public key alone."""
    at = sealed_pair.again()
    if request.param == "ledger":
        return _unchecked(at)
    return _by_public_key(at.lost_ledger()) if request.param == "public key" else at.lost_ledger()


def _unchecked(at: Hostile) -> Hostile:
    nobody = Ed25519Keys()
    return replace(at, wrap=lambda raw: _with_keys(at.wrap(raw), nobody))


def _by_public_key(at: Hostile) -> Hostile:
    return replace(at, wrap=lambda raw: _with_keys(at.wrap(raw), READER))


def _with_keys(store: Store, keys: Ed25519Keys) -> Store:
    if isinstance(store, EncryptedStore):
        return replace(store, inner=_with_keys(store.inner, keys))
    assert isinstance(store, SealedStore)
    return replace(store, keys=keys, required=bool(keys.accepted))


def _verify(at: Hostile, _: Path) -> None:
    ports = replace(verify_ports(at.store, ledger=at.ledger), formats=at.formats)
    report = verify_attempt(at.newer, VerifyRequest(Level.BYTES), ports, actor=TESTER)
    if not report.passed:
        raise report.error()


def _show(at: Hostile, _: Path) -> None:
    stored_manifest(at.newer, at.store)


def _download(at: Hostile, folder: Path) -> None:
    audit = AuditTrail(at.ledger, now, TESTER)
    download_bundle(at.newer, Destination(folder), store=at.store, audit=audit, progress=Silence())


def _url(at: Hostile, _: Path) -> None:
    bundle_url(at.newer, store=at.store, audit=AuditTrail(at.ledger, now, TESTER))


def _render(at: Hostile, folder: Path) -> None:
    audit = AuditTrail(at.ledger, now, TESTER)
    to = Destination(folder)
    render_backup(at.newer, Rendering.CSV, to, store=at.store, formats=at.formats, audit=audit, progress=Silence())


def _copy(at: Hostile, folder: Path) -> None:
    second = MemoryStore()
    ports = replace(Place(folder, at.store, at.ledger).ports(NOWHERE), second=Second("memory://second", second))
    said = StoredBundle(name="none.zip", bytes=1, sha256="none")
    if at.raw.head(at.place.manifest):
        said = StoredBundle.model_validate(at.body()["bundle"])
    row = at.newer
    if row.sha256 is None:
        row = replace(row, file_name=said.name, file_size_bytes=said.bytes, sha256=said.sha256)
    done = copy_backup(order_of(row, TESTER), ports)
    if done.status is not CopyStatus.GOOD:
        assert second.head(at.place.manifest) is None
        raise VerificationError(done.error_message or "")


class Untouched:
    """A target that nobody reaches."""

    url = "postgresql://target"

    def session(self) -> NoReturn:
        raise AssertionError("the target was reached")


def _restore(at: Hostile, folder: Path) -> None:
    ports = ports_for_test(store=at.store, ledger=at.ledger, formats=at.formats, spool=folder)
    plan_restore(RestoreRequest(at.newer.backup_id), Untouched(), ports)


class Unstarted:
    """A folder for a drill whose scratch server nobody starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.formats = FileFormats()
        self.fingerprints = FileFingerprints

    def store(self, name: str) -> Store:
        return DirectoryStore(self.folder / name)

    def server(self, *_: object) -> NoReturn:
        raise AssertionError("the scratch server was started")


def _drill(at: Hostile, folder: Path) -> None:
    ports = Place(folder, at.store, at.ledger, at.formats).ports(NOWHERE)
    with TemporaryDirectory() as shop:
        report = drill(DrillRequest(at.newer, TESTER, SHOP), ports, lambda: nullcontext(Unstarted(Path(shop))))
    assert not report.passed
    raise report.error()


VERBS = (_verify, _show, _download, _url, _render, _copy, _restore, _drill)
_BUNDLE_ONLY = {another_bundle, bundles_exchanged, cut_off, bundle_gone}
"""What who shows the manifest does not meet."""


@pytest.mark.parametrize(
    ("verb", "forge"),
    [(verb, forge) for verb in VERBS for forge in FORGERIES if verb is not _show or forge not in _BUNDLE_ONLY],
)
def test_every_forgery_is_noticed_before_anybody_uses_it(
    hostile: Hostile, verb: Callable[[Hostile, Path], None], forge: Forgery, tmp_path: Path
) -> None:
    forge(hostile)
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises((VerificationError, NotFoundError)) as caught:
        verb(hostile, folder)
    assert caught.value.exit_code in {10, 20}
    assert isinstance(caught.value, VerificationError) or forge in {bundle_gone, manifest_gone}
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in {_restore, _drill}])
def test_what_nobody_touched_is_read_by_everybody(
    hostile: Hostile, verb: Callable[[Hostile, Path], None], tmp_path: Path
) -> None:
    verb(hostile, tmp_path)


def test_the_target_is_reached_with_a_good_backup(hostile: Hostile, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the target was reached"):
        _restore(hostile, tmp_path)
    with pytest.raises(AssertionError, match="the scratch server was started"):
        _drill(hostile, tmp_path)


def test_a_planted_schema_is_not_even_looked_at(hostile: Hostile, tmp_path: Path) -> None:
    both_replaced_and_the_seal_off(hostile)
    with pytest.raises(VerificationError) as caught:
        _restore(hostile, tmp_path)
    assert any(word in caught.value.what for word in ("contradict each other", "has no seal"))
    assert "Do not use it" in caught.value.do


@pytest.mark.parametrize("forge", [both_replaced, sealed_by_another_key, rolled_back])
def test_a_rebuild_takes_nothing_over_that_a_seal_contradicts(sealed_pair: Hostile, forge: Forgery) -> None:
    at = sealed_pair.again()
    forge(at)
    accepted = frozenset({at.newer.backup_id})
    request = RebuildRequest(TESTER, seals=True, accepted=accepted)
    plan = plan_rebuild(request, ports_for_test(store=at.store, ledger=new_ledger()))
    kinds = {change.backup_id: change.kind for change in plan.changes}
    assert kinds == {at.older.backup_id: ChangeKind.ADD, at.newer.backup_id: ChangeKind.PROBLEM}


def test_a_rebuild_asks_a_person_about_what_has_no_seal(sealed_pair: Hostile) -> None:
    at = sealed_pair.again()
    at.write(at.body(), keep_seal=False)
    request, ports = RebuildRequest(TESTER, seals=True), ports_for_test(store=at.store, ledger=new_ledger())
    [asked] = plan_rebuild(request, ports).problems
    assert f"--accept {at.newer.backup_id}" in asked.reason
    accepted = replace(request, accepted=frozenset({at.newer.backup_id}))
    assert plan_rebuild(accepted, ports).problems == ()
    added = {change.backup_id: change.reason for change in plan_rebuild(request, ports).changes}
    assert "its seal is right" in added[at.older.backup_id]


def test_a_sealed_manifest_is_sealed_with_its_key_and_the_row_knows_it(sealed_pair: Hostile) -> None:
    data = sealed_pair.raw.get(sealed_pair.place.manifest)
    seal = seal_in(data, "here")
    assert seal is not None
    assert seal.key == KEYS.signing == sealed_pair.newer.seal_key
    assert READER.accepted == (seal.key,)


def test_a_row_from_before_hashes_of_manifests_has_the_whole_bundle_compared(sealed_pair: Hostile) -> None:
    at = _unchecked(sealed_pair.again())
    at = replace(at, newer=replace(at.newer, manifest_sha256=None))
    opened = opened_backup(at.newer, at.store)
    assert not opened.pinned
    another_bundle(at)
    with pytest.raises(BackupError, match="damaged"):
        _restore(at, Path("unused"))


def test_a_manifest_that_differs_from_the_one_in_the_bundle_is_noticed_without_its_hash(sealed_pair: Hostile) -> None:
    at = _unchecked(sealed_pair.again())
    at = replace(at, newer=replace(at.newer, manifest_sha256=None))
    if "ciphertext" in at.body():
        pytest.skip("nobody without the key can change what is encrypted")
    at.write(at.body() | {"reason": "forged"})
    with pytest.raises(VerificationError, match="differs from the manifest beside the bundle in: reason"):
        _restore(at, Path("unused"))


def _tables_then_bundle(url: str, folder: Path, forge: Callable[[MemoryStore, Place], None]) -> None:
    """The tables by one run, then forged, then the bundle by another run that has no files of the first."""
    raw, ledger = MemoryStore(), new_ledger()
    place = Place(folder / "first", SealedStore(raw, KEYS), ledger)
    place.back_up(url, SHOP, tables=("goods", "sold"), bundle=False)
    forge(raw, place)
    ports = replace(place, spool=folder / "second").ports(url)
    day = local_date(now(), SHOP.timezone)
    request = Request(SHOP, Kind.FULL, ("goods", "sold"), day, type=Trigger.MANUAL, actor=TESTER, reason="")
    bundle_attempt(Work(request, begin(request, ports), ports))


def _record_key(raw: MemoryStore, table: str) -> str:
    return next(found.key for found in raw.list(f"shop/tables/{table}/") if found.key.endswith("partition.json"))


def _forge_record(raw: MemoryStore, _: Place) -> None:
    key = _record_key(raw, "goods")
    body = json.loads(raw.get(key))
    raw.put(key, [sealed({n: v for n, v in body.items() if n != "manifest_sha256"} | {"late": True})])


def _strip_record(raw: MemoryStore, _: Place) -> None:
    key = _record_key(raw, "goods")
    body = json.loads(raw.get(key))
    raw.put(key, [sealed({n: v for n, v in body.items() if n not in {"manifest_sha256", "seal"}})])


def _exchange_records(raw: MemoryStore, _: Place) -> None:
    raw.put(_record_key(raw, "goods"), [raw.get(_record_key(raw, "sold"))])


def _plant_schema(raw: MemoryStore, _: Place) -> None:
    key = next(found.key for found in raw.list("shop/schema/"))
    raw.put(key, [raw.get(key) + b"\nCREATE FUNCTION planted() RETURNS int LANGUAGE sql AS 'SELECT 1';"])


@pytest.mark.parametrize("forge", [_forge_record, _strip_record, _exchange_records, _plant_schema])
def test_what_was_changed_between_tables_and_bundle_gets_into_no_bundle(
    database: str, tmp_path: Path, forge: Callable[[MemoryStore, Place], None]
) -> None:
    with pytest.raises(VerificationError) as caught:
        _tables_then_bundle(database, tmp_path, forge)
    assert "Materialize the table" in caught.value.do or "not written by whoever has the key" in caught.value.do


def test_partitions_that_nobody_touched_make_a_bundle(database: str, tmp_path: Path) -> None:
    _tables_then_bundle(database, tmp_path, lambda raw, place: None)


def test_a_run_takes_nobody_elses_word_for_the_partitions_it_made(database: str, tmp_path: Path) -> None:
    """Without any key: the store gives other records than it got, and the bundle is made of the run's own."""

    class Lying(MemoryStore):
        def get(self, key: str) -> bytes:
            data = super().get(key)
            if not key.endswith("partition.json"):
                return data
            body = json.loads(data)
            return sealed({n: v for n, v in body.items() if n != "manifest_sha256"} | {"unlisted": ["forged"]})

    place = Place(tmp_path, Lying(), new_ledger())
    place.back_up(database, SHOP)
    assert place.manifest.unlisted == ()


def test_a_run_that_died_is_no_backup_when_its_bundle_is_another_now(sealed_pair: Hostile, tmp_path: Path) -> None:
    at = _unchecked(sealed_pair.again())
    ledger = at.ledger
    known = shape_of(stored_manifest(at.newer, at.store))
    unknown: dict[str, Any] = dict.fromkeys(("sha256", "manifest_sha256", "seal_key", "file_size_bytes"))
    ledger.put(replace(at.newer, status=Status.RUNNING, **unknown))
    ledger.shapes.put(known)
    if "ciphertext" not in at.body():
        both_replaced(at)
        assert known.bundle_sha256 is not None
        [closed] = close_orphans(replace(Place(tmp_path, at.store, ledger).ports(NOWHERE), alive=lambda _: False))
        row = ledger.get(closed.backup_id)
        assert row is not None
        assert row.status is Status.FAILED
    else:
        [closed] = close_orphans(replace(Place(tmp_path, at.store, ledger).ports(NOWHERE), alive=lambda _: False))
        row = ledger.get(closed.backup_id)
        assert row is not None
        assert row.manifest_sha256 == at.newer.manifest_sha256


@pytest.mark.slow
@pytest.mark.parametrize("guard", ["ledger", "seal"])
def test_a_bucket_is_no_better_than_a_folder(database: str, tmp_path: Path, s3_server: SwiftServer, guard: str) -> None:
    bucket = S3Store(s3_server.make_bucket(f"hostile-{guard}"), "", s3_server.settings)
    store: Store = SealedStore(bucket, KEYS) if guard == "seal" else bucket
    place = Place(tmp_path / "spool", store, new_ledger())
    row = place.back_up(database, SHOP)
    at = Hostile(MemoryStore(), lambda raw: raw, FileFormats(), row, row)
    for stored in bucket.list(""):
        at.raw.put(stored.key, [bucket.get(stored.key)])
    both_replaced(at)
    for key in (at.bundle, at.place.manifest):
        bucket.put(key, [at.raw.get(key)])
    known = at.lost_ledger().newer if guard == "seal" else row
    audit = AuditTrail(new_ledger(), now, TESTER)
    with pytest.raises(VerificationError):
        download_bundle(known, Destination(tmp_path / "out"), store=store, audit=audit, progress=Silence())
    assert not (tmp_path / "out").exists()
