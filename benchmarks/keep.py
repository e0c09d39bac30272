"""Results on disk: a JSON file for each race and one for the burden, so that separate runs add up to one report."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.values import Burden, Race, Results

_RACE = TypeAdapter(Race)
_BURDEN = TypeAdapter(Burden)
_BURDEN_FILE = "burden.json"
ORDER = ("bench_bigint", "bench_uuid", "bench_wide", "bench_narrow", "scale", "whole", "many", "restore")
"""How races follow each other in the report."""


def keep_race(folder: Path, race: Race) -> None:
    """Write the race, in place of an earlier one of its name."""
    _write(folder / f"{race.name}.json", _RACE.dump_json(race, indent=1))


def keep_burden(folder: Path, burden: Burden) -> None:
    """Write the burden, in place of an earlier one."""
    _write(folder / _BURDEN_FILE, _BURDEN.dump_json(burden, indent=1))


def read_results(folder: Path) -> Results:
    """Everything that was kept in `folder`; pydantic's ValidationError for a file that is no result."""
    kept = [_RACE.validate_json(path.read_bytes()) for path in folder.glob("*.json") if path.name != _BURDEN_FILE]
    kept.sort(key=lambda race: (ORDER.index(race.name) if race.name in ORDER else len(ORDER), race.name))
    burden = folder / _BURDEN_FILE
    return Results(
        races={race.name: race for race in kept},
        burden=_BURDEN.validate_json(burden.read_bytes()) if burden.is_file() else None,
    )


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content + b"\n")
