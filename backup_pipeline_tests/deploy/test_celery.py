"""Runs executed by Celery's workers, each a host of its own by name, with deploy/celery as it is and a real redis."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest
import yaml

from backup_pipeline.core.businesses.ticks import TickStatus
from backup_pipeline.core.ledger import Attempt, Shard, Status
from backup_pipeline.demo import RETAIL, create_system
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.settings import BUILT_IN_CATALOGS, PROJECT
from backup_pipeline_tests.alerts.servers import free_port
from backup_pipeline_tests.orchestration.conftest import Install
from backup_pipeline_tests.orchestration.installation import Installation, until
from backup_pipeline_tests.servers.postgres import temporary_database

BIN = Path(sys.executable).parent
CELERY = PROJECT / "deploy" / "celery"
SLOW_VIEW = """
CREATE OR REPLACE VIEW totals AS
  SELECT customer_id, sum(amount) AS amount, count(*) AS orders FROM orders, LATERAL pg_sleep(%s) GROUP BY customer_id
"""


def can_name_hosts() -> bool:
    """Whether a process may get a host name of its own here."""
    done = subprocess.run(["unshare", "--uts", "true"], capture_output=True, check=False)
    return done.returncode == 0


def _programs() -> None:
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed (Debian: redis-server)")
    if not can_name_hosts():
        pytest.skip("no process may get a host name of its own here (unshare --uts)")


@contextmanager
def running_process(log: Path, *command: str | Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its children in a group of their own, all ended with the context."""
    with log.open("ab") as file:
        started = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**os.environ, **environment},
        )
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            started.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


