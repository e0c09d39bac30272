"""The API against its own document: schemathesis over the real server, and every example as a line of curl."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

import backup_pipeline
from backup_pipeline.core.access.api_keys import KeyPermission
from backup_pipeline.core.runs import JobOrder, RequestChange, RequestStatus
from backup_pipeline.web.api.reference import ApiOperation, api_document, operations_of
from backup_pipeline_tests.doubles.runs import FakeLauncher
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.web.calling import program_of
from backup_pipeline_tests.web.deciding import open_office
from backup_pipeline_tests.web.serving import served

_CONFIG = Path(__file__).with_name("schemathesis.toml")
_STREAMS = "events"
"""Paths of streams: they have no end, and tests of their own."""


class _Quick(FakeLauncher):
    """A Dagster whose runs end a moment after they were launched."""

    def __init__(self, ledger: ScratchLedger) -> None:
        super().__init__()
        self.ledger = ledger

    def launch(self, order: JobOrder, request: UUID, user: str) -> str:
        run_id = super().launch(order, request, user)
        done = RequestChange(RequestStatus.DONE, finished_at=datetime.now(UTC))
        threading.Timer(0.1, lambda: self.ledger.run_requests.change(request, done)).start()
        return run_id


@dataclass(frozen=True)
class Served:
    """The address of a console, and a key that may everything."""

    address: str
    key: str


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    office = open_office(new_ledger(), tmp_path_factory.mktemp("office"), days=3)
    folder = office.console.settings.catalogs
    for name in ("isp", "isp_customers"):
        (folder / f"{name}.yaml").write_text(f"catalog: {name}\ntimezone: Asia/Dhaka\ntables: {{goods: null}}\n")
    program = program_of(office.console, name="schemathesis", limit=100_000)
    office.console.app.state.launcher = _Quick(office.ledger)
    assert program.key is not None
    with office.console.app.state.events, served(office.console) as address:
        yield Served(address, program.key)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--phases", "examples,fuzzing", "-n", "2"], id="quick"),
        pytest.param(["--phases", "examples,coverage,fuzzing", "-n", "60"], id="whole", marks=pytest.mark.slow),
    ],
)
def test_schemathesis_finds_nothing(console: Served, tmp_path: Path, options: list[str]) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "--config-file", str(_CONFIG), "run", f"{console.address}/api/openapi.json"]
    command += ["-H", f"Authorization: Bearer {console.key}", "--exclude-path-regex", _STREAMS, *options]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=900, check=False)
    assert run.returncode == 0, run.stdout[-20_000:]


def _examples() -> list[ApiOperation]:
    wanted = [operation for operation in operations_of(api_document()) if _STREAMS not in operation.path]
    return [operation for operation in wanted if "{" not in operation.path]


def _typed(line: str, console: Served) -> subprocess.CompletedProcess[str]:
    environment = {"KEY": console.key, "CONSOLE": console.address, "PATH": "/usr/bin:/bin", "no_proxy": "*"}
    return subprocess.run(
        ["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=90, check=False
    )


def _documented() -> list[str]:
    page = Path(backup_pipeline.__file__).parents[1] / "docs" / "api.md"
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("line", _documented())
def test_the_lines_of_the_page_can_be_typed(console: Served, line: str) -> None:
    run = _typed(line, console)
    assert run.returncode == 0, run.stderr
    json.loads(run.stdout)


def test_the_page_has_every_permission_and_every_problem(console: Served) -> None:
    page = (Path(backup_pipeline.__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
    assert [each for each in KeyPermission if f"| `{each}` | {each.in_words} " not in page] == []
    assert len(_documented()) >= 10


@pytest.mark.acceptance("3.33")
@pytest.mark.parametrize("operation", _examples(), ids=lambda operation: f"{operation.method} {operation.path}")
def test_the_line_of_curl_of_the_reference_can_be_typed(console: Served, operation: ApiOperation) -> None:
    line = f"{operation.example} -o /dev/null -w '%{{http_code}}'"
    run = _typed(line, console)
    is_of_nothing = f"{operation.method} {operation.path}" in _OF_NOTHING
    expected = {"404"} if is_of_nothing else {"200", "202"}
    assert run.stdout in expected, line


_OF_NOTHING = {
    "POST /api/v1/restores": "its backup is not there",
    "POST /functions/v1/data-restore": "its ids are the word uuid",
    "POST /api/admin/comprehensive-backup": "no system here tells of messages",
    "POST /api/admin/create-backup": "no system here tells of messages",
    **dict.fromkeys(
        (
            "GET /api/v1/businesses",
            "POST /api/v1/payments",
            "POST /functions/v1/payment-verification",
            "POST /functions/v1/backup-system",
            "POST /functions/v1/backup-scheduler",
            "POST /functions/v1/cron-backup",
        ),
        "no system here has businesses",
    ),
}
"""Whose example, as the sources write it, is of what this console has not."""
