"""`query`: SQL over partitions and bundles, by their exit codes; what it leaves in the audit, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline_tests.cli.conftest import Run, made_installation
from backup_pipeline_tests.cli.installation import Installation
from backup_pipeline_tests.operations.made import Place
from backup_pipeline_tests.servers.postgres import temporary_database

DESK = Catalog.model_validate({"catalog": "desk", "timezone": "Asia/Dhaka", "tables": {"Invoice": None, "line": None}})
DESK_SQL = """
CREATE TABLE "Invoice" (id uuid PRIMARY KEY, "Total" numeric(12, 2), due timestamptz, body jsonb);
INSERT INTO "Invoice" VALUES
  ('5b7fa5df-3e8c-4a2b-9d24-eb40c0df21d7', 120.50, '2026-11-20 18:30:00+00', '{"paid": true}'),
  ('00000000-0000-0000-0000-000000000001', 10.00, '2026-11-20 17:30:00+00', '{"paid": false}');
CREATE TABLE line (id int PRIMARY KEY, note text);
INSERT INTO line VALUES (1, E'=1+1'), (2, NULL), (3, E'\\x1b[31mred');
"""


@pytest.fixture(scope="module")
def installation(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The shop, and a second catalog in the same store whose table has capitals."""
    home = tmp_path_factory.mktemp("home")
    with made_installation(postgres_server, home) as made, temporary_database(postgres_server) as url:
        with psycopg.connect(url) as session:
            session.execute(DESK_SQL.encode())
        ledger = SqlLedger(made.environment["BACKUP_LEDGER_URL"])
        Place(home / "work", DirectoryStore(made.store), ledger).back_up(url, DESK)
        ledger.close()
        (home / "catalogs" / "desk.yaml").write_text(
            "catalog: desk\ntimezone: Asia/Dhaka\ntables: {Invoice: null, line: null}\n"
        )
        yield Installation(
            {**made.environment, "BACKUP_CATALOG": "shop"}, made.store, made.good, made.failed, made.manifest
        )


def test_the_newest_partitions_are_queried(run: Run, installation: Installation) -> None:
    sql = "SELECT count(*) AS sold, sum(price) AS worth FROM Goods JOIN sold ON good_id = goods.id"
    ended = run("query", sql)
    assert ended.code == 0, ended.err
    assert "2000" in ended.out
    assert "751500.00" in ended.out
    assert "1 row." in ended.out
    assert "goods, sold as of 20" in ended.out
    assert "Times in Asia/Dhaka." in ended.out
    audit = json.loads(run("show", installation.good.backup_id, "--json").out)["audit"]
    (queried,) = [event for event in audit if event["action"] == "query"]
    assert queried["detail"] == {"tables": ["goods", "sold"], "sql": sql}
    assert "rahim" in queried["actor"]


@pytest.mark.parametrize("as_of", ["latest", "the id", "the date"])
def test_a_backup_by_its_id_or_date(run: Run, installation: Installation, as_of: str) -> None:
    good = installation.good
    named = {"the id": good.backup_id, "the date": str(good.partition_date)}.get(as_of, as_of)
    ended = run("query", "SELECT max(id) AS most FROM goods", "--as-of", named, "--catalog", "shop", "--json")
    assert (ended.code, json.loads(ended.out)) == (0, [{"most": 500}]), ended.err


def test_capitals_times_and_forms(run: Run, tmp_path: Path) -> None:
    sql = """SELECT id, "Total", due, body->>'paid' AS paid FROM invoice ORDER BY due DESC"""
    rows = json.loads(run("query", sql, "--catalog", "desk", "--json").out)
    assert rows[0] == {
        "id": "5b7fa5df-3e8c-4a2b-9d24-eb40c0df21d7",
        "Total": "120.50",
        "due": "2026-11-21T00:30:00+06:00",
        "paid": "true",
    }
    day = 'SELECT due::date AS day, count(*) AS n FROM "Invoice" GROUP BY 1 ORDER BY 1'
    csv_out = run("query", day, "--catalog", "desk", "--csv").out
    assert list(csv.reader(io.StringIO(csv_out))) == [["day", "n"], ["2026-11-20", "1"], ["2026-11-21", "1"]]
    for ending in ("csv", "json", "parquet"):
        ended = run("query", sql, "--catalog", "desk", "--to", f"rows.{ending}")
        assert ended.out.strip() == f"rows.{ending}"
        assert (tmp_path / f"rows.{ending}").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "rows.csv").read_bytes().startswith(b"\xef\xbb\xbfid,Total,due,paid\r\n")
    assert json.loads((tmp_path / "rows.json").read_text()) == rows
    assert pq.read_table(tmp_path / "rows.parquet")["Total"].to_pylist()[0].as_tuple().digits == (1, 2, 0, 5, 0)
    again = run("query", sql, "--catalog", "desk", "--to", "rows.csv")
    assert again.code == 21
    assert run("query", sql, "--catalog", "desk", "--to", "rows.csv", "--force").code == 0


