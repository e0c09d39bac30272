"""The port to businesses, and to what they pay: accounts, features, plans, payments."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backup_pipeline.core.payments import PaymentFilter, PaymentRecord, Plan
    from backup_pipeline.core.payments.accounts import (
        AccountFilter,
        AccountStatus,
        BusinessAccount,
        Feature,
        RegistryChanges,
        RegistryEntry,
    )
    from backup_pipeline.core.payments.analytics import BackupCounts, DayFacts, HeldState, KeptAnalysis, RevenuePart
    from backup_pipeline.core.scope import Actor


class BusinessAccounts(Protocol):
    """The businesses of a ledger, as far as whoever asks may see them. Every failure is a LedgerError."""

    def register(self, catalog: str, entries: Sequence[RegistryEntry], actor: Actor, now: datetime) -> RegistryChanges:
        """Write what the registry of a source says: who is new, who has changed, and who is there no more.

        `entries` is the whole registry. What is as before is not written: a look every five minutes costs a read.
        """

    def list(
        self, wanted: AccountFilter, *, after: tuple[str, str] | None = None, limit: int | None = None
    ) -> Sequence[BusinessAccount]:
        """Businesses by catalog and key: those after a catalog and a key, at most `limit`."""

    def get(self, catalog: str, business: str, *, lock: bool = False) -> BusinessAccount | None:
        """A business; with `lock` nobody changes it before the transaction (`Ledger.at_once`) ends."""

    def of_key(self, business: str) -> Sequence[BusinessAccount]:
        """The businesses of that key, of whichever catalog."""

    def names(self, keys: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
        """The names of businesses, by catalog and key."""

    def put(self, account: BusinessAccount, actor: Actor) -> None:
        """Write what is ours of a business: its plan, price, payments, credit and quota. NotFoundError without one."""

    def features(self, catalog: str, business: str) -> Mapping[Feature, bool]:
        """What was switched for a business; what is not in it is as the feature's default says."""

    def switch(self, account: BusinessAccount, feature: Feature, enabled: bool, actor: Actor, now: datetime) -> None:  # noqa: FBT001
        """Switch a feature of a business."""

    def paused(self, catalog: str) -> frozenset[str]:
        """The keys of the businesses whose feature `backups` is off."""


class Payments(Protocol):
    """Plans and payments. Every failure is a LedgerError."""

    def plans(self) -> Sequence[Plan]:
        """All, by name."""

    def plan(self, name: str) -> Plan | None:
        """The plan of that name."""

    def put_plan(self, plan: Plan, actor: Actor, now: datetime) -> None:
        """Add a plan, or write it in place of the one of its name; businesses that are on it keep their price."""

    def add(self, record: PaymentRecord) -> PaymentRecord:
        """Add a payment; with its number. DuplicatePaymentError where method and reference are there already."""

    def list(
        self, wanted: PaymentFilter, *, before: int | None = None, limit: int | None = None
    ) -> Sequence[PaymentRecord]:
        """Payments, newest first: those with a smaller number than `before`, at most `limit`."""

    def totals(self, wanted: PaymentFilter) -> Sequence[tuple[str, Decimal, int]]:
        """What was paid in all: a currency, its amount, and how many payments."""


class AnalyticsRows(Protocol):
    """What analytics reads, and keeps. Days are those of the money's timezone. Every failure is a LedgerError."""

    def history(self, catalog: str | None = None, business: str | None = None) -> Sequence[HeldState]:
        """What held of every business, or of one, in the order of businesses and of time."""

    def revenue(
        self, since: datetime, until: datetime, catalog: str | None = None, business: str | None = None
    ) -> Mapping[date, Sequence[RevenuePart]]:
        """What was paid on each day, by currency, plan and method; days without any are not there."""

    def kept_days(self, since: date) -> Sequence[DayFacts]:
        """The days that are kept, the oldest first."""

    def keep_days(self, days: Sequence[DayFacts], now: datetime) -> None:
        """Keep days that are over; a payment that comes later for one of them takes it out again."""

    def answer(self, key: tuple[str, str, str], kinds: Sequence[str]) -> tuple[int, KeptAnalysis | None]:
        """The newest event of these kinds, and the answer that is kept under a key: one question."""

    def keep_answer(self, key: tuple[str, str, str], answer: KeptAnalysis) -> None:
        """Keep an answer, in place of the one before."""

    def forget(self, before: datetime) -> int:
        """Remove answers of before, which nobody is given any more; kept days stay. How many."""

    def alone(self, key: tuple[str, str, str]) -> None:
        """Wait until nobody else computes the answer; until the transaction ends (`Ledger.at_once`) nobody does."""

    def protection(self, since: datetime, catalog: str | None = None, business: str | None = None) -> BackupCounts:
        """How backups stand: those that ended since then, what is stored, and what waits for somebody."""

    def standings(self) -> Mapping[AccountStatus, int]:
        """How many businesses the registries call what."""
