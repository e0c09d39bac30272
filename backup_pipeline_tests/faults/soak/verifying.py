"""Steps that verify backups at every level, and look at what the program says of them."""

from __future__ import annotations

import json

from backup_pipeline_tests.faults.soak.commands import Ended
from backup_pipeline_tests.faults.soak.model import Kept
from backup_pipeline_tests.faults.soak.turn import Turn, need


def picked(turn: Turn) -> Kept | None:
    """A backup; a damaged one more often than not, where there is one."""
    damaged = [kept for kept in turn.site.good.values() if kept.damage]
    among = damaged if damaged and turn.chance.random() < 0.7 else [*turn.site.good.values()]
    return turn.chance.choice(among) if among else None


def verify(turn: Turn) -> str:
    """A verification: green for what is whole, red for what is damaged where it looks, and neither wrongly."""
    kept = picked(turn)
    if kept is None:
        return "there is none"
    level, share = turn.chance.randint(0, 3), turn.chance.random()
    sample = ["--sample", "50%"] if share < 0.15 and level else []
    if not sample:
        return verify_fully(turn, kept, level)
    ended = turn.run("verify", kept.backup_id, "--level", str(level), *sample, "--json")
    need(ended.code in ((0, 20) if kept.damage else (0,)), f"FALSE RED of a sample: {ended}")
    kept.told = kept.told or ended.code == 20
    return f"{kept.backup_id} at {level}, a sample: exit {ended.code}"


def verify_fully(turn: Turn, kept: Kept, level: int) -> str:
    """A verification of one backup at a level, without a sample."""
    ended = turn.run("verify", kept.backup_id, "--level", str(level), "--json")
    _judge(turn, kept, level, ended)
    return f"{kept.backup_id} at {level}: exit {ended.code}{f', {kept.damage.harm}' if kept.damage else ''}"


def _judge(turn: Turn, kept: Kept, level: int, ended: Ended) -> None:
    red = kept.seen_at(level)
    harm = kept.damage.harm if kept.damage else "whole"
    need(not (red and ended.code == 0), f"FALSE GREEN: {kept.backup_id} ({harm}) verified at level {level}: {ended}")
    need(red or ended.code == 0, f"FALSE RED: {kept.backup_id} ({harm}) at level {level}: {ended}")
    need(ended.code in (0, 20), f"a verification failed otherwise: {ended}")
    turn.count("verifications", f"level {level}: {'red' if red else 'green'}")
    row = next(row for row in turn.site.rows() if row.backup_id == kept.backup_id)
    if red:
        kept.told = True
        turn.count("damages found", f"verify: {harm}")
        need(row.red, f"FALSE GREEN: {kept.backup_id} is damaged, which was found, and its row does not say so: {row}")
    elif kept.told and not row.red:
        need(kept.damage is None, f"FALSE GREEN: {kept.backup_id} ({harm}) was red, and is good at level {level}")
        kept.told = False


def look(turn: Turn) -> str:
    """`list` and `show` say what the ledger says."""
    ended = turn.run("list", "--json", "--limit", "1000")
    need(ended.code == 0, f"list failed: {ended}")
    said = {row["backup_id"]: row["status"] for row in json.loads(ended.out)}
    rows = {row.backup_id: row.status for row in turn.site.rows()}
    need({name: said.get(name) for name in rows} == rows, f"list says {said}; the ledger has {rows}")
    shown = turn.run("show", "latest", "--json")
    full = [row for row in turn.site.rows() if row.good and row.kind == "full"]
    need(shown.code == (0 if full else 10), f"show failed: {shown}")
    if full:
        newest = max(full, key=lambda row: (row.created_at, row.backup_id)).backup_id
        need(json.loads(shown.out)["backup"]["backup_id"] == newest, f"the latest is {newest}: {shown}")
    return f"{len(rows)} rows"
