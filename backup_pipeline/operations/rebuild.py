"""Rebuild: write into the ledger what the store's manifests say, as a plan has it; safe to stop, and to run again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.rebuild import Change, Kind, RebuildPlan
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.rebuild_look import RebuildPorts

_AT_ONCE = 200


@dataclass(frozen=True)
class RebuildReport:
    """What a rebuild did: the changes that were written, those left alone because the row moved meanwhile, copies."""

    plan: RebuildPlan
    written: tuple[Change, ...]
    moved: tuple[Change, ...]
    copies: int

    def as_json(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "written": [change.backup_id for change in self.written],
            "moved": [change.backup_id for change in self.moved],
            "copies": self.copies,
        }


def rebuild(plan: RebuildPlan, ports: RebuildPorts) -> RebuildReport:
    """Carry out the plan. Each row is looked at once more: one that somebody changed since the plan is left alone.

    Rows and the audit of them are written together, so that a rebuild that is stopped leaves whole rows; the next one
    does the rest.
    """
    written: list[Change] = []
    moved: list[Change] = []
    for batch in _batches(plan.writes):
        still = [change for change in batch if _is_still_so(change, ports)]
        moved += [change for change in batch if change not in still]
        events = [_event(change, ports) for change in still]
        ports.ledger.adopt([change.after for change in still if change.after is not None], events)
        for change in still:
            if change.shape is not None and ports.ledger.shapes.get(change.backup_id) is None:
                ports.ledger.shapes.put(change.shape)
        written += still
    for copy in plan.copies:
        ports.ledger.copies.put(copy)
    report = RebuildReport(plan, tuple(written), tuple(moved), len(plan.copies))
    ports.ledger.audit(AuditEvent(ports.clock(), ports.actor, "rebuild", None, _in_short(report)))
    return report


def _batches(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    for first in range(0, len(changes), _AT_ONCE):
        yield changes[first : first + _AT_ONCE]


def _is_still_so(change: Change, ports: RebuildPorts) -> bool:
    if ports.ledger.get(change.backup_id) != change.before:
        return False
    if change.kind is not Kind.GONE or change.before is None:
        return True
    return ports.store.head(place_of(change.before).manifest) is None


def _event(change: Change, ports: RebuildPorts) -> AuditEvent:
    before = change.before.status.value if change.before else "no row"
    after = change.after.status.value if change.after else before
    detail = {"did": change.kind.value, "why": change.reason, "before": before, "after": after}
    return AuditEvent(ports.clock(), ports.actor, "rebuild", change.backup_id, detail)


def _in_short(report: RebuildReport) -> dict[str, object]:
    counts = {kind.value: sum(change.kind is kind for change in report.written) for kind in Kind}
    told = {name: count for name, count in counts.items() if count}
    problems = [f"{change.backup_id}: {change.reason}" for change in report.plan.problems]
    return {"store": report.plan.store, **told, "copies": report.copies, "problems": problems}
