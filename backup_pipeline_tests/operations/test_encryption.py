"""A backup that is encrypted: nothing of it can be read in the store, everything can with the key, part by part."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.core.alerts import Alert, Delivery
from backup_pipeline.core.copies import CopyStatus
from backup_pipeline.core.errors import DecryptError
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.manifest.outline import Outline
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.core.ports import Event, Second, Silence, StageStarted, TableWriter
from backup_pipeline.core.scope import PROGRAM
from backup_pipeline.core.verification import Level
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.files import EncryptedFormats, FileFormats
from backup_pipeline.operations.backup import close_orphans
from backup_pipeline.operations.browse import place_of, read_document, stored_manifest
from backup_pipeline.operations.copy import copy_backup, order_of
from backup_pipeline.operations.download import AuditTrail, Destination, check_key, download_bundle, render_backup
from backup_pipeline.operations.verify import VerifyRequest, verify_backup
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.doubles.ports import Quiet, now
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.operations.conftest import SHOP_SQL
from backup_pipeline_tests.operations.made import Place, verify_ports
from backup_pipeline_tests.operations.vault import (
    ESCROW,
    ESCROW_SECRET,
    OWNER,
    OWNER_SECRET,
    STRANGER,
    STRANGER_SECRET,
    VAULT,
    Machine,
    Vault,
    cipher_of,
    every_byte,
)
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.servers.postgres import temporary_database


class Heard(Quiet):
    """The port `Alerter` that keeps what it was to send."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def send(self, alert: Alert, only: object = None) -> list[Delivery]:
        self.alerts.append(alert)
        return []


TELLTALE = (
    b"good 17",
    b"good_id",
    b"numeric",
    b"price",
    b"CREATE TABLE",
    b"row_count",
    b"PAR1",
    b"Secret title",
    b"a test",
)
"""What the rows, the schema, the manifest, the CSV and the Parquet files would be known by."""


@pytest.mark.acceptance("2.26", "3.26")
def test_nothing_of_a_backup_can_be_read_in_the_store(vault: Vault) -> None:
    seen = list(every_byte(vault.server.raw))
    assert len(seen) > 10
    for where, data in seen:
        assert [word for word in TELLTALE if word in data] == [], where


def test_every_file_is_one_of_age_or_says_only_what_anybody_may_know(vault: Vault) -> None:
    open_ones = [name for name, data in every_byte(vault.server.raw) if not data.startswith(b"age-encryption.org/v1\n")]
    kinds = {name.rpartition("/")[2].rpartition("!")[2] for name in open_ones}
    assert kinds == {vault.manifest.bundle.name, "README.txt", "encryption.json", "manifest.json", "partition.json"}
    outline = json.loads(vault.server.raw.get(place_of(vault.attempt).manifest))
    assert outline["encryption"] == {"recipients": [OWNER, ESCROW]}
    assert set(outline) == {*Outline.model_fields, "manifest_sha256"}


def test_files_are_stored_in_the_zip_so_that_one_of_them_can_be_fetched(vault: Vault) -> None:
    with zipfile.ZipFile(io.BytesIO(vault.server.raw.get(vault.bundle))) as archive:
        infos = {info.filename: info.compress_type for info in archive.infolist()}
    assert infos["parquet/goods/part-00000.parquet.age"] == zipfile.ZIP_STORED
    assert infos["sheets/goods.csv.gz.age"] == zipfile.ZIP_STORED
    assert infos["schema.sql.age"] == infos["manifest.json.age"] == zipfile.ZIP_STORED


def test_the_bytes_of_the_partition_are_those_of_the_bundle(vault: Vault) -> None:
    store = vault.server.raw
    day = vault.attempt.partition_date
    with zipfile.ZipFile(io.BytesIO(store.get(vault.bundle))) as archive:
        packed = archive.read("sheets/sold.csv.gz.age")
    assert packed == store.get(f"vault/tables/sold/backup_date={day}/sheet-00000.csv.gz.age")


def test_with_the_key_every_level_is_reached(vault: Vault) -> None:
    report = vault.server.owner.verify(vault.attempt, Level.REFERENCES)
    assert (report.findings, report.level) == ((), Level.REFERENCES)
    assert report.objects > len(vault.manifest.entries)


@pytest.mark.parametrize("secret", [OWNER_SECRET, ESCROW_SECRET], ids=["owner", "escrow"])
def test_either_recipient_reads_the_manifest_as_it_was(vault: Vault, secret: str) -> None:
    reader = vault.server.elsewhere("reader", keys=[secret])
    assert stored_manifest(vault.attempt, reader.store) == vault.manifest
    assert vault.manifest.encryption is not None
    assert vault.manifest.encryption.recipients == (OWNER, ESCROW)


@pytest.mark.parametrize("level", [Level.PRESENT, Level.BYTES])
def test_that_the_bytes_are_those_that_were_written_is_known_without_a_key(vault: Vault, level: Level) -> None:
    assert vault.server.elsewhere("anybody").verify(vault.attempt, level).level == level


