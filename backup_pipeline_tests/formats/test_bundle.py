"""The bundle: a ZIP that other programs open, made as a stream and read by ranges."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib

from backup_pipeline.core.errors import BackupError, NotFoundError, VerificationError
from backup_pipeline.core.layout import Member, bytes_member
from backup_pipeline.formats.archive import zip_chunks
from backup_pipeline.formats.bundle import BundleReader

MIDNIGHT = datetime(2026, 11, 21, 0, 0, tzinfo=timezone(timedelta(hours=6)))
PARQUET = random.Random(7).randbytes(300_000)
SHEET = "id,নাম\r\n1,আব্দুল\r\n".encode() * 20_000


def member(path: str, data: bytes, *, stored: bool = False, chunk: int = 50_000) -> Member:
    chunks = [data[at : at + chunk] for at in range(0, len(data), chunk)]
    return Member(path, MIDNIGHT, chunks, len(data), zlib.crc32(data), stored)


def example() -> bytes:
    parts = [
        member("parquet/customers/part-00000.parquet", PARQUET, stored=True),
        member("sheets/গ্রাহক.csv", SHEET),
        member("sheets/Empty.csv", b""),
        bytes_member("manifest.json", MIDNIGHT, b"{}"),
    ]
    return b"".join(zip_chunks(parts))


def reader(data: bytes) -> BundleReader:
    return BundleReader(lambda start, length: data[start : start + length], len(data))


@pytest.mark.acceptance("1.9")
def test_unzip_finds_nothing_wrong(tmp_path: Path) -> None:
    if not shutil.which("unzip"):
        pytest.skip("unzip is not installed")
    (tmp_path / "a.zip").write_bytes(example())
    done = subprocess.run(["unzip", "-t", str(tmp_path / "a.zip")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No errors detected" in done.stdout
    assert "গ্রাহক.csv" in done.stdout


def test_zipfile_reads_every_member_and_sees_the_method_of_each() -> None:
    with zipfile.ZipFile(io.BytesIO(example())) as archive:
        assert archive.testzip() is None
        assert archive.read("parquet/customers/part-00000.parquet") == PARQUET
        assert archive.read("sheets/গ্রাহক.csv") == SHEET
        methods = {info.filename: info.compress_type for info in archive.infolist()}
        assert {info.date_time for info in archive.infolist()} == {(2026, 11, 21, 0, 0, 0)}
    assert methods["parquet/customers/part-00000.parquet"] == zipfile.ZIP_STORED
    assert methods["sheets/গ্রাহক.csv"] == zipfile.ZIP_DEFLATED


def test_the_same_members_give_the_same_bytes() -> None:
    assert example() == example()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.binary(max_size=200), st.booleans(), st.integers(1, 50)), max_size=6))
def test_what_goes_in_comes_out(contents: list[tuple[bytes, bool, int]]) -> None:
    parts = [member(f"m/{n}", data, stored=stored, chunk=size) for n, (data, stored, size) in enumerate(contents)]
    found = reader(b"".join(zip_chunks(parts)))
    assert found.names() == tuple(part.path for part in parts)
    assert [found.read(name) for name in found.names()] == [data for data, _, _ in contents]


def packed(path: str, data: bytes, *, size: int | None = None) -> Member:
    """A member that somebody has deflated already."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    raw = deflate.compress(data) + deflate.flush()
    chunks = [raw[:100], raw[100:]]
    return Member(path, MIDNIGHT, chunks, len(data), zlib.crc32(data), stored=False, packed=size or len(raw))


def test_what_is_deflated_already_is_placed_as_it_is(tmp_path: Path) -> None:
    data = b"".join(zip_chunks([packed("a.csv", SHEET), member("b.csv", SHEET[:500]), packed("c.csv", b"")]))
    found = reader(data)
    assert [found.read(name) for name in found.names()] == [SHEET, SHEET[:500], b""]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        first = archive.infolist()[0]
        assert (first.compress_type, first.flag_bits & 8) == (zipfile.ZIP_DEFLATED, 0)
    (tmp_path / "a.zip").write_bytes(data)
    if unzip := shutil.which("unzip"):
        done = subprocess.run([unzip, "-t", str(tmp_path / "a.zip")], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_packed_bytes_of_another_number_are_refused() -> None:
    with pytest.raises(VerificationError, match=r"a\.csv changed"):
        list(zip_chunks([packed("a.csv", SHEET, size=3)]))


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("change", [b"longer than stated", b"", b"DATA"], ids=["longer", "shorter", "other bytes"])
def test_a_source_that_changed_is_refused_by_name(change: bytes, stored: bool) -> None:
    part = Member("sheets/A.csv", MIDNIGHT, [change], 4, zlib.crc32(b"data"), stored)
    with pytest.raises(VerificationError, match=r"sheets/A\.csv changed"):
        list(zip_chunks([part]))


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no timezone"):
        list(zip_chunks([Member("a", datetime(2026, 1, 1), [], 0, 0, stored=True)]))  # noqa: DTZ001


def test_the_bundle_is_a_stream() -> None:
    taken = []

    def members() -> Iterator[Member]:
        for number in range(10):
            taken.append(number)
            yield member(f"{number}", PARQUET, stored=True)

    chunks = iter(zip_chunks(members()))
    next(chunks)
    assert len(taken) < 5


def test_one_member_is_read_without_fetching_the_others() -> None:
    data = b"".join(zip_chunks([member("big", bytes(20 << 20), stored=True), member("small", PARQUET, stored=True)]))
    fetched = []

    def read_range(start: int, length: int) -> bytes:
        fetched.append(length)
        return data[start : start + length]

    assert BundleReader(read_range, len(data)).read("small") == PARQUET
    assert sum(fetched) < 5 << 20


def test_two_members_can_be_read_at_the_same_time() -> None:
    found = reader(example())
    pairs = zip(found.stream("sheets/গ্রাহক.csv"), found.stream("parquet/customers/part-00000.parquet"), strict=False)
    assert list(pairs) == [(SHEET[: 1 << 20], PARQUET)]


def test_an_unknown_member_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="no member nope") as caught:
        reader(example()).stream("nope").__next__()
    assert "manifest.json" in caught.value.do