@dataclass(frozen=True)
class Cluster:
    """An installation, a daemon, and how to start workers and runs."""

    installation: Installation
    logs: Path

    @contextmanager
    def worker(self, host: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker on a host of that name, with a work folder of its own."""
        celery = f"{BIN}/celery -A dagster_celery.app worker -Q dagster -n dagster@%h --concurrency 1 --loglevel INFO"
        named = ["unshare", "--uts", "sh", "-c", f"hostname {host} && exec {sys.executable} {celery}"]
        folder = self.logs / f"work-{host}"
        environment = {"PYTHONPATH": str(CELERY), "BACKUP_WORK_DIR": str(folder)}
        log = self.logs / f"{host}.log"
        with running_process(log, *named, **environment) as process:
            until(lambda: " ready." in log.read_text(), 90)
            yield process

    def launch(self, job: str, *, partitioned: bool = True) -> str:
        """Put a run into Dagster's queue, from where the daemon takes it; its id."""
        tags = f'{{"dagster/partition": "{self.installation.today.isoformat()}"}}' if partitioned else "{}"
        line = [sys.executable, BIN / "dagster", "job", "launch", "-w", self.workspace, "-j", job, "--tags", tags]
        before = self._runs(job)
        done = subprocess.run([*map(str, line)], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        [run_id] = self._runs(job) - before
        return run_id

    @property
    def workspace(self) -> Path:
        return PROJECT / "workspace.yaml"

    def _runs(self, job: str) -> set[str]:
        with self.installation.instance() as instance:
            return {run.run_id for run in instance.get_runs(dg.RunsFilter(job_name=job))}

    def attempt(self, run_id: str) -> Attempt | None:
        """The row of a run; the newest row is what is expected next."""
        return next((row for row in self.installation.attempts() if row.run_id == run_id), None)

    def host_of(self, run_id: str) -> str:
        attempt = self.attempt(run_id)
        assert attempt is not None
        assert attempt.owner is not None
        return attempt.owner.host

    def attempt_is(self, run_id: str, status: Status) -> bool:
        attempt = self.attempt(run_id)
        return attempt is not None and attempt.status is status

    def is_good(self, run_id: str) -> bool:
        attempt = self.attempt(run_id)
        return attempt is not None and attempt.status.good

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        with self.installation.instance() as instance:
            run = instance.get_run_by_id(run_id)
            assert run is not None
            return run.status


@pytest.fixture
def cluster(install: Install, fresh_database: str, tmp_path: Path) -> Iterator[Cluster]:
    _programs()
    with ExitStack() as stack:
        installation = stack.enter_context(install())
        redis = free_port()
        url = f"redis://127.0.0.1:{redis}/0"
        installation.configure(
            DAGSTER_PG_URL=fresh_database,
            CELERY_BROKER_URL=url,
            CELERY_RESULT_BACKEND=url,
            BACKUP_AUTOMATION="running",
        )
        shutil.copy(CELERY / "dagster.yaml", installation.home / "dagster" / "dagster.yaml")
        quiet: list[str | Path] = ["--save", "", "--appendonly", "no", "--dir", tmp_path]
        where = ["--bind", "127.0.0.1", "--port", str(redis)]
        stack.enter_context(running_process(tmp_path / "redis.log", "redis-server", *where, *quiet))
        made = Cluster(installation, tmp_path)
        with installation.instance() as instance:  # makes the tables before processes start side by side
            instance.get_runs(limit=1)
        daemon: list[str | Path] = [sys.executable, BIN / "dagster-daemon", "run", "-w", made.workspace]
        stack.enter_context(running_process(tmp_path / "daemon.log", *daemon))
        yield made


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_worker_leaves_nothing_and_another_host_goes_on(cluster: Cluster) -> None:
    site = cluster.installation
    site.sql(SLOW_VIEW % 300)
    with cluster.worker("worker-1") as first:
        run_id = cluster.launch("shop_full_backup")
        until(lambda: cluster.attempt_is(run_id, Status.RUNNING), 120)
        assert cluster.host_of(run_id) == "worker-1"
        until(lambda: any((cluster.logs / "work-worker-1").rglob("*.parquet*")), 60)
        os.killpg(first.pid, signal.SIGKILL)
        shutil.rmtree(cluster.logs / "work-worker-1")  # a pod's volume goes with it
        # The daemon runs on another host: it waits for the heartbeat, and asks for no process of worker-1.
        took = until(lambda: cluster.attempt_is(run_id, Status.FAILED), 200)
        assert took > 45
    until(lambda: cluster.status(run_id) is dg.DagsterRunStatus.FAILURE, 60)
    assert site.backups() == []
    until(lambda: any("Backup failed: shop" in text for text in site.alerts()), 60)
    site.sql(SLOW_VIEW % 0)
    with cluster.worker("worker-2"):
        again = cluster.launch("shop_full_backup")
        until(lambda: cluster.is_good(again), 150)
        until(lambda: cluster.status(again) is dg.DagsterRunStatus.SUCCESS, 60)
    assert cluster.host_of(again) == "worker-2"
    assert len(site.backups()) == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_somebody_terminates_ends_everywhere(cluster: Cluster) -> None:
    site = cluster.installation
    site.sql(SLOW_VIEW % 300)
    with cluster.worker("worker-1"):
        run_id = cluster.launch("shop_full_backup")
        until(lambda: cluster.attempt_is(run_id, Status.RUNNING), 120)
        with site.instance() as instance:
            run = instance.get_run_by_id(run_id)
            assert run is not None
            instance.report_run_canceling(run)  # as the UI does
            assert instance.run_launcher.terminate(run_id)
        until(lambda: cluster.attempt_is(run_id, Status.CANCELED), 200)
        until(lambda: cluster.status(run_id) is dg.DagsterRunStatus.CANCELED, 100)
        [(asleep,)] = site.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ~ 'totals' "
            "AND pid <> pg_backend_pid() AND state = 'active'"
        )
        assert asleep == 0
        assert site.backups() == []


BIG_SQL = """
CREATE TABLE kinds (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO kinds SELECT n, 'kind ' || n FROM generate_series(1, 10) n;
CREATE VIEW slow_kinds AS SELECT kinds.id, name FROM kinds, LATERAL (SELECT pg_sleep(0.001 * kinds.id)) AS pause;
CREATE TABLE events (id bigint PRIMARY KEY, kind_id int REFERENCES kinds, note text NOT NULL);
INSERT INTO events SELECT n, 1 + n % 2, repeat(md5(n::text), 58) FROM generate_series(1, 20000) n;
ANALYZE;
"""
BIG_YAML = """runs: 2
views: [slow_kinds]
tables:
  kinds:
  events:
    references: {kind_id: slow_kinds.id}
    columns: {Id: id, Kind: kind_id.name}
"""


@pytest.fixture
def big(cluster: Cluster) -> Cluster:
    """A table that takes half a minute to be read, by four ranges; each run reads one at a time."""
    cluster.installation.sql(BIG_SQL)
    cluster.installation.edit_catalog("tables:\n", BIG_YAML)
    cluster.installation.configure(BACKUP_WORKERS="1")
    return cluster


def _shards(cluster: Cluster, run_id: str) -> Sequence[Shard]:
    attempt = cluster.attempt(run_id)
    with closing(cluster.installation.ledger) as ledger:
        return ledger.shards.list(attempt.backup_id) if attempt else []


def _taken_by(cluster: Cluster, run_id: str, host: str) -> bool:
    return any(shard.owner is not None and shard.owner.host == host for shard in _shards(cluster, run_id))


def _others(cluster: Cluster, run_id: str) -> list[dg.DagsterRun]:
    with cluster.installation.instance() as instance:
        return [run for run in instance.get_runs() if run.run_id != run_id]


def _is_whole(cluster: Cluster, run_id: str) -> None:
    attempt = cluster.attempt(run_id)
    assert attempt is not None
    assert attempt.file_path is not None
    assert attempt.consistent
    assert (attempt.table_counts["events"], attempt.table_counts["customers"]) == (20_000, 500)
    with zipfile.ZipFile(io.BytesIO(cluster.installation.store.get(attempt.file_path))) as bundle:
        parts = [name for name in bundle.namelist() if name.startswith("parquet/events/")]
        ids = [i for name in parts for i in pq.read_table(io.BytesIO(bundle.read(name)))["id"].to_pylist()]
    assert len(parts) > 2
    assert sorted(ids) == list(range(1, 20_001))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hosts_read_one_snapshot_and_what_a_killed_one_had_is_taken_over(big: Cluster) -> None:
    with big.worker("worker-1"), big.worker("worker-2"):
        run_id = big.launch("shop_full_backup")
        until(lambda: len(_shards(big, run_id)) > 2, 120)
        first_host = big.host_of(run_id)
        other_host = "worker-2" if first_host == "worker-1" else "worker-1"
        until(lambda: _taken_by(big, run_id, other_host), 60)
        until(lambda: big.is_good(run_id), 200)
        [other] = _others(big, run_id)
        until(lambda: big.status(other.run_id) is dg.DagsterRunStatus.SUCCESS, 60)
    _is_whole(big, run_id)
    with big.worker("worker-1"):
        run_id = big.launch("shop_full_backup")
        until(lambda: big.attempt_is(run_id, Status.RUNNING), 120)
        with big.worker("worker-3") as third:
            until(lambda: _taken_by(big, run_id, "worker-3"), 90)
            os.killpg(third.pid, signal.SIGKILL)
            shutil.rmtree(big.logs / "work-worker-3", ignore_errors=True)
        until(lambda: big.is_good(run_id), 300)
    _is_whole(big, run_id)
    [killed] = [run for run in _others(big, run_id) if run.status is dg.DagsterRunStatus.FAILURE]
    assert killed.job_name == "shop_share"
    assert not any("failed" in text.lower() for text in big.installation.alerts())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_when_the_host_with_the_snapshot_dies_the_other_ends_and_nothing_stays(big: Cluster) -> None:
    with big.worker("worker-1") as first:
        run_id = big.launch("shop_full_backup")
        until(lambda: big.attempt_is(run_id, Status.RUNNING), 120)
        with big.worker("worker-2"):
            until(lambda: _taken_by(big, run_id, "worker-2"), 90)
            [other] = _others(big, run_id)
            os.killpg(first.pid, signal.SIGKILL)
            took = until(lambda: big.status(other.run_id) is dg.DagsterRunStatus.FAILURE, 60)
            assert took < 30
            until(lambda: big.attempt_is(run_id, Status.FAILED), 200)
            until(lambda: big.status(run_id) is dg.DagsterRunStatus.FAILURE, 60)
    site = big.installation
    assert site.backups() == []
    assert _shards(big, run_id) == []
    assert site.store_keys("shop/tables/events/") == []
    alerts = [text for text in site.alerts() if "ailed" in text]
    assert len(alerts) == 1, alerts


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_share_one_tick(cluster: Cluster, postgres_server: EmbeddedPostgres) -> None:
    """The first tick, a full of each of 300 businesses: shards on both hosts, one tick, every row accounted for."""
    site = cluster.installation
    folder = site.home / "catalogs"
    with temporary_database(postgres_server) as url:
        create_system(url, RETAIL, scale=0.1, businesses=300)
        text = (BUILT_IN_CATALOGS / "retail.yaml").read_text()
        (folder / "retail.yaml").write_text(text.replace("  deadline: 240 s\n", "  deadline: 240 s\n  runs: 2\n"))
        site.configure(BACKUP_SOURCE_URL_RETAIL=url)
        with cluster.worker("worker-1"), cluster.worker("worker-2"):
            run_id = cluster.launch("retail_tick", partitioned=False)
            until(lambda: cluster.status(run_id) in {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE}, 300)
        with closing(site.ledger) as ledger:
            [tick] = [each for each in ledger.ticks.list("retail") if each.run_id == run_id]
            rows = [row for row in ledger.list() if row.scope.business is not None]
    assert (tick.status, tick.misses, tick.changed) == (TickStatus.SUCCESS, (), tick.due)
    assert len(rows) == tick.due > 270
    made = Counter(str(row.run_id) for row in rows)
    with site.instance() as instance:
        launched = {run.run_id: (run.job_name, run.status) for run in instance.get_runs()}
    assert len(made) == 2, (made, launched)
    assert set(made) <= launched.keys()
    assert {launched[run][0] for run in made} == {"retail_tick", "retail_tick_share"}


def test_with_celery_dagster_is_configured_as_in_production_but_for_its_launcher() -> None:
    celery = yaml.safe_load((CELERY / "dagster.yaml").read_text())
    production = yaml.safe_load((PROJECT / "backup_pipeline/installation/dagster.production.yaml").read_text())
    launcher = celery.pop("run_launcher")
    assert (launcher["module"], launcher["class"]) == ("dagster_celery.launcher", "CeleryRunLauncher")
    production.pop("run_launcher")
    assert celery == production
