"""What the doctor looks at on this machine: disks, timezone data, and who watches it from outside."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo, ZoneInfoNotFoundError

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.doctor import Line, judge_room, ok, problem, warning
from backup_pipeline.core.errors import LedgerError
from backup_pipeline.core.ports import Ledger
from backup_pipeline.operations.doctor_ledger import newest_good
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import work_dir
from backup_pipeline.wiring.pings import open_settings_pinger


def watchers(settings: Settings) -> Iterator[Line]:
    """Whether somebody outside notices when this machine is dead."""
    open_settings_pinger(settings)  # raises for settings that are wrong
    one = settings.ping_success_url or any(name.startswith("success") for name in settings.ping_urls)
    if one:
        yield ok("pings", "a watcher outside is told of each good backup, and notices when none comes")
    else:
        do = "Set BACKUP_PING_SUCCESS_URL to a dead-man's switch, such as healthchecks.io; or watch /healthz/freshness."
        yield warning("pings", "no watcher outside: when this machine is dead, nobody is told", do)


def disks(settings: Settings, catalogs: Sequence[Catalog], ledger: Ledger, store: str | None) -> Iterator[Line]:
    """Whether there is room where files are made, and in a store that is the folder `store`."""
    newest = _newest_bytes(catalogs, ledger)
    places = {"the work directory": str(work_dir(settings)), "the store": store}
    for name, place in places.items():
        if place is not None:
            there = _existing(Path(place))
            yield judge_room("disk", f"{name} ({place})", shutil.disk_usage(there).free, newest)


def _newest_bytes(catalogs: Sequence[Catalog], ledger: Ledger) -> int | None:
    """The size of the biggest of the newest backups; None where there is none, or the ledger can not say."""
    try:
        rows = [newest_good(ledger, one.catalog) for one in catalogs]
    except LedgerError:  # it has a line of its own
        return None
    return max((row.file_size_bytes or 0 for row in rows if row is not None), default=None)


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def timezones(catalogs: Sequence[Catalog]) -> Iterator[Line]:
    """Whether the timezones of the catalogs are known here, and by which data."""
    known = _tzdata()
    for name in sorted({catalog.timezone for catalog in catalogs}):
        try:
            ZoneInfo.no_cache(name)
        except (ZoneInfoNotFoundError, ValueError):
            yield problem("timezones", f"there is no data for {name} ({known})", "Install tzdata: pip install tzdata.")
        else:
            yield ok("timezones", f"{name} is known ({known})")


def _tzdata() -> str:
    """Which timezone data is read: the system's, whose version it says itself, else the package's."""
    for folder in map(Path, TZPATH):
        for name in ("tzdata.zi", "+VERSION"):
            if (folder / name).is_file():
                with (folder / name).open(encoding="utf-8", errors="replace") as file:
                    return f"system, {file.readline().strip().removeprefix('# version ')}"
    try:
        return f"package tzdata {version('tzdata')}"
    except PackageNotFoundError:
        return f"Python {sys.version_info.major}.{sys.version_info.minor}, version unknown"
