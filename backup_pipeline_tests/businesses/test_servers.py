"""Ticks while the server under them changes: its transaction ids go around, a standby takes over."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from backup_pipeline.core.names import Kind
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.embedded.cluster import Home, choose_identity, hand_over, run_dependent
from backup_pipeline.postgres.programs import find_binaries
from backup_pipeline_tests.businesses.trial import Trial, active, execute
from backup_pipeline_tests.servers.postgres import THROWAWAY
from backup_pipeline_tests.servers.standby import streaming

_SEGMENT = 1 << 20
"""Transactions of a file of pg_xact."""


def _jump(home: Path, next_id: int) -> None:
    """Let a stopped server go on with a transaction id far ahead."""
    binaries, data = find_binaries(), Home(home).data
    identity = choose_identity(binaries.tool("postgres"))
    segment = data / "pg_xact" / f"{next_id % 2**32 // _SEGMENT:04X}"
    segment.write_bytes(bytes(_SEGMENT // 4))
    hand_over(segment.parent, identity)
    command = [str(binaries.tool("pg_resetwal")), "-x", str(next_id % 2**32), "-D", str(data)]
    ended = run_dependent(command, identity)
    assert ended.returncode == 0, ended.stderr


def _freeze(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as session:
        session.execute("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
        names = [name for (name,) in session.execute("SELECT datname FROM pg_database").fetchall()]
    for name in names:
        with psycopg.connect(server.url(name), autocommit=True) as session:
            session.execute("VACUUM FREEZE")
            session.execute("CHECKPOINT")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.acceptance("3.7")
def test_ids_go_around_and_nothing_is_lost(tmp_path: Path) -> None:
    home = tmp_path / "server"
    trial: Trial | None = None
    for next_id in (None, 1_500_000_000, 3_000_000_000, 2**32 - 50):
        if next_id is not None:
            _jump(home, next_id)
        with EmbeddedPostgres(home, options=THROWAWAY) as server:
            server.ensure_database("shops")
            if trial is None:
                trial = Trial(server.url("shops"), tmp_path, 11)
                trial.prepare()
            trial.url = trial.source = server.url("shops")
            for _ in range(8):
                trial.step()
                assert trial.wrong == []
            while trial.long:
                trial.end_a_long_transaction()
            _freeze(server)
            with psycopg.connect(trial.url) as session:
                (now_at,) = session.execute("SELECT txid_current()").fetchone() or (0,)
    assert trial is not None
    assert now_at > 2**32, "the ids went around while ticks ran"
    assert sum(stored.attempt.kind is Kind.INCREMENTAL for report in trial.reports for stored in report.stored) > 40


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.acceptance("3.7")
def test_a_standby_is_promoted_without_the_last_changes_and_chains_begin_anew(tmp_path: Path) -> None:
    """What ticks had seen on the lost primary is in no chain of the new one; on the standby itself ticks go, too."""
    with streaming(tmp_path / "servers") as servers:
        servers.primary.ensure_database("shops")
        trial = Trial(servers.primary_url("shops"), tmp_path, 13)
        trial.prepare()
        _steps(trial, 6)
        servers.wait()
        trial.source = servers.standby_url("shops")
        assert {each.attempt.kind for each in trial.tick().stored} == {Kind.FULL}, "another role of the server"
        _steps(trial, 4)
        trial.source = trial.url
        _steps(trial, 1)
        while trial.long:
            trial.end_a_long_transaction()
        servers.wait()
        servers.configure(primary_conninfo="")
        execute(trial, "UPDATE customers SET name = 'lost'", "DELETE FROM parts", "INSERT INTO shops VALUES (8, 'new')")
        _steps(trial, 3)
        with psycopg.connect(servers.standby_url("postgres"), autocommit=True) as session:
            assert session.execute("SELECT pg_promote()").fetchone() == (True,)
        while trial.long:
            trial.end_a_long_transaction()
        trial.url = trial.source = servers.standby_url("shops")
        report = trial.tick()
        assert {each.attempt.kind for each in report.stored} == {Kind.FULL}
        assert len(report.stored) == report.tick.due == len(active(trial))
        assert "lost" not in {str(row[2]) for tables in trial.truth.values() for row in tables["customers"]}
        before = len(trial.reports)
        _steps(trial, 8)
        trial.close()
    assert trial.wrong == []
    kinds = [stored.attempt.kind for report in trial.reports[before:] for stored in report.stored]
    assert Kind.INCREMENTAL in kinds


def _steps(trial: Trial, count: int) -> None:
    for _ in range(count):
        trial.step()
        assert trial.wrong == []
