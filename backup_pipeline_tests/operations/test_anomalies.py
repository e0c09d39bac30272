"""Anomalies of real backups: found, told, and the last good one held until somebody releases it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backup_pipeline.core.alerts import Alert, Delivery, Severity
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ledger import Attempt, Hold, Status
from backup_pipeline.core.ports import Ports, Store, StoredObject
from backup_pipeline.core.scope import PROGRAM
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.decoder import FileDecoder
from backup_pipeline.operations.anomalies import act_on_anomalies, load_history, unusual
from backup_pipeline.operations.backup import close_orphans
from backup_pipeline.operations.retention.hold import hold_backup, release_backup
from backup_pipeline_tests.actors import KARIM
from backup_pipeline_tests.doubles.ports import Quiet
from backup_pipeline_tests.operations.conftest import SHOP_SQL
from backup_pipeline_tests.operations.made import Place
from backup_pipeline_tests.servers.ledgers import ScratchLedger
from backup_pipeline_tests.servers.postgres import temporary_database

LOOSE = {"good_id": "goods.id"}
SHOP = Catalog.model_validate(
    {"catalog": "shop", "timezone": "Asia/Dhaka", "tables": {"goods": None, "sold": {"references": LOOSE}}}
)
UNTIE = "ALTER TABLE sold DROP CONSTRAINT IF EXISTS sold_good_id_fkey"


class Listening(Quiet):
    """The port `Alerter` that keeps what it was to send."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def send(self, alert: Alert, only: object = None) -> Sequence[Delivery]:
        self.alerts.append(alert)
        return []


@dataclass
class Shop(Place):
    """A shop with three good backups; what happens to it is told to `heard`."""

    url: str = ""
    heard: Listening = field(default_factory=Listening)
    catalog: Catalog = SHOP

    def ports(self, url: str) -> Ports:
        return replace(super().ports(url), alerter=self.heard, decoder=FileDecoder)

    def next(self, sql: str = "", **options: object) -> Attempt:
        """The backup after `sql`."""
        if sql:
            with psycopg.connect(self.url, autocommit=True) as session:
                session.execute(sql.encode())
        return self.back_up(self.url, self.catalog, **options)  # type: ignore[arg-type]

    def held(self) -> dict[str, str]:
        """Who holds which backup."""
        return {row.backup_id: str(row.hold.actor) for row in self.ledger.list() if row.hold}

    def release(self, backup_id: str) -> None:
        row = self.ledger.get(backup_id)
        assert row is not None
        assert release_backup(row, self.ports(self.url), actor=KARIM)


@pytest.fixture
def shop(postgres_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Shop]:
    with temporary_database(postgres_server) as url:
        made = Shop(tmp_path, url=url)
        made.next(f"{SHOP_SQL}; {UNTIE}")
        made.next()
        made.next()
        assert made.heard.alerts == []
        yield made


def test_lost_rows_are_a_warning_an_alert_and_a_hold(shop: Shop) -> None:
    last = shop.ledger.list()[0].backup_id
    attempt = shop.next("DELETE FROM sold WHERE id % 2 = 0")
    assert attempt.status is Status.SUCCESS_WITH_WARNINGS
    said = "1,000 rows, usually 2,000 (median of 3 good backups): 50% fewer rows."
    assert attempt.warnings == (f"Table sold, check anomaly: {said}",)
    [alert] = shop.heard.alerts
    assert alert.severity is Severity.WARNING
    assert alert.tables == {"sold": said}
    assert f"{last} is held until somebody releases it" in alert.what
    assert f"backup-pipeline show {last}" in alert.do
    assert f"backup-pipeline release {last}" in alert.do
    row = shop.ledger.get(last)
    assert row is not None
    assert row.hold == Hold(PROGRAM, f"anomaly in {attempt.backup_id}: sold: 50% fewer rows")
    assert next(event.action for event in shop.ledger.audits(last)) == "hold"
    [found] = shop.manifest.findings
    assert (found.now, found.usual, found.held, found.standing) == (1000, 2000, last, False)
    assert attempt.table_bytes == {table.name: table.bytes for table in shop.manifest.tables}


