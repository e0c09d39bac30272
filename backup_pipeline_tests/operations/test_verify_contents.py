"""Levels 2 and 3: lies that fit their checksums are found by decoding, by making the sheets anew, by following keys."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.layout import SCHEMA_PATH, VERIFICATIONS
from backup_pipeline.core.ports import Store
from backup_pipeline.core.verification import (
    Finding,
    Level,
    Verification,
    VerifyReport,
    depth_of,
    has_failed,
    parse_sample,
)
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats import tables as inspect_parquet
from backup_pipeline.operations.verify import VerifyRequest, verify_attempt, verify_backup
from backup_pipeline.operations.verify.bytes import Deadline, VerifySubject
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.operations.conftest import Made, backed_up
from backup_pipeline_tests.operations.forging import (
    LIBRARY,
    LIBRARY_SQL,
    Members,
    copied,
    forge,
    rezip,
    with_rows,
    with_value,
)
from backup_pipeline_tests.operations.made import Place, verify_ports
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.servers.swift import SwiftServer

AREAS, CUSTOMERS, ORDERS = (f"parquet/{name}/part-00000.parquet" for name in ("areas", "customers", "orders"))
SHEETS = {"areas": "sheets/areas.csv", "customers": "sheets/People.csv", "orders": "sheets/orders.csv"}
Change = Callable[[pa.Table], pa.Table]


@pytest.fixture(scope="module")
def library_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    with temporary_database(postgres_server) as url:
        with psycopg.connect(url) as session:
            session.execute(LIBRARY_SQL)
        yield url


@pytest.fixture(scope="module")
def library_backup(library_url: str, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return backed_up(library_url, LIBRARY, tmp_path_factory.mktemp("spool"))


@pytest.fixture
def library(library_backup: Made) -> Made:
    """The backup, in a store and a ledger of this test's own."""
    return library_backup.again()


def verify(made: Made, level: Level = Level.REFERENCES, *, store: Store | None = None, **asked: Any) -> VerifyReport:
    return verify_backup(made.place, VerifyRequest(level, **asked), verify_ports(store or made.store))


def rows(name: str, change: Change) -> Callable[[Members], None]:
    def apply(members: Members) -> None:
        members[name] = with_rows(members[name], change)

    return apply


def text(name: str, old: str, new: str) -> Callable[[Members], None]:
    def apply(members: Members) -> None:
        assert old.encode() in members[name]
        members[name] = members[name].replace(old.encode(), new.encode(), 1)

    return apply


def only(report: VerifyReport) -> Finding:
    assert len(report.findings) == 1, report.findings
    return report.findings[0]


def test_a_good_backup_reaches_level_3_with_nothing_left_uncompared_but_what_can_not_be(library: Made) -> None:
    report = verify(library)
    assert (report.findings, report.level, report.whole) == ((), Level.REFERENCES, True)
    assert [remark.message for remark in report.remarks] == []
    assert set(report.levels[3].looked_at) == {
        "areas(parent_id) → areas(id)",
        "customers(area_id) → areas(id)",
        "orders(customer_id) → customers(id)",
    }


def test_the_manifest_says_where_sheets_come_from_and_what_rows_hang_on(library: Made) -> None:
    areas, customers, orders = library.manifest.tables
    assert (customers.relation_id, customers.relation_kind) == (("public", "customers"), "table")
    assert [(r.columns, r.target, r.target_columns, r.enforced) for r in customers.references] == [
        (("area_id",), ("public", "areas"), ("id",), True)
    ]
    assert [(s.sequence, s.column, s.last_value, s.is_called) for s in (*areas.sequences, *customers.sequences)] == [
        (("public", "areas_id_seq"), "id", 30, True),
        (("public", "customers_id_seq"), "id", 400, True),
    ]
    assert [c.name for c in customers.columns if c.identity] == ["id"]
    assert [c.name for c in customers.columns if c.generated] == ["double_id"]
    shown = {source.title: source for source in customers.sheet_sources}
    assert [step.relation[1] for step in shown["Above"].steps] == ["areas", "areas"]
    assert (shown["Orders"].joined, shown["Name"].steps, shown["Opened"].arrow_type) == (
        True,
        (),
        "timestamp[us, tz=UTC]",
    )
    assert orders.sequences == ()


