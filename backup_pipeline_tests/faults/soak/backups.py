"""Steps that make backups: whole ones, of some tables, and two at once."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import timedelta

from backup_pipeline_tests.faults.soak.oracles import account
from backup_pipeline_tests.faults.soak.shop import TABLES
from backup_pipeline_tests.faults.soak.site import today
from backup_pipeline_tests.faults.soak.spots import met
from backup_pipeline_tests.faults.soak.turn import Turn, need, now
from backup_pipeline_tests.faults.soak.upkeep import may_go, note_removed


def full(turn: Turn) -> str:
    """A backup of everything."""
    return _plain(turn, ())


def selective(turn: Turn) -> str:
    """A backup of some tables."""
    return _plain(turn, some_tables(turn))


def some_tables(turn: Turn) -> tuple[str, ...]:
    """One or two."""
    return tuple(turn.chance.sample(TABLES, turn.chance.randint(1, 2)))


def command(turn: Turn, tables: Sequence[str]) -> list[str]:
    """The words of the command; sometimes for a date that is over."""
    words = ["backup", "--json", *(word for table in tables for word in ("--table", table))]
    if turn.chance.random() < 0.25:
        day = today(now()) - timedelta(days=turn.chance.randint(1, 3))
        words += ["--date", day.isoformat(), "--late"]
    return words


def _plain(turn: Turn, tables: tuple[str, ...]) -> str:
    first = turn.shop.now
    turn.site.hear_anew()
    with turn.shop.busy(turn.other_chance()):
        ended = turn.run(*command(turn, tables))
    need(ended.code == 0, f"a backup that met no fault failed: {ended}")
    new = account(turn, first, turn.shop.now)
    said = json.loads(ended.out)
    need([row.backup_id for row in new] == [said["backup_id"]], f"it said {said}, and the ledger has {new}")
    need(said["tables"] == dict(new[0].table_counts), f"it said {said['tables']}: {new[0].table_counts}")
    need(new[0].depth == 1, f"{new[0].backup_id} was checked, and its row says level {new[0].verification_level}")
    if not tables:
        turn.site.said = met(turn.site)
        turn.site.usual_s = ended.seconds
    return f"{new[0].backup_id}, {new[0].record_count} rows"


def rivals(turn: Turn) -> str:
    """A backup, and another one or a prune at the same time: neither spoils the other."""
    first, other = turn.shop.now, turn.chance.choice(["backup", "prune"])
    before = may_go(turn.site, now())
    with turn.shop.busy(turn.other_chance()):
        running = [turn.start("backup", "--json")]
        time.sleep(turn.chance.uniform(0, turn.site.usual_s))
        running.append(turn.start(other, *(["--confirm"] if other == "prune" else []), "--json"))
        codes = [turn.end(one).code for one in running]
    told = f"a backup and a {other} at once: {codes}"
    need(set(codes) <= {0, 11} and 0 in codes, f"{told}: {turn.ran}")
    new = account(turn, first, turn.shop.now)
    made = codes[0] == 0, other == "backup" and codes[1] == 0
    need(sum(row.good for row in new) == sum(made), f"{told}: {new}")
    if other == "prune":
        note_removed(turn, before | may_go(turn.site, now()), set())
    turn.count("two at once", f"backup and {other}: {codes}")
    return told
