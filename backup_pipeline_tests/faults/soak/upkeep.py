"""Steps that look after backups: prune (killed, too), delete, hold, release, rebuild, and a ledger that is lost."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import datetime, timedelta

from backup_pipeline_tests.faults.fault import After, Before, Fault, Moment, kill_group
from backup_pipeline_tests.faults.soak.commands import Ended, Running
from backup_pipeline_tests.faults.soak.model import Damage, Harm, Kept, Row
from backup_pipeline_tests.faults.soak.oracles import adopt, exact
from backup_pipeline_tests.faults.soak.rules import is_deletable, let_go
from backup_pipeline_tests.faults.soak.site import CATALOG, Site
from backup_pipeline_tests.faults.soak.turn import Turn, need, now

_PAST_EVERY_GRACE = timedelta(minutes=10)
LAST = timedelta(days=2)
_LATER = (timedelta(), timedelta(minutes=2), _PAST_EVERY_GRACE, _PAST_EVERY_GRACE, LAST)

_WRITES = {"ledger": r"INSERT INTO backup_audit|UPDATE backup_logs", "store": r"^(DELETE|POST) "}
_MOMENTS: tuple[Moment, ...] = (Before(), After())


def may_go(site: Site, at: datetime) -> set[str]:
    """The backups that a prune at `at` removes, as far as the rules written anew here say so."""
    there = [row for row in site.rows() if row.good and not _without_manifest(site.good.get(row.backup_id))]
    return let_go(there, site.claims(at), at)


def _without_manifest(kept: Kept | None) -> bool:
    gone = (Harm.NO_MANIFEST, Harm.REMOVING)
    return kept is not None and kept.damage is not None and kept.damage.harm in gone


def prune(turn: Turn, later: timedelta | None = None) -> str:
    """A prune, now or some time later: exactly what the rules let go is gone, and the store is as it should be."""
    later = turn.chance.choice(_LATER) if later is None else later
    begun = {kept.backup_id for kept in turn.site.good.values() if _is_begun(kept)}
    before = may_go(turn.site, now() + later)
    ended = turn.run("prune", "--confirm", "--json", later=later)
    at = now() + later
    need(ended.code == 0, f"a prune failed: {ended}")
    after = may_go(turn.site, at) | before  # what is gone is in it only where the clock did not matter
    gone = note_removed(turn, after | begun, before | begun)
    turn.count("pruned", turn.site.name, len(gone))
    if later >= _PAST_EVERY_GRACE:
        exact(turn, at)
    return f"{later} later: {len(gone)} removed"


def _is_begun(kept: Kept) -> bool:
    return kept.damage is not None and kept.damage.harm is Harm.REMOVING


def note_removed(turn: Turn, may: Collection[str], must: Collection[str]) -> set[str]:
    """The backups that are gone since: all that `must`, none that may not. From now on they are none."""
    rows = {row.backup_id: row for row in turn.site.rows()}
    gone = {backup_id for backup_id in turn.site.good if not rows[backup_id].good}
    need(gone <= set(may), f"removed, and protected: {[rows[one] for one in gone - set(may)]}")
    need(set(must) <= gone, f"not removed, and nothing protects it: {[rows[one] for one in set(must) - gone]}")
    for backup_id in gone:
        del turn.site.good[backup_id]
    return gone


def killed_prune(turn: Turn) -> str:
    """A prune that gets SIGKILL: each backup is there, or gone, or its removal is begun, and the next prune ends it."""
    site, later = turn.site, turn.chance.choice(_LATER[1:])
    surely = may_go(site, now() + later) | {kept.backup_id for kept in site.good.values() if _is_begun(kept)}
    ended, told = _killed(turn, later)
    time.sleep(0.3)  # a server may be at the last request still
    may = surely | may_go(site, now() + later)
    need(ended.code in (0, -9), f"a prune was to be killed, and failed otherwise: {ended}")
    gone = note_removed(turn, may, set() if ended.code else surely)
    sizes = site.store.sizes()
    cut = [kept for kept in site.good.values() if kept.manifest not in sizes and not _without_manifest(kept)]
    for kept in cut:
        need(kept.backup_id in may, f"a killed prune took the manifest of {kept.backup_id}, which is protected")
        kept.damage, kept.told = Damage(Harm.REMOVING, kept.manifest, b"", 0), False
    turn.count("kills of prunes", f"{len(gone)} removed, {len(cut)} begun" if ended.code else "too late")
    return f"{told}, {'killed' if ended.code else 'done before'}: {len(gone)} removed, {len(cut)} begun"


def _killed(turn: Turn, later: timedelta) -> tuple[Ended, str]:
    """How a prune ended that was to be killed, at one of its writes or at any moment; and where."""
    name = turn.chance.choice(["", *(name for name in ("ledger", "store") if name in turn.site.proxies)])
    box: list[Running] = []
    moment: Moment = turn.chance.choice(_MOMENTS)
    if name:
        fault = Fault(kill_group(lambda: box[0].group), _WRITES[name], moment, turn.chance.randint(1, 8))
        turn.site.proxies[name].on(fault)
    box.append(turn.start("prune", "--confirm", "--json", later=later))
    if not name:
        time.sleep(turn.chance.uniform(0.1, 1.5))
        box[0].kill()
    try:
        return turn.end(box[0]), f"{type(moment).__name__.lower()} a write to the {name}" if name else "at any moment"
    finally:
        turn.site.clear()


def delete(turn: Turn) -> str:
    """A backup is deleted, or protected and stays."""
    site, later = turn.site, turn.chance.choice(_LATER)
    picked = _deletable(turn)
    if picked is None:
        return "there is none"
    rows = site.rows()
    row = next(row for row in rows if row.backup_id == picked.backup_id)
    before = is_deletable(row, rows, site.claims(now() + later), now() + later)
    ended = turn.run("delete", row.backup_id, "--confirm", row.backup_id, "--reason", "the soak", later=later)
    after = is_deletable(row, rows, site.claims(now() + later), now() + later)
    need(ended.code in (0, 11, 21), f"a deletion failed: {ended}")
    allowed = {before, after}
    need((ended.code == 0) in allowed, f"deletable: {allowed}; it ended with {ended}")
    turn.count("deletions", "done" if ended.code == 0 else "refused")
    if ended.code == 0:
        note_removed(turn, [row.backup_id], [row.backup_id])
        need(
            not [key for key in site.store.sizes() if key.startswith(picked.folder)], f"{picked.folder} is there still"
        )
    return f"{row.backup_id} {later} later: exit {ended.code}"


def _deletable(turn: Turn) -> Kept | None:
    """One of the older half: the newest are protected anyway."""
    found = sorted(turn.site.good.values(), key=lambda kept: kept.backup_id)
    found = [kept for kept in found if not _without_manifest(kept)]
    return turn.chance.choice(found[: len(found) // 2 + 1]) if found else None


def hold(turn: Turn) -> str:
    """A backup is held, or one that is held is released."""
    held = [kept for kept in turn.whole() if kept.held]
    free = [kept for kept in turn.whole() if not kept.held]
    if held and (not free or len(held) > 2 or turn.chance.random() < 0.5):
        kept = turn.chance.choice(held)
        ended = turn.run("release", kept.backup_id)
    elif free:
        kept = turn.chance.choice(free)
        ended = turn.run("hold", kept.backup_id, "--reason", "the soak")
    else:
        return "there is none"
    need(ended.code == 0, f"it failed: {ended}")
    kept.held = not kept.held
    turn.count("holds", "held" if kept.held else "released")
    return f"{kept.backup_id} is {'held' if kept.held else 'released'}"


def rebuild(turn: Turn) -> str:
    """A rebuild of a ledger that is there: only what contradicts the store is changed."""
    site = turn.site
    lost = [kept for kept in site.good.values() if kept.lost]
    taken = [kept for kept in lost if kept.damage and kept.damage.harm is Harm.NO_MANIFEST]
    any_left = any(key.endswith("/manifest.json") and "/backups/" in key for key in site.store.sizes())
    gone = taken if any_left else []
    spoilt = [kept for kept in lost if kept.damage and kept.damage.harm is Harm.SPOILT_MANIFEST]
    problems = len(lost) - len(gone) - len(spoilt)  # a manifest is read only where something else contradicts the row
    ended = turn.run("rebuild", "--confirm", "--json")
    need(ended.code == (3 if problems else 0), f"{problems} problems are in the store, and a rebuild said: {ended}")
    note_removed(turn, {kept.backup_id for kept in gone}, {kept.backup_id for kept in gone})
    turn.count("rebuilds", "of a ledger that is there")
    return f"{len(gone)} gone, {problems} problems"


def lost_ledger(turn: Turn) -> str:
    """The ledger is lost, and rebuilt: each backup that the store still has is there again, held where it was."""
    site = turn.site
    known = {kept.backup_id: kept for kept in site.good.values() if not kept.lost}
    lost = {kept.backup_id: kept for kept in site.good.values() if kept.lost}
    sizes = site.store.sizes()
    made = {pending.backup_id: pending for pending in site.pending.values() if pending.manifest in sizes}
    site.drop_ledger()
    ended = turn.run("rebuild", "--confirm", "--json")
    told = [kept for kept in lost.values() if not _without_manifest(kept)]
    need(ended.code == (3 if told else 0), f"{len(told)} backups can not be known, and a rebuild said: {ended}")
    rows = {row.backup_id: row for row in site.rows()}
    need(rows.keys() == known.keys() | made.keys(), f"rebuilt: {sorted(rows)}; in the store: {sorted(known)}, {made}")
    need(all(row.good for row in rows.values()), f"rebuilt, and not good: {rows}")
    _forget(site, lost, told, rows)
    for backup_id, pending in made.items():
        adopt(turn, rows[backup_id], pending.first, pending.last)
    turn.count("rebuilds", "of a lost ledger")
    turn.count("backups found by rebuilds", site.name, len(rows))
    return f"{len(rows)} found again, {len(told)} told"


def _forget(site: Site, lost: Collection[str], told: Collection[Kept], rows: dict[str, Row]) -> None:
    """A person removes by hand what the rebuild told to be no backup any more."""
    for kept in told:
        for key in [key for key in site.store.sizes() if key.startswith(kept.folder)]:
            site.store.delete(key)
    for backup_id in lost:
        del site.good[backup_id]
    site.pending.clear()
    for kept in site.good.values():
        kept.told = False
        assert rows[kept.backup_id].depth == 0, CATALOG
