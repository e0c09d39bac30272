"""The database's DDL in the snapshot, by pg_dump: the same text for the same schema, and no secret in it."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from backup_pipeline.core.errors import BackupError, SourceError, SourceUnavailableError
from backup_pipeline.core.secrets import HIDDEN, looks_secret
from backup_pipeline.core.sql_text import full_name_sql
from backup_pipeline.postgres.endpoint import Endpoint
from backup_pipeline.postgres.patience import Patience
from backup_pipeline.postgres.session import relation_sql

# Subscriptions carry the password of another server; roles and tablespaces are not the database's own.
_OPTIONS = ("--schema-only", "--no-owner", "--no-privileges", "--no-tablespaces", "--no-subscriptions", "--no-password")
_RANDOM_LINES = re.compile(r"^\\(?:un)?restrict .*\n", re.MULTILINE)
_SERVERS = re.compile(r"^CREATE (?:SERVER|USER MAPPING) .*?;$", re.MULTILINE | re.DOTALL)
_SERVER_OPTION = re.compile(r"^(\s+\"?)(\w+)(\"? )'(?:[^']|'')*'", re.MULTILINE)
_LOST = re.compile("server closed the connection|could not receive data|timeout expired|[Cc]onnection re(?:set|fused)")
_UNREACHABLE = "Check that the server runs and the network to it; then run it again."

LOCKED_OUT = """
SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND NOT coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), false)
ORDER BY 1, 2"""
"""The relations that pg_dump could not lock with the role's rights."""


class SchemaDump:
    """One run of pg_dump; `cancel` ends it from any thread, and so does `patience` that is over."""

    def __init__(
        self, program: Path, endpoint: Endpoint, connect_timeout_s: int, patience: Patience, options: str = ""
    ) -> None:
        """`options` are libpq's: the settings that pg_dump's session starts with."""
        self._program = program
        self._session_options = options
        self._endpoint = endpoint
        self._connect_timeout_s = connect_timeout_s
        self._patience = patience
        self._guard = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._canceled = False

    def run(self, snapshot_id: str, *, without: Sequence[tuple[str, str]], lock_timeout_s: float) -> str:
        """The DDL in the snapshot. Relations of `without` are left out, and a comment at the top names them."""
        command = [str(self._program), *_OPTIONS, f"--snapshot={snapshot_id}"]
        command += [f"--exclude-table={relation_sql(relation)}" for relation in without]
        command += [f"--lock-wait-timeout={round(lock_timeout_s * 1000)}"] if lock_timeout_s else []
        command += [f"--dbname={_with_options(self._endpoint.conninfo_without_password(), self._session_options)}"]
        with self._guard:
            if self._canceled:
                return ""
            self._process = self._started(command)
        text, complaint = self._heard(self._process)
        if self._process.returncode:
            raise self._failed(complaint)
        return _preface(without) + _without_secrets(_RANDOM_LINES.sub("", text))

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

    def _started(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        environment = {"PGPASSWORD": self._endpoint.password} if self._endpoint.password else {}
        return subprocess.Popen(  # noqa: S603
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={
                **environment,
                "PGCLIENTENCODING": "UTF8",
                "PGAPPNAME": "backup_pipeline schema",
                "PGCONNECT_TIMEOUT": str(self._connect_timeout_s),
                "LC_ALL": "C",
            },
        )

    def _failed(self, complaint: str) -> BackupError:
        said = self._endpoint.redact(" ".join(complaint.split()))
        if _LOST.search(said):
            return SourceUnavailableError(f"pg_dump lost its connection to {self._endpoint}: {said}", do=_UNREACHABLE)
        do = "Use a pg_dump as new as the server." if "server version mismatch" in said else "Look at its message."
        return SourceError(f"pg_dump could not read the schema of {self._endpoint}: {said}", do=do)


def _with_options(conninfo: str, options: str) -> str:
    """The connection string with `options` behind its own: the last of two values holds."""
    own = conninfo_to_dict(conninfo).get("options") or ""
    return make_conninfo(conninfo, options=f"{own} {options}".strip())


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
