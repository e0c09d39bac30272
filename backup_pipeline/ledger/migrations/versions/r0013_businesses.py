"""Businesses with their plans, payments and features; what analytics keeps of them; `super_admins`, a view of users.

    table               viewer   business_admin   admin   super_admin   pipeline_writer
    businesses          s        s own            s       siu           siu
    business_features   s        s own            s       siu           siu
    business_history    -        -                -       s             si
    plans               s        s                s       siu           siu
    payment_records     -        -                -       si            s
    analytics_cache     -        -                -       siu           siud
    super_admins        -        -                -       s             -        (and the console)

s, i, u, d: select, insert, update, delete. *own*: of one's businesses. Row-level security is forced on each table; the
view has the rights of whoever asks.

Whichever way a business changes, a row of `business_history` says what held from then on: what was paid for at an
earlier moment can always be counted again. A payment takes the kept day that it belongs to out of `analytics_cache`.
A business_admin asks for no restore of a business whose feature `restore_self_service` is off.

Events: `business.registered`, `business.changed`, `payment.verified` (with no amount: who may see events may not see
payments), and `system.status` for settings of the system and for schedules that are started or stopped.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from backup_pipeline.ledger.migrate import CONSOLE, WRITER

revision = "r0013"
down_revision = "r0012"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_MONEY = sa.Numeric(14, 2)
VIEWER, OWN_ADMIN, ADMIN, SUPER = "backup_viewer", "backup_business_admin", "admin", "super_admin"
_OWN = "business = ANY (string_to_array(current_setting('backup.businesses', true), ','))"
_ASKS = "restore_requests_insert_backup_business_admin ON restore_requests"
_MAY_ASK = f"{_OWN} AND actor = nullif(current_setting('backup.actor', true), '') AND status = 'requested'"
_SWITCHED_OFF = (
    "EXISTS (SELECT FROM business_features AS f WHERE f.catalog = restore_requests.catalog "
    "AND f.business = restore_requests.business AND f.feature = 'restore_self_service' AND NOT f.enabled)"
)
_TABLES = ("plans", "businesses", "business_features", "business_history", "payment_records", "analytics_cache")


def upgrade() -> None:
    """Make the tables, their policies, the view and the triggers."""
    _make_accounts()
    _make_money()
    for table in _TABLES:
        _close(table)
    _let_people_see()
    _let_people_write()
    op.execute(
        "CREATE VIEW super_admins WITH (security_invoker = true) AS "
        "SELECT id, name, created_at, last_login_at, disabled_at FROM users WHERE role = 'super_admin'"
    )
    op.execute("REVOKE ALL ON super_admins FROM PUBLIC")
    op.execute(f"GRANT SELECT ON super_admins TO {SUPER}, {CONSOLE}")
    op.execute(f"ALTER POLICY {_ASKS} WITH CHECK ({_MAY_ASK} AND NOT {_SWITCHED_OFF})")
    op.create_index("realtime_events_kind", "realtime_events", ["kind", "id"])
    _write_history()
    _make_events()


def downgrade() -> None:
    """Undo it."""
    for number, (_, table, *_) in enumerate(_EVENTS):
        op.execute(f"DROP TRIGGER {table}_money_event_{number} ON {table}")
    op.drop_index("realtime_events_kind", "realtime_events")
    op.execute(f"ALTER POLICY {_ASKS} WITH CHECK ({_MAY_ASK})")
    op.execute("DROP VIEW super_admins")
    op.execute(f"DROP TABLE {', '.join(_TABLES)}")
    op.execute("DROP FUNCTION business_history_row()")
    op.execute("DROP FUNCTION payment_reopens_day()")


def _make_accounts() -> None:
    op.create_table(
        "businesses",
        _number(),
        *_key(),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("registered_at", _INSTANT, nullable=False),
        sa.Column("plan", sa.Text),
        *_price(nullable=True),
        sa.Column("payment_status", sa.Text, nullable=False, server_default="none"),
        sa.Column("next_payment_date", sa.Date),
        sa.Column("billing_day", sa.SmallInteger),
        sa.Column("credit", _MONEY, nullable=False, server_default=sa.text("0")),
        sa.Column("quota_bytes", sa.BigInteger),
        *_written(),
        sa.UniqueConstraint("catalog", "business", name="businesses_key"),
        _check("businesses", "status", "active inactive gone"),
        _check("businesses", "payment_status", "none unpaid paid"),
        sa.CheckConstraint(
            "num_nonnulls(plan, price, currency, period, next_payment_date, billing_day) IN (0, 6)",
            name="businesses_plan_check",
        ),
        sa.CheckConstraint("price > 0 AND credit >= 0 AND quota_bytes > 0", name="businesses_amounts_check"),
    )
    op.create_table(
        "business_features",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("catalog", "business", "feature")),
        sa.Column("enabled", sa.Boolean, nullable=False),
        *_written(),
    )
    op.create_table(
        "business_history",
        _number(),
        *_key(),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("plan", sa.Text),
        *_price(nullable=True),
        sa.Column("next_payment_date", sa.Date),
    )
    op.create_index("business_history_of_business", "business_history", ["catalog", "business", "at"])


def _make_money() -> None:
    op.create_table(
        "plans",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        *_price(nullable=False),
        sa.Column("offered", sa.Boolean, nullable=False, server_default=sa.text("true")),
        *_written(),
        sa.CheckConstraint("price > 0", name="plans_price_check"),
        _check("plans", "period", "month quarter half_year year"),
    )
    op.create_table(
        "payment_records",
        _number(),
        *_key(),
        sa.Column("plan", sa.Text, nullable=False),
        *_price(nullable=False),
        sa.Column("amount", _MONEY, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("method", "reference", "status")),
        sa.Column("periods", sa.Integer, nullable=False),
        sa.Column("credit_before", _MONEY, nullable=False),
        sa.Column("credit_after", _MONEY, nullable=False),
        sa.Column("paid_at", _INSTANT, nullable=False),
        sa.Column("verified_at", _INSTANT, nullable=False),
        sa.Column("verified_by", sa.Text, nullable=False),
        sa.Column("next_payment_date", sa.Date, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("actor", sa.Text, nullable=False),
        sa.UniqueConstraint("method", "reference", name="payment_records_reference"),
        sa.CheckConstraint("amount > 0 AND price > 0 AND periods > 0", name="payment_records_amounts_check"),
        _check("payment_records", "status", "verified accepted"),
    )
    op.create_index("payment_records_of_business", "payment_records", ["catalog", "business", "id"])
    op.create_index("payment_records_paid_at", "payment_records", ["paid_at"])
    op.create_table(
        "analytics_cache",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("type", "business", "range")),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("computed_at", _INSTANT, nullable=False),
        sa.Column("document", JSONB, nullable=False),
    )


def _number() -> sa.Column[object]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def _key() -> list[sa.Column[object]]:
    return [sa.Column("catalog", sa.Text, nullable=False), sa.Column("business", sa.Text, nullable=False)]


def _price(*, nullable: bool) -> list[sa.Column[object]]:
    return [
        sa.Column("price", _MONEY, nullable=nullable),
        sa.Column("currency", sa.Text, nullable=nullable),
        sa.Column("period", sa.Text, nullable=nullable),
    ]


def _written() -> list[sa.Column[object]]:
    return [sa.Column("updated_at", _INSTANT, nullable=False), sa.Column("actor", sa.Text, nullable=False)]


def _check(table: str, column: str, values: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values.split())
    return sa.CheckConstraint(f"{column} IN ({listed})", name=f"{table}_{column}_check")


def _close(table: str) -> None:
    """Nobody, the owner included, has any right on a table but those that are given below."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
    op.execute(f"REVOKE SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {table} FROM CURRENT_USER")


