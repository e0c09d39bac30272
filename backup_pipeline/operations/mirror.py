"""Decisions about backups, shown in Dagster: noted in the ledger when they are made, sent when Dagster answers."""

from __future__ import annotations

import logging

from backup_pipeline.core.catalog.model import BUNDLE
from backup_pipeline.core.errors import BackupError, DagsterAwayError, LedgerError, RefusedError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.ports.runs import Launcher
from backup_pipeline.core.runs import Observation

logger = logging.getLogger(__name__)

_AT_MOST = 50


def mirror(attempt: Attempt, message: str, ports: Ports) -> None:
    """Note a decision about a backup for the history of its asset in Dagster.

    A backup of one business, or one made before a restore, is no asset: nothing is noted. A ledger that can not take it
    is only logged: what was decided stands.
    """
    if attempt.scope.business is not None or attempt.scope.safety == attempt.scope:
        return
    catalog = attempt.scope.catalog
    observation = Observation(catalog, (catalog, BUNDLE), message, attempt.partition_date.isoformat())
    try:
        ports.ledger.observations.add(observation, ports.clock())
    except LedgerError as trouble:
        logger.warning("Dagster will not show that %s %s", message, trouble.what)


def send_observations(ports: Ports, launcher: Launcher) -> int:
    """Send what was noted, the oldest first; how many were sent. It stops where Dagster is away, and loses nothing.

    LedgerError when the ledger can not be asked.
    """
    outbox, sent = ports.ledger.observations, 0
    for _ in range(_AT_MOST):
        claimed = outbox.claim()
        if claimed is None:
            break
        number, observation = claimed
        try:
            launcher.observe(observation.asset, observation.partition, observation.message)
        except DagsterAwayError as away:
            outbox.settle(number, away.what, ports.clock(), away=True)
            break
        except (RefusedError, BackupError) as refusal:
            outbox.settle(number, refusal.what, ports.clock())
            continue
        outbox.settle(number, None, ports.clock())
        sent += 1
    return sent
