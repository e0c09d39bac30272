"""`check` and `calendar` as people and monitors use them, with the source, the store and Dagster down."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from backup_pipeline.cli.health import nagios_line
from backup_pipeline.core.copies import Copy, CopyAge, CopyStatus
from backup_pipeline.core.due import due_row, freshness
from backup_pipeline.core.errors import StaleError
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.names import Kind, new_backup_id
from backup_pipeline.core.scope import Scope
from backup_pipeline_tests.alerts.servers import free_port
from backup_pipeline_tests.cli.installation import Ended, executed
from backup_pipeline_tests.core.values import catalog
from backup_pipeline_tests.ledger.attempts import attempt
from backup_pipeline_tests.watching import DAY, Watched, an_hour_ago, watched_installation

RunHere = Callable[..., Ended]


@pytest.fixture
def here(fresh_database: str, tmp_path: Path) -> Iterator[Watched]:
    with watched_installation(fresh_database, tmp_path) as made:
        yield made


@pytest.fixture
def run(here: Watched, capfd: pytest.CaptureFixture[str]) -> RunHere:
    return partial(executed, capfd)


def _overdue(here: Watched) -> None:
    """Backed up until three nights ago, and then nobody scheduled or watched anything."""
    here.declare(grace_minutes=0, schedule=an_hour_ago())
    here.backed_up(here.due - 3 * DAY)
    here.watched_since(here.due - 3 * DAY + timedelta(hours=1))


def test_a_fresh_installation_ends_with_0(here: Watched, run: RunHere) -> None:
    here.backed_up(datetime.now(UTC))
    ended = run("check")
    assert ended.code == 0
    assert re.search(r"shop\s+fresh", ended.out)
    assert "just now" in ended.out
    assert here.statuses() == [Status.EXPECTED, Status.SUCCESS]


def test_before_anything_was_due_it_waits(here: Watched, run: RunHere) -> None:
    ended = run("check", "--nagios")
    assert (ended.code, ended.out) == (
        0,
        "BACKUP OK - Catalog shop has no backup yet, and none has been due. | shop_age=U shop_missed=0 shop_failed=0\n",
    )


def test_three_nights_without_anybody_end_with_22_three_rows_and_one_alert(here: Watched, run: RunHere) -> None:
    _overdue(here)
    ended = run("check")
    assert ended.code == 22
    assert re.search(r"shop\s+overdue", ended.out)
    assert "3 backups were missed" in ended.err
    assert here.statuses() == [Status.EXPECTED] + [Status.MISSED] * 3 + [Status.SUCCESS]
    assert run("check").code == 22
    [title] = here.alerts()
    assert title == "[backup shop] FAILED: Backup overdue: shop"


def test_nagios_gets_one_line_and_its_own_codes(here: Watched, run: RunHere) -> None:
    _overdue(here)
    ended = run("check", "--nagios")
    assert ended.code == 2
    assert re.fullmatch(
        r"BACKUP CRITICAL - The newest good backup of catalog shop began .* 3 backups were missed, .* UTC\. "
        r"\| shop_age=\d+s shop_missed=3 shop_failed=0\n",
        ended.out,
    )
    here.ledger.begin(
        attempt("running", scope=Scope("shop"), created_at=datetime.now(UTC), started_at=datetime.now(UTC))
    )
    ended = run("check", "--nagios")
    assert ended.code == 1
    assert ended.out.startswith("BACKUP WARNING - ")
    assert "One is running since" in ended.out


def test_a_second_store_that_is_stale_is_a_warning() -> None:
    stale = CopyAge("shop", "s3://far", None, None, StaleError("s3://far has no good copy."))
    fresh = CopyAge("shop", "s3://far", None, None, None)
    midnight = datetime(2026, 11, 20, 18, tzinfo=UTC)
    shop = catalog({"goods": None})
    good = replace(due_row(shop, midnight), status=Status.SUCCESS)
    stands = [freshness(shop, good, [], midnight + timedelta(hours=1))]
    assert nagios_line(lambda: stands, lambda: [stale])[1] == 1
    assert nagios_line(lambda: stands, lambda: [stale])[0].startswith("BACKUP WARNING - s3://far has no good copy. | ")
    assert nagios_line(lambda: stands, lambda: [fresh])[1] == 0
    line, _ = nagios_line(lambda: stands, lambda: [stale, replace(fresh, age=timedelta(hours=2))])
    assert line.endswith(
        "shop_age=3600s shop_missed=0 shop_failed=0 "
        "shop_second_age=U shop_second_stale=1 shop_second_age=7200s shop_second_stale=0"
    )
    overdue = [freshness(shop, good, [], midnight + 3 * DAY)]
    assert nagios_line(lambda: overdue, lambda: [stale])[1] == 2


def test_the_second_store_s_age_is_told_without_a_catalog_too(
    here: Watched, run: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_SECOND_STORE", "file:///mnt/nas")
    assert run("check", "--nagios").out.endswith("shop_second_age=U shop_second_stale=0\n")  # nothing was promised yet
    here.backed_up(datetime.now(UTC))
    ended = run("check", "--nagios")
    assert (ended.code, "There is no good copy of a full backup of catalog shop" in ended.out) == (1, True)
    assert ended.out.endswith("shop_second_age=U shop_second_stale=1\n")
    made = str(new_backup_id(datetime.now(UTC), Kind.FULL, 1))
    here.ledger.copies.put(Copy(made, Scope("shop"), "file:///mnt/nas", CopyStatus.GOOD, datetime.now(UTC)))
    ended = run("check", "--nagios")
    assert ended.code == 0
    assert re.search(r"shop_second_age=\d+s shop_second_stale=0\n$", ended.out)
    prometheus = run("stats", "--prometheus").out
    assert re.search(r'^backup_age_seconds{catalog="shop",destination="file:///mnt/nas"} \d', prometheus, re.MULTILINE)
    assert 'backup_fresh{catalog="shop",destination="file:///mnt/nas"} 1.0' in prometheus


def test_without_a_channel_it_says_so_and_tells_once_when_there_is_one(
    here: Watched, run: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    _overdue(here)
    urls = os.environ["BACKUP_ALERT_URLS"]
    monkeypatch.delenv("BACKUP_ALERT_URLS")
    ended = run("check")
    assert "Nobody is told when something goes wrong: BACKUP_ALERT_URLS is not set" in ended.err
    assert json.loads(run("check", "--json").out)["channels"] == []
    monkeypatch.setenv("BACKUP_ALERT_URLS", urls)
    assert "Nobody is told" not in run("check").err
    run("check")
    assert here.alerts() == ["[backup shop] FAILED: Still: Backup overdue: shop"]


def test_as_json_it_says_all_there_is(here: Watched, run: RunHere) -> None:
    _overdue(here)
    ended = run("check", "--json")
    assert ended.code == 22
    found = json.loads(ended.out)
    assert found["fresh"] is False
    [shop] = found["catalogs"]
    assert (shop["catalog"], shop["state"], len(shop["missed"]), shop["failed"]) == ("shop", "overdue", 3, 0)
    assert shop["due"] == here.due.isoformat()
    assert json.loads(ended.err)["code"] == 22


def test_a_ledger_that_is_down_is_critical_and_never_all_is_well(here: Watched, run: RunHere) -> None:
    here.environment.setenv("BACKUP_LEDGER_URL", f"postgresql://a:hunter2@127.0.0.1:{free_port()}/gone")
    ended = run("check", "--nagios")
    assert ended.code == 2
    assert ended.out.startswith("BACKUP CRITICAL - the ledger can not be read, so no backup can be made: ")
    assert "hunter2" not in ended.out
    assert ended.out.count("\n") == 1
    plain = run("check")
    assert plain.code == 1
    assert "can not be reached" in plain.err


def test_settings_and_catalogs_that_are_wrong_are_unknown(here: Watched, run: RunHere) -> None:
    ended = run("check", "--nagios", "--catalog", "nothing")
    assert (ended.code, ended.out.partition(" in ")[0]) == (3, "BACKUP UNKNOWN - There is no catalog 'nothing'")
    assert run("check", "--catalog", "nothing").code == 10
    here.file.write_text("catalog: shop")
    assert run("check", "--nagios").code == 3
    here.environment.setenv("BACKUP_STORE", "nonsense")
    assert run("check", "--nagios").code == 3
    assert run("check").code == 2


def test_a_monitor_that_may_only_read_still_gets_the_truth(here: Watched, run: RunHere) -> None:
    _overdue(here)
    run("check")
    from backup_pipeline_tests.ledger.logins import as_login, new_login

    reader = new_login(here.ledger_url)
    import psycopg

    with psycopg.connect(here.ledger_url) as session:
        for table in ("backup_logs", "due_accounts"):
            session.execute(f"GRANT SELECT ON {table} TO {reader}".encode())
            session.execute(f"CREATE POLICY readers_{table} ON {table} FOR SELECT TO {reader} USING (true)".encode())
    here.environment.setenv("BACKUP_LEDGER_URL", as_login(here.ledger_url, reader))
    ended = run("check", "--nagios")
    assert (ended.code, ended.out[:17]) == (2, "BACKUP CRITICAL -")
    assert "3 backups were missed" in ended.out


def test_the_calendar_shows_the_gap(here: Watched, run: RunHere) -> None:
    _overdue(here)
    run("check")
    ended = run("calendar", "--days", "5")
    assert ended.code == 0
    assert re.search(r"goods\s+·  G  M  M  M", ended.out) or re.search(r"goods\s+G  M  M  M  [e·]", ended.out)
    assert "M missed: due, and not there" in ended.out
    [shop] = json.loads(run("calendar", "--json").out)
    assert list(shop["tables"]) == ["goods", "sold"]
    assert len(shop["tables"]["goods"]) == 30
    assert list(shop["tables"]["goods"].values()).count("missed") == 3


def test_the_list_shows_missed_nights_but_they_are_no_backups(here: Watched, run: RunHere) -> None:
    _overdue(here)
    run("check")
    rows = json.loads(run("list", "--json").out)
    assert [row["status"] for row in rows] == ["expected", "missed", "missed", "missed", "success"]
    assert "missed" in run("list").out
    missed = rows[1]["backup_id"]
    assert "No run began for what was due" in run("show", missed).out
    latest = run("show", "latest", "--json")
    assert json.loads(latest.out)["backup"]["status"] == "success"
    assert run("verify", missed).code == 10
