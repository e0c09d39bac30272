"""What a prune did: to backups, to the partitions of dates, to debris; and what it could not remove."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.errors import BackupError, PartialError
from backup_pipeline.core.prune_plan import PrunePlan
from backup_pipeline.core.removal import Left, Why
from backup_pipeline.operations.remove_backup import Removed


@dataclass(frozen=True)
class PruneReport:
    """What became of `plan`. `debris` counts folders, uploads and hidden objects; `left` is all that stays."""

    plan: PrunePlan
    removed: tuple[Removed, ...]
    days: tuple[date, ...]
    debris: int
    left: tuple[Left, ...]

    @property
    def partial(self) -> bool:
        """Whether something that was to go is still there, hidden or not."""
        return bool(self.left) or any(each.kept for each in self.removed)

    @property
    def only_locked(self) -> bool:
        """Whether all that stays is locked: it goes by itself with a later prune."""
        return bool(self.left) and all(left.why is Why.LOCKED for left in self.left)

    @property
    def bytes(self) -> int:
        """The bytes of the objects that nobody sees any more, those of partitions and debris too."""
        stays = {left.key for left in self.left}
        others = [stored for day in self.plan.removed_days if day.day in self.days for stored in day.objects]
        others += [stored for each in self.plan.debris for stored in each.folder.objects]
        others += self.plan.hidden
        return sum(each.bytes for each in self.removed) + sum(each.size for each in others if each.key not in stays)

    def error(self) -> PartialError:
        """The error of a prune that could not remove everything: the first object, and how many there are."""
        if not self.left:
            kept = next(each for each in self.removed if each.kept)
            message = f"Backup {kept.backup_id} stays: {kept.kept}."
            return PartialError(message, do="Prune again: the plan is another one now.")
        first = self.left[0]
        what = f"{len(self.left)} objects of catalog {self.plan.catalog} stay, in whole or in part."
        return PartialError(f"{what} {first.key}: {first.message}", do=first.do)

    def as_json(self) -> dict[str, object]:
        """The report as JSON; the plan is not part of it."""
        return {
            "removed": [each.as_json() for each in self.removed],
            "partitions": [day.isoformat() for day in self.days],
            "debris": self.debris,
            "bytes": self.bytes,
            "left": [left.as_json() for left in self.left],
        }


def prune_alert(catalog: str, error: BackupError, at: datetime, run_id: str, run_url: str | None) -> Alert:
    """What people are told of a clean-up that failed, or could not remove everything."""
    return Alert(
        severity=Severity.WARNING,
        title=f"Clean-up of old backups failed: {catalog}",
        what=error.what,
        do=error.do or f"Run `backup-pipeline prune --catalog {catalog}`: it says what is left to do.",
        catalog=catalog,
        run_id=run_id,
        run_url=run_url,
        at=at,
        topic="prune",
    )
