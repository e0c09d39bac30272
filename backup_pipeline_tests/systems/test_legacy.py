"""Files of an earlier program: each state told apart and named, listed with ours, taken out, never changed."""

from __future__ import annotations

import builtins
import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backup_pipeline.core.errors import LockedError, NotFoundError, RefusedError
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.legacy import LegacyState, judge_legacy, parse_legacy_name
from backup_pipeline.core.ports.files import StoredObject
from backup_pipeline.core.restore import Mode
from backup_pipeline.demo import SALES_PORTAL
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.documents import typed_rows
from backup_pipeline.operations.download import AuditTrail, Destination
from backup_pipeline.operations.legacy import JudgedFiles, adopt_legacy, adopted_backups, download_legacy, legacy_files
from backup_pipeline.presentation.backup import legacy_document
from backup_pipeline.presentation.markdown import markdown
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.ports import now
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.ledger.attempts import NOON
from backup_pipeline_tests.operations.made import Place
from backup_pipeline_tests.restore.bench import Bench
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.systems.system import BackedUp, backed_up_system, catalog_of

NAME = "comprehensive-backup-2026-01-25T14-30-45-123Z.json"
KEY = f"backups/comprehensive/{NAME}"
OLD = {
    "timestamp": "2025-12-01T10:00:00.000Z",
    "version": "2.1.0",
    "tables": {"users": [{"id": 1}], "sales": []},
    "metadata": {"totalRecords": 1, "dataIntegrityHashes": {"users": "a1b2c3"}},
}


