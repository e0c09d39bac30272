"""`from backup_pipeline import read_partition`: the rows of a backup in a notebook, exact, or an error that helps."""

from __future__ import annotations

import datetime as dt
import math
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pandas as pd
import psycopg
import pyarrow as pa
import pytest

from backup_pipeline import read_partition
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import DecryptError, SettingsError, UsageError, VerificationError
from backup_pipeline.core.layout import PartitionPlace
from backup_pipeline.core.ports import Formats, Store
from backup_pipeline.core.scope import Scope
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.formats.files import EncryptedFormats, FileFormats
from backup_pipeline.formats.keys import Ed25519Keys, new_seal_key, parse_seal_key
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline.stores.wrappers import EncryptedStore, SealedStore, WrittenOutlines
from backup_pipeline_tests.environment import bare_environment
from backup_pipeline_tests.operations.made import Place
from backup_pipeline_tests.operations.vault import OWNER, OWNER_SECRET, STRANGER_SECRET, cipher_of
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.servers.swift import SwiftServer

CATALOG = Catalog.model_validate(
    {"catalog": "lab", "timezone": "Asia/Dhaka", "tables": {"kinds": None, "far": None, "void": None}}
)
SQL = """
CREATE TABLE kinds (
    id bigint PRIMARY KEY, small smallint, amount numeric(38, 2), price numeric, ratio double precision, note text,
    raw bytea, label uuid, at timestamptz, local timestamp, day date, clock time, yes boolean, body jsonb);
INSERT INTO kinds VALUES
    (9223372036854775807, -32768, -123456789012345678901234567890123456.78, 0.10, 'NaN', '', '\\x',
     '5b7fa5df-3e8c-4a2b-9d24-eb40c0df21d7', '2026-11-20 18:00:00.000001+00', '2026-11-20 23:59:59.999999',
     '0001-01-01', '23:59:59.999999', false, 'null'),
    (9007199254740993, 7, 1.50, 1e30, 0.1, 'NaN', '\\x00ff', '00000000-0000-0000-0000-000000000000',
     '0001-01-01 00:00:00+00', '9999-12-31 23:59:59', '9999-12-31', '00:00', true, '{"a": 1}');
INSERT INTO kinds (id) VALUES (1);
CREATE TABLE far (id int PRIMARY KEY, day date, at timestamptz);
INSERT INTO far VALUES (1, '5874897-12-31', '294276-12-31 23:59:59.999999+00'), (2, '2026-11-20', NULL),
                       (3, '10000-01-01', '2026-11-20 00:00:00+00');
CREATE TABLE void (id int PRIMARY KEY, note text);
"""


@dataclass
class Lab:
    """A database that is backed up wherever a test wants it."""

    url: str
    spool: Path

    def back_up(self, store: Store, formats: Formats | None = None) -> dt.date:
        """The date under which the partitions lie."""
        place = Place(self.spool, store)
        place = replace(place, formats=formats) if formats else place
        return place.back_up(self.url, CATALOG, tables=tuple(CATALOG.tables), bundle=False).partition_date


@pytest.fixture(scope="module")
def database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    with temporary_database(postgres_server) as url:
        with psycopg.connect(url) as session:
            session.execute(SQL.encode())
        yield url


@pytest.fixture
def lab(database: str, tmp_path: Path) -> Lab:
    return Lab(database, tmp_path / "spool")


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """The settings of whoever reads: a home and a store of this test's own."""
    with bare_environment() as environment:
        environment.setenv("BACKUP_HOME", str(tmp_path / "home"))
        environment.setenv("BACKUP_STORE", (tmp_path / "store").as_uri())
        yield environment


def identity(tmp_path: Path, secret: str) -> Path:
    path = tmp_path / "key.txt"
    path.write_text(secret)
    path.chmod(0o600)
    return path


