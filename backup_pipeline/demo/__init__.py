"""The demo systems: believable databases at any scale, the same rows every time. The ISP is there by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import resources

import psycopg
from psycopg import sql

from backup_pipeline.core.errors import RefusedError, SourceError, SourceUnavailableError, UsageError
from backup_pipeline.core.text import redact, redact_url, url_secrets

DEFAULT_ANCHOR = datetime(2026, 11, 20, 12, tzinfo=UTC)
LARGEST_SCALE = 1000.0


@dataclass(frozen=True)
class DemoSystem:
    """One demo: its database, the catalogs that describe it, and the role that its backups read with.

    `sizes` are the rows of its independent relations at scale 1, and the least there are: what is not there follows
    from it. `scripts` are files of the folder `name`, in stages that people are told of; a file of the package itself
    begins with `/`. `busy` is a table that gets rows every day, `small` the scale of a demo with a history (None: it
    has none). Of a system that many businesses share `businesses` is how many there are if nobody says: `sizes` are
    those of each.
    """

    name: str
    title: str
    role: str
    catalogs: Sequence[str]
    exported: Sequence[str]
    application: Sequence[str]
    sizes: Mapping[str, tuple[int, int]]
    scripts: Sequence[tuple[str, Sequence[str]]]
    busy: str
    small: float | None
    businesses: int | None = None

    @property
    def counted(self) -> Sequence[str]:
        """Every table that it has."""
        return (*self.exported, *self.application)

    def rows(self, scale: float, businesses: int | None = None) -> dict[str, int]:
        """How many rows the independent relations get at `scale`; at a small scale a handful of each is kept."""
        rows = {name: max(least, round(rows * scale)) for name, (rows, least) in self.sizes.items()}
        return rows | ({"businesses": businesses or self.businesses} if self.businesses else {})


ISP = DemoSystem(
    name="isp",
    title="ISP",
    role="isp_backup",
    catalogs=("isp", "isp_customers"),
    exported=(
        "areas", "billing_records", "call_records", "customers", "employees", "inventory_items", "invoice_items",
        "invoices", "leave_requests", "metered_usage_logs", "mikrotik_users", "packages", "payments", "payroll",
        "reminder_logs", "reseller_commissions", "reseller_customers", "resellers", "routers", "service_tasks",
        "stock_movements", "support_tickets", "ticket_comments", "transactions",
    ),
    application=("api_keys", "schema_migrations", "sessions"),
    sizes={
        "routers": (20, 3),
        "employees": (60, 6),
        "resellers": (25, 3),
        "customers": (7200, 60),
        "leave_requests": (300, 8),
        "expenses": (3000, 10),
        "support_tickets": (5400, 20),
        "service_tasks": (4000, 20),
        "inventory_items": (6000, 40),
        "metered_usage_logs": (4000, 10),
        "reminder_logs": (12000, 10),
        "call_records": (8000, 10),
        "sessions": (150, 3),
    },
    scripts=(
        ("tables", ("schema.sql", "schema_operations.sql", "/dice.sql", "vocabulary.sql")),
        ("areas, packages, staff", ("data_reference.sql", "plan.sql")),
        ("customers", ("data_customers.sql",)),
        ("invoices and payments", ("data_billing.sql",)),
        ("support, stock, messages", ("data_operations.sql",)),
        ("keys and indexes", ("constraints.sql",)),
        ("safe views and the backup role", ("views.sql", "roles.sql")),
    ),
    busy="service_tasks",
    small=0.02,
)  # fmt: skip
CAR_AUDIO = DemoSystem(
    name="car_audio",
    title="car audio",
    role="car_audio_backup",
    catalogs=("car_audio",),
    exported=("users", "profiles", "cms_pages", "organizations", "payments"),
    application=("schema_migrations",),
    sizes={"users": (1200, 12), "organizations": (80, 4), "cms_pages": (60, 5), "payments": (4000, 15)},
    scripts=(
        ("tables", ("schema.sql", "/dice.sql")),
        ("users, profiles, organizations, pages, payments", ("data.sql",)),
        ("keys, indexes and the backup role", ("constraints.sql",)),
    ),
    busy="payments",
    small=0.25,
)
SALES_PORTAL = DemoSystem(
    name="sales_portal",
    title="sales portal",
    role="sales_portal_backup",
    catalogs=("sales_portal",),
    exported=(
        "users",
        "sales",
        "appliances",
        "sms_logs",
        "generated_documents",
        "leads",
        "lead_disposition_history",
        "document_templates",
        "field_configurations",
        "lead_import_batches",
        "lead_to_sale_conversions",
        "email_log",
        "communication_log",
        "communication_summary_view",
    ),
    application=("_prisma_migrations",),
    sizes={
        "users": (30, 4),
        "sales": (900, 12),
        "sms_logs": (432, 12),
        "generated_documents": (156, 6),
        "document_templates": (8, 4),
        "lead_import_batches": (20, 2),
        "leads": (3000, 40),
        "field_configurations": (40, 4),
        "lead_to_sale_conversions": (200, 4),
        "email_log": (89, 11),
        "communication_log": (1500, 14),
    },
    scripts=(
        ("tables", ("schema.sql", "/dice.sql")),
        ("users, sales, leads, what was sent", ("data.sql",)),
        ("keys, indexes, the view and the backup role", ("constraints.sql",)),
    ),
    busy="communication_log",
    small=1.0,
)
RETAIL = DemoSystem(
    name="retail",
    title="retail",
    role="retail_backup",
    catalogs=("retail",),
    exported=("businesses", "products", "customers", "workers", "sales", "sale_items", "payments", "tax_rates"),
    application=("schema_migrations",),
    sizes={"products": (60, 4), "customers": (150, 6), "workers": (8, 2), "sales": (600, 12)},
    scripts=(
        ("tables", ("schema.sql", "/dice.sql")),
        ("businesses with their products, customers, workers, sales, payments", ("data.sql",)),
        ("keys, indexes and the backup role", ("constraints.sql",)),
    ),
    busy="payments",
    small=None,
    businesses=5,
)
MOST_BUSINESSES = 100_000
SYSTEMS = {system.name: system for system in (ISP, CAR_AUDIO, SALES_PORTAL, RETAIL)}

BACKUP_ROLE = ISP.role
EXPORTED_TABLES = ISP.exported
APPLICATION_TABLES = ISP.application

# Nothing that differs between servers may show in the rows or their order; commits need not wait for the disk.
_SESSION = """
    SET LOCAL timezone = 'UTC'; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL synchronize_seqscans = off;
    SET LOCAL jit = off; SET LOCAL work_mem = '64MB'; SET LOCAL maintenance_work_mem = '256MB';
    SET LOCAL synchronous_commit = off; SET LOCAL client_min_messages = warning;
    CREATE SCHEMA IF NOT EXISTS public; CREATE SCHEMA demo; SET LOCAL search_path = public, demo;
