"""The packages that `make wheels` builds, and one of them in an empty environment, as docs/deployment.md says."""

from __future__ import annotations

import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from backup_pipeline_tests.alerts.servers import free_port
from backup_pipeline_tests.environment import kept_environment

PROJECT = Path(__file__).resolve().parents[2]
LIBRARY = "backup_pipeline/native/_rows.so"
MACHINES = {"x86_64": 62, "aarch64": 183}
"""ELF's numbers of them."""
CPUS = {"x86_64": 0x01000007, "arm64": 0x0100000C}
"""Mach-O's."""
HERE = "x86_64-linux-gnu.2.28"


def _checkout(folder: Path) -> Path:
    """The files that git knows, and those it will: what a person builds from."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (PROJECT / name).exists() and not name.startswith(("backup_pipeline_tests", "docs/images")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / name, folder / name)
    (folder / ".venv").symlink_to(PROJECT / ".venv")
    return folder


def _make_wheels(checkout: Path, *targets: str, **variables: str) -> Sequence[Path]:
    chosen = [f"WHEELS={' '.join(targets)}"] if targets else []
    # Without -o it would install this copy into the environment of the tests.
    line = ["make", "--silent", "-o", ".venv/.installed", "wheels", f"DIST={checkout / 'dist'}", *chosen]
    environment = {**kept_environment(), "UV_OFFLINE": "1", **variables}
    done = subprocess.run(line, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return sorted((checkout / "dist").glob("*.whl"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_platform_gets_a_stripped_wheel_for_every_python(tmp_path: Path) -> None:
    wheels = _make_wheels(_checkout(tmp_path))
    platforms = {re.sub(r".*-py3-none-(.*)\.whl", r"\1", wheel.name): wheel for wheel in wheels}
    linux = {f"{libc}_{machine}" for libc in ("manylinux_2_28", "musllinux_1_2") for machine in MACHINES}
    assert platforms.keys() == {*linux, "macosx_11_0_x86_64", "macosx_11_0_arm64"}
    for platform, wheel in platforms.items():
        with zipfile.ZipFile(wheel) as packed:
            library = packed.read(LIBRARY)
            assert f"Tag: py3-none-{platform}" in packed.read(_member(packed, "WHEEL")).decode()
        assert len(library) < 100_000, (platform, len(library))
        assert b"take_rows" in library
        if platform in linux:
            assert library[:4] == b"\x7fELF"
            [machine] = struct.unpack_from("<H", library, 18)
            assert machine == MACHINES[platform.partition("_2_28_")[2] or platform.partition("_1_2_")[2]]
            assert b".symtab" not in library
            assert b".debug_info" not in library
        else:
            magic, cpu = struct.unpack_from("<II", library)
            assert (magic, cpu) == (0xFEEDFACF, CPUS[platform.removeprefix("macosx_11_0_")])


def _member(packed: zipfile.ZipFile, name: str) -> str:
    return next(member for member in packed.namelist() if member.endswith(f".dist-info/{name}"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_warning_of_the_compiler_stops_no_sdist(tmp_path: Path) -> None:
    checkout = _checkout(tmp_path)
    source = checkout / "backup_pipeline" / "native" / "csv_rows.c"
    source.write_text(source.read_text() + "\nstatic int nobody_calls_this(int unused) { int x; return 1; }\n")
    assert len(_make_wheels(checkout, HERE)) == 1
    with pytest.raises(AssertionError, match="Failed to build"):
        _make_wheels(checkout, HERE, CFLAGS="-Werror")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment with the wheel and its extras alone, and nothing of this checkout."""
    folder = tmp_path_factory.mktemp("stranger")
    [wheel] = _make_wheels(_checkout(folder / "checkout"), HERE)
    uv = [str(PROJECT / ".venv" / "bin" / "uv")]
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")], check=True)
    lock = folder / "lock.txt"
    lock.write_text((PROJECT / "requirements.lock").read_text())
    options = ["--python", str(python), "--only-binary", ":all:", "--constraint", str(lock)]
    install = [*uv, "pip", "install", "--quiet", *options, f"{wheel}[embedded,web]"]
    done = subprocess.run(install, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode and "dns error" in done.stderr:
        pytest.skip("no package registry can be reached")
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_stranger_installs_the_wheel_and_has_backups_and_everything_up(installed: Path) -> None:
    home = installed / "an installation"
    home.mkdir()
    page = (PROJECT / "docs" / "deployment.md").read_text()
    [block] = re.findall(r"```sh\n(python3 -m venv.*?)```", page, re.DOTALL)
    lines = [line.partition("  #")[0] for line in block.splitlines()]
    assert lines[:2] == ["python3 -m venv venv && . venv/bin/activate", "pip install 'backup-pipeline[embedded,web]'"]
    assert lines[-1].strip() == "backup-pipeline up"
    environment = {"PATH": f"{installed / 'venv' / 'bin'}:/usr/bin:/bin", "HOME": str(home), "BACKUP_WORKERS": "1"}
    ui, console = free_port(), free_port()

    def run(script: str) -> subprocess.CompletedProcess[str]:
        words = ["bash", "-euc", script]
        return subprocess.run(words, cwd=home, env=environment, capture_output=True, text=True, check=False)

    # A demo as small as a test wants it.
    done = run("\n".join([*lines[2:5], "backup-pipeline demo --scale 0.01", *lines[5:-1], "backup-pipeline list"]))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert re.search(r"-full-\w+ +isp .* success", done.stdout), done.stdout
    script = f"set -a; . ./.env; set +a; exec backup-pipeline up --port {ui} --console-port {console}"
    with (home / "up.log").open("w") as log:
        up = subprocess.Popen(["bash", "-euc", script], cwd=home, env=environment, stdout=log, stderr=log)
        try:
            _wait(up, home / "up.log")
            for url in (f"http://127.0.0.1:{ui}/server_info", f"http://127.0.0.1:{console}/healthz/freshness"):
                with urllib.request.urlopen(url, timeout=30) as answer:
                    assert answer.status == 200
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(90)
    assert up.returncode == 0, (home / "up.log").read_text()
    assert not (home / ".backup_pipeline" / "dagster").exists()
    assert len(list((home / "dagster" / "development").iterdir())) > 1
    # The core alone: what an extra brings is asked for by name.
    remove = ["uv", "pip", "uninstall", "--quiet", "--python", str(installed / "venv" / "bin" / "python")]
    remove[0] = str(PROJECT / ".venv" / "bin" / "uv")
    subprocess.run(
        [*remove, "fastapi", "pwdlib", "authlib", "segno", "pyotp", "zxcvbn", "joserfc", "httpx"], check=True
    )
    assert "backup-pipeline[web]" in run("backup-pipeline up").stderr
    listed = run("set -a; . ./.env; set +a; backup-pipeline list; backup-pipeline verify latest")
    assert listed.returncode == 0, listed.stderr


def _wait(up: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while "Ctrl-C stops everything" not in log.read_text():
        assert up.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)


def test_the_makefile_builds_every_target_of_setup() -> None:
    [line] = re.findall(r"^WHEELS := (.*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    targets = re.findall(r'^    "([\w.-]+)": "\w+",$', (PROJECT / "setup.py").read_text(), re.MULTILINE)
    assert line.split() == targets
    assert len(targets) == 6
