"""What the demos have behind them, so that a newcomer's console is alive: a month of backups; payments of the shops."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

import psycopg

from backup_pipeline.core.access import Role, User
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.alerts import Alert, Delivery, NoPings
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.ledger import AuditEvent
from backup_pipeline.core.names import local_name
from backup_pipeline.core.payments import (
    DuplicatePaymentError,
    PaymentFilter,
    PaymentRequest,
    Plan,
    put_on,
    verified_payment,
)
from backup_pipeline.core.payments.accounts import BusinessAccount, Period, Price, RegistryEntry
from backup_pipeline.core.ports import Ledger, Ports, Silence
from backup_pipeline.core.restore import RestoreRequest
from backup_pipeline.core.restore.requests import Address
from backup_pipeline.core.scope import Actor, Scope
from backup_pipeline.demo import CAR_AUDIO, RETAIL, SALES_PORTAL, SYSTEMS, DemoSystem, live_a_day, lose_rows
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.download import AuditTrail, Destination, render_backup
from backup_pipeline.operations.health import account
from backup_pipeline.operations.history import DEMO_DATA, HistorySystem, make_history, plan_history
from backup_pipeline.operations.restore.requests import RestoreCaller, add_request
from backup_pipeline.postgres.source import PostgresSource
from backup_pipeline.settings import BUILT_IN_CATALOGS, Settings
from backup_pipeline.wiring.addresses import LEDGER_DATABASE, declared_catalogs, os_user, owner_url, postgres_home
from backup_pipeline.wiring.embedded import demo_database, prepared
from backup_pipeline.wiring.ports import open_ledger, ports_over

_MARK = "demo-history.json"
_NOWHERE = "postgresql://demo@127.0.0.1:1/nothing"
_LEGACY_NAME = "comprehensive-backup-%Y-%m-%dT%H-%M-%S-%3fZ.json"
_LEGACY_BEFORE = timedelta(days=3)
_CUT = 2000
"""Bytes of the legacy file that is cut off."""


def demo_history_of(settings: Settings) -> Mapping[str, object] | None:
    """What `demo history` made here, for a page to say *demo data*; None where it made nothing."""
    try:
        mark: Mapping[str, object] = json.loads((settings.home / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return mark


def make_demo_history(settings: Settings, days: int, tell: Callable[[str], None]) -> int:
    """Make the demos where they are missing, and the history of each that has no backup yet; how many backups.

    RefusedError where anything but the embedded demo is configured: nothing is invented about real systems.
    """
    if settings.source_url or settings.source_urls or settings.catalogs != BUILT_IN_CATALOGS:
        message = "A source or a folder of catalogs is set: a history is made of the demo systems alone."
        raise RefusedError(message, do="Unset BACKUP_SOURCE_URL… and BACKUP_CATALOGS, or use another BACKUP_HOME.")
    nightly = {system.name: system.small for system in SYSTEMS.values() if system.small is not None}
    for name, small in nightly.items():
        demo_database(settings, tell, SYSTEMS[name], scale=small, again=False)
    with prepared(settings, tell) as ready, open_ledger(ready) as ledger:
        declared = declared_catalogs(settings)
        systems = {each: SYSTEMS[name] for name in nightly for each in SYSTEMS[name].catalogs}
        wanted = {name: declared[name] for name in systems if not ledger.list(scope=Scope(name))}
        backups = sum(_history_of(systems[name], each, ready, ledger, (days, tell)) for name, each in wanted.items())
        if SALES_PORTAL.name in wanted:
            _leave_legacy_files(ready, ledger)
        if CAR_AUDIO.name in wanted:
            _leave_request(ready, ledger)
        mark = {"days": days, "made_at": ledger.now().isoformat(), "catalogs": list(wanted)}
        (settings.home / _MARK).write_text(json.dumps(mark, indent=1), encoding="utf-8")
    return backups


class _NobodyTold:
    """The port `Alerter` of a past: what would have been told stands in the audit, under the name of the channel."""

    @property
    def channels(self) -> Sequence[str]:
        """One, that reaches nobody."""
        return [DEMO_DATA]

    def send(self, alert: Alert, only: Collection[str] | None = None) -> Sequence[Delivery]:
        """Nothing is sent."""
        return [Delivery(DEMO_DATA)]


def _ports(settings: Settings, ledger: Ledger, catalog: Catalog) -> Ports:
    """Real ports that tell nobody: who has alerts set does not want to hear of a demo's past."""
    ports = ports_over(ledger, settings, catalog.catalog)
    return replace(ports, alerter=_NobodyTold(), pinger=NoPings(), second=None, progress=Silence())


