"""The checks of the doctor over the settings of an installation; each opens for itself what it looks at."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from secrets import token_hex
from zoneinfo import TZPATH, ZoneInfo, ZoneInfoNotFoundError

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.doctor import (
    Examination,
    Line,
    judge_clock,
    judge_dump,
    judge_room,
    judge_seals,
    judge_snapshot_age,
    judge_source,
    ok,
    problem,
    skipped,
    warning,
)
from backup_pipeline.core.errors import BackupError, LedgerError
from backup_pipeline.core.ports import Ledger, Store
from backup_pipeline.core.scope import Actor
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.ledger.migrate import examine_ledger
from backup_pipeline.operations.doctor import Trial, channels, check_catalog, escrow, fresh, leases, newest_good, outbox
from backup_pipeline.operations.download import AuditTrail
from backup_pipeline.operations.health import second_ages
from backup_pipeline.postgres.source import examine_source
from backup_pipeline.settings import Settings
from backup_pipeline.stores import bucket_of, folder_of
from backup_pipeline.wiring.addresses import ledger_url, source_url, utc_now, work_dir
from backup_pipeline.wiring.ports import (
    is_alive_here,
    open_ledger,
    open_settings_alerter,
    open_settings_pinger,
    open_source,
)
from backup_pipeline.wiring.stores import (
    encrypted_store,
    open_cipher,
    open_seal_keys,
    open_second,
    plain_second,
    plain_store,
)


def watchers(settings: Settings) -> Iterator[Line]:
    """Whether somebody outside notices when this machine is dead."""
    open_settings_pinger(settings)  # raises for settings that are wrong
    watched = settings.ping_success_url or any(name.startswith("success") for name in settings.ping_urls)
    if watched:
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
            folder = _existing(Path(place))
            yield judge_room("disk", f"{name} ({place})", shutil.disk_usage(folder).free, newest)


def _newest_bytes(catalogs: Sequence[Catalog], ledger: Ledger) -> int | None:
    """The size of the biggest of the newest backups; None where there is none, or the ledger can not say."""
    try:
        rows = [newest_good(ledger, catalog.catalog) for catalog in catalogs]
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


_MIGRATE = "Nothing: whatever looks into it next brings it to this version: a backup, `backup-pipeline list`."
_FIRST = "Nothing: the first backup makes them. Where there were backups: `backup-pipeline rebuild --confirm`."


def checks_of(
    settings: Settings, catalogs: Sequence[Catalog], *, send: bool, actor: Actor, dagster: Callable[[], Iterable[Line]]
) -> Sequence[Examination]:
    """Every check of an installation and of these catalogs; `dagster` looks at Dagster where it has a home."""

    def known(topic: str, look: Callable[[SqlLedger], Iterator[Line]]) -> Examination:
        return Examination(topic, partial(_with_tables, settings, topic, look))

    def opened(look: Callable[[SqlLedger], Iterator[Line]]) -> Callable[[], Iterator[Line]]:
        return partial(_with_ledger, settings, look)

    sources = [Examination(f"source {catalog.catalog}", partial(_source, settings, catalog)) for catalog in catalogs]
    return [
        *sources,
        Examination("ledger", partial(_ledger, settings)),
        known("leases", lambda ledger: leases(catalogs, ledger, ledger.now(), is_alive_here)),
        Examination(
            "store", partial(_store, "store", partial(plain_store, settings), locks=settings.s3_lock_mode is not None)
        ),
        Examination("second store", partial(_second, settings, catalogs)),
        Examination("keys", opened(lambda ledger: _keys(settings, catalogs, ledger, actor))),
        Examination("alerts", partial(_channels, settings, send=send)),
        known("alerts", outbox),
        Examination("pings", partial(watchers, settings)),
        Examination("disk", opened(lambda ledger: disks(settings, catalogs, ledger, folder_of(plain_store(settings))))),
        Examination("timezones", partial(timezones, catalogs)),
        Examination("dagster", dagster if settings.dagster_home else _no_dagster),
        *(known(f"backups {catalog.catalog}", partial(_backups, catalog)) for catalog in catalogs),
    ]


def _with_ledger(settings: Settings, look: Callable[[SqlLedger], Iterator[Line]]) -> Iterator[Line]:
    with open_ledger(settings) as ledger:
        yield from look(ledger)


def _with_tables(settings: Settings, topic: str, look: Callable[[SqlLedger], Iterator[Line]]) -> Iterator[Line]:
    facts = examine_ledger(ledger_url(settings), utc_now)
    if facts.revision is None or facts.revision < facts.wanted:  # the line about the ledger says what to do
        yield skipped(topic, "the ledger's tables are not those of this version")
        return
    yield from _with_ledger(settings, look)


def _source(settings: Settings, catalog: Catalog) -> Iterator[Line]:
    topic = f"source {catalog.catalog}"
    url = source_url(settings, catalog.catalog)
    facts = examine_source(url, utc_now, connect_timeout_s=settings.connect_timeout_s)
    relations = [".".join(catalog.relation_of(name)) for name in catalog.tables]
    yield from judge_source(topic, facts, relations)
    yield judge_clock(topic, "the source", facts.before, facts.now, facts.after)
    yield _dump(topic, settings, catalog)
    yield from _fit(topic, settings, catalog)


def _dump(topic: str, settings: Settings, catalog: Catalog) -> Line:
    """Whether pg_dump, which connects by itself, gets in too; what stops it stops no other line."""
    try:
        with open_source(settings, catalog.catalog).snapshot() as snapshot:
            return judge_dump(topic, snapshot.try_dump())
    except BackupError as error:
        return problem(topic, error.what, error.do)


def _fit(topic: str, settings: Settings, catalog: Catalog) -> Iterator[Line]:
    """Whether the catalog fits the database."""
    report = check_catalog(catalog, open_source(settings, catalog.catalog))
    for error in [*report.failed.values(), *([report.refused] if report.refused else [])]:
        yield problem(topic, error.what, error.do)
    if report.unlisted:
        do = "Add each to the catalog's `tables`, or to `excluded` with the reason."
        yield warning(topic, f"tables that nobody decided about: {', '.join(report.unlisted)}", do)
    for finding in report.not_held:
        yield warning(topic, finding.message, finding.do) if finding.warns else ok(topic, finding.message)
    if report.fits and not report.unlisted:
        yield ok(topic, f"the catalog fits: {len(report.ready)} tables, {len(report.excluded)} left out on purpose")


def _ledger(settings: Settings) -> Iterator[Line]:
    facts = examine_ledger(ledger_url(settings), utc_now)
    if facts.revision == facts.wanted:
        yield ok("ledger", f"it answers, and its tables are those of this version ({facts.revision})")
    elif facts.revision is None:
        yield warning("ledger", "it answers, and has no tables yet", _FIRST)
    elif facts.revision < facts.wanted:
        what = f"an earlier version made its tables ({facts.revision}; this version has {facts.wanted})"
        yield warning("ledger", what, _MIGRATE)
    else:
        what = f"a newer version made its tables ({facts.revision}; this version has {facts.wanted})"
        yield problem("ledger", what, "Install the version of backup-pipeline that made them.")
    if facts.readonly:
        do = "GRANT backup_pipeline_writer TO the role of BACKUP_LEDGER_URL, and SET ROLE or let it inherit."
        yield problem("ledger", f"it may not be written: {', '.join(facts.readonly)}", do)
    if facts.console:
        what = "nobody can use the console: database roles or grants of its are missing"
        yield warning("console", what, f"Let an administrator run: {'; '.join(facts.console)}.")
    elif facts.revision == facts.wanted:
        yield ok("console", "its database roles are there, and the user of the ledger may become them")
    yield judge_clock("ledger", "the ledger", facts.before, facts.now, facts.after)


def _store(topic: str, open_store: Callable[[], Store], *, locks: bool) -> Iterator[Line]:
    store = open_store()
    yield from Trial(topic, store, utc_now, token_hex(6), bucket_of(store), locks).run()


def _second(settings: Settings, catalogs: Sequence[Catalog]) -> Iterator[Line]:
    second = open_second(settings)
    if second is None:
        do = "Set BACKUP_SECOND_STORE to another place, another account if you can (docs/s3.md)."
        yield warning("second store", "none is set: what destroys the store destroys every backup", do)
        return
    yield from _store("second store", partial(plain_second, settings), locks=settings.second_s3_lock_mode is not None)
    with open_ledger(settings) as ledger:
        ages = second_ages(catalogs, second.url, ledger, ledger.now())
    for age in ages:
        if age.stale:
            yield warning("second store", age.stale.what, age.stale.do)
        elif age.newest:
            yield ok("second store", f"it has {age.newest.backup_id}")


def _keys(settings: Settings, catalogs: Sequence[Catalog], ledger: SqlLedger, actor: Actor) -> Iterator[Line]:
    store = encrypted_store(plain_store(settings), settings)
    yield from escrow(open_cipher(settings), catalogs, store, AuditTrail(ledger, utc_now, actor))
    yield judge_seals("seal", open_seal_keys(settings))


def _channels(settings: Settings, *, send: bool) -> Iterator[Line]:
    yield from channels(open_settings_alerter(settings), settings.catalog, utc_now(), send=send)


def _no_dagster() -> Iterator[Line]:
    yield skipped("dagster", "DAGSTER_HOME is not set: schedules run elsewhere, or cron runs `backup-pipeline backup`")


def _backups(catalog: Catalog, ledger: SqlLedger) -> Iterator[Line]:
    now = ledger.now()
    yield from fresh(catalog, ledger, now)
    row = newest_good(ledger, catalog.catalog)
    took = row.finished_at - row.started_at if row is not None and row.finished_at is not None else None
    yield judge_snapshot_age(f"backups {catalog.catalog}", took)
    if catalog.schedule is None:
        do = "Give the catalog a `schedule`, unless something else starts its backups."
        yield warning(f"backups {catalog.catalog}", "the catalog has no schedule: nothing is ever due", do)
    else:
        yield ok(f"backups {catalog.catalog}", f"schedule {catalog.schedule} in {catalog.timezone}")
