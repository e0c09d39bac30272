"""An encrypted bundle in the hands of a person with the key and the `age` program, and nothing else."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from backup_pipeline.formats.readme import FENCE
from backup_pipeline_tests.operations.vault import (
    ESCROW,
    OWNER,
    OWNER_SECRET,
    Vault,
)

AGE = """#!{python}
import sys, pyrage
_, d, i, key, o, to, file = sys.argv
assert (d, i, o) == ("-d", "-i", "-o")
secret = [line for line in open(key).read().split() if line.startswith("AGE-SECRET-KEY")][0]
pyrage.decrypt_file(file, to, [pyrage.x25519.Identity.from_str(secret)])
"""
"""What `age -d -i KEY -o TO FILE` does, where the program is not installed."""


def test_the_readme_decrypts_everything_with_the_age_program_alone(vault: Vault, tmp_path: Path) -> None:
    key, tools, folder = tmp_path / "my key.txt", tmp_path / "bin", tmp_path / "unpacked here"
    key.write_text(f"# public key: {OWNER}\n{OWNER_SECRET}\n")
    tools.mkdir()
    if shutil.which("age") is None:
        (tools / "age").write_text(AGE.replace("{python}", sys.executable))
        (tools / "age").chmod(0o755)
    with zipfile.ZipFile(io.BytesIO(vault.server.raw.get(vault.bundle))) as archive:
        archive.extractall(folder)
    readme = (folder / "README.txt").read_text()
    assert OWNER in readme
    assert ESCROW in readme
    alone = next(line for line in readme.splitlines() if line.startswith("    age -d")).replace("<table>", "sold")
    everything = readme.split(FENCE)[1]
    commands = f"KEY='{key}'\n{alone}\n{everything}"
    path = f"{tools}:{os.environ['PATH']}"
    subprocess.run(["bash", "-euc", commands], cwd=folder, env={**os.environ, "PATH": path}, check=True, timeout=60)
    found = {
        str(file.relative_to(folder / "decrypted")) for file in (folder / "decrypted").rglob("*") if file.is_file()
    }
    assert found == {*vault.manifest.entries, "manifest.json", "README.txt"}
    assert (folder / "part-00000.parquet").read_bytes() == (
        folder / "decrypted/parquet/sold/part-00000.parquet"
    ).read_bytes()
    check = (folder / "decrypted/README.txt").read_text().partition("IS IT WHOLE?")[2].split(FENCE)[1]
    done = subprocess.run(["bash", "-euc", check], cwd=folder / "decrypted", capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == len(vault.manifest.entries)
    assert "DAMAGED" not in done.stdout
