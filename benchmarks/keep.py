"""Results on disk: a JSON file for each race and one for the burden, so that separate runs add up to one report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.values import Burden, Race, Results, Ticks

_RACE = TypeAdapter(Race)
_BURDEN = TypeAdapter(Burden)
_TICKS = TypeAdapter(Ticks)
_BURDEN_FILE, _TICKS_FILE = "burden.json", "businesses.json"
ORDER = (
    *("beside_one", "beside_24", "beside_512"),
    *("bench_bigint", "bench_uuid", "bench_wide", "bench_narrow", "scale"),
    *("whole", "whole_large", "many", "many_large", "restore"),
)
"""How races follow each other in the report."""


def keep_race(folder: Path, race: Race) -> None:
    """Write the race, in place of an earlier one of its name."""
    _write(folder / f"{race.name}.json", _RACE.dump_json(race, indent=1))


def keep_burden(folder: Path, burden: Burden) -> None:
    """Write the burden, in place of an earlier one."""
    _write(folder / _BURDEN_FILE, _BURDEN.dump_json(burden, indent=1))


def keep_ticks(folder: Path, ticks: Ticks) -> None:
    """Write the ticks; of other numbers of businesses what was measured before stays."""
    path = folder / _TICKS_FILE
    if path.is_file():
        before, own = _TICKS.validate_json(path.read_bytes()), {cost.businesses for cost in ticks.costs}
        others = tuple(cost for cost in before.costs if cost.businesses not in own)
        ticks = replace(ticks, costs=tuple(sorted((*others, *ticks.costs), key=lambda cost: cost.businesses)))
        ticks = replace(ticks, events_mb=ticks.events_mb or before.events_mb, loads=ticks.loads or before.loads)
    _write(path, _TICKS.dump_json(ticks, indent=1))


def read_results(folder: Path) -> Results:
    """Everything that was kept in `folder`; pydantic's ValidationError for a file that is no result."""
    others = {_BURDEN_FILE, _TICKS_FILE}
    kept = [_RACE.validate_json(path.read_bytes()) for path in folder.glob("*.json") if path.name not in others]
    kept.sort(key=lambda race: (ORDER.index(race.name) if race.name in ORDER else len(ORDER), race.name))
    burden, ticks = folder / _BURDEN_FILE, folder / _TICKS_FILE
    return Results(
        races={race.name: race for race in kept},
        burden=_BURDEN.validate_json(burden.read_bytes()) if burden.is_file() else None,
        ticks=_TICKS.validate_json(ticks.read_bytes()) if ticks.is_file() else None,
    )


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content + b"\n")
