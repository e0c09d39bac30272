"""What must hold after each step, and what a store must hold after a prune."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from backup_pipeline_tests.faults.soak.model import Kept, Pending, Row
from backup_pipeline_tests.faults.soak.shop import rows_in
from backup_pipeline_tests.faults.soak.site import CATALOG, Site, today
from backup_pipeline_tests.faults.soak.turn import Turn, need, now


def account(turn: Turn, first: int, last: int) -> list[Row]:
    """The attempts that this step added, each understood: a whole backup, a dead attempt, or a failed one.

    Whatever they read, they read it after a change from `first` to `last`.
    """
    site = turn.site
    new = [row for row in site.rows() if row.backup_id not in site.seen]
    sizes = site.store.sizes()
    for row in new:
        site.seen.add(row.backup_id)
        folder = site.folder(row.backup_id, row.partition_date)
        made = f"{folder}manifest.json" in sizes
        if row.good:
            adopt(turn, row, first, last)
        elif row.status == "running":
            site.pending[row.backup_id] = Pending(row.backup_id, f"{folder}manifest.json", first, last)
        else:
            need(row.status in ("failed", "canceled"), f"{row.backup_id} ended as {row.status}")
            need(not made, f"{row.backup_id} is {row.status} ({row.error_message}), and its manifest is in the store")
    return new


def adopt(turn: Turn, row: Row, first: int, last: int) -> Kept:
    """A backup that is listed as good is whole, and of this source; from now on it must stay so."""
    site, folder = turn.site, turn.site.folder(row.backup_id, row.partition_date)
    tables = tuple(row.table_counts)
    need(row.file_path and row.sha256 and tables, f"{row.backup_id} is listed as {row.status} without its facts: {row}")
    kept = Kept(row.backup_id, tables, folder, str(row.file_path), str(row.sha256), first, last)
    sizes = site.store.sizes()
    need(kept.manifest in sizes, f"{row.backup_id} is listed as {row.status}, and has no manifest in the store")
    need(sizes.get(kept.bundle) == row.file_size_bytes, f"{row.backup_id} is listed, and its bundle is not whole")
    seen = hashlib.sha256(site.store.read(kept.bundle)).hexdigest()
    need(seen == row.sha256, f"{row.backup_id} is listed, and its bundle has other bytes than the ledger says")
    said = json.loads(site.store.read(kept.manifest))
    need(said["totals"]["rows"] == row.record_count, f"{row.backup_id}: ledger and manifest count other rows")
    counts = {name: rows_in(turn.shop.truth[n][name]) for n in [first] for name in tables}
    truths = turn.shop.truth
    shown = any(all(rows_in(truths[n][t]) == row.table_counts[t] for t in tables) for n in range(first, last + 1))
    need(shown, f"{row.backup_id} counts {row.table_counts}; at its begin there were {counts}")
    site.good[row.backup_id] = kept
    return kept


def look_around(turn: Turn, *, closed: bool) -> None:
    """What must hold after each step; `closed`: a backup was made in it, so what died before has its end."""
    site = turn.site
    rows = {row.backup_id: row for row in site.rows()}
    for pending in list(site.pending.values()):
        _settle(turn, rows.get(pending.backup_id), pending, closed=closed)
    sizes = site.store.sizes()
    for row in rows.values():
        if row.good:
            need(row.backup_id in site.good, f"{row.backup_id} is listed as {row.status}, and nobody made it so")
        elif row.status == "running":
            need(row.backup_id in site.pending, f"{row.backup_id} is running, and nobody runs it")
        elif row.status == "failed":
            manifest = f"{site.folder(row.backup_id, row.partition_date)}manifest.json"
            need(manifest not in sizes, f"{row.backup_id} is failed, and its manifest is in the store")
    for kept in site.good.values():
        _look_at(kept, rows.get(kept.backup_id), sizes, turn)


def _settle(turn: Turn, row: Row | None, pending: Pending, *, closed: bool) -> None:
    """What became of an attempt whose process was killed."""
    site, backup_id = turn.site, pending.backup_id
    need(row is not None, f"the row of {backup_id}, which was killed, is gone")
    assert row is not None
    if row.status == "running":
        need(not closed, f"{backup_id} was killed, a backup was made after it, and its row is running still")
        return
    made = pending.manifest in site.store.sizes()
    need(row.good if made else row.status == "failed", f"killed, manifest {made}: {backup_id} is now {row.status}")
    del site.pending[backup_id]
    turn.count("killed attempts", "made after all" if row.good else "failed")
    if row.good:
        adopt(turn, row, pending.first, pending.last)


def _look_at(kept: Kept, row: Row | None, sizes: dict[str, int], turn: Turn) -> None:
    need(row is not None and row.good, f"{kept.backup_id} is good, and the ledger says {row.status if row else None}")
    assert row is not None
    if kept.damage is None:
        need(kept.manifest in sizes, f"the manifest of {kept.backup_id} is gone, and nobody removed it")
        need(sizes.get(kept.bundle) == row.file_size_bytes, f"the bundle of {kept.backup_id} is not what it was")
        need(not row.red or kept.told, f"FALSE RED: {kept.backup_id} was never damaged, and counts as such")
    if kept.damage is not None and kept.told:
        need(row.red, f"FALSE GREEN: {kept.backup_id} is damaged, that was found, and it counts as good again")
    need(row.held(now()) == kept.held, f"{kept.backup_id} is {'held' if kept.held else 'not held'}: {row.held_actor}")
    need((f"{kept.folder}hold.json" in sizes) == kept.held, f"the hold.json of {kept.backup_id} is not as it should be")


def exact(turn: Turn, at: datetime) -> None:
    """After a prune at `at`, when all that is there is past its grace, the store holds listed backups and no more.

    Left in peace are only the attempts of dead processes that nobody closed yet, and the partitions of dates that have
    a backup, or are not over.
    """
    site = turn.site
    sizes = site.store.sizes()
    days = {row.partition_date.isoformat() for row in site.rows() if row.good or row.status == "running"}
    for key in sizes:
        area, *parts = key.removeprefix(f"{CATALOG}/").split("/")
        if area == "backups":
            need(_belongs(site, key, parts[1]), f"after the prune {key} is there, and belongs to no backup")
        else:
            day = next(part for part in parts if part.startswith("backup_date=")).removeprefix("backup_date=")
            due = day in days or day >= today(at).isoformat()
            need(due, f"after the prune {key} is there, and no backup has that date")
    if not site.pending:
        need(not site.store.unfinished(), f"after the prune there are unfinished uploads: {site.store.unfinished()}")
        _partitions(site, sizes)
    turn.count("stores found exact after a prune", site.name)


def _belongs(site: Site, key: str, backup_id: str) -> bool:
    kept = site.good.get(backup_id)
    if kept is None:
        return backup_id in site.pending
    return key in {kept.manifest, kept.bundle} or (kept.held and key == f"{kept.folder}hold.json")


def _partitions(site: Site, sizes: dict[str, int]) -> None:
    """A partition is its record and the files that it names. Files without one are none; the date's next run clears."""
    folders: dict[str, set[str]] = {}
    for key in sizes:
        if f"{CATALOG}/tables/" in key:
            folder, _, name = key.rpartition("/")
            folders.setdefault(folder, set()).add(name)
    for folder, names in folders.items():
        if "partition.json" not in names:
            continue
        record = json.loads(site.store.read(f"{folder}/partition.json"))
        named = {file["name"] for file in record["table"]["files"]} | {"partition.json"}
        need(names == named, f"after the prune {folder} has {sorted(names)}; its record names {sorted(named)}")