@pytest.fixture(scope="module")
def portal(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    with backed_up_system(postgres_server, SALES_PORTAL, tmp_path_factory.mktemp("legacy"), 0.02) as made:
        yield made


@pytest.fixture(scope="module")
def good(portal: BackedUp) -> bytes:
    return portal.rendered(Rendering.COMPREHENSIVE).read_bytes()


Change = Callable[[Any], None]


def changed(good: bytes, change: Change) -> bytes:
    """The document changed, and written again with its numbers as they were."""
    document = json.loads(good, parse_float=lambda text: f"@{text}@")
    change(document)
    return re.sub(r'"@([^"]*)@"', r"\1", json.dumps(document, ensure_ascii=False)).encode()


@pytest.mark.acceptance("4.31")
@pytest.mark.parametrize("kind", ["comprehensive", "database", "sales"])
def test_the_three_names_of_the_source_tell_kind_and_moment(kind: str) -> None:
    at = datetime(2026, 1, 25, 14, 30, 45, 123_000, tzinfo=UTC)
    assert parse_legacy_name(f"{kind}-backup-2026-01-25T14-30-45-123Z.json") == (kind, at)


@pytest.mark.parametrize("name", ["backup.json", "sales-backup-2026-13-25T14-30-45-123Z.json", NAME + ".gz", ""])
def test_another_name_tells_nothing(name: str) -> None:
    assert parse_legacy_name(name) is None


@pytest.mark.acceptance("4.26", "4.27")
def test_a_whole_file_is_good_with_its_rows_counted(portal: BackedUp, good: bytes) -> None:
    file = judge_legacy(KEY, good)
    assert (file.state, file.version, file.kind) == (LegacyState.GOOD, "3.0.0", "comprehensive")
    assert sum(file.records.values()) == portal.manifest.totals.rows
    assert file.records["smsLogs"] == portal.one("SELECT count(*) FROM sms_logs")


def test_the_short_hashes_of_the_earlier_program_are_not_compared_and_that_is_said() -> None:
    file = judge_legacy(KEY, json.dumps(OLD).encode())
    assert (file.state, file.records) == (LegacyState.GOOD, {"users": 1, "sales": 0})
    assert "can not be made again" in file.message


@pytest.mark.acceptance("4.15", "4.28")
@pytest.mark.parametrize(
    ("change", "state", "told"),
    [
        (
            lambda d: d["tables"]["sales"][0].update(city="Elsewhere"),
            LegacyState.HASH_DIFFERS,
            "table sales was changed",
        ),
        (lambda d: d["tables"]["leads"].pop(), LegacyState.HASH_DIFFERS, "table leads was changed"),
        (lambda d: d["tables"]["leads"].append({"id": "x"}), LegacyState.HASH_DIFFERS, "table leads was changed"),
        (lambda d: d["tables"].pop("users"), LegacyState.HASH_DIFFERS, "table users is missing"),
        (lambda d: d["tables"].update(more=[]), LegacyState.HASH_DIFFERS, "table more was added"),
        (lambda d: d["metadata"].update(totalRecords=7), LegacyState.COUNT_DIFFERS, "says 7 records"),
        (lambda d: d.update(version="9.0.0"), LegacyState.UNKNOWN_VERSION, "Version 9.0.0"),
        (lambda d: d.pop("version"), LegacyState.UNKNOWN_VERSION, "Version none"),
        (lambda d: d.update(tables={}), LegacyState.EMPTY, "no tables"),
    ],
)
def test_each_change_of_the_document_is_named(good: bytes, change: Change, state: LegacyState, told: str) -> None:
    file = judge_legacy(KEY, changed(good, change))
    assert file.state is state
    assert told in file.message


@pytest.mark.acceptance("4.15", "4.28")
@pytest.mark.parametrize(
    ("damage", "state"),
    [
        (lambda data: b"", LegacyState.EMPTY),
        (lambda data: b" \n", LegacyState.EMPTY),
        (lambda data: data[: len(data) // 2], LegacyState.TRUNCATED),
        (lambda data: data[:-3], LegacyState.TRUNCATED),
        (lambda data: '{"reason": "জ'.encode()[:-1], LegacyState.TRUNCATED),
        (lambda data: data.replace(b'"tables": {', b'"tables": {{', 1), LegacyState.NOT_JSON),
        (lambda data: b"\x89PNG" + data, LegacyState.NOT_JSON),
        (lambda data: b"-- PostgreSQL database dump", LegacyState.NOT_JSON),
        (lambda data: b"[1, 2]", LegacyState.NOT_JSON),
    ],
)
def test_each_damage_of_the_bytes_is_told_apart(
    good: bytes, damage: Callable[[bytes], bytes], state: LegacyState
) -> None:
    file = judge_legacy(KEY, damage(good))
    assert file.state is state, file.message
    assert file.message


@pytest.fixture
def store(good: bytes) -> MemoryStore:
    store = MemoryStore()
    store.put(KEY, [good])
    store.put("backups/database/database-backup-2026-01-26T14-30-45-123Z.json", [good[:1000]])
    store.put("backups/sales-data/notes.json", [b""])
    store.put("sales_portal/backups/other.json", [good])
    return store


@pytest.mark.acceptance("4.26", "4.27", "4.28", "4.30")
def test_the_three_folders_are_listed_newest_first_with_corrupted_ones_marked(store: MemoryStore) -> None:
    before = {each.key: store.get(each.key) for each in store.list("")}
    files = legacy_files(catalog_of("sales_portal"), store)
    assert [(file.name, file.state) for file in files] == [
        ("database-backup-2026-01-26T14-30-45-123Z.json", LegacyState.TRUNCATED),
        (NAME, LegacyState.GOOD),
        ("notes.json", LegacyState.EMPTY),
    ]
    text = markdown(legacy_document(files))
    assert all(state in text for state in ("truncated", "good", "empty"))
    assert {each.key: store.get(each.key) for each in store.list("")} == before


def test_a_corrupted_one_can_be_taken_out_as_it_is_and_the_audit_says_so(store: MemoryStore, tmp_path: Path) -> None:
    ledger = new_ledger()
    name = "legacy:backups/database/database-backup-2026-01-26T14-30-45-123Z.json"
    options: dict[str, Any] = {"store": store, "audit": AuditTrail(ledger, now, RAHIM)}
    path = download_legacy(name, Destination(tmp_path), catalog_of("sales_portal"), **options)
    assert path.read_bytes() == store.get(name.removeprefix("legacy:"))
    (event,) = ledger.audits()
    assert (event.action, event.backup_id, event.detail["key"]) == ("download", None, name.removeprefix("legacy:"))
    with pytest.raises(RefusedError):
        download_legacy(name, Destination(tmp_path), catalog_of("sales_portal"), **options)


@pytest.mark.parametrize("name", ["sales_portal/backups/other.json", "backups/comprehensive/../../x", "nothing.json"])
def test_nothing_else_of_the_store_is_taken_out_so(store: MemoryStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError, match="no file"):
        download_legacy(
            f"legacy:{name}",
            Destination(tmp_path),
            catalog_of("sales_portal"),
            store=store,
            audit=AuditTrail(new_ledger(), now, RAHIM),
        )
    assert list(tmp_path.iterdir()) == []


class CountedStore(MemoryStore):
    """Counts how often each object is read, and how often anything is listed."""

    def __init__(self) -> None:
        super().__init__()
        self.read: builtins.list[str] = []
        self.listed = 0

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        self.read.append(key)
        return super().stream(key, start=start, length=length)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        self.listed += 1
        return super().list(prefix)


def _filled(sizes: dict[str, int]) -> CountedStore:
    store = CountedStore()
    for name, size in sizes.items():
        store.put(f"backups/database/{name}", [b"x" * size])
    return store


def test_a_page_reads_each_file_once_and_again_when_it_was_changed() -> None:
    store, judged, portal = _filled({"a": 9, "b": 9}), JudgedFiles(), catalog_of("sales_portal")
    times = [NOON, NOON + timedelta(seconds=5), NOON + timedelta(minutes=1)]
    for at in times:
        assert [file.name for file in judged.of(portal, store, at).files] == ["b", "a"]
    assert sorted(store.read) == ["backups/database/a", "backups/database/b"]
    assert store.listed == 2 * len(portal.legacy), "not within the same seconds"
    store.put("backups/database/a", [b""])
    [_, file] = judged.of(portal, store, NOON + timedelta(minutes=2)).files
    assert (file.state, store.read.count("backups/database/a")) == (LegacyState.EMPTY, 2)


def test_a_page_waits_for_so_many_bytes_and_reads_nothing_that_is_too_large() -> None:
    store, judged = _filled({"a": 60, "b": 60, "c": 101}), JudgedFiles(most=100)
    first = judged.of(catalog_of("sales_portal"), store, NOON)
    assert ([file.name for file in first.files], first.pending) == (["c", "a"], 1)
    assert (first.files[0].state, "101 bytes, more than the 100" in first.files[0].message) == (
        LegacyState.TOO_LARGE,
        True,
    )
    second = judged.of(catalog_of("sales_portal"), store, NOON)
    assert ([file.name for file in second.files], second.pending) == (["c", "b", "a"], 0)
    assert sorted(store.read) == ["backups/database/a", "backups/database/b"]


def test_a_page_does_not_wait_for_ever_for_another_one_that_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_pipeline.operations.legacy._PATIENCE_S", 0.05)
    judged, reads, goes_on = JudgedFiles(), threading.Event(), threading.Event()

    class Slow(CountedStore):
        def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
            reads.set()
            assert goes_on.wait(20)
            return super().stream(key, start=start, length=length)

    store = Slow()
    store.put("backups/database/a", [b"x"])
    first = threading.Thread(target=judged.of, args=(catalog_of("sales_portal"), store, NOON))
    first.start()
    assert reads.wait(20)
    with pytest.raises(LockedError, match="read for somebody else"):
        judged.of(catalog_of("sales_portal"), store, NOON)
    goes_on.set()
    first.join(20)
    assert len(judged.of(catalog_of("sales_portal"), store, NOON).files) == 1


@pytest.mark.acceptance("4.34")
def test_a_good_file_is_adopted_and_one_sale_of_it_comes_back_through_the_plan_of_a_restore(
    portal: BackedUp, good: bytes, tmp_path: Path
) -> None:
    place, catalog = Place(tmp_path / "spool"), catalog_of("sales_portal")
    place.store.put(KEY, [good])
    manifest = adopt_legacy(f"legacy:{KEY}", catalog, RAHIM, place.ports(portal.url), typed_rows)
    assert (str(manifest.partition_date), manifest.kind, manifest.late) == ("2026-01-25", "selective", False)
    assert manifest.snapshot.taken_at == datetime(2026, 1, 25, 14, 30, 45, 123_000, tzinfo=UTC)
    assert manifest.reason == f"adopted from {KEY}"
    ours = {table.name: table for table in portal.manifest.tables}
    for table in manifest.tables:
        assert table.row_count == ours[table.name].row_count
        assert [(c.name, c.arrow_type) for c in table.columns] == [
            (c.name, c.arrow_type) for c in ours[table.name].columns
        ]
    attempt = place.ledger.get(manifest.backup_id)
    assert attempt is not None
    assert adopted_backups(catalog, place.ledger) == {KEY: attempt}
    lost = portal.one("SELECT id FROM sales ORDER BY sale_number LIMIT 1")
    query = "SELECT s::text FROM sales s WHERE id = %s"
    before = portal.one(query, lost)
    with psycopg.connect(portal.url) as session:
        session.execute("UPDATE sales SET city = 'lost', total_plan_cost = 1 WHERE id = %s", [lost])
    Bench(place, attempt, tmp_path / "restore").restore(portal.url, Mode.UPSERT, "sales")
    assert portal.one(query, lost) == before
    with pytest.raises(RefusedError, match="has a partition of 2026-01-25 already"):
        adopt_legacy(KEY, catalog, RAHIM, place.ports(portal.url), typed_rows)


def test_a_corrupted_file_is_not_adopted(portal: BackedUp, good: bytes, tmp_path: Path) -> None:
    place = Place(tmp_path / "spool")
    place.store.put(KEY, [good[:-10]])
    with pytest.raises(RefusedError, match="not adopted: truncated"):
        adopt_legacy(KEY, catalog_of("sales_portal"), RAHIM, place.ports(portal.url), typed_rows)
    assert place.ledger.list() == []
