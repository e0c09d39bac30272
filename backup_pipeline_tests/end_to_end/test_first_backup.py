"""What a newcomer types first: one command, nothing configured, and a real backup is there; so too in a fresh clone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from backup_pipeline.demo import ISP
from backup_pipeline.embedded import running
from backup_pipeline.settings import BUILT_IN_CATALOGS
from backup_pipeline_tests.alerts.servers import free_port
from backup_pipeline_tests.end_to_end.graphql import Ui
from backup_pipeline_tests.end_to_end.running_up import end_up
from backup_pipeline_tests.environment import kept_environment
from backup_pipeline_tests.orchestration.installation import until
from backup_pipeline_tests.reachable import open_to_others

ROOT = Path(__file__).parents[2]


def _environment(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    return {**kept_environment(), "BACKUP_HOME": str(home), **settings}


def _run(home: Path, words: Sequence[str], **settings: str) -> subprocess.CompletedProcess[str]:
    program = "import os; os.umask(0o022); from backup_pipeline.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(
        command,
        env=_environment(home, settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=home.parent,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a machine on which the demo was made small, and nothing else."""
    home = tmp_path_factory.mktemp("newcomer") / "state"
    done = _run(home, ["demo", "--scale", "0.02"])
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture(scope="module")
def summary(home: Path) -> dict[str, object]:
    """What the first backup prints as JSON."""
    done = _run(home, ["backup", "--json", "--reason", "the first"])
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.acceptance("1.1")
def test_the_first_backup_holds_every_row_of_the_demo(home: Path, summary: dict[str, object]) -> None:
    expected = ISP.rows(0.02)
    tables = summary["tables"]
    assert isinstance(tables, dict)
    assert len(tables) == 24
    assert all(rows > 0 for rows in tables.values())
    counted = {name: rows for name, rows in tables.items() if name in expected}
    assert counted == {name: expected[name] for name in counted}
    assert "customers" in counted
    with zipfile.ZipFile(home / "store" / str(summary["bundle"])) as bundle:
        assert bundle.testzip() is None
        assert "sheets/Customers.csv" in bundle.namelist()


@pytest.mark.acceptance("1.6")
def test_no_secret_of_the_demo_is_in_the_bundle(home: Path, summary: dict[str, object]) -> None:
    with zipfile.ZipFile(home / "store" / str(summary["bundle"])) as bundle:
        members = {name: bundle.read(name) for name in bundle.namelist()}
    assert not [name for name, content in members.items() if b"s3cr3t-" in content]


def test_the_first_backup_leaves_no_process_behind(home: Path, summary: dict[str, object]) -> None:
    assert summary["status"] == "success"
    assert not [p.pid for p in psutil.process_iter(["cmdline"]) if str(home) in " ".join(p.info["cmdline"] or [])]


def test_no_other_user_of_the_machine_can_read_or_list_anything_of_it(home: Path, summary: dict[str, object]) -> None:
    del summary
    written = [found for found in home.rglob("*") if found.is_file()]
    assert len(written) > 50
    assert list(open_to_others(home)) == []
    ours = [found for found in written if home / "postgres" not in found.parents]  # PostgreSQL has its own rule
    assert [str(found) for found in ours if found.stat().st_mode & 0o077] == []


def test_one_table_again_is_a_selective_backup(home: Path, summary: dict[str, object]) -> None:
    done = _run(home, ["backup", "--table", "customers", "--json"])
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert list(again["tables"]) == ["customers"]
    assert "-selective-" in again["backup_id"]
    assert again["backup_id"] != summary["backup_id"]