def check_kinds(frame: pd.DataFrame) -> None:
    """Every value as PostgreSQL has it; `row` is by the id."""
    assert frame["id"].to_list() == [1, 2**53 + 1, 2**63 - 1]
    nulls, second, third = (dict(row) for _, row in frame.iterrows())
    assert [name for name, value in nulls.items() if value is pd.NA] == [name for name in frame.columns if name != "id"]
    assert third["amount"] == Decimal("-123456789012345678901234567890123456.78")
    assert (third["small"], third["price"], second["price"]) == (-32768, "0.10", "1000000000000000000000000000000")
    assert isinstance(third["ratio"], float)
    assert math.isnan(third["ratio"])
    assert frame["ratio"].isna().to_list() == [True, False, False]
    assert second["ratio"] == 0.1
    assert (third["note"], second["note"]) == ("", "NaN")
    assert (third["raw"], second["raw"]) == (b"", b"\x00\xff")
    assert uuid.UUID(third["label"]) == uuid.UUID("5b7fa5df-3e8c-4a2b-9d24-eb40c0df21d7")
    assert third["at"] == pd.Timestamp("2026-11-20 18:00:00.000001", tz="UTC")
    assert third["local"] == pd.Timestamp("2026-11-20 23:59:59.999999")
    assert (third["day"], second["day"]) == (dt.date(1, 1, 1), dt.date(9999, 12, 31))
    assert (third["clock"], third["yes"], second["yes"]) == (dt.time(23, 59, 59, 999999), False, True)
    assert (third["body"], second["body"]) == ("null", '{"a": 1}')