def test_a_flipped_byte_in_a_member_is_found_and_named() -> None:
    good = example()
    for name, mark in (("parquet/customers/part-00000.parquet", PARQUET[1000:1050]), ("sheets/গ্রাহক.csv", None)):
        at = good.index(mark) if mark else good.index(name.encode()) + len(name.encode()) + 60
        bad = bytearray(good)
        bad[at] ^= 0xFF
        with pytest.raises(VerificationError, match=f"Member {name} of the bundle is damaged"):
            reader(bytes(bad)).read(name)


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[:-40], lambda data: data[: len(data) // 2], lambda _: b"", lambda data: b"x" * len(data)],
    ids=["tail cut", "half", "nothing", "noise"],
)
def test_an_archive_without_its_directory_is_damaged(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(VerificationError, match="The bundle is damaged"):
        reader(spoil(example()))


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_flipped_byte_is_either_found_or_harmless(data: st.DataObject) -> None:
    good = b"".join(zip_chunks([member("a", PARQUET[:300], stored=True), member("b", SHEET[:2000])]))
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = reader(bytes(bad))
        contents = [found.read(name) for name in ("a", "b")]
    except BackupError:
        return
    assert contents == [PARQUET[:300], SHEET[:2000]]


def test_errors_of_the_store_pass_through() -> None:
    def gone(_start: int, _length: int) -> bytes:
        raise NotFoundError("gone")

    with pytest.raises(NotFoundError, match="gone"):
        BundleReader(gone, 1000)


class _Sparse:
    """Bytes of which most are one repeated chunk, held once."""

    def __init__(self, chunks: Iterator[bytes], repeated: bytes) -> None:
        self.starts: list[int] = []
        self.chunks: list[bytes] = []
        self.size = 0
        for chunk in chunks:
            self.starts.append(self.size)
            self.chunks.append(repeated if chunk == repeated else chunk)
            self.size += len(chunk)

    def read_range(self, start: int, length: int) -> bytes:
        at = bisect_right(self.starts, start) - 1
        found = bytearray()
        while len(found) < length and at < len(self.chunks):
            offset = start + len(found) - self.starts[at]
            found += self.chunks[at][offset : offset + length - len(found)]
            at += 1
        return bytes(found)


def test_members_beyond_4_gib_and_members_after_them_are_readable() -> None:
    zeros, count = bytes(1 << 20), 4_300
    crc32 = reduce(lambda before, chunk: isal_zlib.crc32(chunk, before), (zeros for _ in range(count)), 0)
    large = Member("large.parquet", MIDNIGHT, (zeros for _ in range(count)), count << 20, crc32, stored=True)
    bundle = _Sparse(
        zip_chunks([large, member("after.csv", SHEET), member("after.parquet", PARQUET, stored=True)]), zeros
    )
    found = BundleReader(bundle.read_range, bundle.size)
    assert bundle.size > count << 20 > 0xFFFF_FFFF
    assert (found.read("after.csv"), found.read("after.parquet")) == (SHEET, PARQUET)
    assert next(found.stream("large.parquet")) == zeros


def test_many_members_beyond_4_gib_in_sum_are_readable() -> None:
    zeros = bytes(1 << 20)
    crc32 = zlib.crc32(zeros * 450)
    parts = [Member(f"{n}", MIDNIGHT, [zeros] * 450, 450 << 20, crc32, stored=True) for n in range(10)]
    bundle = _Sparse(zip_chunks([*parts, member("last", SHEET)]), zeros)
    found = BundleReader(bundle.read_range, bundle.size)
    assert bundle.size > 0xFFFF_FFFF
    assert found.read("last") == SHEET
    assert len(found.names()) == 11


def test_more_members_than_a_plain_zip_may_have() -> None:
    empty = (Member(f"{n}", datetime(2026, 1, 1, tzinfo=UTC), [], 0, 0, stored=True) for n in range(65_600))
    data = b"".join(zip_chunks(empty))
    assert len(reader(data).names()) == 65_600
