"""`restore` against real databases: the plan, the confirmation, the rows, the row in the ledger, and no password."""

from __future__ import annotations

import io
import json
import shlex

import psycopg
import pytest

from backup_pipeline.core.restore.requests import RestoreStatus
from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import Installation
from backup_pipeline_tests.cli.restore.conftest import Books, Target

FRESH = ("restore", "latest", "--target-url")


def _silent(books: Books, target: Target, *printed: str) -> None:
    """The target's password is nowhere."""
    for text in (*printed, books.text()):
        assert target.password not in text


def test_a_dry_run_shows_the_plan_and_touches_and_notes_nothing(run: Run, empty: Target, books: Books) -> None:
    before = books.count()
    ended = run(*FRESH, empty.url, "--dry-run")
    assert ended.code == 0, ended.err
    for word in ("goods", "public.goods", "500", "sold", "2,000", "not there", empty.database):
        assert word in ended.out
    assert empty.rows("SELECT count(*) FROM pg_class WHERE relname IN ('goods', 'sold')") == [(0,)]
    assert books.count() == before
    _silent(books, empty, ended.out, ended.err)


def test_everything_comes_into_an_empty_database(run: Run, empty: Target, books: Books) -> None:
    ended = run(*FRESH, empty.url, "--reason", "moving", "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert {table["name"]: table["loaded"] for table in told["report"]["tables"]} == {"goods": 500, "sold": 2000}
    assert empty.counts() == (500, 500)
    row = books.newest()
    assert (row.id, row.status, row.reason, str(row.actor)) == (
        told["request"],
        RestoreStatus.DONE,
        "moving",
        "rahim",
    )
    assert row.report == told["report"]
    assert row.plan is not None
    _silent(books, empty, ended.out, ended.err)


def test_one_table_is_replaced_once_it_is_confirmed_and_was_backed_up(run: Run, damaged: Target, books: Books) -> None:
    wish = (*FRESH, damaged.url, "--table", "goods", "--mode", "replace")
    refused = run(*wish)
    assert refused.code == 21
    assert "has to be typed" in refused.out
    assert "400" in refused.out
    assert damaged.counts() == (400, 0)
    assert books.newest().status is RestoreStatus.CANCELED
    ended = run(*wish, "--confirm", damaged.database)
    assert ended.code == 0, ended.err
    assert damaged.counts() == (500, 500)
    row = books.newest()
    assert row.report is not None
    safe = row.report["safety_backup_id"]
    assert safe in ended.out
    listed = json.loads(run("list", "--catalog", "shop_before_restore", "--json").out)
    assert (listed[0]["backup_id"], listed[0]["table_counts"]) == (safe, {"goods": 400})
    assert listed[0]["reason"] == f"before restore {row.id}"
    _silent(books, damaged, refused.out, refused.err, ended.out, ended.err)
    undone = run("restore", safe, "--target-url", damaged.url, "--mode", "replace", "--confirm", damaged.database)
    assert undone.code == 0, undone.err
    assert damaged.counts() == (400, 0)


def test_the_command_that_is_given_does_it(run: Run, damaged: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = run(
        *FRESH, damaged.url, "-T", "goods", "--mode", "upsert", "--reason", "a 'wrong' UPDATE", "--no-safety-backup"
    )
    assert refused.code == 21
    command = refused.err.partition("run: ")[2].strip()
    words = shlex.split(command)
    assert words[0] == "backup-pipeline"
    assert damaged.password not in command
    monkeypatch.setenv("PGPASSWORD", damaged.password)
    ended = run(*words[1:])
    assert ended.code == 0, ended.err
    assert damaged.counts() == (500, 500)


@pytest.mark.parametrize("typed", ["shop", "", "yes"])
def test_another_name_confirms_nothing(run: Run, damaged: Target, books: Books, typed: str) -> None:
    ended = run(*FRESH, damaged.url, "--table", "goods", "--mode", "replace", "--confirm", typed)
    assert ended.code == 21
    assert "not confirmed" in ended.err
    assert damaged.counts() == (400, 0)
    assert books.newest().status is RestoreStatus.CANCELED


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("right", [True, False])
def test_a_person_at_a_terminal_is_asked(
    run: Run, damaged: Target, monkeypatch: pytest.MonkeyPatch, right: bool
) -> None:
    monkeypatch.setattr("sys.stdin", _Terminal(f"{damaged.database if right else 'no'}\n"))
    ended = run(*FRESH, damaged.url, "--table", "goods", "--mode", "replace")
    assert f"Type the name of the database, {damaged.database}" in ended.err
    assert ended.code == (0 if right else 21)
    assert damaged.counts() == ((500, 500) if right else (400, 0))


def test_doing_without_a_safety_backup_is_said_loudly(run: Run, damaged: Target, books: Books) -> None:
    wish = (*FRESH, damaged.url, "--table", "goods", "--mode", "replace", "--confirm", damaged.database)
    ended = run(*wish, "--no-safety-backup")
    assert ended.code == 0, ended.err
    assert "NO SAFETY BACKUP" in ended.out
    row = books.newest()
    assert row.report is not None
    assert (row.safety_backup, row.report["safety_backup_id"]) == (False, None)


def test_the_source_itself_can_be_the_target(run: Run, installation: Installation, books: Books) -> None:
    ended = run("restore", "latest", "--to-source", "-T", "goods", "--into-schema", "rescued")
    assert ended.code == 0, ended.err
    source = Target(installation.environment["BACKUP_SOURCE_URL"])
    assert source.rows("SELECT count(*) FROM rescued.goods") == [(500,)]
    assert books.newest().into_schema == "rescued"


def test_a_refusal_comes_first_with_the_way_out(run: Run, damaged: Target, books: Books) -> None:
    ended = run(*FRESH, damaged.url, "--table", "goods")
    assert ended.code == 21
    assert "REFUSED" in ended.out
    assert ended.out.index("REFUSED") < ended.out.index("Rows now")
    assert "What to do:" in ended.out
    row = books.newest()
    assert row.status is RestoreStatus.FAILED
    assert row.plan is not None
    assert row.plan["refused"]


def test_with_json_a_refusal_comes_with_its_plan(run: Run, damaged: Target) -> None:
    ended = run(*FRESH, damaged.url, "--table", "goods", "--json")
    assert ended.code == 21
    assert json.loads(ended.out)["plan"]["refused"]
    assert json.loads(ended.err)["code"] == 21


def test_a_target_that_does_not_answer_is_a_failed_request(run: Run, books: Books) -> None:
    ended = run("restore", "latest", "--target-url", "postgresql://app:hush-hush@127.0.0.1:1/isp")
    assert ended.code == 1
    row = books.newest()
    assert (row.status, row.target) == (RestoreStatus.FAILED, "postgresql://app@127.0.0.1:1/isp")
    assert "hush-hush" not in books.text() + ended.out + ended.err


def test_a_second_restore_waits_for_no_first(run: Run, empty: Target, books: Books) -> None:
    from backup_pipeline.postgres.restore import LOCK

    with psycopg.connect(empty.url) as other:
        other.execute("SELECT pg_advisory_lock(%(class)s::int, %(object)s::int)", LOCK)
        ended = run(*FRESH, empty.url)
    assert ended.code == 11
    assert books.newest().status is RestoreStatus.FAILED


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("latest",), "has no target"),
        (("latest", "--to-source", "--target-url", "postgresql://db/x"), "Two targets"),
        ((), "Which backup"),
        (("latest", "--to-source", "--rename", "goods"), "--rename 'goods' is not of the form old=new"),
        (("latest", "--to-source", "--rename", "goods=a", "--rename", "goods=b"), "names 'goods' twice"),
        (("latest", "--to-source", "--fill", "goods.name"), "table.column=value"),
        (("latest", "--request", "1"), "--request can not go with ID"),
        (("--request", "1", "--mode", "upsert", "--reason", "x"), "--mode, --reason"),
        (("latest", "--to-source", "--mode", "merge"), "merge"),
        (("nonsense", "--to-source"), "not a backup id"),
        (("latest", "--target-url", "mysql://app:hush-hush@db/x"), "not a PostgreSQL URL"),
    ],
)
def test_a_wrong_request_is_told_as_such(run: Run, arguments: tuple[str, ...], said: str) -> None:
    ended = run("restore", *arguments)
    assert (ended.code, said in ended.err) == (2, True), ended.err
    assert "hush-hush" not in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("20261121T120000Z-full-00000009", "--to-source"),
        ("--request", "999"),
        ("latest", "--to-source", "--table", "nothing"),
    ],
)
def test_what_is_not_there_is_not_found(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("restore", *arguments).code == 10