def test_the_terminal_shows_some_rows_and_nothing_of_the_data_acts(run: Run) -> None:
    ended = run("query", "FROM line ORDER BY id DESC", "--catalog", "desk", "--rows", "2")
    assert ended.code == 0
    assert "The first 2 rows; --rows" in ended.out
    assert "NULL" in ended.out
    assert "\x1b[31m" not in ended.out + run("query", "FROM line", "--catalog", "desk", "--json").out
    assert '"\'=1+1"' in run("query", "FROM line", "--catalog", "desk", "--csv").out


@pytest.mark.parametrize(
    ("sql", "code", "words"),
    [
        ("SELECT * FROM good", 10, "There are its tables goods, sold."),
        ("SELECT nme FROM goods", 2, '"nme" not found'),
        ("SELECT 1", 2, "There are the tables goods, sold."),
        ("SELEC 1", 2, "syntax error"),
        ("", 2, "There is no SQL"),
        ("SELECT * FROM '/etc/passwd'", 2, "a table's name"),
        ("SELECT * FROM goods, read_csv('/etc/passwd')", 21, "not in the backup"),
        ("SELECT * FROM goods, read_text('/etc/passwd')", 21, "not in the backup"),
        ("SELECT * FROM goods, glob('/*')", 21, "not in the backup"),
        ("SELECT * FROM goods, enable_logging('QueryLog')", 21, "not in the backup"),
        ("COPY goods TO '/tmp/goods.csv'", 21, "this is COPY"),
        ("ATTACH '/tmp/x.db'", 21, "this is ATTACH"),
        ("INSTALL httpfs", 21, "this is LOAD"),
        ("LOAD httpfs", 21, "this is LOAD"),
        ("PRAGMA version", 21, "this is PRAGMA"),
        ("SET memory_limit = '100GB'", 21, "this is SET"),
        ("DROP VIEW goods", 21, "this is DROP"),
        ("SELECT 1 FROM goods; SELECT 2 FROM goods", 21, "this is 2 statements"),
    ],
)
def test_what_is_wrong_or_refused_fetches_nothing(
    run: Run, installation: Installation, sql: str, code: int, words: str
) -> None:
    audited = run("audit", "--json").out
    ended = run("query", sql)
    assert ended.code == code, ended.err
    assert words in " ".join(ended.err.split())
    assert "What to do: " in ended.err
    assert ended.out == ""
    assert run("audit", "--json").out == audited
    assert list((Path(installation.environment["BACKUP_HOME"]) / "work").glob("queries/*")) == []


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--as-of", "yesterday"), 2, "neither a date nor a backup"),
        (("--as-of", "2020-01-01"), 10, "no partition of 2020-01-01"),
        (("--as-of", "latest"), 2, "--catalog"),
        (("--json", "--csv"), 2, "three ways"),
        (("--to", "rows.txt"), 2, ".parquet"),
        (("--catalog", "nothing"), 10, "nothing"),
    ],
)
def test_wrong_options(run: Run, options: tuple[str, ...], code: int, words: str) -> None:
    ended = run("query", "SELECT * FROM goods", *options)
    assert ended.code == code, ended.err
    assert words in ended.err


def test_what_is_damaged_is_not_queried(run: Run, installation: Installation) -> None:
    partition = next((installation.store / "shop/tables/goods").glob("*/part-00000.parquet"))
    for file, options in ((partition, ()), (installation.bundle, ("--as-of", installation.good.backup_id))):
        good = file.read_bytes()
        bad = bytearray(good)
        place = good.index(good[len(partition.read_bytes()) // 2 :][:64]) if file == partition else good.index(b"PAR1")
        bad[place + 8] ^= 1
        file.write_bytes(bytes(bad))
        try:
            ended = run("query", "SELECT sum(price) FROM goods", *options)
        finally:
            file.write_bytes(good)
        assert ended.code == 20, ended.err
        assert "SHA-256" in ended.err or "CRC" in ended.err
        assert ended.out == ""