DAMAGE: dict[str, tuple[Callable[[Made], None], Level, str]] = {}


def damage(level: Level, named: str) -> Callable[[Callable[[Made], None]], Callable[[Made], None]]:
    """A way to damage a backup, the level at which it must be found, and the object that must be named."""

    def keep(spoil: Callable[[Made], None]) -> Callable[[Made], None]:
        DAMAGE[spoil.__name__] = (spoil, level, named)
        return spoil

    return keep


@damage(Level.BYTES, "zip")
def a_bit_is_flipped(made: Made) -> None:
    data = bytearray(made.store.get(made.bundle))
    data[len(data) // 2] ^= 1
    made.store.put(made.bundle, [bytes(data)])


@damage(Level.PRESENT, "zip")
def it_is_cut_off(made: Made) -> None:
    made.store.put(made.bundle, [made.store.get(made.bundle)[:-1000]])


@damage(Level.PRESENT, "zip")
def the_bundle_is_deleted(made: Made) -> None:
    made.store.delete([made.bundle])


@damage(Level.PRESENT, "zip")
def the_bundle_is_empty(made: Made) -> None:
    made.store.put(made.bundle, [b""])


@damage(Level.PRESENT, "manifest.json")
def the_manifest_is_edited(made: Made) -> None:
    data = made.store.get(made.place.manifest)
    made.store.put(made.place.manifest, [data.replace(b'"row_count": 400', b'"row_count": 401')])


@damage(Level.PRESENT, "manifest.json")
def the_format_is_newer(made: Made) -> None:
    forge(made, format_version="2.0")


@damage(Level.CONTENTS, ORDERS)
def two_members_are_swapped(made: Made) -> None:
    rezip(made, lambda m: m.update({ORDERS: m[CUSTOMERS], CUSTOMERS: m[ORDERS]}))


@damage(Level.CONTENTS, CUSTOMERS)
def a_member_is_missing(made: Made) -> None:
    rezip(made, lambda m: m.pop(CUSTOMERS))


@damage(Level.CONTENTS, SHEETS["orders"])
def a_member_is_empty(made: Made) -> None:
    rezip(made, lambda m: m.update({SHEETS["orders"]: b""}))


@pytest.fixture(scope="module")
def s3_store(s3_server: SwiftServer) -> S3Store:
    return S3Store(s3_server.make_bucket("verify"), "backups", s3_server.settings)


@pytest.fixture(params=["directory", "s3"])
def real_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "directory":
        return DirectoryStore(tmp_path / "store")
    store: Store = request.getfixturevalue("s3_store")
    return store


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_at_its_level_and_named_in_every_store(name: str, library: Made, real_store: Store) -> None:
    spoil, level, named = DAMAGE[name]
    spoil(library)
    real_store.delete([stored.key for stored in real_store.list("")])
    copied(library, real_store)
    report = verify(library, store=real_store)
    assert report.findings[0].level == level
    assert named in " ".join(finding.object for finding in report.findings if finding.level == level)
    assert (report.level if report.level is not None else -1) < level
    assert f"level {level}" in report.error().what


@pytest.mark.parametrize(
    ("change", "named", "told"),
    [
        (rows(ORDERS, lambda t: with_value(t, "state", 7, "lost")), SHEETS["customers"], "in row"),
        (rows(ORDERS, lambda t: with_value(t, "tags", 8_300, "{}")), SHEETS["orders"], "in row 8,301."),
        (rows(ORDERS, lambda t: t.slice(1)), ORDERS, "holds 8,999 rows; the manifest says 9,000."),
        (rows(AREAS, lambda t: with_value(t, "name", 0, "elsewhere")), SHEETS["customers"], "in row"),
        (rows(CUSTOMERS, lambda t: with_value(t, "password", 3, "secret")), SHEETS["customers"], "in row 4."),
        (text(SHEETS["customers"], "[ENCRYPTED]", "secret"), SHEETS["customers"], "in row 1."),
        (text(SHEETS["areas"], "area 30", "area 31"), SHEETS["areas"], "in row 30."),
        (text(SHEETS["areas"], "Opened", "Closed"), SHEETS["areas"], "does not begin with the titles"),
        (
            lambda m: m.update({SHEETS["areas"]: m[SHEETS["areas"]] + b"x"}),
            SHEETS["areas"],
            "has more than the 30 rows",
        ),
        (lambda m: m.update({SHEETS["areas"]: m[SHEETS["areas"]][:-9]}), SHEETS["areas"], "in row 30."),
        (lambda m: m.update({AREAS: m[AREAS][:-50]}), AREAS, "can not be decoded"),
        (lambda m: m.update({AREAS: b""}), AREAS, "can not be decoded"),
    ],
)
def test_what_fits_its_checksum_but_is_not_so_is_found(
    library: Made, change: Callable[[Members], None], named: str, told: str
) -> None:
    forge(library, change)
    findings = [f for f in verify(library).findings if f.object == f"{library.bundle}!{named}"]
    assert [(finding.level, told in finding.message) for finding in findings] == [(Level.CONTENTS, True)]


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ({"arrow_type": "int64"}, "with the Arrow type int32; the manifest says int64."),
        ({"pg_type": "bigint"}, "with the PostgreSQL type integer; the manifest says bigint."),
        ({"nullable": False}, "with the nullability True; the manifest says False."),
        ({"name": "area"}, "has the columns id, name, area_id, code"),
    ],
)
def test_a_file_with_other_columns_than_the_manifest_names_is_found(
    library: Made, column: dict[str, Any], told: str
) -> None:
    columns = library.manifest.tables[1].columns
    others = tuple(c.model_copy(update=column) if c.name == "area_id" else c for c in columns)
    forge(library, tables={"customers": {"columns": others}})
    finding = only(verify(library, Level.CONTENTS))
    assert finding.object.endswith(CUSTOMERS)
    assert told in finding.message


