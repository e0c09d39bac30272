"""What the steps of a restore share: the connection in its transaction, and how statements are run and explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from backup_pipeline.core.progress import Progress
from backup_pipeline.postgres.endpoint import Endpoint
from backup_pipeline.postgres.target_errors import told_as_target_errors

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Work:
    """One connection to the target, and who listens. `patience_s` is how long it goes on asking for a lock; 0: ever."""

    connection: psycopg.Connection[dict[str, Any]]
    endpoint: Endpoint
    progress: Progress
    patience_s: float = 0

    def run(self, sql: str, doing: str) -> int:
        """Run statements; how many rows the last one touched."""
        with told_as_target_errors(self.endpoint, doing):
            return self.connection.execute(sql.encode()).rowcount

    def ask(self, sql: str, parameters: Mapping[str, object] | None = None) -> Sequence[Row]:
        """The rows of a query. Without parameters a percent sign is itself."""
        with told_as_target_errors(self.endpoint, "looking at the target"):
            return self.connection.execute(sql.encode(), parameters or None).fetchall()

    def number(self, sql: str) -> int:
        """The column `n` of the one row that a query gives."""
        return int(self.ask(sql)[0]["n"])
