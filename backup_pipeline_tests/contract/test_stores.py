"""The contract of a store, over every store: directory, memory, and S3 at a real server."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from backup_pipeline.core.errors import BackupError, CanceledError, NotFoundError, RefusedError, StoreError
from backup_pipeline.core.ports import Store
from backup_pipeline.formats.keys import (
    AgeCipher,
    Ed25519Keys,
    new_identity,
    new_seal_key,
    parse_recipients,
    parse_seal_key,
)
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline.stores.wrappers import EncryptedStore, RetryingStore, SealedStore, WrittenOutlines
from backup_pipeline_tests.doubles.stores import MemoryStore
from backup_pipeline_tests.servers.swift import SwiftServer

MB = 1 << 20
ODD_KEYS = [
    "isp/tables/customers/backup_date=2026-11-21/part-00000.parquet",
    "গ্রাহক/পেমেন্ট তালিকা.csv",
    "a b/c  d.csv",
    "100%/a%20b+c&d?e#f.csv",
    'it\'s/"quoted" (1) [2] {3}~!@$^*;:,<>|`.zip',
    "-/--/.hidden/..two dots",
]


@pytest.fixture(scope="module")
def s3_store(s3_server: SwiftServer) -> S3Store:
    """One for all tests, because its clients take a while to make; `store` empties it."""
    return S3Store(s3_server.make_bucket("contract"), "production/daily", s3_server.settings)


def _directory(tmp_path: Path, _: pytest.FixtureRequest) -> Store:
    return DirectoryStore(tmp_path / "store")


def _memory(_: Path, __: pytest.FixtureRequest) -> Store:
    return MemoryStore()


def _s3(_: Path, request: pytest.FixtureRequest) -> Store:
    store: Store = request.getfixturevalue("s3_store")
    return store


def _retrying(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    return RetryingStore(_directory(tmp_path, request), attempts=3, wait=lambda _: None, chance=lambda: 0.5)


def _encrypted(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    cipher = AgeCipher(parse_recipients(new_identity()[1], setting="TEST"))
    return EncryptedStore(_directory(tmp_path, request), cipher, WrittenOutlines(tmp_path / "written"))


def _sealed(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    return SealedStore(_directory(tmp_path, request), Ed25519Keys(parse_seal_key(new_seal_key()[0], where="TEST")))


@pytest.fixture(
    params=[_directory, _memory, _s3, _retrying, _encrypted, _sealed],
    ids=["directory", "memory", "s3", "retrying", "encrypted", "sealed"],
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    make: Callable[[Path, pytest.FixtureRequest], Store] = request.param
    store = make(tmp_path, request)
    yield store
    store.delete([stored.key for stored in store.list("")])


def _keys(store: Store, prefix: str = "") -> list[str]:
    return [stored.key for stored in store.list(prefix)]


def test_what_is_put_comes_back_with_its_size_and_time(store: Store) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    stored = store.put("isp/a.csv", iter([b"one,", b"", b"two"]))
    assert (stored.key, stored.size) == ("isp/a.csv", 7)
    assert before <= stored.modified <= datetime.now(UTC) + timedelta(seconds=2)
    assert stored.modified.tzinfo is not None
    assert store.get("isp/a.csv") == b"one,two"
    assert store.head("isp/a.csv") == stored
    assert list(store.list("")) == [stored]


def test_a_file_is_put_like_a_stream(store: Store, tmp_path: Path) -> None:
    (tmp_path / "bundle.zip").write_bytes(bytes(range(256)) * 5000)
    assert store.put_file("isp/bundle.zip", tmp_path / "bundle.zip").size == 1_280_000
    assert store.get("isp/bundle.zip") == bytes(range(256)) * 5000


@pytest.mark.parametrize("chunks", [[], [b""], [b"", b""]])
def test_an_empty_object_is_an_object(store: Store, chunks: list[bytes]) -> None:
    assert store.put("empty", iter(chunks)).size == 0
    assert store.get("empty") == b""
    assert list(store.stream("empty")) == []
    assert _keys(store) == ["empty"]


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 4, b"3456"),
        (0, 0, b""),
        (8, 100, b"89"),
        (10, None, b""),
        (99, 5, b""),
    ],
)
def test_a_stream_gives_the_range_that_was_asked_for(
    store: Store, start: int, length: int | None, expected: bytes
) -> None:
    store.put("digits", [b"0123456789"])
    assert b"".join(store.stream("digits", start=start, length=length)) == expected


@pytest.mark.parametrize(("start", "length"), [(-1, None), (0, -1)])
def test_a_range_below_zero_is_refused(store: Store, start: int, length: int | None) -> None:
    store.put("digits", [b"0123456789"])
    with pytest.raises(StoreError, match="zero or more"):
        b"".join(store.stream("digits", start=start, length=length))


def test_a_missing_object_is_not_found_at_the_call_and_has_no_head(store: Store) -> None:
    store.put("there/a", [b"1"])
    for missing in ("there/b", "there", "there/a/below"):
        with pytest.raises(NotFoundError, match=missing):
            store.get(missing)
        with pytest.raises(NotFoundError, match=missing):
            store.stream(missing)
    assert store.head("there/b") is None
    assert store.head("there") is None
    assert store.head("there/a/below") is None


def test_an_empty_store_lists_nothing(store: Store) -> None:
    assert _keys(store) == []
    assert _keys(store, "isp/") == []
    assert store.head("isp/a") is None


def test_a_list_is_ordered_by_key_and_its_prefix_may_end_anywhere(store: Store) -> None:
    keys = ["a-b/1", "a.b", "a/b/2", "a/b/10", "a/z", "a0", "ab/c", "b", "ক", "é/1"]
    for key in reversed(keys):
        store.put(key, [b"1"])
    assert _keys(store) == sorted(keys)
    assert _keys(store, "a") == sorted(key for key in keys if key.startswith("a"))
    assert _keys(store, "a/") == ["a/b/10", "a/b/2", "a/z"]
    assert _keys(store, "a/b/1") == ["a/b/10"]
    assert _keys(store, "a/b/2/3") == []
    assert _keys(store, "nothing/") == []


def test_deleting_removes_what_is_there_and_takes_missing_ones_lightly(store: Store) -> None:
    for key in ("a/1", "a/2", "b"):
        store.put(key, [b"1"])
    store.delete(["a/1", "a/missing", "a", "b/below", "b"])
    assert _keys(store) == ["a/2"]
    store.delete([])
    store.delete(["a/2"])
    store.delete(["a/2"])
    assert _keys(store) == []


def test_an_object_is_replaced_whole(store: Store) -> None:
    store.put("key", [b"a long first version"])
    assert store.put("key", [b"short"]).size == 5
    assert store.get("key") == b"short"
    assert [stored.size for stored in store.list("")] == [5]


def test_what_is_kept_is_never_written_over(store: Store) -> None:
    assert store.keep("isp/bundle.zip", iter([b"one,", b"two"])).size == 7
    with pytest.raises(RefusedError, match=r"isp/bundle\.zip is there already"):
        store.keep("isp/bundle.zip", [b"another"])
    assert store.get("isp/bundle.zip") == b"one,two"
    assert store.keep("isp/bundle.zip", [b"meant"], replace=True).size == 5
    assert store.get("isp/bundle.zip") == b"meant"
    assert store.protection("isp/bundle.zip").refuses is not False
    assert _keys(store) == ["isp/bundle.zip"]


def test_of_two_that_keep_the_same_key_the_second_is_refused_though_it_looked_before(store: Store) -> None:
    def late() -> Iterator[bytes]:
        yield b"second"
        store.keep("isp/full_backup.zip", [b"first"])

    if isinstance(store, MemoryStore):
        pytest.skip("a store in memory is for one writer at a time")
    with pytest.raises(RefusedError, match="there already"):
        store.keep("isp/full_backup.zip", late())
    assert store.get("isp/full_backup.zip") == b"first"
    assert _keys(store) == ["isp/full_backup.zip"]


@pytest.mark.parametrize("before", [0, 1, 40])
def test_what_the_chunks_of_a_kept_object_raise_comes_out_and_nothing_is_stored(store: Store, before: int) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(before):
            yield b"x" * MB
        raise _OwnError(7)

    with pytest.raises(_OwnError):
        store.keep("key", chunks())
    assert _keys(store) == []
    assert store.keep("key", [b"now"]).size == 3


def test_nothing_shows_of_an_object_before_it_is_whole(store: Store) -> None:
    store.put("isp/old", [b"old"])
    seen: list[object] = []

    def chunks() -> Iterator[bytes]:
        yield b"x" * MB
        seen.extend([store.head("isp/new"), _keys(store), store.get("isp/old")])
        yield b"y"

    store.put("isp/new", chunks())
    assert seen == [None, ["isp/old"], b"old"]
    assert _keys(store) == ["isp/new", "isp/old"]


@dataclass
class _OwnError(Exception):
    number: int


@pytest.mark.parametrize("before", [0, 1, 40])
@pytest.mark.parametrize(
    "error", [_OwnError(7), CanceledError("stopped"), FileNotFoundError(2, "gone"), OSError(28, "full"), SystemExit(3)]
)
def test_what_the_chunks_raise_comes_out_unchanged_and_nothing_is_stored(
    store: Store, before: int, error: BaseException
) -> None:
    store.put("key", [b"old"])

    def chunks() -> Iterator[bytes]:
        for _ in range(before):
            yield b"x" * MB
        raise error

    with pytest.raises(type(error)) as caught:
        store.put("key", chunks())
    assert caught.value is error
    assert store.get("key") == b"old"
    assert _keys(store) == ["key"]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_names_keep_their_letters(store: Store, key: str) -> None:
    store.put(key, [key.encode()])
    assert _keys(store) == [key]
    assert _keys(store, key[:3]) == [key]
    assert b"".join(store.stream(key)) == store.get(key) == key.encode()
    stored = store.head(key)
    assert stored is not None
    assert stored.size == len(key.encode())
    store.delete([key])
    assert _keys(store) == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/abs",
        "a//b",
        "a/",
        "../up",
        "a/../../b",
        "./a",
        "a/.",
        "new\nline",
        "nul\x00",
        chr(0xDCFF),
        ".partial/1",
        "x" * 256,
        "y/" * 600 + "z",
    ],
)
def test_a_key_that_some_store_could_not_hold_is_refused_by_all(store: Store, key: str) -> None:
    operations: list[Callable[[], object]] = [
        lambda: store.put(key, [b"1"]),
        lambda: store.keep(key, [b"1"]),
        lambda: store.get(key),
        lambda: store.head(key),
        lambda: store.stream(key),
        lambda: store.delete([key]),
    ]
    for operation in operations:
        with pytest.raises(StoreError, match="Not a key"):
            operation()
    assert _keys(store) == []


@pytest.mark.parametrize("prefix", ["/", "/abs", "../", "a//", "a/../"])
def test_a_prefix_out_of_the_store_is_refused(store: Store, prefix: str) -> None:
    with pytest.raises(StoreError, match="Not a prefix"):
        list(store.list(prefix))


def test_a_check_leaves_nothing_behind(store: Store) -> None:
    store.check()
    assert _keys(store) == []


def test_a_store_has_a_url_fit_for_people(store: Store) -> None:
    assert store.url.split("://")[0] in {"file", "s3", "memory"}


def test_every_failure_says_what_to_do(store: Store) -> None:
    with pytest.raises(BackupError) as caught:
        store.get("missing")
    assert caught.value.do


def test_two_writers_of_one_key_leave_one_whole_object(store: Store) -> None:
    bodies = [bytes([65 + number]) * (3 * MB) for number in range(4)]
    writers = [threading.Thread(target=lambda body=body: store.put("key", [body[:MB], body[MB:]])) for body in bodies]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert store.get("key") in bodies
    assert _keys(store) == ["key"]


def _noise(total_mb: int) -> Iterator[bytes]:
    block = hashlib.shake_256(b"noise").digest(MB)
    for number in range(total_mb):
        yield number.to_bytes(8, "big") + block[8:]


@pytest.mark.parametrize("way", ["put", "keep"])
def test_a_large_object_streams_through_in_flat_memory(store: Store, way: str) -> None:
    if isinstance(store, MemoryStore):
        pytest.skip("a store in memory holds everything in memory")
    size = 192
    with _PeakMemory() as memory:
        assert getattr(store, way)("large", _noise(size)).size == size * MB
        digest = hashlib.sha256()
        for chunk in store.stream("large"):
            digest.update(chunk)
    whole = hashlib.sha256()
    for chunk in _noise(size):
        whole.update(chunk)
    assert digest.digest() == whole.digest()
    assert memory.growth < 112 * MB  # S3: a part of 16 MiB in hand, and four in flight
    middle = b"".join(store.stream("large", start=100 * MB - 3, length=20 * MB))
    assert len(middle) == 20 * MB
    assert middle[3:11] == (100).to_bytes(8, "big")


class _PeakMemory:
    """How much this process's resident memory grows meanwhile, at most."""

    def __enter__(self) -> _PeakMemory:
        self._process, self._done = psutil.Process(), threading.Event()
        self._before = self._most = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        return self._most - self._before

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self._most = max(self._most, self._process.memory_info().rss)
