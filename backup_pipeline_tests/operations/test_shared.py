"""A backup that several runs read from one snapshot: it is the one that a single run makes, whoever is killed."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backup_pipeline.core import planning
from backup_pipeline.core.errors import (
    BackupError,
    LeaseLostError,
    RefusedError,
    SnapshotLostError,
    SourceUnavailableError,
    StoreError,
)
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.planning import divide, plan_catalog
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.verification import Level
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.files import EncryptedFormats, FileFormats
from backup_pipeline.formats.keys import Ed25519Keys, new_seal_key, parse_seal_key
from backup_pipeline.ledger import this_owner
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations import shards
from backup_pipeline.operations.attempts import Request, Work, begin, end_failed
from backup_pipeline.operations.backup import bundle_attempt, close_orphans, export_attempt
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.export import TableResult
from backup_pipeline.operations.export.shared import take_part
from backup_pipeline.operations.leases import guarded, lease_of
from backup_pipeline.operations.verify import VerifyRequest, verify_attempt
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline.stores.wrappers import EncryptedStore, SealedStore, WrittenOutlines
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.core.values import catalog, database, relation
from backup_pipeline_tests.doubles.ports import now
from backup_pipeline_tests.operations.made import verify_ports
from backup_pipeline_tests.operations.sharing import (
    BIG,
    BIG_SQL,
    ELSEWHERE,
    Guests,
    Watch,
    guest_process,
    remote_ports,
)
from backup_pipeline_tests.operations.vault import OWNER, OWNER_SECRET, cipher_of
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.servers.postgres import temporary_database

SEAL = Ed25519Keys(parse_seal_key(new_seal_key()[0], where="TEST"))


@pytest.fixture(scope="module")
def big_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    with temporary_database(postgres_server) as url:
        with psycopg.connect(url) as session:
            session.execute(BIG_SQL)
        yield url


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_LEAST_BYTES", 64 << 10)
    monkeypatch.setattr(shards, "_LOOK_EVERY_S", 0.05)


@dataclass
class Site:
    """An installation of two machines: one store, one ledger, a work folder each."""

    url: str
    folder: Path
    ledger: ScratchLedger

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def ports(self, host: str = "here", **more: Any) -> Ports:
        return replace(remote_ports(self.url, self.ledger, self.store, self.folder / host), **more)

    def begun(self, **more: Any) -> Work:
        ports = self.ports(**more)
        day = local_date(now(), BIG.timezone)
        request = Request(BIG, Kind.FULL, tuple(BIG.tables), day, type=Trigger.MANUAL, actor=TESTER, run_id="run 0")
        attempt = begin(request, ports)
        return Work(request, attempt, guarded(ports, lease_of(attempt, ports.ledger)))

    def guest(self, work: Work, run: int, **more: Any) -> int:
        ports = self.ports(f"host {run}", **{"owner": ELSEWHERE, **more})
        return take_part(work.attempt.backup_id, BIG, ports, f"run {run}")

    def guest_process(self, work: Work, run: int, killed_at: int) -> subprocess.Popen[bytes]:
        places = (self.url, self.ledger.url, self.store, self.folder / f"host {run}")
        return guest_process(work.attempt.backup_id, *places, f"run {run}", killed_at)

    def left(self, work: Work, table: str) -> list[str]:
        """The files of a table in the store."""
        return [found.key for found in work.ports.store.list(f"big/tables/{table}/")]


@pytest.fixture
def site(big_url: str, tmp_path: Path) -> Site:
    return Site(big_url, tmp_path, new_ledger())


def exported(work: Work, crew: Guests | None) -> dict[str, TableResult]:
    results = {result.table: result for result in export_attempt(work, crew)}
    for result in results.values():
        if result.error is not None:
            raise result.error
    return results


def rows_of(manifest: StoredManifest, store: Any, table: str) -> pa.Table:
    """What the bundle's Parquet files hold of a table, by id."""
    kept = [found.key for found in store.list("big/backups/") if found.key.endswith(manifest.bundle.name)]
    [place] = [key for key in kept if manifest.backup_id in key]
    with zipfile.ZipFile(io.BytesIO(store.get(place))) as bundle:
        names = [name for name in bundle.namelist() if name.startswith(f"parquet/{table}/")]
        parts = [pq.read_table(io.BytesIO(bundle.read(name))) for name in names]
    return pa.concat_tables(parts).sort_by("id")


