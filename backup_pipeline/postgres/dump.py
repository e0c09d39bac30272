"""The database's DDL in the snapshot, by pg_dump: the same text for the same schema, and no secret in it."""

from __future__ import annotations

import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg.conninfo import make_conninfo

from backup_pipeline.core.errors import BackupError, SourceError, SourceUnavailableError
from backup_pipeline.core.text import HIDDEN, full_name_sql, looks_secret
from backup_pipeline.postgres.connection import Endpoint, Patience, application_of
from backup_pipeline.postgres.errors import way_out
from backup_pipeline.postgres.programs import Program
from backup_pipeline.postgres.session import relation_sql

# Subscriptions carry the password of another server; roles and tablespaces are not the database's own.
_OPTIONS = ("--schema-only", "--no-owner", "--no-privileges", "--no-tablespaces", "--no-subscriptions", "--no-password")
_RANDOM_LINES = re.compile(r"^\\(?:un)?restrict .*\n", re.MULTILINE)
_SERVERS = re.compile(r"^CREATE (?:SERVER|USER MAPPING) .*?;$", re.MULTILINE | re.DOTALL)
_SERVER_OPTION = re.compile(r"^(\s+\"?)(\w+)(\"? )'(?:[^']|'')*'", re.MULTILINE)
_LOST = re.compile("server closed the connection|could not receive data|timeout expired|[Cc]onnection re(?:set|fused)")
_SERVICE = "backup_pipeline"
_FIRST_ENTRY = "\n--\n-- Name: "
_SET_LINE = re.compile(r"^SET (\w+) = .*;\n", re.MULTILINE)
# Since their releases of November 2026 servers number the definitions of columns in an option that nobody can set.
_COLUMN_OPTIONS = re.compile(
    r"^(ALTER (?:FOREIGN )?TABLE ONLY .+ ALTER COLUMN .+ SET \()([a-z_]+=[^,()]+(?:, [a-z_]+=[^,()]+)*)\);\n",
    re.MULTILINE,
)
_COLUMN_VERSION = "pg_attver="
_NO_OPTIONS = (
    "The pooler passes no `options` on, and settings of the role or database would change what pg_dump writes: "
    "ALTER ROLE … SET quote_all_identifiers = off, lc_monetary = 'C' and whatever else differs from PostgreSQL's own "
    "defaults; or name the server itself in the URL."
)
# What pg_dump, in English here, says behind the server's message; then come the names of all tables.
_LOCKING = re.compile(r" ?pg_dump: (?:detail|error): [Qq]uery was: LOCK TABLE.*")
_UNREACHABLE = "Check that the server runs and the network to it; then run it again."

SETTING_NAMES = "SELECT name FROM pg_settings"
"""The settings that the server knows."""
LOCKED_OUT = """
SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND NOT coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), false)
ORDER BY 1, 2"""
"""The relations that pg_dump could not lock with the role's rights."""


@dataclass(frozen=True)
class DumpOptions:
    """What pg_dump is run with: the program, its connection, and what libpq needs from our environment.

    `session` are the settings that its session starts with, as libpq's `options`.
    """

    program: Program
    endpoint: Endpoint
    connect_timeout_s: int
    environment: Mapping[str, str]
    session: str = ""
    role: str = "schema"

    @property
    def application(self) -> str:
        """What its session is called in the server's views."""
        return application_of(self.role)


def loadable(sql: str, settings: Collection[str]) -> str:
    """`sql` for the server it came from, which has these `settings`, whichever release of pg_dump wrote it.

    A newer one sets what its own release brought; an older one writes down what the server keeps for itself.
    """
    begin, mark, rest = sql.partition(_FIRST_ENTRY)
    known = {name.lower() for name in settings}
    begin = _SET_LINE.sub(lambda line: line[0] if line[1].lower() in known else "", begin)
    return _COLUMN_OPTIONS.sub(_without_version, begin + mark + rest)


def _without_version(statement: re.Match[str]) -> str:
    options = [option for option in statement[2].split(", ") if not option.startswith(_COLUMN_VERSION)]
    return f"{statement[1]}{', '.join(options)});\n" if options else ""


