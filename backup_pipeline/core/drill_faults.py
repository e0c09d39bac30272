"""Faults that are put into a drill: what was done, and whether the drill noticed."""

from __future__ import annotations

from dataclasses import dataclass

from backup_pipeline.core.drill import DrillReport, Fault
from backup_pipeline.core.errors import BackupError, VerificationError

BLIND = "The drill is blind"


@dataclass(frozen=True)
class Injection:
    """A fault that was put in: what was done, and the word that a finding must have to be about it."""

    fault: Fault
    what: str
    mark: str


def unnoticed(report: DrillReport, injection: Injection) -> BackupError | None:
    """The error of a drill that did not find what was put in; None when it did."""
    if any(injection.mark in f"{finding.about} {finding.message}" for finding in report.findings):
        return None
    return blind(injection, report.backup_id)


def blind(injection: Injection, backup_id: str, why: str = "") -> BackupError:
    """The error of a drill that does not see a fault."""
    also = f" {why}" if why else ""
    message = f"{BLIND}: {injection.fault} was injected into the drill of backup {backup_id} and not found.{also}"
    return BackupError(message, do=f"{injection.what} Report this: until it is found, no drill can be trusted.")


def found(report: DrillReport, injection: Injection) -> VerificationError:
    """The error of a drill that found what was put in."""
    first = next(f for f in report.findings if injection.mark in f"{f.about} {f.message}")
    message = f"Injected fault {injection.fault} was FOUND, as it should be: {first}"
    do = f"{injection.what} The backup itself was not touched; nothing was recorded as its state, nobody was alerted."
    return VerificationError(message, do=do)
