"""Payments for programs: verified as a person verifies them, in the name of a super admin.

POST /functions/v1/payment-verification  · /api/v1/payments
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from backup_pipeline.core.access.api_keys import KeyPermission
from backup_pipeline.core.payments import PaymentRecord, PaymentRequest
from backup_pipeline.core.payments.accounts import PaymentStatus
from backup_pipeline.operations.payments import MoneyPorts, verify_payment
from backup_pipeline.web.api import CallerOf, IdempotencyKey, api_router, takes

router = api_router("Payments")

_Text = Annotated[str, Field(min_length=1, max_length=200)]


class PaymentOrder(BaseModel):
    """A payment that a super admin has looked at. `accept_reason`: why less than the price is taken."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "business_id": "uuid",
                    "payment_amount": 200.00,
                    "payment_method": "bank_transfer",
                    "payment_reference": "TXN123456",
                    "verified_by": "admin_uuid",
                }
            ]
        },
    )

    business_id: _Text = Field(description="The business's key in the registry of its source.")
    payment_amount: Decimal = Field(gt=0, max_digits=11, decimal_places=2)
    payment_method: _Text
    payment_reference: _Text = Field(description="Unique within its method.")
    verified_by: _Text = Field(description="A super admin: the name, or the number.")
    catalog: _Text | None = Field(default=None, description="The system, where several have that business.")
    paid_at: datetime | None = Field(default=None, description="Now, where it is not given.")
    accept_reason: str = Field(default="", max_length=1_000)


class PaymentDocument(BaseModel):
    """A payment that was verified. Amounts are texts with two places; `credit` is what is left over."""

    payment_id: int
    catalog: str
    business_id: str
    status: str
    payment_status: str
    plan: str
    price: Decimal
    currency: str
    period: str
    payment_amount: Decimal
    payment_method: str
    payment_reference: str
    periods: int
    credit: Decimal
    paid_at: datetime
    verified_at: datetime
    verified_by: str
    next_payment_date: date
    reason: str

    @classmethod
    def of(cls, record: PaymentRecord) -> Self:
        """The document of a record."""
        return cls(
            payment_id=record.number,
            catalog=record.catalog,
            business_id=record.business,
            status=record.status.value,
            payment_status=PaymentStatus.PAID.value,
            plan=record.plan,
            price=record.price.amount,
            currency=record.price.currency,
            period=record.price.period.value,
            payment_amount=record.amount,
            payment_method=record.method,
            payment_reference=record.reference,
            periods=record.periods,
            credit=record.credit_after,
            paid_at=record.paid_at,
            verified_at=record.verified_at,
            verified_by=record.verified_by,
            next_payment_date=record.next_payment_date,
            reason=record.reason,
        )


@router.post("/functions/v1/payment-verification", **takes(KeyPermission.PAYMENTS_VERIFY))
@router.post("/api/v1/payments", **takes(KeyPermission.PAYMENTS_VERIFY))
def verify(
    caller: CallerOf,
    order: PaymentOrder,
    idempotency_key: IdempotencyKey = None,  # the route has looked at it
) -> PaymentDocument:
    """Verify a payment against the plan of its business, and say when the next one is due."""
    request = PaymentRequest(
        business=order.business_id,
        amount=order.payment_amount,
        method=order.payment_method,
        reference=order.payment_reference,
        verified_by=order.verified_by,
        catalog=order.catalog,
        paid_at=order.paid_at,
        accept=order.accept_reason,
    )
    return PaymentDocument.of(verify_payment(request, MoneyPorts(caller.ledger, caller.ports.clock), caller.actor))