def test_damage_is_found_without_the_key_and_named_with_it(vault: Vault) -> None:
    data = bytearray(vault.server.raw.get(vault.bundle))
    data[data.index(b"age-encryption.org/v1", data.index(b"goods/part-00000")) + 1000] ^= 1
    vault.server.raw.put(vault.bundle, [bytes(data)])
    assert [found.level for found in vault.server.elsewhere("anybody").verify(vault.attempt, Level.BYTES).findings] == [
        1
    ]
    found = vault.server.owner.verify(vault.attempt, Level.CONTENTS).findings
    assert any(finding.object.endswith("!parquet/goods/part-00000.parquet") for finding in found)


@pytest.mark.parametrize("keys", [(), (STRANGER_SECRET,)])
def test_without_the_right_key_the_contents_end_with_12_and_name_the_recipients(vault: Vault, keys: tuple[str]) -> None:
    for machine in (vault.server.elsewhere("anybody", keys=keys), replace(vault.server, cipher=cipher_of(keys=keys))):
        with pytest.raises(DecryptError) as refused:
            machine.verify(vault.attempt, Level.CONTENTS)
        assert refused.value.exit_code == 12
        assert f"is encrypted to {OWNER}, {ESCROW}; " in refused.value.what
        assert (STRANGER if keys else "no key is set here") in refused.value.what
        assert "BACKUP_AGE_IDENTITY_FILE" in refused.value.do


class Stages(Silence):
    """Progress that remembers which stages were begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def tell(self, event: Event) -> None:
        self.begun += [event.stage] if isinstance(event, StageStarted) else []


def test_that_the_key_is_missing_is_known_before_the_bundle_is_read(vault: Vault) -> None:
    stages = Stages()
    server = replace(vault.server, cipher=cipher_of())
    ports = replace(verify_ports(server.store, progress=stages), formats=server.formats)
    with pytest.raises(DecryptError):
        verify_backup(place_of(vault.attempt), VerifyRequest(Level.CONTENTS), ports)
    assert stages.begun == []


def test_a_changed_outline_is_found(vault: Vault) -> None:
    key = place_of(vault.attempt).manifest
    data = vault.server.raw.get(key).replace(OWNER.encode(), STRANGER.encode())
    vault.server.raw.put(key, [data])
    (finding,) = vault.server.elsewhere("anybody").verify(vault.attempt, Level.PRESENT).findings
    assert "was changed after it was written" in finding.message


def test_one_table_is_fetched_and_decrypted_alone(vault: Vault) -> None:
    asked: list[tuple[int, int]] = []
    data = vault.server.raw.get(vault.bundle)

    def read(start: int, length: int) -> bytes:
        asked.append((start, min(length, 4096)))
        return data[start : start + min(length, 4096)]

    bundle = vault.server.owner.formats.open_bundle(read, len(data))
    asked.clear()
    file = next(table for table in vault.manifest.tables if table.name == "goods").files[0]
    assert len(b"".join(bundle.stream("parquet/goods/part-00000.parquet"))) == file.bytes
    assert sum(length for _, length in asked) <= file.stored.bytes + 12_288


def test_its_plain_files_are_those_of_a_backup_that_is_not_encrypted(
    vault: Vault, shop_url: str, tmp_path: Path
) -> None:
    plain = Place(tmp_path / "plain", MemoryStore(), new_ledger())
    plain.back_up(shop_url, VAULT)
    sums = [
        {(file.name, file.sha256) for table in m.tables for file in table.files}
        for m in (vault.manifest, plain.manifest)
    ]
    assert sums[0] == sums[1]
    assert vault.manifest.entries.keys() == plain.manifest.entries.keys()


def test_the_use_of_a_key_is_told_once_and_before_anything_comes_out(vault: Vault) -> None:
    owner = vault.server.owner
    owner.verify(vault.attempt, Level.CONTENTS)
    assert owner.used == [(vault.attempt.backup_id, OWNER)]

    def refuse(backup_id: str, identity: str) -> None:
        message = "the ledger is gone"
        raise RuntimeError(message)

    store = replace(owner.store, used=refuse)
    with pytest.raises(RuntimeError):
        stored_manifest(vault.attempt, store)


def test_the_server_that_made_it_still_knows_what_is_in_it_without_a_key(vault: Vault) -> None:
    assert stored_manifest(vault.attempt, vault.server.store) == vault.manifest
    assert vault.server.used == []
    (folder,) = {path.parent for path in (vault.server.home / "written").iterdir()}
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    document = read_document(place_of(vault.attempt), vault.server.elsewhere("other").store)
    assert isinstance(document.manifest, Outline)


def test_the_bundle_is_downloaded_as_it_is_without_a_key(vault: Vault, tmp_path: Path) -> None:
    anybody = vault.server.elsewhere("anybody")
    audit = AuditTrail(anybody.ledger, now, TESTER)
    path = download_bundle(vault.attempt, Destination(tmp_path), store=anybody.store, audit=audit, progress=Silence())
    assert path.read_bytes() == vault.server.raw.get(vault.bundle)


def test_a_rendering_needs_the_key(vault: Vault, tmp_path: Path) -> None:
    def rendered(machine: Machine) -> Path:
        audit = AuditTrail(machine.ledger, now, TESTER)
        given = {"store": machine.store, "formats": machine.formats, "audit": audit, "progress": Silence()}
        return render_backup(vault.attempt, Rendering.JSON, Destination(tmp_path), **given)  # type: ignore[arg-type]

    with pytest.raises(DecryptError):
        rendered(vault.server)
    assert list(tmp_path.glob("*.json")) == []
    shown = json.loads(rendered(vault.server.owner).read_text())
    assert len(shown["tables"]["goods"]) == 500


def test_a_dead_run_that_had_made_its_backup_is_closed_without_a_key(vault: Vault, shop_url: str) -> None:
    for machine in (vault.server, vault.server.elsewhere("other", OWNER, ESCROW)):
        running = replace(vault.attempt, status=Status.RUNNING, finished_at=None, file_name=None, table_counts={})
        machine.ledger.put(running)
        assert close_orphans(replace(machine.place.ports(shop_url), alive=lambda _: False)) == [running]
        closed = machine.ledger.get(vault.attempt.backup_id)
        assert closed is not None
        assert (closed.status.good, closed.sha256) == (True, vault.manifest.bundle.sha256)


def test_an_anomaly_of_a_dead_run_is_told_where_no_key_opens_its_manifest(
    postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Killed between manifest and row end, and closed by another machine, without a key."""
    heard = Heard()
    server = Machine(MemoryStore(), new_ledger(), tmp_path / "server", cipher_of(OWNER), [])
    with temporary_database(postgres_server) as url, psycopg.connect(url, autocommit=True) as session:
        session.execute(SHOP_SQL)
        last = server.place.back_up(url, VAULT)
        session.execute("TRUNCATE sold")
        dead = server.place.back_up(url, VAULT)
        other = server.elsewhere("other", OWNER)
        other.ledger.put(replace(last, hold=None))
        other.ledger.put(
            replace(dead, status=Status.RUNNING, finished_at=None, warnings=(), table_counts={}, record_count=None)
        )
        ports = replace(other.place.ports(url), alerter=heard)
        close_orphans(replace(ports, alive=lambda _: False))
    [alert] = [one for one in heard.alerts if one.title.startswith("Unusual backup")]
    assert alert.tables == {"sold": "0 rows, usually 2,000 (median of 1 good backups): 100% fewer rows."}
    held, closed = other.ledger.get(last.backup_id), other.ledger.get(dead.backup_id)
    assert held is not None
    assert closed is not None
    assert held.hold is not None
    assert held.hold.actor == PROGRAM
    assert (closed.status, closed.table_counts) == (Status.SUCCESS_WITH_WARNINGS, {"goods": 500, "sold": 0})
    assert "0 rows, usually 2,000" in closed.warnings[0]


