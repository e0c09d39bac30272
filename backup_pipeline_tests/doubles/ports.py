"""Ports for tests: what a test gives, and stand-ins for the rest."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backup_pipeline.core.alerts import Alert, Delivery
from backup_pipeline.core.ledger import Owner
from backup_pipeline.core.ports import Ports, Silence
from backup_pipeline.formats.decoder import FileDecoder
from backup_pipeline.formats.files import FileFormats
from backup_pipeline.stores import removals_of

NOBODY = Owner("test", 1, 0.0)
_SALTS = itertools.count(1)


class Quiet:
    """The port `Alerter` with nobody to tell."""

    channels: Sequence[str] = ()

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        return []


class Absent:
    """A port that a test does not expect to be used."""

    def __getattr__(self, name: str) -> Any:
        message = f"nobody gave this test a port with {name}"
        raise AssertionError(message)


def now() -> datetime:
    return datetime.now(UTC)


def ports_for_test(**given: Any) -> Ports:
    """The ports of a test; what it neither gives nor can do without fails when it is used."""
    usual: dict[str, Any] = {
        "source": Absent(),
        "formats": FileFormats(),
        "store": Absent(),
        "ledger": Absent(),
        "alerter": Quiet(),
        "progress": Silence(),
        "clock": now,
        "salt": lambda: next(_SALTS),
        "owner": NOBODY,
        "spool": Path("/nonexistent"),
        "decoder": FileDecoder,
        "removals": removals_of,
        "workers": 2,
    }
    return Ports(**{**usual, **given})
