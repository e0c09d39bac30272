"""An installation that a test watches: a catalog and a ledger, with nothing else of the world up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.due import settle
from backup_pipeline.core.ledger import Attempt, Outcome, Status
from backup_pipeline.core.schedule import last_due, local_date
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.alerts.servers import Webhook, free_port, http_server
from backup_pipeline_tests.environment import bare_environment
from backup_pipeline_tests.ledger.attempts import attempt

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Watched:
    """The source and the store are set to places where nothing is."""

    ledger: SqlLedger
    ledger_url: str
    file: Path
    webhook: Webhook
    environment: pytest.MonkeyPatch

    @property
    def catalog(self) -> Catalog:
        return load_catalog(self.file)

    @property
    def due(self) -> datetime:
        """When a backup was due last."""
        found = last_due(str(self.catalog.schedule), self.catalog.timezone, datetime.now(UTC))
        assert found is not None
        return found

    def declare(self, **fields: object) -> None:
        declared = {"catalog": "shop", "timezone": "Asia/Dhaka", "tables": {"goods": None, "sold": None}, **fields}
        self.file.write_text(yaml.safe_dump(declared))

    def watched_since(self, at: datetime) -> None:
        """Somebody watched at that time, and nobody since."""
        decide = self.catalog
        self.ledger.dues.settle("shop", lambda known: settle(decide, known, at), since=at, now=at)

    def backed_up(self, at: datetime) -> Attempt:
        """A good full backup that began at that time, of the day it then was where the catalog is."""
        day = local_date(at, self.catalog.timezone)
        row = attempt(f"good at {at:%F %T}", scope=Scope("shop"), created_at=at, started_at=at, partition_date=day)
        self.ledger.begin(row)
        counts = {"goods": 500, "sold": 2000}
        self.ledger.end(
            row.backup_id, Outcome(Status.SUCCESS, at, table_counts=counts, verification=Verification(Level.BYTES, at))
        )
        return row

    def alerts(self) -> list[str]:
        return [str(body["title"]) for body in self.webhook.bodies]

    def statuses(self) -> list[Status]:
        return [row.status for row in self.ledger.list()]


def an_hour_ago() -> str:
    """A daily schedule, in Dhaka, whose last time is an hour ago, whenever the test runs."""
    at = datetime.now(UTC) + timedelta(hours=6 - 1)
    return f"{at.minute} {at.hour} * * *"


@contextmanager
def watched_installation(ledger_url: str, home: Path) -> Iterator[Watched]:
    """An installation in the environment of this process; the catalog is due at midnight, with two hours of grace."""
    catalogs = home / "catalogs"
    catalogs.mkdir()
    ledger = SqlLedger.create(ledger_url)
    nowhere = free_port()
    with http_server() as webhook, bare_environment() as environment:
        values = {
            "BACKUP_HOME": str(home),
            "BACKUP_CATALOGS": str(catalogs),
            "BACKUP_SOURCE_URL": f"postgresql://nobody@127.0.0.1:{nowhere}/gone",
            "BACKUP_LEDGER_URL": ledger_url,
            "BACKUP_STORE": "s3://nowhere",
            "BACKUP_S3_ENDPOINT_URL": f"http://127.0.0.1:{nowhere}",
            "BACKUP_ALERT_URLS": f"json://127.0.0.1:{webhook.port}/hook",
        }
        for name, value in values.items():
            environment.setenv(name, value)
        made = Watched(ledger, ledger_url, catalogs / "shop.yaml", webhook, environment)
        made.declare()
        yield made
        ledger.close()
