"""What retention lets go in the days to come of each system, as the ledger has it; the same rows are reckoned once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from threading import Lock

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.ledger import GOOD
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.ports.ticks import BusinessRanking, BusinessSort
from backup_pipeline.core.retention import RetentionBasis
from backup_pipeline.core.retention.forecast import Departure, forecast_retention, going_now
from backup_pipeline.core.retention.prune import Versions
from backup_pipeline.core.schedule import next_due
from backup_pipeline.core.scope import Actor, Scope
from backup_pipeline.operations.retention.businesses import BusinessCleanup
from backup_pipeline.operations.retention.plan import PruneRequest, basis_of, prune_requests

FORETOLD_DAYS = 30
MOST_NAMED = 50
"""Of what goes at a clean-up, so many backups are named; the plan of the clean-up has them all."""
MOST_BUSINESSES = 5
_STANDS_FOR = timedelta(minutes=10)
_MOST_KEPT = 64


@dataclass(frozen=True)
class CleanupForecast:
    """What goes at a clean-up to come: how many backups, their bytes, and the first of them with their reasons."""

    at: datetime
    backups: int
    bytes: int
    first: tuple[Departure, ...]


@dataclass(frozen=True)
class SystemForecast:
    """The clean-ups of a system in the days to come: how many are due, those at which something goes.

    `now`: how many a clean-up made by hand would take; reckoned where none is scheduled. `as_of`: rows have changed
    since then, and it is being reckoned anew. `businesses` are those whose backups take most room, with what goes of
    each at the next clean-up.
    """

    cleanups: int
    going: tuple[CleanupForecast, ...]
    now: int = 0
    as_of: datetime | None = None
    businesses: tuple[BusinessCleanup, ...] = ()


@dataclass(frozen=True)
class _Reckoned:
    at: datetime
    given: object
    forecast: SystemForecast


class Forecasts:
    """The forecasts of a process; safe from any thread.

    One that was reckoned stands for ten minutes, for whoever sees the same rows of the same catalog, with the same
    work going on. Where somebody reckons `ahead` (`reckon`, again and again), who sees everything does not wait: they
    get the one of a moment ago, which says so.
    """

    def __init__(self, *, days: int) -> None:
        self._days = days
        self._lock = Lock()
        self._known: dict[tuple[str, str], _Reckoned] = {}
        self._whole: dict[str, _Reckoned] = {}
        self.ahead = False

    def of(
        self, catalog: Catalog, actor: Actor, versions: Versions, ports: Ports, *, sees_all: bool = False
    ) -> SystemForecast:
        """The forecast of a system, of those rows that the ledger of `ports` shows. BackupError as of a plan."""
        now = ports.clock()
        if sees_all and self.ahead:
            with self._lock:
                latest = self._whole.get(catalog.catalog)
            if latest is not None and now - latest.at < _STANDS_FOR:
                return self._still(latest, catalog, actor, versions, ports)
        return self._reckoned(catalog, actor, versions, ports, _STANDS_FOR).forecast

    def reckon(self, catalog: Catalog, actor: Actor, versions: Versions, ports: Ports) -> None:
        """Have a forecast ready for who sees everything, as the ledger of `ports` does. BackupError as of a plan."""
        whole = self._reckoned(catalog, actor, versions, ports, _STANDS_FOR / 2)
        with self._lock:
            self._whole[catalog.catalog] = whole

    def _still(
        self, latest: _Reckoned, catalog: Catalog, actor: Actor, versions: Versions, ports: Ports
    ) -> SystemForecast:
        """The latest forecast, which says of when it is unless everything is as it was."""
        key, given, _ = _question(catalog, actor, versions, ports)
        with self._lock:
            same = self._known.get(key)
        if same is not None and same.given == given:
            return same.forecast
        return replace(latest.forecast, as_of=latest.at)

    def _reckoned(
        self, catalog: Catalog, actor: Actor, versions: Versions, ports: Ports, stands_for: timedelta
    ) -> _Reckoned:
        now = ports.clock()
        key, given, question = _question(catalog, actor, versions, ports)
        with self._lock:
            known = self._known.get(key)
        if known is not None and known.given == given and now - known.at < stands_for:
            return known
        reckoned = _Reckoned(now, given, self._foretell(catalog, *question, ports))
        with self._lock:
            # A ledger that changes leaves the forecasts of before behind: the oldest go.
            for old in list(self._known)[: max(0, len(self._known) - _MOST_KEPT + 1)]:
                del self._known[old]
            self._known[key] = reckoned
        return reckoned

    def _foretell(
        self, catalog: Catalog, requests: Sequence[PruneRequest], bases: Sequence[RetentionBasis], ports: Ports
    ) -> SystemForecast:
        rows = [ports.ledger.list(scope=request.scope, status=sorted(GOOD)) for request in requests]
        each = [
            forecast_retention(catalog, request.scope, good, basis, days=self._days)
            for request, good, basis in zip(requests, rows, bases, strict=True)
        ]
        going = tuple(_by_cleanup(departure for forecast in each for departure in forecast.departures))
        cleanups = len(each[0].cleanups)
        now = 0 if cleanups else sum(len(going_now(*of)) for of in zip(rows, bases, strict=True))
        businesses = tuple(_of_businesses(catalog, requests[0], ports))
        return SystemForecast(cleanups, going, now, businesses=businesses)


def _question(
    catalog: Catalog, actor: Actor, versions: Versions, ports: Ports
) -> tuple[tuple[str, str], object, tuple[Sequence[PruneRequest], Sequence[RetentionBasis]]]:
    """Which rows a forecast is of, what else it depends on, and what is to be reckoned."""
    requests = prune_requests(catalog, actor, versions)
    bases = [basis_of(request, ports) for request in requests]
    key = (catalog.catalog, ports.ledger.listings.version(catalog.catalog))
    return key, (catalog, [basis.claims for basis in bases]), (requests, bases)


def _by_cleanup(departures: Iterable[Departure]) -> Iterator[CleanupForecast]:
    """By the time of the clean-up; within one in the order of the departures."""
    for at, together in groupby(sorted(departures, key=lambda each: each.at), key=lambda each: each.at):
        all_of = list(together)
        size = sum(each.attempt.file_size_bytes or 0 for each in all_of)
        yield CleanupForecast(at, len(all_of), size, tuple(all_of[:MOST_NAMED]))


def _of_businesses(catalog: Catalog, request: PruneRequest, ports: Ports) -> Iterator[BusinessCleanup]:
    """Of the businesses that take most room, what the next clean-up takes; today's where none is scheduled.

    A few: each has hundreds of backups, and there may be thousands of businesses.
    """
    if catalog.businesses is None:
        return
    now, line = ports.clock(), catalog.retention.schedule
    order = BusinessRanking(catalog.catalog, BusinessSort.STORED, now)
    for _, business in ports.ledger.ticks.ordered(order, after=None, limit=MOST_BUSINESSES):
        scope = Scope(catalog.catalog, business=business)
        own = replace(request, scope=scope, retention=catalog.retention_of(scope))
        rows = ports.ledger.list(scope=scope, status=sorted(GOOD))
        basis = basis_of(own, ports)
        at = next_due(line, catalog.timezone, now) if line else None
        going = going_now(rows, replace(basis, now=at or now))
        size = sum(each.attempt.file_size_bytes or 0 for each in going)
        yield BusinessCleanup(business, len(rows) - len(going), len(going), size)
