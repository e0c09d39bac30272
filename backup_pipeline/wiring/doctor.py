"""The checks of the doctor over the settings of an installation; each opens for itself what it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from secrets import token_hex

from backup_pipeline.core.catalog import Catalog
from backup_pipeline.core.doctor import Check, Line, judge_clock, ok, problem, skipped, warning
from backup_pipeline.core.doctor_source import judge_dump, judge_snapshot_age, judge_source
from backup_pipeline.core.doctor_store import judge_seals
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ports import Store
from backup_pipeline.ledger.examine import examine_ledger
from backup_pipeline.ledger.sql import SqlLedger
from backup_pipeline.operations.check_catalog import check_catalog
from backup_pipeline.operations.doctor_ledger import channels, escrow, fresh, leases, newest_good, outbox
from backup_pipeline.operations.doctor_store import Trial
from backup_pipeline.operations.download import Witness
from backup_pipeline.operations.second_age import second_ages
from backup_pipeline.postgres.examine import examine_source
from backup_pipeline.settings import Settings
from backup_pipeline.stores.examine import bucket_of, folder_of
from backup_pipeline.wiring.addresses import ledger_url, source_url
from backup_pipeline.wiring.clock import utc_now
from backup_pipeline.wiring.doctor_machine import disks, timezones, watchers
from backup_pipeline.wiring.encryption import encrypted_store, open_cipher
from backup_pipeline.wiring.ledger import open_ledger
from backup_pipeline.wiring.ports import is_alive_here, open_settings_alerter, open_source
from backup_pipeline.wiring.sealing import open_seal_keys
from backup_pipeline.wiring.second_store import open_second, plain_second
from backup_pipeline.wiring.store import plain_store

_MIGRATE = "Nothing: the next backup brings it up to date. Or run `backup-pipeline rebuild` now."


def checks_of(
    settings: Settings, catalogs: Sequence[Catalog], *, send: bool, actor: str, dagster: Callable[[], Iterable[Line]]
) -> Sequence[Check]:
    """Every check of an installation and of these catalogs; `dagster` looks at Dagster where it has a home."""

    def known(look: Callable[[SqlLedger], Iterator[Line]]) -> Callable[[], Iterator[Line]]:
        return partial(_with_ledger, settings, look)

    sources = [Check(f"source {one.catalog}", partial(_source, settings, one)) for one in catalogs]
    return [
        *sources,
        Check("ledger", partial(_ledger, settings)),
        Check("leases", known(lambda ledger: leases(catalogs, ledger, ledger.now(), is_alive_here))),
        Check(
            "store", partial(_store, "store", partial(plain_store, settings), locks=settings.s3_lock_mode is not None)
        ),
        Check("second store", partial(_second, settings, catalogs)),
        Check("keys", known(lambda ledger: _keys(settings, catalogs, ledger, actor))),
        Check("alerts", partial(_channels, settings, send=send)),
        Check("alerts", known(outbox)),
        Check("pings", partial(watchers, settings)),
        Check("disk", known(lambda ledger: disks(settings, catalogs, ledger, folder_of(plain_store(settings))))),
        Check("timezones", partial(timezones, catalogs)),
        Check("dagster", dagster if settings.dagster_home else _no_dagster),
        *(Check(f"backups {one.catalog}", known(partial(_backups, one))) for one in catalogs),
    ]


def _with_ledger(settings: Settings, look: Callable[[SqlLedger], Iterator[Line]]) -> Iterator[Line]:
    with open_ledger(settings) as ledger:
        yield from look(ledger)


def _source(settings: Settings, catalog: Catalog) -> Iterator[Line]:
    topic = f"source {catalog.catalog}"
    url = source_url(settings, catalog.catalog)
    facts = examine_source(url, utc_now, connect_timeout_s=settings.connect_timeout_s)
    wanted = [".".join(catalog.relation_of(name)) for name in catalog.tables]
    yield from judge_source(topic, facts, wanted)
    yield judge_clock(topic, "the source", facts.asked, facts.now, facts.answered)
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
    for found in report.not_held:
        yield warning(topic, found.message, found.do) if found.warns else ok(topic, found.message)
    if report.fits and not report.unlisted:
        yield ok(topic, f"the catalog fits: {len(report.ready)} tables, {len(report.excluded)} left out on purpose")


def _ledger(settings: Settings) -> Iterator[Line]:
    facts = examine_ledger(ledger_url(settings), utc_now)
    if facts.revision == facts.wanted:
        yield ok("ledger", f"it answers, and its tables are those of this version ({facts.revision})")
    else:
        yield warning(
            "ledger", f"its tables are of revision {facts.revision}, this version has {facts.wanted}", _MIGRATE
        )
    if facts.readonly:
        do = "GRANT backup_pipeline_writer TO the role of BACKUP_LEDGER_URL, and SET ROLE or let it inherit."
        yield problem("ledger", f"it may not be written: {', '.join(facts.readonly)}", do)
    yield judge_clock("ledger", "the ledger", facts.asked, facts.now, facts.answered)


def _store(topic: str, open_it: Callable[[], Store], *, locks: bool) -> Iterator[Line]:
    store = open_it()
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
    for found in ages:
        if found.stale:
            yield warning("second store", found.stale.what, found.stale.do)
        elif found.newest:
            yield ok("second store", f"it has {found.newest.backup_id}")


def _keys(settings: Settings, catalogs: Sequence[Catalog], ledger: SqlLedger, actor: str) -> Iterator[Line]:
    store = encrypted_store(plain_store(settings), settings)
    yield from escrow(open_cipher(settings), catalogs, store, Witness(ledger, utc_now, actor))
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