def _allow(table: str, roles: tuple[str, ...], command: str, rows: str = "true") -> None:
    using = "" if command == "INSERT" else f"USING ({rows})"
    checked = f"WITH CHECK ({rows})" if command in {"INSERT", "UPDATE"} else ""
    for role in roles:
        op.execute(f"GRANT {command} ON {table} TO {role}")
        policy = f"{table}_{command.lower()}_{role}"
        op.execute(f"CREATE POLICY {policy} ON {table} FOR {command} TO {role} {using} {checked}")


def _let_people_see() -> None:
    for table in ("businesses", "business_features"):
        _allow(table, (VIEWER, ADMIN, SUPER, WRITER), "SELECT")
        _allow(table, (OWN_ADMIN,), "SELECT", _OWN)
    _allow("plans", (VIEWER, OWN_ADMIN, ADMIN, SUPER, WRITER), "SELECT")
    for table in ("business_history", "payment_records", "analytics_cache"):
        _allow(table, (SUPER, WRITER), "SELECT")


def _let_people_write() -> None:
    for command in ("INSERT", "UPDATE"):
        for table in ("businesses", "business_features", "plans", "analytics_cache"):
            _allow(table, (SUPER, WRITER), command)
    _allow("payment_records", (SUPER,), "INSERT")
    _allow("business_history", (WRITER,), "INSERT")
    _allow("analytics_cache", (WRITER,), "DELETE")