def _history_of(
    system: DemoSystem,
    catalog: Catalog,
    settings: Settings,
    ledger: Ledger,
    asked: tuple[int, Callable[[str], None]],
) -> int:
    days, tell = asked
    url = owner_url(settings, catalog.catalog)
    ports = _ports(settings, ledger, catalog)
    past = HistorySystem(
        catalog=catalog,
        ports=ports,
        broken=PostgresSource(_NOWHERE),
        # A second catalog of the same database finds it grown already.
        grow=(lambda number: live_a_day(url, system, number)) if catalog.catalog == system.name else lambda _: None,
        lose_rows=(lambda: lose_rows(url, system)) if system is CAR_AUDIO else None,
        person=os_user(),
    )
    nights = plan_history(catalog, days, ledger.now(), loses_rows=system is CAR_AUDIO)
    tell(f"{catalog.catalog}: the backups of {len(nights)} nights.")
    backups = make_history(past, nights, time.monotonic, tell)
    account(catalog, ports)
    ledger.audit(AuditEvent(ledger.now(), os_user(), "demo history", None, {"catalog": catalog.catalog, "days": days}))
    return len(backups)


def _leave_legacy_files(settings: Settings, ledger: Ledger) -> None:
    """A comprehensive file of a day before the first backup in the legacy folder, and the first bytes of one.

    A day of which there is no backup of ours, so that it can be adopted.
    """
    catalog = declared_catalogs(settings)[SALES_PORTAL.name]
    ports = _ports(settings, ledger, catalog)
    good = [row for row in ledger.list(scope=Scope(catalog.catalog)) if row.status.good]
    if not good:
        return
    attempt = good[-1]
    audit = AuditTrail(ledger, ledger.now, os_user())
    folder = ports.spool / "legacy"
    folder.mkdir(parents=True, exist_ok=True)
    rendered = render_backup(
        attempt,
        Rendering.COMPREHENSIVE,
        Destination(folder, force=True),
        store=ports.store,
        formats=ports.formats,
        audit=audit,
        progress=Silence(),
    )
    data = rendered.read_bytes()
    rendered.unlink()
    folder.rmdir()
    name = local_name(_LEGACY_NAME, attempt.created_at - _LEGACY_BEFORE, "UTC")
    ports.store.put(f"backups/comprehensive/{name}", [data])
    broken = name.replace("comprehensive-", "database-")
    ports.store.put(f"backups/database/{broken}", [data[:_CUT]])


_STAGING = Address("postgresql://127.0.0.1/car_audio_staging", "car_audio_staging")


@dataclass(frozen=True)
class _Staging:
    """A goal that nothing connects to: the request waits for a decision."""

    address: Address

    def hide(self, text: str) -> str:
        """Nothing of it is secret."""
        return text


def _leave_request(settings: Settings, ledger: Ledger) -> None:
    """A restore that waits for the approval of somebody else."""
    catalog = declared_catalogs(settings)[CAR_AUDIO.name]
    attempt = ledger.last_good(Scope(catalog.catalog), before=ledger.now())
    if attempt is not None:
        reason = f"{DEMO_DATA}: payments of last week are missing on staging"
        request = RestoreRequest(attempt.backup_id, ("payments",), actor=os_user(), reason=reason)
        add_request(
            request,
            _Staging(_STAGING),
            _ports(settings, ledger, catalog),
            RestoreCaller(os_user(), needs_approval=True),
        )


_PLANS = (
    Plan("basic", "Basic: one counter", Price(Decimal("200.00"), "BDT", Period.MONTH)),
    Plan("pro", "Pro: five counters", Price(Decimal("500.00"), "BDT", Period.MONTH)),
    Plan("yearly", "Yearly: five counters", Price(Decimal("5000.00"), "BDT", Period.YEAR)),
)
_OPENED = timedelta(days=80)
"""So long ago the first shop opened, and each one a day later: what is paid is verified for 90 days."""
_PAYING = 50
"""Of many shops so many pay; the others are on no plan."""