def test_a_member_that_stands_twice_is_found(library: Made) -> None:
    content = io.BytesIO(library.store.get(library.bundle))
    with zipfile.ZipFile(content, "a") as bundle, pytest.warns(UserWarning, match="Duplicate"):
        bundle.writestr(AREAS, bundle.read(AREAS))
    library.store.put(library.bundle, [content.getvalue()])
    told = [(finding.object, finding.message) for finding in verify(library).findings]
    assert (f"{library.bundle}!{AREAS}", "stands 2 times.") in told


def test_a_row_count_that_is_not_that_of_the_files_is_found(library: Made) -> None:
    forge(library, tables={"orders": {"row_count": 9_001}})
    assert "files of 9,000 rows; the manifest says that table orders has 9,001" in only(verify(library)).message


def test_a_footer_whose_statistics_are_not_those_of_the_rows_is_found(library: Made) -> None:
    def change(members: Members) -> None:
        greatest = struct.pack("<q", 400)
        at = members[CUSTOMERS].rindex(greatest)  # the footer is at the end
        data = bytearray(members[CUSTOMERS])
        data[at : at + 8] = struct.pack("<q", 401)
        members[CUSTOMERS] = bytes(data)
        assert pq.read_table(io.BytesIO(members[CUSTOMERS])).num_rows == 400

    forge(library, change)
    message = only(verify(library)).message
    assert message == "holds other least and greatest values than its footer says. (column id, row group 0)"


def gone(table: pa.Table) -> pa.Table:
    """Without the customers 5, 6, 7 and 8."""
    return table.filter(pc.invert(pc.is_in(table["id"], pa.array([5, 6, 7, 8]))))