class SchemaDump:
    """One run of pg_dump; `cancel` ends it from any thread, and so does `patience` that is over."""

    def __init__(self, options: DumpOptions, patience: Patience, blocked: Callable[[], str] = str) -> None:
        """`blocked` says who holds a lock that pg_dump waited for; empty when that is not known."""
        self._options = options
        self._blocked = blocked
        self._started_at = 0.0
        self._endpoint = options.endpoint
        self._patience = patience
        self._guard = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._canceled = False

    def run(self, snapshot_id: str, *, without: Sequence[tuple[str, str]], lock_timeout_s: float) -> str:
        """The DDL in the snapshot. Relations of `without` are left out, and a comment at the top names them."""
        chosen = [f"--exclude-table={relation_sql(relation)}" for relation in without]
        chosen += [f"--lock-wait-timeout={round(lock_timeout_s * 1000)}"] if lock_timeout_s else []
        text = self._text([f"--snapshot={snapshot_id}", *chosen])
        return _preface(without) + _without_secrets(_RANDOM_LINES.sub("", text))

    def try_it(self) -> None:
        """Connect, and dump nothing; the error that `run` would meet."""
        self._text(["--exclude-schema=*"])

    def _text(self, arguments: Sequence[str]) -> str:
        conninfo, hidden = self._endpoint.child_conninfo(self._options.role, self._options.connect_timeout_s)
        with self._options.program.environment() as (variables, library), _secrets(hidden) as (secret, descriptors):
            named = make_conninfo(conninfo, **self._more(by_service=bool(descriptors)))
            command = [str(self._options.program.path), *_OPTIONS, *arguments, f"--dbname={named}"]
            with self._guard:
                if self._canceled:
                    return ""
                environment = {**self._options.environment, **variables, **secret, "LC_ALL": "C"}
                self._started_at = time.monotonic()
                self._process = _started(command, environment, [*library, *descriptors])
            text, complaint = self._heard(self._process)
        if self._process.returncode:
            raise self._failed(complaint or f"it ended with {self._process.returncode} and no message")
        return text

    def _more(self, *, by_service: bool) -> dict[str, str]:
        """Parameters beside the connection's own. Of its options those come last that we give, and so count."""
        options = f"{self._endpoint.parameters.get('options', '')} {self._options.session}".strip()
        return {**({"options": options} if options else {}), **({"service": _SERVICE} if by_service else {})}

    @property
    def application(self) -> str:
        """What its session is called in the server's views."""
        return self._options.application

    def runs_for(self, seconds: float) -> bool:
        """Whether it runs, and has done so for so long."""
        process = self._process
        return process is not None and process.poll() is None and time.monotonic() - self._started_at >= seconds

    def cancel(self) -> None:
        """End pg_dump, if it runs; a later `run` does nothing."""
        with self._guard:
            self._canceled = True
            if self._process:
                self._process.terminate()

    def _heard(self, process: subprocess.Popen[bytes]) -> tuple[str, str]:
        """What it says up to its end, to the byte: a name or a function may have a carriage return in it."""
        try:
            text, complaint = process.communicate(timeout=self._patience.seconds or None)
            return text.decode(), complaint.decode(errors="replace")
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        message = f"pg_dump read the schema of {self._endpoint} for {self._patience.seconds:g} s and came to no end."
        raise SourceUnavailableError(message, do=_UNREACHABLE)

    def _failed(self, complaint: str) -> BackupError:
        detail = self._endpoint.redact(" ".join(complaint.split()))
        if _LOST.search(detail):
            return SourceUnavailableError(f"pg_dump lost its connection to {self._endpoint}: {detail}", do=_UNREACHABLE)
        detail, locking = _LOCKING.subn("", detail)
        if locking and (blocked := self._blocked()):
            message = f"pg_dump could not lock the tables of {self._endpoint}, to read the schema. {blocked}"
            return SourceUnavailableError(message, do=way_out(blocked))
        do = _NO_OPTIONS if "unsupported startup parameter" in detail else "Look at its message."
        return SourceError(f"pg_dump could not read the schema of {self._endpoint}: {detail}", do=do)


def _started(
    command: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=environment,
        pass_fds=descriptors,
    )


@contextmanager
def _secrets(hidden: Mapping[str, str]) -> Iterator[tuple[Mapping[str, str], Sequence[int]]]:
    """Variables, and descriptors to inherit, by which a program gets secrets that no other may see.

    A password goes by its variable. The others have none: they go by a service file without a name, in memory.
    """
    password = {"PGPASSWORD": hidden["password"]} if "password" in hidden else {}
    others = {name: value for name, value in hidden.items() if name != "password"}
    if not others:
        yield password, ()
        return
    with tempfile.TemporaryFile() as file:
        file.write(f"[{_SERVICE}]\n".encode() + "".join(f"{name}={others[name]}\n" for name in others).encode())
        file.flush()
        yield {**password, "PGSERVICEFILE": f"/dev/fd/{file.fileno()}"}, (file.fileno(),)


def _preface(without: Sequence[tuple[str, str]]) -> str:
    if not without:
        return ""
    names = "\n".join(f"--   {full_name_sql(relation)}" for relation in without)
    return f"-- Left out, because the backup role may not read them:\n{names}\n"


def _without_secrets(sql: str) -> str:
    """Passwords in the options of foreign servers and user mappings are hidden."""
    return _SERVERS.sub(lambda statement: _SERVER_OPTION.sub(_hide, statement[0]), sql)


def _hide(option: re.Match[str]) -> str:
    return f"{option[1]}{option[2]}{option[3]}'{HIDDEN}'" if looks_secret(option[2]) else option[0]