# Rights of its owner: whoever changes a business writes no history otherwise.
_HISTORY = """
CREATE FUNCTION business_history_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO {schema}.business_history
        (catalog, business, at, status, plan, price, currency, period, next_payment_date)
    VALUES (
        NEW.catalog, NEW.business,
        CASE WHEN TG_OP = 'INSERT' OR NEW.updated_at IS DISTINCT FROM OLD.updated_at
             THEN NEW.updated_at ELSE clock_timestamp() END,
        NEW.status, NEW.plan, NEW.price, NEW.currency, NEW.period, NEW.next_payment_date);
    RETURN NULL;
END $$
"""
_REOPENED = """
CREATE FUNCTION payment_reopens_day() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Who keeps days (SqlAnalytics.alone) waits for this payment, or this payment for what was kept.
    PERFORM pg_advisory_xact_lock(hashtextextended('analytics' || chr(31) || 'day' || chr(31) || chr(31), 0));
    DELETE FROM {schema}.analytics_cache
    WHERE type = 'day' AND range = to_char(NEW.paid_at AT TIME ZONE 'Asia/Dhaka', 'YYYY-MM-DD');
    RETURN NULL;
END $$
"""
_FACTS = "status, plan, price, currency, period, next_payment_date"


def _write_history() -> None:
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    op.execute(_HISTORY.format(schema=schema))
    op.execute(_REOPENED.format(schema=schema))
    before, after = (", ".join(f"{row}.{name.strip()}" for name in _FACTS.split(",")) for row in ("OLD", "NEW"))
    op.execute(
        "CREATE TRIGGER businesses_added AFTER INSERT ON businesses "
        "FOR EACH ROW EXECUTE FUNCTION business_history_row()"
    )
    op.execute(
        f"CREATE TRIGGER businesses_changed AFTER UPDATE ON businesses FOR EACH ROW "
        f"WHEN (({before}) IS DISTINCT FROM ({after})) EXECUTE FUNCTION business_history_row()"
    )
    op.execute(
        "CREATE TRIGGER payment_records_reopen AFTER INSERT ON payment_records "
        "FOR EACH ROW EXECUTE FUNCTION payment_reopens_day()"
    )


_CHANGED = (
    "(OLD.name, OLD.status, OLD.plan, OLD.price, OLD.next_payment_date, OLD.quota_bytes, OLD.credit) "
    "IS DISTINCT FROM (NEW.name, NEW.status, NEW.plan, NEW.price, NEW.next_payment_date, NEW.quota_bytes, NEW.credit)"
)
_EVENTS = (
    # kind, table, subject, what of the row, on which commands, when
    ("business.registered", "businesses", "name", "status", "INSERT", "true"),
    ("business.changed", "businesses", "name", "status", "UPDATE", _CHANGED),
    ("business.changed", "business_features", "feature", "feature enabled", "INSERT", "true"),
    ("business.changed", "business_features", "feature", "feature enabled", "UPDATE", "OLD.enabled <> NEW.enabled"),
    ("payment.verified", "payment_records", "id", "status", "INSERT", "true"),
    ("system.status", "system_settings", "key", "key", "INSERT", "true"),
    ("system.status", "system_settings", "key", "key", "UPDATE", "OLD.value IS DISTINCT FROM NEW.value"),
    ("system.status", "backup_audit", "action", "action detail", "INSERT",
     "NEW.action IN ('schedule started', 'schedule stopped')"),
)  # fmt: skip


def _make_events() -> None:
    for number, (kind, table, subject, columns, command, when) in enumerate(_EVENTS):
        op.execute(
            f"CREATE CONSTRAINT TRIGGER {table}_money_event_{number} AFTER {command} ON {table} "
            f"DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ({when}) "
            f"EXECUTE FUNCTION realtime_event('{kind}', '{subject}', '{columns}')"
        )