def test_orphans_are_found_at_level_3_with_their_number_and_three_keys(library: Made) -> None:
    forge(library, rows(CUSTOMERS, gone), rows={"customers": 396})
    (found,) = (finding for finding in verify(library).findings if finding.level is Level.REFERENCES)
    assert found.object == f"{library.bundle}!parquet/orders"
    keys = "customer_id = 5; customer_id = 6; customer_id = 7; …"
    assert found.message == f"has 92 rows that refer to no row of customers: {keys}."


def test_orphans_that_the_database_allowed_are_no_finding(library: Made) -> None:
    orders = library.manifest.tables[2]
    loose = tuple(reference.model_copy(update={"enforced": False}) for reference in orders.references)
    forge(library, rows(CUSTOMERS, gone), rows={"customers": 396}, tables={"orders": {"references": loose}})
    report = verify(library)
    assert [finding for finding in report.findings if finding.level is Level.REFERENCES] == []
    assert any(remark.message.endswith("The database allows it.") for remark in report.remarks)


def test_what_is_damaged_is_not_followed(library: Made) -> None:
    forge(library, lambda m: m.update({CUSTOMERS: b"PAR1"}))
    told = [remark.message for remark in verify(library).remarks if remark.level is Level.REFERENCES]
    assert "orders(customer_id) → customers(id) was not followed: something is wrong with customers." in told


def test_parts_of_a_sample_are_looked_at_and_the_others_are_not(library: Made) -> None:
    forge(library, text(SHEETS["areas"], "area 30", "area 31"))
    reports = [verify(library, sample=parse_sample(f"{part}/3")) for part in (1, 2, 3)]
    assert sorted(len(report.findings) for report in reports) == [0, 0, 1]
    passed = next(report for report in reports if report.passed)
    assert (passed.level, passed.whole) == (Level.PRESENT, False)
    assert passed.reached.startswith("level 3 (sample ")
    contents = passed.levels[2]
    assert contents.looked_at
    assert f"{library.bundle}!{AREAS}" in contents.left_out
    assert not set(contents.looked_at) & set(contents.left_out)


def test_a_sampled_level_1_reads_only_the_entries_of_the_sample(library: Made) -> None:
    report = verify(library, Level.BYTES, sample=parse_sample("1%"), seed="a")
    assert report.reached == "level 1 (sample 1%)"
    assert len(report.levels[1].looked_at) == 2  # a table's Parquet and its sheet
    assert len(report.levels[1].left_out) == 4


def test_when_the_time_is_over_it_stops_between_objects_and_says_what_is_left(library: Made) -> None:
    ticks = (datetime(2026, 11, 21, tzinfo=UTC) + timedelta(seconds=n) for n in count())
    ports = verify_ports(library.store, clock=lambda: next(ticks))
    request = VerifyRequest(Level.REFERENCES, max_duration=timedelta(seconds=3))
    report = verify_backup(library.place, request, ports)
    assert (report.findings, report.whole) == ((), False)
    left = {name.rpartition("!")[2] for level in report.levels for name in level.left_out}
    assert {"orders(customer_id) → customers(id)", ORDERS} <= left
    assert "stopped after 0:00:03" in report.reached


def test_without_any_time_only_the_presence_is_known(library: Made) -> None:
    report = verify(library, max_duration=timedelta())
    assert (report.level, report.reached.startswith("level 0 (present), and a part of")) == (Level.PRESENT, True)
    assert "0 of " in report.levels[1].why_left_out


def test_tables_of_several_instants_are_not_compared_with_each_other_but_with_themselves(
    library: Made,
) -> None:
    customers = library.manifest.tables[1]
    later = customers.snapshot.model_copy(update={"id": "0-1"})
    forge(library, tables={"customers": {"snapshot": later}}, consistent=False)
    report = verify(library)
    assert (report.findings, report.level) == ((), Level.REFERENCES)
    told = " ".join(remark.message for remark in report.remarks)
    assert "column 'Area' was not compared: areas is from another snapshot." in told
    assert "customers(area_id) → public.areas(id) was not followed: areas is from another snapshot." in told
    forge(library, text(SHEETS["customers"], "[ENCRYPTED]", "secret"))
    assert "in row 1, column 'Password'" in only(verify(library)).message


