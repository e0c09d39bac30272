"""A file that is either whole and described, or not there: also on a full disk."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.errors import BackupError
from backup_pipeline.formats.streams import HashingFile


@given(st.lists(st.binary(max_size=50)))
def test_it_describes_what_was_written(tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("file") / "a"
    file = HashingFile(path)
    for chunk in chunks:
        file.write(pa.py_buffer(chunk))
    assert not path.exists()
    file.close()
    data = path.read_bytes()
    assert data == b"".join(chunks)
    assert (file.bytes, file.crc32, file.sha256) == (len(data), zlib.crc32(data), hashlib.sha256(data).hexdigest())


def test_a_file_that_is_forgotten_is_not_published(tmp_path: Path) -> None:
    file = HashingFile(tmp_path / "a")
    file.write(b"half")
    del file
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("closed", [True, False])
def test_abort_removes_it(tmp_path: Path, closed: bool) -> None:
    file = HashingFile(tmp_path / "a")
    file.write(b"x")
    if closed:
        file.close()
    file.abort()
    file.write(b"what a collected writer still flushes")
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    file = HashingFile(tmp_path / "a")
    file.write(b"new")
    file.abort()
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_directory_that_is_not_there_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="No such file or directory") as caught:
        HashingFile(tmp_path / "missing" / "a")
    assert "BACKUP_WORK_DIR" in caught.value.do


_FILL = """
    import sys
    from pathlib import Path
    from backup_pipeline.core.errors import DiskFullError
    from backup_pipeline.formats.parquet import ParquetWriter
    from backup_pipeline.formats.parquet import GroupLimit
    from backup_pipeline.formats.sheet import SheetWriter
    from backup_pipeline_tests.formats.tables import many_rows
    {limit}
    directory = Path(sys.argv[1])
    table, plan = many_rows(20_000)
    for writer in (
        ParquetWriter(directory, plan, group_limit=GroupLimit(rows=1_000)), SheetWriter(directory, plan.sheet, "UTC")
    ):
        try:
            with writer:
                for _ in range(20):
                    writer.write(table)
        except DiskFullError as error:
            print(error)
        else:
            print("no error")
        assert list(directory.iterdir()) == [], list(directory.iterdir())
"""


def _run(command: list[str], limit: str) -> subprocess.CompletedProcess[str]:
    code = textwrap.dedent(_FILL).format(limit=limit)
    return subprocess.run([*command, code], capture_output=True, text=True, check=False, timeout=60)


def test_a_full_disk_is_said_clearly_and_leaves_nothing(tmp_path: Path) -> None:
    shell = 'mount -t tmpfs -o size=1m none "$0" && exec "$1" -c "$2" "$0"'
    inside = ["unshare", "-rm", "sh", "-c", shell, str(tmp_path), sys.executable]
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here")
    done = _run(inside, "")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("No space left on device") == 2
    assert done.stdout.count("bytes free") == 2
    assert done.stdout.count("BACKUP_WORK_DIR") == 2
    assert "part-00000.parquet.tmp" in done.stdout
    assert done.stderr == ""


def test_a_file_size_limit_counts_as_a_full_disk(tmp_path: Path) -> None:
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))"
    code = textwrap.dedent(_FILL).format(limit=limit)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("File too large") == 2
    assert done.stderr == ""