def check_whole(work: Work, manifest: StoredManifest) -> None:
    """It holds the rows of the source, of one snapshot, and nothing is left of how it was made."""
    assert manifest.consistent
    assert manifest.status == "success"
    rows = {table.name: table.row_count for table in manifest.tables}
    assert rows == {"events": 8000, "kinds": 20, "empty": 0}
    ids = rows_of(manifest, work.ports.store, "events").column("id").to_pylist()
    assert ids == list(range(1, 8001))
    assert list(manifest.orphans.values()) == [380]
    assert work.ports.ledger.shards.list(work.attempt.backup_id) == []
    row = work.ports.ledger.get(work.attempt.backup_id)
    assert row is not None
    assert row.status.good


def test_what_others_have_read_is_the_backup_that_one_run_makes(site: Site) -> None:
    alone = site.begun()
    exported(alone, None)
    expected = bundle_attempt(alone)
    work, done = site.begun(), list[int]()
    crew = Guests(lambda run: done.append(site.guest(work, run)))  # it reads all of it before this run begins to
    results = exported(work, crew)
    assert (crew.asked, crew.stopped) == ([1], True)
    assert done[0] > 3
    assert not any((site.folder / "host 1").rglob("*.parquet"))
    manifest = bundle_attempt(work)
    check_whole(work, manifest)
    store = work.ports.store
    assert rows_of(manifest, store, "events").equals(rows_of(expected, store, "events"))
    assert rows_of(manifest, store, "events").schema.equals(rows_of(expected, store, "events").schema)
    events = next(table for table in manifest.tables if table.name == "events")
    names = [file.name for file in events.files]
    assert names[:2] == ["part-00000.parquet", "part-01000.parquet"]
    assert "sheet-00000.csv" in names
    assert sum(file.rows for file in events.files if file.format == "csv") == 8000
    assert [check.name for check in results["events"].checks] == ["row_count", "key_unique", "shrinkage", "anomaly"]
    assert len(results["events"].sample) == 3


class Sealed(Site):
    """The machines seal their documents and, with `recipients`, encrypt: none of them has a key that opens anything."""

    recipients: tuple[str, ...] = ()

    def ports(self, host: str = "here", **more: Any) -> Ports:
        plain, cipher = super().ports(host, **more), cipher_of(*self.recipients)
        written = WrittenOutlines(self.folder / host / "written")
        store = EncryptedStore(SealedStore(plain.store, SEAL), cipher, written)
        return replace(plain, store=store, formats=EncryptedFormats(FileFormats(), cipher))


@pytest.mark.parametrize("recipients", [(), (OWNER,)])
def test_what_others_have_sealed_and_encrypted_is_put_together_and_counted_without_a_key(
    big_url: str, tmp_path: Path, recipients: tuple[str, ...]
) -> None:
    site, handed = Sealed(big_url, tmp_path, new_ledger()), list[str]()
    site.recipients = recipients

    def reads_all(run: int) -> None:
        site.guest(work, run)
        handed.append(json.dumps([dict(shard.result or {}) for shard in work.ports.ledger.shards.list(backup_id)]))

    work = site.begun()
    backup_id = work.attempt.backup_id
    exported(work, Guests(reads_all))
    manifest = bundle_attempt(work)
    assert list(manifest.orphans.values()) == [380]  # of a table in ranges and one that was read whole
    assert ("sheet_file" in handed[0], "BEGIN AGE" in handed[0]) == (not recipients, bool(recipients))
    if recipients:
        assert manifest.encryption is not None
        assert manifest.encryption.recipients == recipients
    owner = cipher_of(keys=[OWNER_SECRET])
    ports = verify_ports(EncryptedStore(work.ports.store, owner, WrittenOutlines(None)), ledger=site.ledger)
    ports = replace(ports, formats=EncryptedFormats(FileFormats(), owner))
    row = site.ledger.get(backup_id)
    assert row is not None
    report = verify_attempt(row, VerifyRequest(Level.REFERENCES), ports, actor=TESTER)
    assert (report.level, list(report.findings)) == (Level.REFERENCES, [])