def test_a_sheet_with_rows_too_few_or_too_many_is_found_where_only_some_columns_are_compared(library: Made) -> None:
    later = library.manifest.tables[1].snapshot.model_copy(update={"id": "0-1"})
    forge(library, tables={"customers": {"snapshot": later}})
    sheet = SHEETS["customers"]
    forge(library, lambda m: m.update({sheet: m[sheet] + m[sheet].split(b"\r\n")[-2] + b"\r\n"}))
    assert "has more than the 400 rows" in only(verify(library)).message
    forge(library, lambda m: m.update({sheet: b"\r\n".join([*m[sheet].split(b"\r\n")[:-3], b""])}))
    assert "has 399 rows; the manifest says 400." in only(verify(library)).message


def test_a_backup_of_format_1_0_is_compared_as_far_as_its_manifest_goes(library: Made) -> None:
    new = {"relation_id": None, "relation_kind": None, "references": (), "sequences": (), "sheet_sources": ()}
    forge(library, tables=dict.fromkeys(("areas", "customers", "orders"), new), format_version="1.0")
    report = verify(library)
    assert (report.findings, report.level) == ((), Level.CONTENTS)
    assert report.levels[3].why_left_out == "the manifest of format 1.0 names no references"
    assert any("format 1.0" in remark.message for remark in report.remarks)


def test_a_lie_in_own_columns_of_format_1_0_is_a_remark_since_the_manifest_does_not_say_what_they_are(
    library: Made,
) -> None:
    forge(library, text(SHEETS["areas"], "Name", "name"))
    forge(
        library,
        text(SHEETS["areas"], "area 30", "area 31"),
        tables={"areas": {"sheet_sources": (), "sheet_columns": ("Id", "name", "In", "Opened")}},
    )
    report = verify(library, Level.CONTENTS)
    assert report.findings == ()
    assert any("differs from the Parquet files in row 30, column 'name'" in r.message for r in report.remarks)


def test_a_look_up_of_what_is_not_in_the_backup_leaves_the_other_columns_compared(
    library_url: str, tmp_path: Path
) -> None:
    part = LIBRARY.model_copy(update={"tables": {name: LIBRARY.tables[name] for name in ("customers", "orders")}})
    store, ledger = MemoryStore(), new_ledger()
    place = Place(tmp_path, store, ledger)
    made = Made(place.back_up(library_url, part), place.manifest, store, ledger)
    report = verify(made)
    assert (report.findings, report.level) == ((), Level.REFERENCES)
    told = [remark.message for remark in report.remarks]
    assert "column 'Area' was not compared: public.areas is not in the backup." in told
    forge(made, text(SHEETS["customers"], "open", "shut"))
    assert "column 'Orders'" in only(verify(made)).message


def test_the_row_keeps_the_level_and_a_finding_takes_it_away(library: Made) -> None:
    def kept(**asked: Any) -> Verification | None:
        attempt = library.ledger.get(library.attempt.backup_id)
        assert attempt is not None
        unknown: dict[str, Any] = dict.fromkeys(("sha256", "manifest_sha256", "file_size_bytes", "record_count"))
        attempt = replace(attempt, **unknown)
        verify_attempt(attempt, VerifyRequest(**asked), verify_ports(library.store, ledger=library.ledger), actor=RAHIM)
        row = library.ledger.get(library.attempt.backup_id)
        assert row is not None
        return row.verification

    first, finished_at = library.attempt.verification, library.attempt.finished_at
    assert first is not None
    assert finished_at is not None
    assert (first.level, first.passed) == (Level.BYTES, True)
    assert library.attempt.started_at <= first.at <= finished_at
    assert kept(level=Level.CONTENTS, sample=parse_sample("10%")) == first
    assert depth_of(kept(level=Level.REFERENCES)) == 3
    assert depth_of(kept(level=Level.BYTES)) == 3
    forge(library, text(SHEETS["areas"], "area 30", "area 31"))
    again = kept(level=Level.CONTENTS)
    assert (depth_of(again), has_failed(again)) == (1, True)
    again = kept(level=Level.BYTES)
    assert (depth_of(again), has_failed(again)) == (1, True)
    library.store.delete([library.bundle])
    gone = kept(level=Level.PRESENT)
    assert (depth_of(gone), has_failed(gone)) == (-1, True)


