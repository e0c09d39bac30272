"""What only a directory store does: folders, permissions, full and read-only disks, kills."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.core.errors import NotFoundError, RefusedError, StoreError
from backup_pipeline.core.retention.prune import Unfinished
from backup_pipeline.stores import removals_of
from backup_pipeline.stores.directory import DirectoryStore

MB = 1 << 20
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_objects_are_files_that_only_their_owner_reads(store: DirectoryStore) -> None:
    store.put("isp/backups/a.zip", [b"1"])
    assert (store.root / "isp/backups/a.zip").read_bytes() == b"1"
    assert _mode(store.root / "isp/backups/a.zip") == 0o600
    assert {_mode(store.root / folder) for folder in (".", "isp", "isp/backups", ".partial")} == {0o700}


def test_a_store_that_was_given_to_a_group_is_readable_by_it_and_by_nobody_else(tmp_path: Path) -> None:
    root = tmp_path / "shared"
    root.mkdir()
    root.chmod(0o2750)
    store = DirectoryStore(root)
    before = os.umask(0o077)
    try:
        store.put("isp/backups/a.zip", [b"a"])
    finally:
        os.umask(before)
    assert _mode(root / "isp/backups/a.zip") == 0o640
    assert {(root / folder).stat().st_mode & 0o7777 for folder in ("isp", "isp/backups")} == {0o2750}


def test_a_folder_that_others_may_read_by_chance_is_not_shared(tmp_path: Path) -> None:
    root = tmp_path / "usual"
    root.mkdir()
    root.chmod(0o755)
    DirectoryStore(root).put("isp/a.zip", [b"a"])
    assert (_mode(root / "isp"), _mode(root / "isp/a.zip")) == (0o700, 0o600)


def test_deleting_removes_the_folders_it_leaves_empty(store: DirectoryStore) -> None:
    store.put("isp/tables/a/part", [b"1"])
    store.put("isp/backups/b", [b"1"])
    store.delete(["isp/tables/a/part"])
    assert [path.name for path in (store.root / "isp").iterdir()] == ["backups"]
    store.delete(["isp/backups/b"])
    assert [path.name for path in store.root.iterdir()] == [".partial"]


@pytest.mark.parametrize("key", ["isp/a", "isp/a/b/c"])
def test_an_object_in_the_way_of_another_is_an_error_with_its_reason(store: DirectoryStore, key: str) -> None:
    store.put("isp/a/b", [b"1"])
    with pytest.raises(StoreError, match=f"in the way: {key} in .*irectory") as caught:
        store.put(key, [b"1"])
    assert type(caught.value) is StoreError
    assert [each.key for each in store.list("")] == ["isp/a/b"]
    assert not list((store.root / ".partial").iterdir())


def test_links_out_of_the_store_are_not_listed(store: DirectoryStore, tmp_path: Path) -> None:
    store.put("a", [b"1"])
    (tmp_path / "secret").write_text("x")
    (store.root / "link").symlink_to(tmp_path / "secret")
    (store.root / "folder").symlink_to(tmp_path)
    assert [each.key for each in store.list("")] == ["a"]


PLACED = {
    "a folder": "isp/backups",
    "a folder further up": "isp",
    "the object": "isp/backups/a.zip",
    "the unfinished files": ".partial",
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with what must be neither read nor changed, laid out as the store is."""
    folder = tmp_path / "outside"
    for name in ("a.zip", "backups/a.zip", "1-1", "b.zip"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("of somebody else")
        (folder / name).chmod(0o640)
    return folder


def _state(folder: Path) -> dict[str, tuple[int, float, bytes]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (_mode(path), path.stat().st_mtime, path.read_bytes()) for path in files}


@pytest.mark.parametrize("place", PLACED)
@pytest.mark.parametrize(
    "operation", ["put", "put file", "keep", "head", "get", "stream", "list", "delete", "check", "sweep"]
)
def test_no_link_leads_out_of_the_store(
    store: DirectoryStore, tmp_path: Path, outside: Path, place: str, operation: str
) -> None:
    """Whatever is done, nothing outside is read, written, removed, or given other rights; the link is named."""
    store.put("isp/backups/a.zip", [b"1"])
    link = store.root / PLACED[place]
    shutil.move(link, tmp_path / "moved")
    link.symlink_to(outside / "a.zip" if place == "the object" else outside)
    before = _state(outside)
    told = _told(store, operation, tmp_path)
    assert _state(outside) == before
    refused = {
        "the object": {"head", "get", "stream"},  # else the link is replaced, or removed itself
        "the unfinished files": {"put", "put file", "keep", "check", "sweep"},
    }
    expected = refused.get(place, {"put", "put file", "keep", "head", "get", "stream", "delete"})
    assert ("a link in the way of" in told) == (operation in expected), told
    assert "a store has none" not in told or "a store has none." in told, told


def _told(store: DirectoryStore, operation: str, folder: Path) -> str:
    """What an operation on `isp/backups/a.zip` says when it is refused."""
    key = "isp/backups/a.zip"
    try:
        match operation:
            case "put":
                store.put(key, [b"2"])
            case "keep":
                store.keep(key, [b"2"], replace=True)
            case "put file":
                store.put_file(key, _made(folder))
            case "head":
                store.head(key)
            case "get":
                assert b"somebody" not in store.get(key)
            case "stream":
                assert b"somebody" not in b"".join(store.stream(key))
            case "list":
                assert not [each for each in store.list("") if each.size == len("of somebody else")]
            case "delete":
                store.delete([key])
            case "check":
                store.check()
            case _:
                removals = removals_of(store)
                for left in [*removals.unfinished("")]:
                    removals.discard(left)
                removals.discard(Unfinished(".partial/1-1", datetime.now(UTC), "1-1"))
    except StoreError as error:
        return str(error)
    return ""


def test_a_link_in_the_place_of_an_object_is_replaced_and_removed_itself(store: DirectoryStore, outside: Path) -> None:
    before = _state(outside)
    store.check()
    for act in (lambda: store.put("k", [b"mine"]), lambda: store.delete(["k"])):
        store.delete(["k"])
        (store.root / "k").symlink_to(outside / "a.zip")
        act()
        assert not (store.root / "k").is_symlink()
        assert _state(outside) == before


def test_a_pipe_in_the_place_of_an_object_is_none(store: DirectoryStore) -> None:
    """Nobody waits for its other end."""
    store.check()
    os.mkfifo(store.root / "k")
    os.mkfifo(store.root / ".partial" / "7-7")
    store.check()
    assert store.head("k") is None
    assert [*store.list("")] == []
    with pytest.raises(NotFoundError):
        store.get("k")


def test_a_store_that_is_a_link_itself_is_its_owners_choice(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    DirectoryStore(tmp_path / "store").put("a/b", [b"1"])
    assert (tmp_path / "disk" / "a" / "b").read_bytes() == b"1"


@pytest.mark.parametrize("operation", ["put", "check", "list", "head", "get", "delete"])
def test_a_directory_whose_parent_is_missing_says_what_to_create(tmp_path: Path, operation: str) -> None:
    store = DirectoryStore(tmp_path / "not mounted" / "store")
    with pytest.raises(StoreError, match="not there") as caught:
        _do(store, operation)
    assert str(tmp_path / "not mounted") in caught.value.do
    assert not (tmp_path / "not mounted").exists()


@pytest.mark.parametrize("operation", ["put", "check"])
def test_a_store_below_a_file_is_refused(tmp_path: Path, operation: str) -> None:
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(StoreError, match="Not a directory") as caught:
            _do(DirectoryStore(root), operation)
        assert caught.value.do


def _do(store: DirectoryStore, operation: str) -> None:
    match operation:
        case "put":
            store.put("k", [b"1"])
        case "check":
            store.check()
        case "list":
            list(store.list(""))
        case "delete":
            store.delete(["k"])
        case "head":
            store.head("k")
        case _:
            store.get("k")


def test_a_directory_has_no_urls(store: DirectoryStore) -> None:
    with pytest.raises(RefusedError, match="no URL") as caught:
        store.sign("a", expires=timedelta(hours=1), file_name="a.zip")
    assert "backup-pipeline download" in caught.value.do


def test_what_is_read_is_one_object_also_when_it_is_replaced_meanwhile(store: DirectoryStore) -> None:
    store.put("k", [b"a" * 3 * MB])
    chunks = store.stream("k")
    first = next(chunks)
    store.put("k", [b"b"])
    assert first + b"".join(chunks) == b"a" * 3 * MB


def _made(folder: Path) -> Path:
    file = folder / "part.parquet"
    file.write_bytes(b"rows" * 1000)
    return file


def _staged(store: DirectoryStore) -> list[Path]:
    return list((store.root / ".partial").iterdir())


def test_a_file_beside_the_store_is_not_copied(store: DirectoryStore, tmp_path: Path) -> None:
    file = _made(tmp_path)
    for _ in range(2):  # the second time the object is this very file already
        store.put_file("a/part.parquet", file)
        assert (store.root / "a/part.parquet").samefile(file)
        assert _staged(store) == []
    assert _mode(store.root / "a/part.parquet") == 0o600
    file.unlink()
    assert store.get("a/part.parquet") == b"rows" * 1000


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_a_file_that_can_have_no_second_name_is_copied(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*names: object, **folders: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    file = _made(tmp_path)
    store.put_file("a/part.parquet", file)
    assert not (store.root / "a/part.parquet").samefile(file)
    assert store.get("a/part.parquet") == b"rows" * 1000
    assert _staged(store) == []


def test_a_file_that_is_swept_before_it_is_locked_is_copied(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def link_and_sweep(source: Path, target: str, dst_dir_fd: int) -> None:
        link(source, target, dst_dir_fd=dst_dir_fd)
        store._sweep(dst_dir_fd)

    monkeypatch.setattr(os, "link", link_and_sweep)
    file = _made(tmp_path)
    store.put_file("a/part.parquet", file)
    assert store.get("a/part.parquet") == b"rows" * 1000


def test_a_file_that_is_not_there_is_an_os_error(store: DirectoryStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put_file("a/part.parquet", tmp_path / "nowhere")


def test_file_and_folders_are_synced_before_put_returns(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real_sync, real_rename = os.fsync, os.rename

    def sync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(store.root.parent)))
        real_sync(descriptor)

    def rename(name: str, own: str, src_dir_fd: int, dst_dir_fd: int) -> None:
        synced.append("renamed")
        real_rename(name, own, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to see which file is synced")
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", rename)
    store.put("a/b", [b"1"])
    staged = next(name for name in synced if name.startswith("store/.partial/"))
    assert synced == [".", "store", staged, "store", "renamed", "store/a"]


KILLED = """if True:
    import sys
    from pathlib import Path
    from backup_pipeline.stores.directory import DirectoryStore
    def chunks():
        for _ in range(8):
            yield bytes(1 << 20)
        print("half", flush=True)
        sys.stdin.read()
        yield b"never"
    DirectoryStore(Path(sys.argv[1])).put("isp/large", chunks())
"""


def test_a_killed_put_leaves_nothing_listed_and_the_next_check_frees_its_room(store: DirectoryStore) -> None:
    command = [sys.executable, "-c", KILLED, str(store.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        store.check()
        assert [each.stat().st_size for each in (store.root / ".partial").iterdir()] == [8 * MB]  # alive: untouched
        writer.kill()
        assert writer.wait() == -signal.SIGKILL
    assert list(store.list("")) == []
    assert store.head("isp/large") is None
    assert len(list((store.root / ".partial").iterdir())) == 1
    store.check()
    assert list((store.root / ".partial").iterdir()) == []
    assert store.put("isp/large", [b"the next run succeeds"]).size == 21


def _in_namespace(script: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script that may mount, as the root of a namespace of its own."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True).returncode:
        pytest.skip("user and mount namespaces are not allowed here")
    command = [unshare, "-rm", "sh", "-ec", script, "sh", sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, timeout=60)


FULL = """if True:
    import sys
    from pathlib import Path
    from backup_pipeline.core.errors import DiskFullError
    from backup_pipeline.stores.directory import DirectoryStore
    store = DirectoryStore(Path(sys.argv[1]) / "store")
    store.put("isp/small", [b"1"])
    try:
        store.put("isp/large", (bytes(1 << 18) for _ in range(16)))
    except DiskFullError as error:
        print(error)
    print([each.key for each in store.list("")], list((store.root / ".partial").iterdir()))
    print(store.put("isp/next", [b"12"]).size)
"""


def test_a_full_disk_names_the_path_and_the_room_and_keeps_nothing_of_the_object(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=1m tmpfs "$2"; "$1" -c "$(cat "$3")" "$2"'
    (tmp_path / "full.py").write_text(FULL)
    (tmp_path / "disk").mkdir()
    done = _in_namespace(script, tmp_path / "disk", tmp_path / "full.py")
    assert done.returncode == 0, done.stderr
    what, do, listed, size = done.stdout.splitlines()
    assert what.startswith(f"No room for isp/large in {tmp_path}/disk/store: No space left on device, ")
    assert what.endswith(" bytes are free")
    assert "Free space" in do
    assert listed == "['isp/small'] []"
    assert size == "2"


READ_ONLY = """if True:
    import sys
    from pathlib import Path
    from backup_pipeline.core.errors import StoreError
    from backup_pipeline.stores.directory import DirectoryStore
    store = DirectoryStore(Path(sys.argv[1]))
    for operation in (store.check, lambda: store.put("isp/b", [b"1"]), lambda: store.delete(["isp/a"])):
        try:
            operation()
        except StoreError as error:
            print(str(error).replace(chr(10), " "))
    print(store.get("isp/a"))
"""


def test_a_read_only_directory_can_be_read_and_says_so_when_written_to(store: DirectoryStore, tmp_path: Path) -> None:
    store.put("isp/a", [b"1"])
    (tmp_path / "read_only.py").write_text(READ_ONLY)
    script = 'mount --bind "$2" "$2"; mount -o remount,bind,ro "$2"; "$1" -c "$(cat "$3")" "$2"'
    done = _in_namespace(script, store.root, tmp_path / "read_only.py")
    assert done.returncode == 0, done.stderr
    *refused, read = done.stdout.splitlines()
    assert len(refused) == 3
    assert all(
        line.startswith("Not allowed: ") and "Read-only file system What to do: Make" in line for line in refused
    )
    assert read == "b'1'"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_an_os_error_of_the_chunks_is_not_taken_for_one_of_the_store(store: DirectoryStore, number: int) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"1"
        raise OSError(number, "of the reader")

    with pytest.raises(OSError, match="of the reader"):
        store.put("k", chunks())


def test_putting_and_deleting_in_one_folder_at_once_loses_nothing(store: DirectoryStore) -> None:
    code = """if True:
        import sys
        from pathlib import Path
        from backup_pipeline.stores.directory import DirectoryStore
        store = DirectoryStore(Path(sys.argv[1]))
        for number in range(150):
            store.put(f"a/b/{sys.argv[2]}", [b"1"])
            store.delete([f"a/b/{sys.argv[2]}"])
        store.put(f"a/b/{sys.argv[2]}", [b"last"])
    """
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(store.root), str(number)], cwd=PROJECT) for number in (1, 2)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert [each.key for each in store.list("")] == ["a/b/1", "a/b/2"]