def test_a_key_is_checked_against_a_backup_and_nothing_else(vault: Vault) -> None:
    audit = AuditTrail(vault.server.ledger, now, TESTER)
    found = check_key(vault.attempt, vault.server.store, cipher_of(keys=[STRANGER_SECRET, ESCROW_SECRET]), audit)
    assert (found.opened_by, found.recipients) == (ESCROW, (OWNER, ESCROW))
    assert [event.action for event in vault.server.ledger.audits(vault.attempt.backup_id)][:1] == ["key used"]
    with pytest.raises(DecryptError, match=f"encrypted to {OWNER}, {ESCROW}; the key here, of {STRANGER}"):
        check_key(vault.attempt, vault.server.store, cipher_of(keys=[STRANGER_SECRET]), audit)


def test_a_time_limit_holds_without_a_key_too(vault: Vault) -> None:
    machine = vault.server.elsewhere("anybody")
    request = VerifyRequest(Level.BYTES, max_duration=timedelta(0))
    report = verify_backup(
        place_of(vault.attempt), request, replace(verify_ports(machine.store), formats=machine.formats)
    )
    assert report.level is Level.PRESENT


def test_a_copy_in_a_second_store_is_the_same_bytes_and_needs_no_key(vault: Vault) -> None:
    machine, away = vault.server.elsewhere("anybody"), MemoryStore()
    second = Second("memory://second", replace(machine.store, inner=away))
    ports = replace(machine.place.ports("postgresql://nobody@127.0.0.1:1/none"), second=second)
    assert copy_backup(order_of(vault.attempt, TESTER), ports).status is CopyStatus.GOOD
    for key in (vault.bundle, place_of(vault.attempt).manifest):
        assert away.get(key) == vault.server.raw.get(key)


def test_the_plain_files_in_the_making_are_their_owners_alone(vault: Vault, shop_url: str) -> None:
    modes: list[int] = []

    class Watched(EncryptedFormats):
        def writer(self, plan: TablePlan, directory: Path, timezone: str, *, sheets: bool = True) -> TableWriter:
            modes.append(directory.parent.stat().st_mode & 0o777)
            return super().writer(plan, directory, timezone, sheets=sheets)

    place = vault.server.place
    place.formats = Watched(FileFormats(), vault.server.cipher)
    place.back_up(shop_url, VAULT)
    assert modes == [0o700, 0o700]
    assert list(place.spool.iterdir()) == []