def test_every_value_comes_back_as_it_was(lab: Lab, settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    day = lab.back_up(DirectoryStore(tmp_path / "store"))
    frame = read_partition("lab", "kinds")
    check_kinds(frame)
    assert all(isinstance(kind, pd.ArrowDtype) for kind in frame.dtypes)
    assert str(frame.dtypes["at"]) == "timestamp[us, tz=UTC][pyarrow]"
    assert frame["at"].dt.tz_convert("Asia/Dhaka").iloc[2].isoformat() == "2026-11-21T00:00:00.000001+06:00"
    assert (frame.attrs["partition_date"], frame.attrs["relation"]) == (day.isoformat(), "public.kinds")
    assert frame.sort_values("label")["id"].iloc[0] == 2**53 + 1


def test_as_arrow_the_types_are_those_of_the_files(lab: Lab, settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lab.back_up(DirectoryStore(tmp_path / "store"))
    rows = read_partition("lab", "kinds", as_="arrow")
    assert rows.schema.field("label").type == pa.uuid()
    assert rows.schema.field("amount").type == pa.decimal128(38, 2)
    assert rows.schema.field("price").metadata == {b"pg_type": b"numeric"}
    assert rows.column("ratio").null_count == 1
    assert rows.schema.metadata[b"table"] == b"kinds"


def test_years_that_python_has_not_are_text_and_can_be_shown(
    lab: Lab, settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lab.back_up(DirectoryStore(tmp_path / "store"))
    frame = read_partition("lab", "far")
    assert frame["day"].to_list() == ["5874897-12-31", "2026-11-20", "10000-01-01"]
    assert frame["at"].iloc[0] == "294276-12-31 23:59:59.999999+00"
    assert frame["at"].iloc[1] is pd.NA
    assert "5874897-12-31" in str(frame)


def test_an_empty_table_has_its_columns(lab: Lab, settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lab.back_up(DirectoryStore(tmp_path / "store"))
    frame = read_partition("lab", "void")
    assert (len(frame), list(frame.columns), str(frame.dtypes["id"])) == (0, ["id", "note"], "int32[pyarrow]")


def test_a_table_is_read_from_s3_by_the_usual_settings(
    lab: Lab, settings: pytest.MonkeyPatch, s3_server: SwiftServer, s3_bucket: str
) -> None:
    day = lab.back_up(S3Store(s3_bucket, "here", s3_server.settings))
    for name, value in s3_server.environment().items():
        settings.setenv(name, value)
    check_kinds(read_partition("lab", "kinds", day, store=f"s3://{s3_bucket}/here"))


def test_an_encrypted_table_wants_its_key(lab: Lab, settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cipher, raw = cipher_of(OWNER), DirectoryStore(tmp_path / "store")
    lab.back_up(EncryptedStore(raw, cipher, WrittenOutlines(None)), EncryptedFormats(FileFormats(), cipher))
    with pytest.raises(DecryptError, match=OWNER):
        read_partition("lab", "kinds")
    with pytest.raises(DecryptError, match="does not open it"):
        read_partition("lab", "kinds", identity_file=identity(tmp_path, STRANGER_SECRET))
    check_kinds(read_partition("lab", "kinds", identity_file=identity(tmp_path, OWNER_SECRET)))
    settings.setenv("BACKUP_AGE_IDENTITY", OWNER_SECRET)
    check_kinds(read_partition("lab", "kinds"))


def test_an_encrypted_file_that_was_changed_gives_nothing(
    lab: Lab, settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cipher, raw = cipher_of(OWNER), DirectoryStore(tmp_path / "store")
    day = lab.back_up(EncryptedStore(raw, cipher, WrittenOutlines(None)), EncryptedFormats(FileFormats(), cipher))
    key = PartitionPlace(Scope("lab"), "kinds", day).file("part-00000.parquet.age")
    raw.put(key, [cipher.encrypted(b"rows of somebody else")])  # anybody can encrypt to a public key
    settings.setenv("BACKUP_AGE_IDENTITY", OWNER_SECRET)
    with pytest.raises(VerificationError, match=r"part-00000.parquet.age is damaged: its SHA-256"):
        read_partition("lab", "kinds")


def flipped(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 1]) + data[101:]


@pytest.mark.parametrize("change", [flipped, lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
def test_a_file_that_was_changed_gives_nothing(
    lab: Lab, settings: pytest.MonkeyPatch, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    store = DirectoryStore(tmp_path / "store")
    key = PartitionPlace(Scope("lab"), "kinds", lab.back_up(store)).file("part-00000.parquet")
    store.put(key, [change(store.get(key))])
    with pytest.raises(VerificationError, match=r"part-00000\.parquet (is damaged|has more bytes)") as caught:
        read_partition("lab", "kinds")
    assert caught.value.exit_code == 20


def test_a_missing_file_is_no_shorter_table(lab: Lab, settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.delete([PartitionPlace(Scope("lab"), "kinds", lab.back_up(store)).file("part-00000.parquet")])
    with pytest.raises(VerificationError, match=r"part-00000\.parquet is missing"):
        read_partition("lab", "kinds")


def test_a_record_is_believed_by_its_seal(lab: Lab, settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret, _ = new_seal_key()
    _, stranger = new_seal_key()
    key = tmp_path / "seal.txt"
    key.write_text(secret)
    key.chmod(0o600)
    raw = DirectoryStore(tmp_path / "store")
    lab.back_up(SealedStore(raw, Ed25519Keys(parse_seal_key(secret, where="TEST"))))
    settings.setenv("BACKUP_SEAL_KEY_FILE", str(key))
    check_kinds(read_partition("lab", "kinds"))
    settings.delenv("BACKUP_SEAL_KEY_FILE")
    settings.setenv("BACKUP_SEAL_PUBLIC_KEYS", stranger)
    with pytest.raises(VerificationError, match="none of those that count"):
        read_partition("lab", "kinds")
    lab.back_up(raw)
    settings.setenv("BACKUP_SEAL_REQUIRED", "true")
    with pytest.raises(VerificationError, match="has no seal"):
        read_partition("lab", "kinds")


def test_arguments_that_can_not_be_say_what_can(lab: Lab, settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    day = lab.back_up(DirectoryStore(tmp_path / "store"))
    check_kinds(read_partition("lab", "kinds", day.isoformat()))
    for wrong in ("yesterday", "2026-13-01", dt.datetime(2026, 11, 21, tzinfo=dt.UTC)):
        with pytest.raises(UsageError, match="is not a date"):
            read_partition("lab", "kinds", wrong)
    for catalog, table in (("../lab", "kinds"), ("lab", "../../kinds"), ("", "kinds")):
        with pytest.raises(UsageError, match=r"is not a (catalog|table)'s name|names neither a catalog nor"):
            read_partition(catalog, table)
    with pytest.raises(UsageError, match="can not be read as 'polars'"):
        read_partition("lab", "kinds", as_="polars")  # type: ignore[call-overload]
    with pytest.raises(SettingsError, match="scheme 'ftp' is unknown"):
        read_partition("lab", "kinds", store="ftp://host/x")


@pytest.mark.parametrize("name", ["dagster", "pandas", "pyarrow", "pydantic", "backup_pipeline.settings"])
def test_the_package_loads_nothing_before_it_is_asked(name: str) -> None:
    run = [sys.executable, "-c", f"import sys, backup_pipeline; sys.exit({name!r} in sys.modules)"]
    assert subprocess.run(run, check=False).returncode == 0


def test_other_names_are_not_in_the_package() -> None:
    with pytest.raises(ImportError, match="read_everything"):
        from backup_pipeline import read_everything  # type: ignore[attr-defined]  # noqa: F401
