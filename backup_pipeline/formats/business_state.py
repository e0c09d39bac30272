"""The state of keys in DuckDB: what every business's newest backup has, and what a tick finds to differ from it."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from backup_pipeline.core.businesses.ticks import KnownBusiness, known_of
from backup_pipeline.core.errors import BackupError

logger = logging.getLogger(__name__)

_VERSION = "1"
"""In the file's name: what another version wrote is not read."""
_LIMITS = {"memory_limit": "512MB", "threads": "2", "autoinstall_known_extensions": "false"}
_ROWS_A_STATEMENT = 200_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS businesses (business TEXT PRIMARY KEY, entry TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counts (tbl TEXT, business TEXT, n BIGINT, mark TEXT, PRIMARY KEY (tbl, business));
"""
_KEYS = "CREATE TABLE IF NOT EXISTS {keys} (business TEXT, key TEXT, version BIGINT)"
_RECOUNTS = "CREATE OR REPLACE TEMP TABLE recounted (tbl TEXT, business TEXT, n BIGINT, mark TEXT, changed BOOLEAN)"
_OF_TICK = """
CREATE OR REPLACE TEMP TABLE {changed} (business TEXT, key TEXT, version BIGINT);
CREATE OR REPLACE TEMP TABLE {gone} (business TEXT, key TEXT);
"""


_ENTRIES = pa.schema([("business", pa.string()), ("entry", pa.string())])
_RECOUNTED = pa.schema(
    [("tbl", pa.string()), ("business", pa.string()), ("n", pa.int64()), ("mark", pa.string()), ("changed", pa.bool_())]
)


class DuckKeyState:
    """The port `KeyState` over a DuckDB connection: of each table the keys, and what changed and what is gone."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._db = connection
        self._tables: Sequence[str] = ()
        connection.execute(_SCHEMA)
        connection.execute(_RECOUNTS)

    def known(self) -> Mapping[str, KnownBusiness]:
        """Every business that it knows."""
        rows = self._db.execute("SELECT business, entry FROM businesses").fetchall()
        return {business: known_of(business, json.loads(entry)) for business, entry in rows}

    def begin(self, tables: Sequence[str], anew: Collection[str]) -> None:
        """Begin a tick, in a transaction: what is not committed is undone as the connection closes."""
        self._tables = tables
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM recounted")
        for table in tables:
            self._db.execute(
                _KEYS.format(keys=_keys(table)) + ";" + _OF_TICK.format(changed=_changed(table), gone=_gone(table))
            )
        self._forget(anew)

    def fresh(self, table: str, rows: Iterable[pa.RecordBatch]) -> None:
        """They are known from here on; there is nothing to compare them with."""
        for part in _larger(rows):
            self._with(part, f"INSERT INTO {_keys(table)} SELECT business, key, version FROM arrived")

    def compare(self, table: str, candidates: Iterable[pa.RecordBatch]) -> None:
        """A row version that is known is no change; a changed row of one business is gone from every other."""
        keys, changed, gone = _keys(table), _changed(table), _gone(table)
        for part in _larger(candidates):
            self._with(
                part,
                f"INSERT INTO {changed} SELECT c.business, c.key, c.version FROM arrived c "
                f"ANTI JOIN {keys} k ON k.key = c.key AND k.business = c.business AND k.version = c.version",
            )
        self._db.execute(
            f"INSERT INTO {gone} SELECT DISTINCT k.business, k.key FROM {keys} k JOIN {changed} c ON c.key = k.key "
            f"AND c.business <> k.business ANTI JOIN {changed} own ON own.key = k.key AND own.business = k.business"
        )

    def expected(self, table: str) -> int:
        """Known, without what is gone, with what is new."""
        return sum(self._expected_of(table).values())

    def short(self, table: str, counts: Mapping[str, int], among: Collection[str] | None = None) -> Sequence[str]:
        """Those whose numbers differ, either way: where keys are not enforced rows may also come back."""
        expected = self._expected_of(table)
        names = expected.keys() | counts.keys() if among is None else among
        return sorted(each for each in names if expected.get(each, 0) != counts.get(each, 0))

    def missing(self, table: str, businesses: Collection[str], rows: Iterable[pa.RecordBatch]) -> None:
        """Compare the keys of these businesses one by one."""
        self._db.execute("CREATE OR REPLACE TEMP TABLE there (business TEXT, key TEXT, version BIGINT)")
        for part in _larger(rows):
            self._with(part, "INSERT INTO there SELECT business, key, version FROM arrived")
        keys, changed, gone, wanted = _keys(table), _changed(table), _gone(table), list(businesses)
        self._db.execute(
            f"INSERT INTO {gone} SELECT k.business, k.key FROM {keys} k ANTI JOIN there t ON t.business = k.business "
            f"AND t.key = k.key ANTI JOIN {gone} g ON g.business = k.business AND g.key = k.key "
            "WHERE k.business IN (SELECT unnest(?))",
            [wanted],
        )
        self._db.execute(
            f"INSERT INTO {changed} SELECT t.* FROM there t ANTI JOIN {keys} k ON k.business = t.business "
            f"AND k.key = t.key ANTI JOIN {changed} c ON c.business = t.business AND c.key = t.key"
        )

    def recount(self, table: str, counts: Mapping[str, tuple[int, str]], touched: Collection[str]) -> None:
        """What differs from the counts that are known has changed, and what was touched."""
        rows = self._db.execute("SELECT business, n, mark FROM counts WHERE tbl = ?", [table]).fetchall()
        known = {business: (n, mark) for business, n, mark in rows}
        names = sorted(known.keys() | counts.keys())
        now = [counts.get(name, (0, "")) for name in names]
        changed = [name in touched or known.get(name, (0, "")) != each for name, each in zip(names, now, strict=True)]
        numbers, marks = [n for n, _ in now], [mark for _, mark in now]
        columns = {"tbl": [table] * len(names), "business": names, "n": numbers, "mark": marks, "changed": changed}
        self._with(
            pa.table(columns, _RECOUNTED), "INSERT INTO recounted SELECT tbl, business, n, mark, changed FROM arrived"
        )

    def changes(self, table: str) -> Mapping[str, tuple[int, int]]:
        """Of a table that is counted all rows of a business, where one changed."""
        rows = self._db.execute(
            f"SELECT business, sum(n)::BIGINT, sum(g)::BIGINT FROM ("
            f"SELECT business, count(*) AS n, 0 AS g FROM {_changed(table)} GROUP BY business UNION ALL "
            f"SELECT business, 0, count(*) FROM {_gone(table)} GROUP BY business UNION ALL "
            "SELECT business, n, 0 FROM recounted WHERE tbl = ? AND changed) GROUP BY business",
            [table],
        ).fetchall()
        return {business: (changed, gone) for business, changed, gone in rows}

    def changed_keys(self, table: str, businesses: Collection[str]) -> Sequence[str]:
        """Each once."""
        sql = f"SELECT DISTINCT key FROM {_changed(table)} WHERE business IN (SELECT unnest(?)) ORDER BY key"
        return [key for (key,) in self._db.execute(sql, [list(businesses)]).fetchall()]

    def gone_keys(self, table: str, business: str) -> Sequence[str]:
        """In order."""
        rows = self._db.execute(f"SELECT key FROM {_gone(table)} WHERE business = ? ORDER BY key", [business])
        return [key for (key,) in rows.fetchall()]

    def total(self, table: str) -> int:
        """By keys, or by counts."""
        counted = self._db.execute(
            "SELECT coalesce(sum(n), 0)::BIGINT FROM recounted WHERE tbl = ?", [table]
        ).fetchone()
        return sum(self._expected_of(table).values()) + (counted[0] if counted else 0)

    def with_rows(self) -> Collection[str]:
        """By keys, or by counts."""
        counted = self._db.execute("SELECT DISTINCT business FROM recounted WHERE n > 0").fetchall()
        names = {business for (business,) in counted}
        return names.union(*(self._expected_of(table) for table in self._tables))

    def commit(self, businesses: Sequence[KnownBusiness]) -> None:
        """In the tick's transaction: a state is of one snapshot for each business, or it is not there."""
        names = [each.key for each in businesses]
        self._db.execute("CREATE OR REPLACE TEMP TABLE done AS SELECT unnest(?::TEXT[]) AS business", [names])
        for table in self._tables:
            keys, changed, gone = _keys(table), _changed(table), _gone(table)
            for old in (changed, gone):
                self._db.execute(
                    f"DELETE FROM {keys} k USING {old} o, done d "
                    "WHERE d.business = o.business AND o.business = k.business AND o.key = k.key"
                )
            self._db.execute(f"INSERT INTO {keys} SELECT c.* FROM {changed} c SEMI JOIN done USING (business)")
        self._db.execute(
            "DELETE FROM counts USING recounted r, done d "
            "WHERE d.business = r.business AND r.business = counts.business AND r.tbl = counts.tbl"
        )
        self._db.execute(
            "INSERT INTO counts SELECT tbl, business, n, mark FROM recounted "
            "SEMI JOIN done USING (business) WHERE n > 0"
        )
        self._db.execute("DELETE FROM businesses WHERE business IN (SELECT business FROM done)")
        entries = pa.table({"business": names, "entry": [json.dumps(each.as_json()) for each in businesses]}, _ENTRIES)
        self._with(entries, "INSERT INTO businesses SELECT business, entry FROM arrived")
        self._db.execute("COMMIT")

    def forget(self, businesses: Collection[str]) -> None:
        """Undo the tick, then forget businesses for good."""
        self._db.execute("ROLLBACK")
        self._forget(businesses)

    def _forget(self, businesses: Collection[str]) -> None:
        names = [list(businesses)]
        for table in self._tables:
            self._db.execute(f"DELETE FROM {_keys(table)} WHERE business IN (SELECT unnest(?::TEXT[]))", names)
        self._db.execute("DELETE FROM counts WHERE business IN (SELECT unnest(?::TEXT[]))", names)
        self._db.execute("DELETE FROM businesses WHERE business IN (SELECT unnest(?::TEXT[]))", names)

    def _expected_of(self, table: str) -> dict[str, int]:
        """Of each business how many rows it has if nothing more was deleted than is known to be gone."""
        keys, changed, gone = _keys(table), _changed(table), _gone(table)
        rows = self._db.execute(
            f"SELECT business, sum(n)::BIGINT FROM ("
            f"SELECT business, count(*) AS n FROM {keys} GROUP BY business UNION ALL "
            f"SELECT c.business, count(*) FROM {changed} c ANTI JOIN {keys} k ON k.business = c.business "
            f"AND k.key = c.key GROUP BY c.business UNION ALL "
            f"SELECT business, -count(*) FROM {gone} GROUP BY business) GROUP BY business"
        ).fetchall()
        return dict(rows)

    def _with(self, arrived: pa.Table, sql: str) -> None:
        """Run a statement that names `arrived`: DuckDB looks for it among our variables.

        Under a name that is registered it would stay in memory up to the end of the transaction: of fifty million keys
        five gigabytes.
        """
        self._db.execute(sql)


class DuckKeyStates:
    """The port `KeyStates`: a file for each catalog in a folder. One that can not be opened is begun anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def open(self, catalog: str) -> Iterator[DuckKeyState]:
        """The state of a catalog."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{catalog}-{_VERSION}.duckdb"
        connection = self._connected(path)
        try:
            yield DuckKeyState(connection)
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            message = f"The state {path} can not be used: {error}"
            raise BackupError(message, do=f"Make room in {self._folder} and in memory.") from error
        except duckdb.Error as error:
            self._remove(path)
            message = f"The state {path} was damaged, and is removed: {error}"
            raise BackupError(message, do="The next tick gives every business a full.") from error
        finally:
            connection.close()

    def _connected(self, path: Path) -> duckdb.DuckDBPyConnection:
        config: dict[str, str | bool | int | float | list[str]] = {
            **_LIMITS,
            "temp_directory": str(self._folder / "spill"),
        }
        try:
            return duckdb.connect(path, config=config)
        except duckdb.Error as error:
            logger.warning(
                "The state %s can not be opened, and begins anew: every business gets a full. %s", path, error
            )
            self._remove(path)
            return duckdb.connect(path, config=config)

    def _remove(self, path: Path) -> None:
        for file in self._folder.glob(f"{path.name}*"):
            file.unlink(missing_ok=True)


def _larger(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in fewer parts: each is a statement."""
    parts: list[pa.RecordBatch] = []
    for batch in batches:
        parts.append(batch)
        if sum(part.num_rows for part in parts) >= _ROWS_A_STATEMENT:
            yield pa.Table.from_batches(parts)
            parts = []
    if parts:
        yield pa.Table.from_batches(parts)


def _quoted(prefix: str, table: str) -> str:
    return '"' + f"{prefix}_{table}".replace('"', '""') + '"'


def _keys(table: str) -> str:
    return _quoted("keys", table)


def _changed(table: str) -> str:
    return _quoted("changed", table)


def _gone(table: str) -> str:
    return _quoted("gone", table)