@dataclass(frozen=True)
class DemoPayment:
    """What a shop pays, so many days after it opened. `accept` is why less than the price was taken."""

    days: int
    amount: Decimal
    method: str = "bank_transfer"
    accept: str = ""


def demo_payments(number: int, plan: Plan) -> Sequence[DemoPayment]:
    """What the shop with that number pays: most each month; some ahead, too much, too little, or no more."""
    price, months = plan.price.amount, () if plan.price.period is Period.YEAR else (31, 61)
    paid = [DemoPayment(1, price), *(DemoPayment(day, price, "bkash") for day in months)]
    match number % 5:
        case 1 if months:
            paid[1] = replace(paid[1], amount=price - 20, accept="The rest comes in cash, said the owner.")
        case 2:
            paid[0] = replace(paid[0], amount=price + 50)
        case 3:
            paid = paid[:1]
        case 4 if months:
            paid = [DemoPayment(1, 3 * price)]
    return paid


def make_demo_payments(settings: Settings, tell: Callable[[str], None]) -> int:
    """Plans for the shops of the demo, and eleven weeks of payments, into the embedded ledger; how many payments.

    One pays ahead, one too much, one less than the price (accepted with a reason), one no more; and a reference that
    came twice was refused, as the audit says. Nothing where a ledger is set, or has plans: no money is invented there.
    """
    if settings.ledger_url is not None:
        return 0
    with EmbeddedPostgres(postgres_home(settings)) as server:
        server.ensure_database(LEDGER_DATABASE)
        with psycopg.connect(server.url(RETAIL.name)) as session:
            rows = session.execute("SELECT id::text, name, status = 'active' FROM businesses ORDER BY name").fetchall()
        with closing(SqlLedger.create(server.url(LEDGER_DATABASE))) as ledger:
            return 0 if ledger.payments.plans() else pay_for_shops(ledger, [RegistryEntry(*row) for row in rows], tell)


def pay_for_shops(ledger: SqlLedger, shops: Sequence[RegistryEntry], tell: Callable[[str], None]) -> int:
    """Register the shops, put them on plans and let them pay, each at its own time in the past; how many payments."""
    now, by = ledger.now(), os_user()
    ledger.businesses.register(RETAIL.name, shops, by, now - _OPENED)
    verifier = User(0, DEMO_DATA, Role.SUPER_ADMIN, now)
    own = ledger.as_person(PersonIdentity(verifier))
    for plan in _PLANS:
        own.payments.put_plan(plan, by, now - _OPENED)
    recorded = 0
    for number, shop in enumerate(each for each in shops[:_PAYING] if each.active):
        plan = _PLANS[number % len(_PLANS)]
        opened = now - _OPENED + timedelta(days=number % 20)
        with own.at_once() as rows:
            account_now = put_on(_account(rows, shop), plan, opened)
            rows.businesses.put(account_now, by)
            for count, payment in enumerate(demo_payments(number, plan)):
                at = opened + timedelta(days=payment.days)
                reference = f"TXN{number:03d}{count:03d}"
                request = PaymentRequest(
                    shop.business,
                    payment.amount,
                    payment.method,
                    reference,
                    DEMO_DATA,
                    paid_at=at,
                    accept=payment.accept,
                )
                record, account_now = verified_payment(request, account_now, at, verifier.actor)
                rows.payments.add(record)
                rows.businesses.put(account_now, by)
                recorded += 1
    _refuse_duplicate(own, by)
    own.audit(AuditEvent(now, by, "demo payments", None, {"catalog": RETAIL.name, "payments": recorded}))
    tell(f"{recorded} payments of {min(len(shops), _PAYING)} shops, on {len(_PLANS)} plans.")
    return recorded


def _account(ledger: SqlLedger, shop: RegistryEntry) -> BusinessAccount:
    account = ledger.businesses.get(RETAIL.name, shop.business)
    assert account is not None  # noqa: S101  # it was registered just now
    return account


def _refuse_duplicate(own: SqlLedger, by: Actor) -> None:
    """Somebody sends the reference of a payment a second time; the audit says that it was refused."""
    for payment in own.payments.list(PaymentFilter(), limit=1):
        try:
            own.payments.add(replace(payment, number=0))
        except DuplicatePaymentError as error:
            detail = {"catalog": payment.catalog, "business": payment.business, "why": error.what}
            own.audit(AuditEvent(own.now(), by, "payment refused", None, detail))