"""


@dataclass(frozen=True)
class DemoSummary:
    """What was made: rows of each table (counted), and how long it took."""

    rows: Mapping[str, int]
    seconds: float

    @property
    def total(self) -> int:
        """Rows of all tables together."""
        return sum(self.rows.values())


def system_exists(url: str, system: DemoSystem) -> bool:
    """Whether the database at `url` holds the whole demo. SourceUnavailableError when it can not be reached."""
    with _connected(url, system) as connection:
        return len(_present(connection, system)) == len(system.counted)


def create_system(
    url: str,
    system: DemoSystem,
    *,
    scale: float = 1.0,
    businesses: int | None = None,
    anchor: datetime | None = None,
    backup_password: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> DemoSummary:
    """Make the tables, rows, views and backup role of `system` in the database at `url`, in one transaction.

    `url` is a superuser's. The ISP at scale 1 has about 250 thousand rows. The rows depend on `scale`, `businesses` and
    `anchor` (the moment the demo takes for now; a day in November 2026 if not given) and on nothing else. With
    `backup_password` the backup role may log in; without, a new one may not, and an existing one stays as it is.
    Raises UsageError for a scale or anchor that can not be, RefusedError when one of the tables is there already,
    SourceError when the database says no; in each case nothing was changed.
    """
    moment = _checked(scale, anchor or DEFAULT_ANCHOR)
    _check_businesses(system, businesses)
    started = time.perf_counter()
    with _connected(url, system) as connection:
        with connection.transaction():
            _refuse_existing(connection, system)
            _prepare(connection, system.rows(scale, businesses), moment)
            _run_scripts(connection, system, progress)
            _let_in(connection, system.role, backup_password)
            rows = _counted(connection, system)
            connection.execute("DROP SCHEMA demo CASCADE")
        progress("statistics")
        # Now, so that autovacuum does not do it in the middle of the first backup.
        connection.execute("VACUUM (ANALYZE)")
    return DemoSummary(rows, time.perf_counter() - started)


def let_backup_role_in(url: str, password: str, system: DemoSystem = ISP) -> None:
    """Give the backup role of a demo that is there another password. `url` is a superuser's."""
    with _connected(url, system) as connection:
        _let_in(connection, system.role, password)


def live_a_day(url: str, system: DemoSystem, number: int) -> None:
    """Add what a day brings: two in a hundred rows of the busy table, the same for the same number."""
    copied = sql.SQL(
        "INSERT INTO public.{0} SELECT (jsonb_populate_record(row, jsonb_build_object("
        "'id', md5(row.id::text || {1})::uuid))).* FROM public.{0} row "
        "WHERE get_byte(decode(md5(row.id::text || {1}), 'hex'), 0) < 6"
    )
    with _connected(url, system) as connection:
        connection.execute(copied.format(sql.Identifier(system.busy), f"day {number}"))


