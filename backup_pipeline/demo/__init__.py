"""The ISP demo: the database of an internet provider in Bangladesh, at any scale, the same rows every time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources

import psycopg
from psycopg import sql

from backup_pipeline.core.errors import RefusedError, SourceError, SourceUnavailableError, UsageError
from backup_pipeline.core.text import redact, redact_url, url_secrets

BACKUP_ROLE = "isp_backup"
DEFAULT_ANCHOR = datetime(2026, 11, 20, 12, tzinfo=UTC)
LARGEST_SCALE = 1000.0

EXPORTED_TABLES = (
    "areas", "billing_records", "call_records", "customers", "employees", "inventory_items", "invoice_items",
    "invoices", "leave_requests", "metered_usage_logs", "mikrotik_users", "packages", "payments", "payroll",
    "reminder_logs", "reseller_commissions", "reseller_customers", "resellers", "routers", "service_tasks",
    "stock_movements", "support_tickets", "ticket_comments", "transactions",
)  # fmt: skip
APPLICATION_TABLES = ("api_keys", "schema_migrations", "sessions")

# Rows at scale 1, and the least there are. What is not here follows from it: invoices from customers, and so on.
_SIZES = {
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
}
_SCRIPTS = (
    ("tables", ("schema.sql", "schema_operations.sql", "vocabulary.sql")),
    ("areas, packages, staff", ("data_reference.sql", "plan.sql")),
    ("customers", ("data_customers.sql",)),
    ("invoices and payments", ("data_billing.sql",)),
    ("support, stock, messages", ("data_operations.sql",)),
    ("keys and indexes", ("constraints.sql",)),
    ("safe views and the backup role", ("views.sql", "roles.sql")),
)
# Nothing that differs between servers may show in the rows or their order; commits need not wait for the disk.
_SESSION = """
    SET LOCAL timezone = 'UTC'; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL synchronize_seqscans = off;
    SET LOCAL jit = off; SET LOCAL work_mem = '64MB'; SET LOCAL maintenance_work_mem = '256MB';
    SET LOCAL synchronous_commit = off; SET LOCAL client_min_messages = warning;
    CREATE SCHEMA IF NOT EXISTS public; CREATE SCHEMA isp_demo; SET LOCAL search_path = public, isp_demo;
"""


@dataclass(frozen=True)
class IspSummary:
    """What was made: rows of each table (counted), and how long it took."""

    rows: Mapping[str, int]
    seconds: float

    @property
    def total(self) -> int:
        """Rows of all tables together."""
        return sum(self.rows.values())


def sizes(scale: float) -> dict[str, int]:
    """How many rows the independent tables get at `scale`; at a small scale a handful of each is kept."""
    return {name: max(least, round(rows * scale)) for name, (rows, least) in _SIZES.items()}


def isp_exists(url: str) -> bool:
    """Whether the database at `url` holds the whole demo. SourceUnavailableError when it can not be reached."""
    with _connected(url) as connection:
        return len(_present(connection)) == len(EXPORTED_TABLES + APPLICATION_TABLES)


def create_isp(
    url: str,
    *,
    scale: float = 1.0,
    anchor: datetime | None = None,
    backup_password: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> IspSummary:
    """Make the ISP's tables, rows, safe views and backup role in the database at `url`, in one transaction.

    `url` is a superuser's. Scale 1 is about 250 thousand rows. The rows depend on `scale` and `anchor` (the moment the
    demo takes for now; a day in November 2026 if not given) and on nothing else. With `backup_password` the role
    `isp_backup` may log in; without, a new one may not, and an existing one stays as it is.
    Raises UsageError for a scale or anchor that can not be, RefusedError when one of the tables is there already,
    SourceError when the database says no; in each case nothing was changed.
    """
    moment = _checked(scale, anchor or DEFAULT_ANCHOR)
    started = time.perf_counter()
    with _connected(url) as connection:
        with connection.transaction():
            _refuse_existing(connection)
            _prepare(connection, scale, moment)
            _run_scripts(connection, progress)
            _let_in(connection, backup_password)
            rows = _counted(connection)
            connection.execute("DROP SCHEMA isp_demo CASCADE")
        progress("statistics")
        # Now, so that autovacuum does not do it in the middle of the first backup.
        connection.execute("VACUUM (ANALYZE)")
    return IspSummary(rows, time.perf_counter() - started)


def let_backup_role_in(url: str, password: str) -> None:
    """Give the backup role of a demo that is there another password. `url` is a superuser's."""
    with _connected(url) as connection:
        _let_in(connection, password)