def test_it_stands_without_another_alert_or_hold_until_released(shop: Shop) -> None:
    last = shop.ledger.list()[0].backup_id
    shop.next("DELETE FROM sold WHERE id % 2 = 0")
    again = shop.next()
    assert again.status is Status.SUCCESS_WITH_WARNINGS
    assert len(shop.heard.alerts) == 1
    assert set(shop.held()) == {last}
    shop.release(last)
    assert shop.next().status is Status.SUCCESS
    assert shop.held() == {}


def test_a_hold_that_somebody_set_stays_theirs_and_one_with_an_end_is_extended(shop: Shop) -> None:
    last = shop.ledger.list()[0]
    ports = shop.ports(shop.url)
    hold_backup(last, Hold(KARIM, "the audit of 2026"), ports)
    shop.next("DELETE FROM sold WHERE id % 2 = 0")
    assert shop.held() == {last.backup_id: "karim"}
    newest = shop.ledger.list()[0]
    hold_backup(newest, Hold(KARIM, "for a week", ports.clock().replace(year=2999)), ports)
    shop.release(last.backup_id)
    shop.next("TRUNCATE sold")
    row = shop.ledger.get(newest.backup_id)
    assert row is not None
    assert row.hold is not None
    assert (row.hold.actor, row.hold.until) == (PROGRAM, None)
    assert "for a week" in row.hold.reason


def test_emptied_tables_columns_keys_and_tables_are_told_together(shop: Shop) -> None:
    attempt = shop.next(
        "TRUNCATE sold; ALTER TABLE goods DROP COLUMN price, ADD COLUMN tint text; CREATE TABLE extra (id int)"
    )
    kinds = {(one.table, one.kind) for one in shop.manifest.findings}
    assert kinds == {
        ("sold", "emptied"),
        ("goods", "vanished_column"),
        ("goods", "new_column"),
        ("public.extra", "new_table"),
    }
    assert any("Table public.extra is new" in warning for warning in attempt.warnings)
    [alert] = shop.heard.alerts
    assert set(alert.tables) == {"sold", "goods", "public.extra"}
    assert "Column price (numeric(10,2)) is gone." in alert.tables["goods"]