def trade(url: str, system: DemoSystem, number: int, shops: int = 3) -> None:
    """Let a few businesses of `system` trade for a moment, in one transaction; another number, other shops."""
    text = resources.files(__package__).joinpath(system.name, "live.sql").read_text(encoding="utf-8")
    values = {"number": str(int(number)), "shops": str(int(shops))}
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    with _connected(url, system) as connection:
        connection.execute(text.encode())


def lose_rows(url: str, system: DemoSystem) -> None:
    """Delete three in four rows of the busy table, as a mistake would."""
    lost = sql.SQL("DELETE FROM public.{} row WHERE get_byte(decode(md5(row.id::text), 'hex'), 0) < 192")
    with _connected(url, system) as connection:
        connection.execute(lost.format(sql.Identifier(system.busy)))


create_isp = partial(create_system, system=ISP)
isp_exists = partial(system_exists, system=ISP)


def _checked(scale: float, anchor: datetime) -> datetime:
    if not 0 < scale <= LARGEST_SCALE:
        message = f"The demo's scale must be above 0 and at most {LARGEST_SCALE:g}, not {scale:g}."
        raise UsageError(message, do="Choose a scale such as 0.1 (25 thousand rows), 1, or 100 (25 million rows).")
    if anchor.utcoffset() is None:
        message = f"The demo's anchor {anchor.isoformat()} has no timezone."
        raise UsageError(message, do="Give it one, such as 2026-11-20T12:00:00+00:00.")
    return anchor


def _check_businesses(system: DemoSystem, businesses: int | None) -> None:
    if businesses is not None and not (system.businesses and 0 < businesses <= MOST_BUSINESSES):
        message = f"The demo {system.name} can not have {businesses:,} businesses."
        raise UsageError(message, do=f"Only retail has any: from 1 to {MOST_BUSINESSES:,}.")


@contextmanager
def _connected(url: str, system: DemoSystem) -> Iterator[psycopg.Connection]:
    """An autocommit connection to `url`, whose errors come out as SourceError."""
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=10, application_name=f"{system.title} demo")
    except psycopg.ProgrammingError as error:
        message = f"{redact_url(url)} is no PostgreSQL URL."
        raise UsageError(message, do="Write it as postgresql://user:password@host:port/database.") from error
    except psycopg.OperationalError as error:
        message = f"{redact_url(url)} can not be reached: {redact(str(error), *url_secrets(url)).strip()}"
        raise SourceUnavailableError(message, do="Check that the server runs and that the URL is right.") from error
    with connection:
        try:
            yield connection
        except psycopg.Error as error:
            message = f"The {system.title} demo could not be made in {redact_url(url)}: {error}"
            raise SourceError(message, do="Use a superuser's URL of an empty database, with disk to spare.") from error


def _present(connection: psycopg.Connection, system: DemoSystem) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass('public.' || name) IS NOT NULL ORDER BY name",
        [list(system.counted)],
    )
    return [name for (name,) in rows]


def _refuse_existing(connection: psycopg.Connection, system: DemoSystem) -> None:
    if present := _present(connection, system):
        message = f"Database {connection.info.dbname} already has {', '.join(present)}; nothing was changed."
        raise RefusedError(message, do="Create the demo in an empty database, or drop this one first.")


def _prepare(connection: psycopg.Connection, sizes: Mapping[str, int], anchor: datetime) -> None:
    """The session's settings, and the two functions that tell the scripts when it is and how much to make."""
    connection.execute(_SESSION)
    connection.execute(
        sql.SQL(
            "CREATE FUNCTION demo.anchor() RETURNS timestamptz IMMUTABLE LANGUAGE sql RETURN {}::timestamptz"
        ).format(anchor.astimezone(UTC).isoformat())
    )
    cases = sql.SQL(" ").join(
        sql.SQL("WHEN {} THEN {}").format(name, sql.SQL(str(rows))) for name, rows in sizes.items()
    )
    connection.execute(
        sql.SQL(
            "CREATE FUNCTION demo.size(relation text) RETURNS bigint IMMUTABLE LANGUAGE sql "
            "RETURN CASE relation {} END::bigint"
        ).format(cases)
    )


def _run_scripts(connection: psycopg.Connection, system: DemoSystem, progress: Callable[[str], None]) -> None:
    for stage, names in system.scripts:
        progress(stage)
        for name in names:
            place = (name[1:],) if name.startswith("/") else (system.name, name)
            connection.execute(resources.files(__package__).joinpath(*place).read_bytes())


def _let_in(connection: psycopg.Connection, role: str, password: str | None) -> None:
    """Let the backup role log in. Only the hash travels, so the password is in no server log."""
    if password is not None:
        verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
        statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
        connection.execute(statement.format(sql.Identifier(role), verifier.decode()))


def _counted(connection: psycopg.Connection, system: DemoSystem) -> dict[str, int]:
    counts = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {}, count(*) FROM public.{}").format(name, sql.Identifier(name)) for name in system.counted
    )
    return dict(connection.execute(counts).fetchall())
