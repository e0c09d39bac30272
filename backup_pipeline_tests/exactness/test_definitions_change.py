"""DDL while an export runs: its table comes as the snapshot shows it, or as a clear error, and nothing between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline.core.errors import SourceError
from backup_pipeline.core.ports import Event, PageWritten, TableStarted
from backup_pipeline_tests.exactness.exporting import Export, Exporter, catalog_of
from backup_pipeline_tests.exactness.loading import assert_round_trip, session

_FILL = "SELECT i, i, -i, 'c' || i FROM generate_series(1, 50) i"
_COLUMNS = "id int {key}, a int, b int, c varchar(10)"
_KEYED = _COLUMNS.format(key="PRIMARY KEY")
_PARTED = f"""
CREATE TABLE parted ({_KEYED}) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (1) TO (26);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (26) TO (100);
INSERT INTO parted {_FILL}; CREATE VIEW seen AS SELECT * FROM parted;
"""
_CREATE = {
    "t": f"CREATE TABLE t ({_KEYED}); INSERT INTO t {_FILL};",
    "bare": f"CREATE TABLE bare ({_COLUMNS.format(key='')}); INSERT INTO bare {_FILL};",
    "parted": _PARTED,
    "seen": _PARTED,
}
_BESIDES = f"""
CREATE TABLE apart ({_KEYED}); INSERT INTO apart SELECT i, i, i, 'apart' FROM generate_series(200, 220) i;
CREATE TABLE kept ({_COLUMNS.format(key="")}); INSERT INTO kept {_FILL};
"""
ANY_TABLE = {
    "drop column": "ALTER TABLE {t} DROP b CASCADE",
    "drop table": "DROP TABLE {t} CASCADE",
    "truncate": "TRUNCATE {t}",
    "rename table": "ALTER TABLE {t} RENAME TO renamed",
    "rename column": "ALTER TABLE {t} RENAME b TO d",
    "add column": "ALTER TABLE {t} ADD d text DEFAULT 'new'",
    "alter type": "DROP VIEW IF EXISTS seen; ALTER TABLE {t} ALTER b TYPE bigint",
    "alter type without a rewrite": "DROP VIEW IF EXISTS seen; ALTER TABLE {t} ALTER c TYPE varchar(20)",
    "alter type of the key": "DROP VIEW IF EXISTS seen; ALTER TABLE {t} ALTER id TYPE bigint",
    "empty and fill again": "TRUNCATE {t}; INSERT INTO {t} SELECT i, 0, 0, 'new' FROM generate_series(1, 20) i",
    "put a new one in its place": "ALTER TABLE {t} RENAME TO old; CREATE TABLE {t} (LIKE old INCLUDING ALL);"
    " INSERT INTO {t} SELECT * FROM old LIMIT 5",
    "drop and create": "DROP TABLE {t} CASCADE; CREATE TABLE {t} (id int PRIMARY KEY, a int, b int, c varchar(10))",
    "put an older one in its place": "ALTER TABLE {t} RENAME TO old; ALTER TABLE apart RENAME TO {t}",
    "drop a column and add one of its name": "ALTER TABLE {t} DROP b CASCADE; ALTER TABLE {t} ADD b int",
    "swap two columns": "ALTER TABLE {t} RENAME a TO x; ALTER TABLE {t} RENAME b TO a; ALTER TABLE {t} RENAME x TO b",
    "vacuum full": "DELETE FROM {t} WHERE id < 9; VACUUM FULL {t}",
    "cluster": "DELETE FROM {t} WHERE id < 9; CREATE UNIQUE INDEX by_a ON {t} (a); CLUSTER {t} USING by_a",
    "empty and fill again frozen": "BEGIN; TRUNCATE {t}; COPY {t} FROM PROGRAM 'echo 1,0,0,new' (FREEZE, FORMAT csv);"
    " COMMIT",
    "move to another schema": "CREATE SCHEMA {away}; ALTER TABLE {t} SET SCHEMA {away}",
    "drop the key": "ALTER TABLE {t} DROP CONSTRAINT IF EXISTS {t}_pkey",
    "enable row security": "ALTER TABLE {t} ENABLE ROW LEVEL SECURITY",
}
PARTITIONS = {
    "drop a partition": "DROP TABLE parted_2",
    "detach a partition": "ALTER TABLE parted DETACH PARTITION parted_2",
    "truncate a partition": "TRUNCATE parted_2",
    "attach a partition": "ALTER TABLE parted ATTACH PARTITION apart FOR VALUES FROM (200) TO (300)",
    "swap a partition": "ALTER TABLE parted DETACH PARTITION parted_2;"
    "ALTER TABLE parted ATTACH PARTITION apart FOR VALUES FROM (200) TO (300)",
    "create a partition": "CREATE TABLE parted_3 PARTITION OF parted FOR VALUES FROM (300) TO (400)",
    "copy a partition and drop it": "CREATE TABLE parted_9 (LIKE parted_2 INCLUDING ALL);"
    "INSERT INTO parted_9 SELECT * FROM parted_2; DROP TABLE parted_2;"
    "ALTER TABLE parted ATTACH PARTITION parted_9 FOR VALUES FROM (26) TO (100)",
}
# By place on disk and by key of a partitioned table: what may differ from a plain table read by key.
ELSEWHERE = (
    "vacuum full",
    "drop column",
    "drop table",
    "truncate",
    "put a new one in its place",
    "put an older one in its place",
)
_ALL = [
    *(("t", name, ddl) for name, ddl in ANY_TABLE.items()),
    *((table, name, ANY_TABLE[name]) for table in ("bare", "parted") for name in ELSEWHERE),
    *((table, name, ddl) for table in ("parted", "seen") for name, ddl in PARTITIONS.items()),
]
CASES = {f"case_{number}": case for number, case in enumerate(_ALL)}
HARMLESS = {
    "add column",
    "alter type without a rewrite",
    "create a partition",
    "drop the key",
    "vacuum full",
    "cluster",
}
REREAD = {"truncate", "empty and fill again", "empty and fill again frozen", "alter type", "truncate a partition"}
_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
_IMPATIENT = {"page_bytes": 400, "lock_timeout_s": 0.3}
GROWS = {"attach a partition", "swap a partition"}  # no lock keeps a partition from being attached


class Act:
    """Progress that calls `act` with the name of a table at the first event of `kind` it hears of that table."""

    def __init__(self, kind: type[TableStarted | PageWritten], act: Callable[[str], None], *, once: bool) -> None:
        self._kind, self._act, self._once = kind, act, once
        self._seen: set[str] = set()

    def tell(self, event: Event) -> None:
        if isinstance(event, self._kind) and event.table not in self._seen and not (self._once and self._seen):
            self._seen.add(event.table)
            self._act(event.table)


@pytest.fixture
def exporter(fresh_database: str, tmp_path: Path) -> Exporter:
    with session(fresh_database) as connection:
        connection.execute("SET client_min_messages = warning")
        for case, (table, _, _) in CASES.items():
            connection.execute(f"CREATE SCHEMA {case}; SET search_path = {case}; {_CREATE[table]} {_BESIDES}")
    return Exporter(fresh_database, tmp_path, workers=1, page_rows=7, options={"page_bytes": 400})


def change(url: str, case: str) -> None:
    table, _, ddl = CASES[case]
    with session(url) as connection:
        connection.execute(f"SET client_min_messages = warning; SET search_path = {case}")
        for statement in ddl.format(t=table, away=f"{case}_away").split(";"):
            connection.execute(statement)


def export_cases(exporter: Exporter) -> Export:
    return exporter.export(catalog_of({case: (case, table) for case, (table, _, _) in CASES.items()}))


def outcome(url: str, export: Export, case: str) -> str:
    """`as it was`, or `as it is` by a second snapshot, or the error; anything else fails."""
    error = export.error(case)
    if error is None and export.entry(case).notes:
        assert_round_trip(url, export, case, (case, CASES[case][0]))
        assert export.entry(case).notes[-1].startswith("read from a second snapshot of the run")
        return "as it is"
    if error is None:
        assert_round_trip(url, export, case, (case, "kept"))
        return "as it was"
    attached_before_it_was_counted = CASES[case][1] in GROWS and "counted in the snapshot" in error.what
    assert isinstance(error, SourceError) or attached_before_it_was_counted
    assert error.do
    assert export.published(case) == []
    return error.what


def test_what_changes_before_it_is_read_is_as_it_was_or_a_clear_error(exporter: Exporter) -> None:
    """Every table is changed after the plans were made, and before a row was read."""

    def change_all(_: str) -> None:
        for case in CASES:
            change(exporter.url, case)

    exporter.progress = Act(TableStarted, change_all, once=True)
    export = export_cases(exporter)
    wrong = []
    for case, (table, name, _) in CASES.items():
        try:
            said = outcome(exporter.url, export, case)
        except AssertionError as error:
            wrong.append((table, name, str(error)[:300]))
            continue
        if (name in HARMLESS and said != "as it was") or (name in REREAD and said != "as it is"):
            wrong.append((table, name, said))
    assert wrong == []


def test_what_changes_while_it_is_read_waits_for_the_export(exporter: Exporter) -> None:
    """The reader's lock keeps DDL out; each table comes as it was."""
    threads: list[threading.Thread] = []

    def start(case: str) -> None:
        if int(case.removeprefix("case_")) % 3 == 0:
            threads.append(threading.Thread(target=change, args=(exporter.url, case)))
            threads[-1].start()

    exporter.progress = Act(PageWritten, start, once=False)
    try:
        export = export_cases(exporter)
    finally:
        for thread in threads:
            thread.join()
    assert len(threads) > 10
    for case, (_, name, _) in CASES.items():
        said = outcome(exporter.url, export, case)
        assert said == "as it was" or name in GROWS, (case, said)


