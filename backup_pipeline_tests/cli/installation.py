"""An installation with a backup in it, for the commands to look at: a real ledger and a directory store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from backup_pipeline.cli import main
from backup_pipeline.core.layout import BackupPlace
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import StoredManifest
from backup_pipeline.operations.browse import place_of


@dataclass(frozen=True)
class Installation:
    """One good backup and one failed attempt; `environment` is what the commands are told."""

    environment: Mapping[str, str]
    store: Path
    good: Attempt
    failed: Attempt
    manifest: StoredManifest

    @property
    def place(self) -> BackupPlace:
        return place_of(self.good)

    @property
    def bundle(self) -> Path:
        return self.store / self.place.bundle(self.manifest.bundle.name)


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


def executed(capfd: pytest.CaptureFixture[str], *arguments: str) -> Ended:
    """Run a command in this process; what it printed, and its exit code."""
    capfd.readouterr()
    code = main(arguments)
    out, err = capfd.readouterr()
    return Ended(code, out, err)