@pytest.mark.acceptance("1.14")
def test_the_backup_is_listed_verified_and_shown(home: Path, summary: dict[str, object]) -> None:
    backup_id = str(summary["backup_id"])
    listed = _run(home, ["list", "--json"])
    assert backup_id in listed.stdout
    assert _run(home, ["verify", backup_id]).returncode == 0
    assert "the first" in _run(home, ["show", backup_id]).stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["backup", "--table", "customer"], 2, "customers"),
        (["backup", "--date", "2026-01-02"], 21, "--late"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                (["backup", "--catalog", "shop"], 10, "isp_customers"),
                (["show", "20200101T000000Z-full-00000000"], 10, "backup-pipeline list"),
                (["verify", "nonsense"], 2, "20261120T180000Z-full-1f3a9c2e"),
            )
        ),
    ],
)
def test_a_wrong_request_says_what_to_do(
    home: Path, summary: dict[str, object], words: list[str], code: int, said: str
) -> None:
    del summary
    done = _run(home, words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failure_says_each_table_and_who_could_not_be_told(
    home: Path, summary: dict[str, object], tmp_path: Path
) -> None:
    del summary
    text = (BUILT_IN_CATALOGS / "isp.yaml").read_text(encoding="utf-8")
    wrong = text.replace("  payments:\n", "  paymentz:\n").replace("area_id.name", "area_id.nme")
    (tmp_path / "isp.yaml").write_text(wrong, encoding="utf-8")
    settings = {"BACKUP_CATALOGS": str(tmp_path), "BACKUP_ALERT_URLS": "json://127.0.0.1:9/t0ken"}
    done = _run(home, ["backup"], **settings)
    assert done.returncode == 3
    assert "Did you mean public.payments?" in done.stderr
    assert "public.areas has: id, name" in done.stderr
    assert "Alert NOT delivered to json://127.0.0.1:9" in done.stderr
    assert "t0ken" not in done.stderr


_NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


def _clone(folder: Path) -> Path:
    """The checkout, cloned; its environment has the packages of this one, so that `make` finds nothing to download."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("These tests stand in no git checkout that could be cloned")
    wanted = [sys.executable, "-m", "pip", "install", "-qq", "--dry-run", "--require-hashes", "--no-deps"]
    wanted += ["-r", str(ROOT / "requirements.lock")]
    if subprocess.run(wanted, env=_newcomer(), capture_output=True, timeout=120, check=False).returncode:
        pytest.skip("These tests run without all packages of requirements.lock: a clone would have to download them")
    clone = folder / "backup_pipeline"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True, timeout=120)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=clone, check=True, timeout=120)
    [packages] = (clone / ".venv").glob("lib/python*/site-packages")
    for script in Path(sysconfig.get_path("scripts")).glob("dagster*"):
        lines = script.read_text(encoding="utf-8").splitlines(keepends=True)
        copy = clone / ".venv" / "bin" / script.name
        copy.write_text("".join([f"#!{copy.with_name('python')}\n", *lines[1:]]), encoding="utf-8")
        copy.chmod(0o755)
    # A path alone: the .pth files beside those packages, the one of this checkout among them, are not read.
    (packages / "there_already.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return clone


def _commands() -> list[str]:
    """The commands of README.md's first block, each as it stands there."""
    block = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Try it")[2].partition("```sh\n")[2]
    return block.partition("```")[0].splitlines()


def _newcomer(**more: str) -> dict[str, str]:
    """No setting, nothing of a `make` around this one, and no way to a package index."""
    kept = kept_environment("MAKE", "MFLAGS", "PIP_", "PYTHON", "PYTEST", "VIRTUAL_ENV", "ARGS", "TESTS", "CFLAGS")
    return {**kept, "PYTHON": sys.executable, **_NO_INDEX, "COLUMNS": "120", **more}


@contextmanager
def _typed(command: str, clone: Path, said: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs on in a terminal of its own, until it ended or the test does."""
    with said.open("wb") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=clone,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_up(process)


def _answers(address: str, path: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(address + path, trust_env=False, timeout=20).status_code == 200
    return False


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.acceptance("3.28")
def test_a_fresh_clone_backs_up_and_runs_by_the_two_commands_of_the_readme(tmp_path: Path) -> None:
    clone = _clone(tmp_path)
    backup, up = _commands()
    done = subprocess.run(
        ["/bin/sh", "-c", backup], cwd=clone, env=_newcomer(), capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    cells = [[cell.strip() for cell in line.split("│")] for line in (done.stdout + done.stderr).splitlines()]
    rows = {name: int(count.replace(",", "")) for _, name, _, count, *_ in (row for row in cells if len(row) == 7)}
    assert "Total" in rows, done.stdout + done.stderr
    total = rows.pop("Total")
    assert (len(rows), sum(rows.values())) == (24, total)
    assert total > 250_000
    web, console = free_port(), free_port()
    ports = _newcomer(ARGS=f"--port {web} --console-port {console}")
    with _typed(up, clone, tmp_path / "said.txt", ports) as process:
        until(lambda: "Ctrl-C stops" in (tmp_path / "said.txt").read_text() or process.poll() is not None, 240)
        assert process.poll() is None, (tmp_path / "said.txt").read_text()
        until(lambda: _answers(f"http://127.0.0.1:{console}", "/healthz"), 60, every=0.5)
        assert _answers(f"http://127.0.0.1:{web}", "/")
        assert "isp/customers" in _assets(Ui(f"http://127.0.0.1:{web}"))
        server = running(clone / ".backup_pipeline" / "postgres")
        assert server is not None
        with psycopg.connect(server.url("backup_ledger")) as session:
            logged = session.execute(
                "SELECT status, record_count, table_counts FROM backup_logs WHERE status <> 'expected'"
            ).fetchall()
        assert logged == [("success", total, rows)]
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 6
        os.killpg(process.pid, signal.SIGINT)  # Ctrl-C is for all of a terminal: its group is this command's own
        process.wait(60)
        _, alive = psutil.wait_procs(family, timeout=20)
        assert [each.cmdline() for each in alive] == []
    assert not psutil.pid_exists(server.pid)
    for port in (web, console):
        assert not _answers(f"http://127.0.0.1:{port}", "/healthz")


def _assets(ui: Ui) -> set[str]:
    nodes = ui.ask("{ assetNodes { assetKey { path } } }")["assetNodes"]
    return {"/".join(node["assetKey"]["path"]) for node in nodes}
