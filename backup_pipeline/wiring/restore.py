"""The targets of restores: a database by its URL, or the source of a catalog; and everything a restore needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from backup_pipeline.catalogs import load_catalogs
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import CatalogError, RefusedError, SettingsError, UsageError
from backup_pipeline.core.ports import Ports, Progress
from backup_pipeline.core.restore import FIRST, SECOND, RestorePlan, Which
from backup_pipeline.core.restore.requests import Address, RestoreRow
from backup_pipeline.core.scope import Actor
from backup_pipeline.core.text import redact
from backup_pipeline.operations.businesses.restore import BusinessWork, back_up_now
from backup_pipeline.operations.restore import SafetyRequest, safety_backup
from backup_pipeline.operations.restore.decisions import RestoreWish
from backup_pipeline.operations.restore.requests import Safety, TargetDatabase
from backup_pipeline.postgres.business_restore import PostgresBusinessTarget
from backup_pipeline.postgres.connection import parse_endpoint
from backup_pipeline.postgres.restore import PostgresTarget, TargetOptions
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline.settings import Settings
from backup_pipeline.stores.s3 import S3Settings
from backup_pipeline.wiring.addresses import owner_url
from backup_pipeline.wiring.ports import open_key_states, open_ports, source_options
from backup_pipeline.wiring.stores import noted_in, the_second

_HOW = (
    "Name it with --target-url postgresql://user@host:5432/database, or say --to-source to restore into the database "
    "that was backed up."
)


@dataclass(frozen=True)
class NamedTarget:
    """A database to restore into, as it was named. `url` may hold a password; `address` may be shown and kept."""

    address: Address
    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def hide(self, text: str) -> str:
        """`text` without anything secret of this target, or in any URL."""
        return redact(text, *self.secrets)


def named_target(url: str, *, name: str = "--target-url") -> NamedTarget:
    """The target that a person names; SettingsError, without its password, when that is no URL of a database."""
    endpoint = parse_endpoint(url, name=name)
    return NamedTarget(Address(endpoint.address, endpoint.database), url, endpoint.secrets)


def source_target(settings: Settings, catalog: str) -> NamedTarget:
    """The database that a catalog is backed up from."""
    return named_target(owner_url(settings, catalog), name="The source's URL")


def chosen_target(settings: Settings, catalog: str, url: str | None, *, to_source: bool) -> NamedTarget:
    """The one target that is named: by its URL, or as the source; UsageError when it is none or both."""
    if bool(url) == to_source:
        message = "Two targets are named." if url else "The restore has no target."
        raise UsageError(message, do=_HOW)
    return named_target(url) if url else source_target(settings, catalog)


SOURCE = "source"
"""The name of the database that was backed up, among the targets that are offered."""


def offered_targets(settings: Settings, catalog: str) -> Mapping[str, NamedTarget]:
    """The databases that a restore may be asked for from a browser: those named in the settings, and the source.

    By their names; no URL that somebody types is connected to.
    """
    found = {
        name: named_target(url.get_secret_value(), name=f"BACKUP_RESTORE_TARGET_URL_{name.upper()}")
        for name, url in settings.restore_targets.items()
    }
    with suppress(SettingsError):
        found.setdefault(SOURCE, source_target(settings, catalog))
    return found


def offered_target(settings: Settings, catalog: str, name: str) -> NamedTarget:
    """The target of that name; UsageError for any other, also for a URL."""
    targets = offered_targets(settings, catalog)
    if name not in targets:
        message = f"{redact(name)[:80]!r} is not a restore target of this installation."
        do = f"Choose one of {', '.join(targets) or 'none'}; BACKUP_RESTORE_TARGET_URL_<NAME> names another one."
        raise UsageError(message, do=do)
    return targets[name]


def wished_target(settings: Settings, catalog: str, wish: RestoreWish) -> NamedTarget:
    """Where a wish is for: the target that it names, or where the business is."""
    if wish.selection is not None:
        return target_in_place(settings, catalog)
    return offered_target(settings, catalog, wish.target)


def target_in_place(settings: Settings, catalog: str) -> NamedTarget:
    """The database that a catalog is backed up from, by a role that may write where the settings name one."""
    source = source_target(settings, catalog)
    known = offered_targets(settings, catalog).values()
    return next((each for each in known if _place(each.address.url) == _place(source.address.url)), source)


def target_of(row: RestoreRow, settings: Settings, url: str | None, *, to_source: bool) -> NamedTarget:
    """The target of a request, whose password the ledger does not keep: `url`, or what the settings know of it.

    UsageError when it has to be named again; RefusedError when another one is named than the request is for.
    """
    if url or to_source:
        target = chosen_target(settings, row.scope.catalog, url, to_source=to_source)
    else:
        target = _remembered(row, settings)
    if _place(target.address.url) != _place(row.target):
        message = f"Restore request {row.id} is for {row.target}, not for {target.address.url}."
        raise RefusedError(message, do="Name that target, or make a new request for the other one.")
    return target


@contextmanager
def open_restore(
    settings: Settings,
    target: NamedTarget,
    catalog: str,
    *,
    s3: S3Settings | None = None,
    progress: Progress | None = None,
    store: Which = FIRST,
) -> Iterator[tuple[TargetDatabase, Ports]]:
    """The target, and the ports of a restore that reads `store`; nothing connects before it is used.

    A safety backup goes to the first store whichever is read.
    """
    database = PostgresTarget(target.url, options=_options(settings))
    with open_ports(settings, catalog, s3=s3, progress=progress) as ports:
        reading = replace(ports, store=the_second(settings, noted_in(ports.ledger)).store) if store == SECOND else ports
        work = _business_work(settings, target, catalog, ports)
        yield TargetDatabase(target.address, database, _safety(settings, database, ports), target.hide, work), reading


def _business_work(settings: Settings, target: NamedTarget, name: str, ports: Ports) -> BusinessWork | None:
    catalog = _catalog_of(settings, name)
    if catalog is None or catalog.businesses is None:
        return None

    def back_up(business: str, actor: Actor, reason: str) -> str:
        return back_up_now(catalog, business, actor, reason, open_key_states(settings), ports)

    return BusinessWork(catalog, PostgresBusinessTarget(target.url, settings.restore_role), back_up)


def _options(settings: Settings) -> TargetOptions:
    """A restore waits as long as a backup does for connections and locks; its statements take what they take."""
    return TargetOptions(
        lock_timeout_s=settings.lock_timeout_s, connect_timeout_s=settings.connect_timeout_s, role=settings.restore_role
    )


def _safety(settings: Settings, database: PostgresTarget, ports: Ports) -> Safety:
    def backed_up(row: RestoreRow, plan: RestorePlan) -> str:
        # Of several servers that the URL may mean, the one that the restore holds locked.
        source = PostgresSource(database.reached, options=source_options(settings))
        wanted = SafetyRequest(plan, row.id, row.actor, _catalog_of(settings, row.scope.catalog))
        return safety_backup(wanted, replace(ports, source=source))

    return backed_up


def _catalog_of(settings: Settings, name: str) -> Catalog | None:
    """The catalog of that name; None where this installation has no such file."""
    try:
        return load_catalogs(settings.catalogs).get(name)
    except CatalogError:
        if settings.catalogs.is_file() or any(settings.catalogs.glob("*.yaml")):
            raise
        return None


def _remembered(row: RestoreRow, settings: Settings) -> NamedTarget:
    """The database of the request, where the settings know it: the catalog's source, or a named restore target."""
    for target in _known(settings, row.scope.catalog):
        if _place(target.address.url) == _place(row.target):
            return target
    message = f"Restore request {row.id} goes into {row.target}, and the ledger keeps no password."
    do = f"Name it again, with its password: --target-url {row.target}, or set BACKUP_RESTORE_TARGET_URL_<NAME> to it."
    raise UsageError(message, do=do)


def _known(settings: Settings, catalog: str) -> Iterator[NamedTarget]:
    """Named restore targets come first: their role may write."""
    yield from offered_targets(settings, catalog).values()


def _place(url: str) -> str:
    """Which database a plain URL means, whatever the role; 5432 is the port where none is named."""
    place = url.removeprefix("postgresql://").rpartition("@")[2]
    return place.replace(":5432/", "/")
