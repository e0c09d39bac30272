"""What writing a table loads: a small backup takes about as long as its imports."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from backup_pipeline_tests.formats.tables import many_rows

PROGRAM = """
import pickle, sys
from pathlib import Path
import pyarrow as pa
from backup_pipeline.formats.files import FileFormats

folder = Path(sys.argv[1])
plan = pickle.loads((folder / "plan").read_bytes())
with pa.ipc.open_file(folder / "rows.arrow") as file:
    rows = file.read_all()
writer = FileFormats().writer(plan, folder, "Asia/Dhaka")
if rows.num_rows:
    writer.write(rows)
print(len(writer.close()))
print(*(name for name, module in sys.modules.items() if type(module).__name__ != "_Unloaded"))
"""


@pytest.mark.parametrize("count", [0, 1_000])
def test_a_table_is_written_without_pandas(tmp_path: Path, count: int) -> None:
    """pyarrow loads pandas, a fifth of a second to half a second of CPU, for the first Python value it is given."""
    rows, plan = many_rows(1_000)
    rows = rows.slice(0, count)
    (tmp_path / "plan").write_bytes(pickle.dumps(plan))
    with pa.ipc.new_file(tmp_path / "rows.arrow", rows.schema) as file:
        file.write_table(rows)
    run = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    written, loaded = subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()
    assert written == "2"
    assert {"pyarrow", "numpy"} <= set(loaded.split())
    assert not {"pandas", "duckdb"} & set(loaded.split())
