"""The limit of a key, asked for by four processes at once: exact, at the ledger and through whole consoles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.core.access.api_keys import KeyPermission, NewKey
from backup_pipeline.operations.access.api_keys import create_key
from backup_pipeline.settings import given_settings
from backup_pipeline.wiring.access import console_ports
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.doubles.ports import now
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger

_AT_THE_LEDGER = """
import sys
from backup_pipeline.core.access.api_keys import Call
from backup_pipeline.core.access.sessions import PersonIdentity, digest
from backup_pipeline.ledger.backups import SqlLedger
url, key, calls, home = sys.argv[1:]
access = SqlLedger(url).as_person(PersonIdentity()).access
print("ready", flush=True)
sys.stdin.read(1)
print(sum(access.keys.admit(digest(key), Call(str(n), "GET /", "")).allowed for n in range(int(calls))))
"""
_THROUGH_A_CONSOLE = """
import sys
from collections import Counter
from pathlib import Path
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.web.calling import Program
from backup_pipeline_tests.web.people import console_over
url, key, calls, home = sys.argv[1:]
console = console_over(SqlLedger(url), Path(home))
program = Program(console.app, key)
print("ready", flush=True)
sys.stdin.read(1)
with console.app.state.meter:
    statuses = Counter(program.get("/api/v1/backups").status_code for _ in range(int(calls)))
assert set(statuses) <= {200, 429}, statuses
print(statuses[200])
"""


@pytest.mark.acceptance("3.16")
@pytest.mark.parametrize(
    ("program", "limit", "calls"),
    [
        pytest.param(_AT_THE_LEDGER, 60, 120, id="quick"),
        pytest.param(_THROUGH_A_CONSOLE, 1_000, 2_000, id="whole consoles", marks=pytest.mark.slow),
    ],
)
def test_four_processes_allow_exactly_the_limit(tmp_path: Path, program: str, limit: int, calls: int) -> None:
    ledger = new_ledger()
    secret = _key_of(ledger, tmp_path, limit)
    command = [sys.executable, "-c", program, ledger.url, secret, str(calls // 4), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]  # type: ignore[call-overload]
    for process in processes:  # each has loaded what it needs, so that they begin together
        assert process.stdout.readline() == "ready\n", process.communicate(timeout=60)
    for process in processes:
        process.stdin.write("g")
        process.stdin.flush()
    answers = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, answers
    allowed = [int(out) for out, _ in answers]
    assert sum(allowed) == limit
    with psycopg.connect(ledger.url) as session:
        assert session.execute("SELECT count(*) FROM api_usage_logs WHERE allowed").fetchall() == [(limit,)]
        refused = session.execute("SELECT count(*), coalesce(sum(calls), 0) FROM api_usage_logs WHERE NOT allowed")
        [(rows, counted)] = refused.fetchall()
    if program is _THROUGH_A_CONSOLE:
        assert counted == calls - limit, "every refusal was counted"
        assert rows < 100, "and written added up"


def _key_of(ledger: ScratchLedger, home: Path, limit: int) -> str:
    ports = console_ports(given_settings(home=home), ledger, now)
    return create_key(NewKey("many", (KeyPermission.BACKUP_STATUS,), limit=limit), ports, RAHIM)[1]