def _checked(scale: float, anchor: datetime) -> datetime:
    if not 0 < scale <= LARGEST_SCALE:
        message = f"The demo's scale must be above 0 and at most {LARGEST_SCALE:g}, not {scale:g}."
        raise UsageError(message, do="Choose a scale such as 0.1 (25 thousand rows), 1, or 100 (25 million rows).")
    if anchor.utcoffset() is None:
        message = f"The demo's anchor {anchor.isoformat()} has no timezone."
        raise UsageError(message, do="Give it one, such as 2026-11-20T12:00:00+00:00.")
    return anchor


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection]:
    """An autocommit connection to `url`, whose errors come out as SourceError."""
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=10, application_name="isp demo")
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
            message = f"The ISP demo could not be made in {redact_url(url)}: {error}"
            raise SourceError(message, do="Use a superuser's URL of an empty database, with disk to spare.") from error


def _present(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass('public.' || name) IS NOT NULL ORDER BY name",
        [list(EXPORTED_TABLES + APPLICATION_TABLES)],
    )
    return [name for (name,) in rows]


def _refuse_existing(connection: psycopg.Connection) -> None:
    if present := _present(connection):
        message = f"Database {connection.info.dbname} already has {', '.join(present)}; nothing was changed."
        raise RefusedError(message, do="Create the demo in an empty database, or drop this one first.")


def _prepare(connection: psycopg.Connection, scale: float, anchor: datetime) -> None:
    """The session's settings, and the two functions that tell the scripts when it is and how much to make."""
    connection.execute(_SESSION)
    connection.execute(
        sql.SQL(
            "CREATE FUNCTION isp_demo.anchor() RETURNS timestamptz IMMUTABLE LANGUAGE sql RETURN {}::timestamptz"
        ).format(anchor.astimezone(UTC).isoformat())
    )
    cases = sql.SQL(" ").join(
        sql.SQL("WHEN {} THEN {}").format(name, sql.SQL(str(rows))) for name, rows in sizes(scale).items()
    )
    connection.execute(
        sql.SQL(
            "CREATE FUNCTION isp_demo.size(relation text) RETURNS bigint IMMUTABLE LANGUAGE sql "
            "RETURN CASE relation {} END::bigint"
        ).format(cases)
    )


def _run_scripts(connection: psycopg.Connection, progress: Callable[[str], None]) -> None:
    for stage, names in _SCRIPTS:
        progress(stage)
        for name in names:
            connection.execute(resources.files(__package__).joinpath("isp", name).read_bytes())


def _let_in(connection: psycopg.Connection, password: str | None) -> None:
    """Let the backup role log in. Only the hash travels, so the password is in no server log."""
    if password is not None:
        verifier = connection.pgconn.encrypt_password(password.encode(), BACKUP_ROLE.encode(), b"scram-sha-256")
        statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
        connection.execute(statement.format(sql.Identifier(BACKUP_ROLE), verifier.decode()))


def _counted(connection: psycopg.Connection) -> dict[str, int]:
    counts = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {}, count(*) FROM public.{}").format(name, sql.Identifier(name))
        for name in EXPORTED_TABLES + APPLICATION_TABLES
    )
    return dict(connection.execute(counts).fetchall())
