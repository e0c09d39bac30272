"""A Dagster of a test's own that does the work: each launch is the real job, run in this process at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import dagster as dg

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.runs import REQUEST_TAG, JobOrder, RunPhase, RunState
from backup_pipeline.operations.run_requests import follow_requests
from backup_pipeline.orchestration.definitions import assemble
from backup_pipeline.settings import Settings
from backup_pipeline_tests.doubles.runs import FakeLauncher


@dataclass(kw_only=True)
class WorkingDagster(FakeLauncher):
    """The port `Launcher` over the definitions of `settings`; who follows its runs is told when one ends.

    One run at a time: the next one waits, as it would for the lease of its catalog.
    """

    catalogs: Mapping[str, Catalog]
    settings: Settings
    ports: Ports
    _threads: list[threading.Thread] = field(default_factory=list)
    _one: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._definitions = assemble(self.catalogs, self.settings)

    def launch(self, order: JobOrder, request: UUID, user: str) -> str:
        self._answer()
        run_id = str(uuid4())
        self.launched.append((order, user))
        self.runs[run_id] = RunState(run_id, order.job, RunPhase.RUNNING, str(request), started_at=datetime.now(UTC))
        thread = threading.Thread(target=self._work, args=(order, str(request), run_id))
        self._threads.append(thread)
        thread.start()
        return run_id

    def _work(self, order: JobOrder, request: str, run_id: str) -> None:
        job = self._definitions.resolve_job_def(order.job)
        chosen = [dg.AssetKey(list(path)) for path in order.assets] or None
        with self._one, dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(
                run_config=dict(order.config),
                instance=instance,
                partition_key=order.partition,
                asset_selection=chosen,
                tags={**order.tags, REQUEST_TAG: request},
                raise_on_error=False,
                run_id=run_id,
            )
        phase = RunPhase.DONE if result.success else RunPhase.FAILED
        self.runs[run_id] = replace(self.runs[run_id], phase=phase, finished_at=datetime.now(UTC))
        follow_requests(self.ports, self)

    def finish(self) -> None:
        """Wait for what is at work."""
        for thread in self._threads:
            thread.join(120)