def test_nothing_is_left_behind(library: Made, tmp_path: Path) -> None:
    verify_backup(library.place, VerifyRequest(Level.REFERENCES), verify_ports(library.store, folder=tmp_path))
    assert list((tmp_path / VERIFICATIONS).iterdir()) == []


@pytest.mark.parametrize(
    ("limit", "message"),
    [("_MOST_FOOTER", "has a footer of "), ("_MOST_GROUP", "has a row group of ")],
)
def test_a_file_that_claims_to_need_all_memory_is_not_opened(
    library: Made, monkeypatch: pytest.MonkeyPatch, limit: str, message: str
) -> None:
    monkeypatch.setattr(inspect_parquet, limit, 10)
    found = verify(library).findings
    assert found[0].message.startswith(message)
    assert "more than the 10 that are read" in found[0].message


def test_names_that_differ_in_case_alone_are_two_names(fresh_database: str, tmp_path: Path) -> None:
    """In look-ups and in references too, which are followed by a program to which they are one."""
    with psycopg.connect(fresh_database) as session:
        session.execute("""
            CREATE TABLE parent ("Id" int PRIMARY KEY, "id" int UNIQUE, "Name" text, "name" text);
            CREATE TABLE child (
                key int PRIMARY KEY, "Parent" int REFERENCES parent, "parent" int REFERENCES parent (id));
            INSERT INTO parent SELECT n, 100 + n, 'upper ' || n, 'lower ' || n FROM generate_series(1, 50) n;
            INSERT INTO child SELECT n, n % 50 + 1, 150 - n % 50 FROM generate_series(1, 200) n;
        """)
    columns = {"Upper": "Parent.Name", "Lower": "Parent.name", "By id": "parent.Name", "Both": "parent.name"}
    catalog = Catalog.model_validate(
        {"catalog": "odd", "timezone": "UTC", "tables": {"parent": {}, "child": {"columns": columns}}}
    )
    made = backed_up(fresh_database, catalog, tmp_path)
    assert verify(made).findings == ()
    forge(made, rows("parquet/child/part-00000.parquet", _swapped))
    assert "differs from the Parquet files in row 1" in verify(made).findings[0].message


def _swapped(table: pa.Table) -> pa.Table:
    return table.rename_columns(["key", "parent", "Parent"]).select(["key", "Parent", "parent"])


class CountedEntries(dict[str, str]):
    """Counts how often somebody goes through all of them."""

    walks = 0

    def items(self) -> Any:
        self.walks += 1
        return super().items()


def test_what_lies_where_is_found_out_once_however_many_tables_ask(made: Made) -> None:
    manifest, deadline = made.manifest, Deadline(lambda: datetime.now(UTC), None, None)
    entries = CountedEntries(manifest.entries)
    manifest = manifest.model_copy(update={"entries": entries})
    subject = VerifySubject(made.place, manifest, 1, manifest.tables, "", deadline)
    paths = [path for table in manifest.tables for kind in ("parquet", "csv") for _, path in subject.files(table, kind)]
    assert sorted(paths) == sorted(path for path in dict(entries) if path != SCHEMA_PATH)
    assert entries.walks == 1
    assert subject.left_out() == ()
    assert replace(subject, tables=manifest.tables[1:]).left_out() == manifest.tables[:1]