def test_a_second_backup_already_notices_emptiness_and_columns(
    postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with temporary_database(postgres_server) as url:
        shop = Shop(tmp_path, url=url)
        first = shop.next(SHOP_SQL)
        shop.next("DELETE FROM sold WHERE id > 20; ALTER TABLE goods ALTER price TYPE text")
        assert [(one.table, one.kind) for one in shop.manifest.findings] == [("goods", "changed_type")]
        assert set(shop.held()) == {first.backup_id}


def test_rows_that_refer_to_none_are_counted_where_the_database_does_not_enforce_it(shop: Shop) -> None:
    reference = "sold(good_id) → goods(id)"
    assert shop.manifest.orphans == {reference: 0}
    shop.next("DELETE FROM goods WHERE id <= 10")
    assert shop.manifest.orphans == {reference: 40}
    [found] = shop.manifest.findings
    assert (found.kind, found.table, found.now) == ("orphans", "sold", 40)


def test_what_the_database_enforces_is_not_counted_again(postgres_server: EmbeddedPostgres, tmp_path: Path) -> None:
    with temporary_database(postgres_server) as url:
        shop = Shop(tmp_path, url=url)
        shop.next(SHOP_SQL)
        assert shop.manifest.orphans == {}


def test_keys_that_begin_to_repeat_are_told(shop: Shop) -> None:
    shop.catalog = SHOP.model_copy(
        update={"tables": {"goods": SHOP.tables["goods"].model_copy(update={"key": ("name",)})}}
    )
    shop.next()
    shop.heard.alerts.clear()
    shop.next("UPDATE goods SET name = 'good 1' WHERE id = 2")
    assert [(one.table, one.kind) for one in shop.manifest.findings if not one.standing] == [
        ("goods", "duplicate_keys")
    ]


def test_the_newest_backup_that_has_the_table_is_held(shop: Shop) -> None:
    first = shop.ledger.list()[0].backup_id
    shop.next(tables=("goods",))
    shop.next("TRUNCATE sold")
    [found] = shop.manifest.findings
    assert found.held == first


def _forget_shapes(shop: Shop) -> None:
    assert isinstance(shop.ledger, ScratchLedger)
    shop.ledger.execute("DELETE FROM backup_shapes")


def test_backups_from_before_shapes_were_kept_are_compared_by_their_manifests(shop: Shop) -> None:
    _forget_shapes(shop)
    shop.next("ALTER TABLE goods DROP COLUMN price")
    assert [(one.table, one.kind) for one in shop.manifest.findings] == [("goods", "vanished_column")]


def test_a_machine_that_can_not_read_its_manifests_compares_all_the_same(shop: Shop) -> None:
    shop.store.delete([stored.key for stored in shop.store.list("") if stored.key.endswith("manifest.json")])
    shop.next("ALTER TABLE goods DROP COLUMN price")
    assert [(one.table, one.kind) for one in shop.manifest.findings] == [("goods", "vanished_column")]


def test_a_manifest_that_can_not_be_read_leaves_the_columns_alone_and_the_backup_good(shop: Shop) -> None:
    _forget_shapes(shop)
    shop.store.delete([stored.key for stored in shop.store.list("") if stored.key.endswith("manifest.json")])
    assert shop.next("ALTER TABLE goods DROP COLUMN price").status is Status.SUCCESS


def test_a_hold_that_fails_is_told_and_the_backup_stays_good(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(backup_id: str, hold: Hold | None) -> None:
        message = "the ledger is read-only"
        raise LedgerError(message)

    monkeypatch.setattr(shop.ledger, "hold", refuse)
    assert shop.next("TRUNCATE sold").status is Status.SUCCESS_WITH_WARNINGS
    [alert] = shop.heard.alerts
    assert "could NOT be held: the ledger is read-only" in alert.what


def test_a_run_that_died_before_it_told_is_told_when_its_row_is_closed(shop: Shop) -> None:
    last = shop.ledger.list()[0].backup_id
    attempt = shop.next("TRUNCATE sold")
    shop.release(last)
    shop.heard.alerts.clear()
    running = replace(attempt, status=Status.RUNNING, warnings=(), finished_at=None)
    shop.ledger.adopt([running], [])
    assert close_orphans(replace(shop.ports(shop.url), alive=lambda _: False)) == [running]
    [alert] = shop.heard.alerts
    assert alert.tables == {"sold": "0 rows, usually 2,000 (median of 3 good backups): 100% fewer rows."}
    assert set(shop.held()) == {last}


def test_what_was_found_is_in_the_ledger_before_the_manifest_is_in_the_store(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run that dies in between leaves nobody who could tell, where the manifest is encrypted."""
    found = []
    keep = type(shop.store).keep

    def watched(store: Store, key: str, chunks: Iterable[bytes], **options: Any) -> StoredObject:
        if key.endswith("/manifest.json"):
            shape = shop.ledger.shapes.get(key.split("/")[-2])
            found.append(shape and [one.table for one in shape.findings])
        return keep(store, key, chunks, **options)

    monkeypatch.setattr(type(shop.store), "keep", watched)
    shop.next("TRUNCATE sold")
    assert found == [["sold"]]


def test_only_earlier_good_backups_with_a_bundle_are_compared_with(shop: Shop) -> None:
    before = [row.backup_id for row in shop.ledger.list()]
    shop.next(tables=("goods",), bundle=False)
    attempt = shop.next()
    history = load_history(attempt, shop.ports(shop.url))
    assert [row.backup_id for row in history.attempts] == before
    assert set(history.tables) == {"goods", "sold"}
    assert history.full is not None
    assert history.full.backup_id == before[0]


def test_doing_it_twice_holds_once(shop: Shop) -> None:
    shop.next("TRUNCATE sold")
    before = len(shop.ledger.audits())
    act_on_anomalies(unusual(shop.manifest), shop.ports(shop.url))
    assert len(shop.ledger.audits()) == before
    assert len(shop.heard.alerts) == 2