def test_ddl_that_waits_between_the_readers_of_a_table_is_no_mixed_file_either(exporter: Exporter) -> None:
    """One reader's lock keeps the DDL waiting, which keeps the other readers waiting: until their lock timeout."""
    changed, url = "case_0", exporter.url
    ddl = threading.Thread(target=change, args=(url, changed))
    busy = threading.Event()

    def wait_until_it_waits(case: str) -> None:
        if case == changed:
            ddl.start()
            with session(url) as connection:
                while connection.execute(_WAITING).fetchone() == (0,):
                    busy.wait(0.01)

    exporter = replace(
        exporter, workers=3, progress=Act(PageWritten, wait_until_it_waits, once=False), options=_IMPATIENT
    )
    try:
        export = export_cases(exporter)
    finally:
        ddl.join()
    said = {case: outcome(url, export, case) for case in CASES}
    assert said.pop(changed) == "as it was" or "lock timeout" in str(export.error(changed))
    assert {case: what for case, what in said.items() if what != "as it was"} == {}


# What no query in the old snapshot can tell.
@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE OR REPLACE VIEW seen AS SELECT * FROM parted WHERE id > 25",
        "ALTER TABLE heir NO INHERIT bequest",
    ],
)
def test_a_view_is_as_it_was_or_a_clear_error(fresh_database: str, tmp_path: Path, ddl: str) -> None:
    view = "seen" if "seen" in ddl else "inherited"
    with session(fresh_database) as connection:
        connection.execute(_PARTED)
        connection.execute(f"CREATE TABLE bequest ({_KEYED}); CREATE TABLE heir () INHERITS (bequest)")
        connection.execute("INSERT INTO bequest SELECT * FROM parted_1; INSERT INTO heir SELECT * FROM parted_2")
        connection.execute("CREATE VIEW inherited AS TABLE bequest")

    def change_it(_: str) -> None:
        with session(fresh_database) as connection:
            connection.execute(ddl)

    progress = Act(TableStarted, change_it, once=True)
    export = Exporter(fresh_database, tmp_path, progress=progress).export(catalog_of({"it": ("public", view)}))
    if export.error("it") is None:
        assert export.entry("it").row_count == (25 if export.entry("it").notes else 50)