def test_a_killed_run_has_its_part_taken_over(site: Site) -> None:
    work = site.begun()
    killed: list[int] = []

    def one_that_dies(run: int) -> None:
        if run == 1:
            process = site.guest_process(work, run, killed_at=4)
            killed.append(process.wait(60))

    crew = Guests(one_that_dies)
    exported(work, crew)
    assert killed == [-signal.SIGKILL]
    assert crew.buried == ["run 1"]
    assert crew.asked == [1, 1]
    check_whole(work, bundle_attempt(work))


def test_a_shard_that_kills_whoever_takes_it_fails_its_table_with_a_reason(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "MOST_TRIES", 1)
    work = site.begun()
    gone = replace(this_owner(), started=1.0)

    def one_that_dies(run: int) -> None:
        if run == 1:
            work.ports.ledger.shards.take(work.attempt.backup_id, gone, "run 1")

    failed = {result.table: result.error for result in export_attempt(work, Guests(one_that_dies)) if result.error}
    assert list(failed) == ["events"]
    assert "1 runs that were to do it ended without a word" in str(failed["events"])
    assert site.left(work, "events") == []


def _guest_whose_holder_is_killed(site: Site, work: Work, holder: subprocess.Popen[bytes]) -> BaseException:
    def page(number: int) -> None:
        if number == 1:
            holder.kill()
            holder.wait()
        time.sleep(0.1)

    with pytest.raises((SnapshotLostError, LeaseLostError)) as caught:
        site.guest(work, 1, progress=Watch(page), workers=1)
    return caught.value


def test_when_the_run_that_holds_the_snapshot_is_killed_all_end_and_nothing_stays(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = [sys.executable, "-m", "backup_pipeline_tests.operations.test_shared", site.url, site.ledger.url]
    holder = subprocess.Popen([*line, str(site.folder)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with closing(holder.stdout) as told:
        backup_id = told.readline().decode().strip()
    attempt = site.ledger.get(backup_id)
    assert attempt is not None
    request = Request(BIG, Kind.FULL, tuple(BIG.tables), attempt.partition_date, type=Trigger.MANUAL, actor=TESTER)
    work = Work(request, attempt, site.ports())
    began = time.monotonic()
    error = _guest_whose_holder_is_killed(site, work, holder)
    assert time.monotonic() - began < 12
    assert "the run that holds it for this one has ended" in str(error)
    [closed] = close_orphans(site.ports())
    assert closed.backup_id == backup_id
    row = site.ledger.get(backup_id)
    assert row is not None
    assert row.status is Status.FAILED
    assert site.ledger.shards.list(backup_id) == []
    assert site.left(work, "events") == []
    assert work.ports.store.head(place_of(attempt).manifest) is None
    again = site.begun()  # and the next one succeeds
    exported(again, Guests())
    check_whole(again, bundle_attempt(again))


@pytest.mark.slow
def test_a_value_that_fits_no_type_begins_the_ranges_anew_as_text_in_all_of_them(site: Site) -> None:
    with psycopg.connect(site.url) as session:
        session.execute("UPDATE events SET on_day = 'infinity' WHERE id = 7900")
    try:
        work = site.begun()
        exported(work, Guests(lambda run: None if run > 1 else (site.guest(work, run), None)[1]))
        manifest = bundle_attempt(work)
    finally:
        with psycopg.connect(site.url) as session:
            session.execute("UPDATE events SET on_day = date '2026-01-01' + 7900 % 300 WHERE id = 7900")
    check_whole(work, manifest)
    days = rows_of(manifest, work.ports.store, "events").column("on_day")
    assert days.type == pa.string()
    assert days[7899].as_py() == "infinity"
    assert sorted(site.left(work, "events")) == sorted(
        f"big/tables/events/backup_date={manifest.partition_date}/{name}"
        for name in ["partition.json", *(f.name for t in manifest.tables if t.name == "events" for f in t.files)]
    )


class _Refusing:
    """A store that takes no file of the third range."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put_file(self, key: str, path: Path) -> Any:
        if "part-02000" in key:
            message = "no room"
            raise StoreError(message)
        return self._inner.put_file(key, path)


def test_a_range_that_fails_fails_its_table_and_the_other_tables_are_there(site: Site) -> None:
    work = site.begun()
    work = replace(work, ports=replace(work.ports, store=_Refusing(work.ports.store)))
    failed = {result.table: result.error for result in export_attempt(work, Guests()) if result.error}
    assert list(failed) == ["events"]
    assert "no room" in str(failed["events"])
    assert site.left(work, "events") == []
    assert len(site.left(work, "kinds")) == 3
    end_failed(work.attempt, BackupError("over"), work.ports)


class _Crowded:
    """A source that has no connection left for whoever has joined a snapshot."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @contextmanager
    def joined(self, *given: Any) -> Iterator[Any]:
        with self._inner.joined(*given) as snapshot:
            snapshot.read = self._read
            yield snapshot

    def _read(self, plan: Any) -> Any:
        message = "too many connections"
        raise SourceUnavailableError(message)


def test_a_run_that_finds_no_connection_left_gives_its_part_back(site: Site) -> None:
    work = site.begun()

    def one_without(run: int) -> None:
        with pytest.raises(SourceUnavailableError):
            site.guest(work, run, source=_Crowded(PostgresSource(site.url)))

    exported(work, Guests(one_without))
    check_whole(work, bundle_attempt(work))


def test_a_run_of_another_catalog_or_of_a_backup_that_is_over_reads_nothing(site: Site) -> None:
    work = site.begun()
    other = BIG.model_copy(update={"catalog": "small"})
    with pytest.raises(RefusedError, match="no backup"):
        take_part(work.attempt.backup_id, other, site.ports("x"), "run 1")
    changed = BIG.model_copy(update={"timezone": "UTC"})

    def another_version(run: int) -> None:
        with pytest.raises(RefusedError, match="another version of the program or of the catalog"):
            take_part(work.attempt.backup_id, changed, site.ports("x"), "run 1")

    crew = Guests(another_version)
    exported(work, crew)
    assert crew.launched == 1
    bundle_attempt(work)
    assert site.guest(work, 2) == 0


def test_how_tables_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    sizes = {"huge": 4 << 30, "large": 600 << 20, **{f"t{n}": 1 << 20 for n in range(120)}}
    every = [replace(relation(name, "id"), total_bytes=size) for name, size in sizes.items()]
    plans = plan_catalog(catalog({name: {} for name in sizes}), database(*every)).tables
    parts = divide(list(plans.values()), 4)
    assert [(part.tables, part.ranges) for part in parts[:2]] == [(("huge",), 13), (("large",), 1)]
    assert [len(part.tables) for part in parts[2:]] == [50, 50, 20]
    assert sorted(name for part in parts for name in part.tables) == sorted(sizes)


def _holder(source: str, ledger_url: str, folder: str) -> None:
    """A run that begins a backup, says so, and waits for others before it reads anything."""
    with closing(SqlLedger(ledger_url)) as ledger:
        site = Site(source, Path(folder), ledger)  # type: ignore[arg-type]
        planning._LEAST_BYTES = 64 << 10
        work = site.begun()

        def wait(run: int) -> None:
            sys.stdout.write(f"{work.attempt.backup_id}\n")
            sys.stdout.flush()
            time.sleep(120)

        list(export_attempt(work, Guests(wait)))


if __name__ == "__main__":
    _holder(*sys.argv[1:])
