"""`restores`: requests listed and shown; approved by another person, and only then performed."""

from __future__ import annotations

import json

import pytest

from backup_pipeline.core.restore.requests import RestoreStatus
from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.restore.conftest import Books, Target


@pytest.fixture
def waiting(run: Run, damaged: Target, books: Books, monkeypatch: pytest.MonkeyPatch) -> int:
    """A request that waits for approval."""
    monkeypatch.setenv("BACKUP_RESTORE_APPROVAL", "on")
    wish = (
        "restore",
        "latest",
        "--target-url",
        damaged.url,
        "-T",
        "goods",
        "--mode",
        "replace",
        "--reason",
        "wrong UPDATE",
    )
    ended = run(*wish, "--confirm", damaged.database)
    assert ended.code == 21, ended.err
    assert "not approved yet" in ended.err
    assert "400" in ended.out  # the plan is there for whoever is to approve it
    return books.newest().id


def _perform(run: Run, number: int, damaged: Target, *more: str) -> int:
    return run("restore", "--request", str(number), "--target-url", damaged.url, *more).code


def test_another_person_approves_and_then_it_is_performed(
    run: Run, waiting: int, damaged: Target, books: Books
) -> None:
    confirm = ("--confirm", damaged.database)
    assert _perform(run, waiting, damaged, *confirm) == 21
    own = run("restores", "approve", str(waiting), by="RAHIM")
    assert own.code == 21
    assert "can not approve it too" in own.err
    assert run("restores", "approve", str(waiting)).code == 21  # whoever runs it is rahim
    assert damaged.counts() == (400, 0)
    approved = run("restores", "approve", str(waiting), "--reason", "looked at it", by="karim")
    assert approved.code == 0
    assert f"restore --request {waiting}" in approved.out
    assert _perform(run, waiting, damaged) == 21  # without the name
    assert books.newest().status is RestoreStatus.APPROVED
    assert _perform(run, waiting, damaged, *confirm) == 0
    assert damaged.counts() == (500, 500)
    row = books.newest()
    assert (row.id, row.status, str(row.decided_actor), row.decision_reason) == (
        waiting,
        RestoreStatus.DONE,
        "karim",
        "looked at it",
    )
    assert _perform(run, waiting, damaged, *confirm) == 21
    assert damaged.password not in books.text()


def test_what_was_rejected_is_not_performed(run: Run, waiting: int, damaged: Target, books: Books) -> None:
    assert run("restores", "reject", str(waiting)).code == 2
    assert run("restores", "reject", str(waiting), "--reason", "found elsewhere", by="karim").code == 0
    assert _perform(run, waiting, damaged, "--confirm", damaged.database) == 21
    assert run("restores", "approve", str(waiting), by="karim").code == 1
    assert damaged.counts() == (400, 0)
    assert books.newest().status is RestoreStatus.REJECTED


def test_an_approval_is_for_its_target_alone(
    run: Run, waiting: int, damaged: Target, postgres_server: object, books: Books
) -> None:
    assert run("restores", "approve", str(waiting), by="karim").code == 0
    other = damaged.url.replace(damaged.database, "postgres")
    ended = run("restore", "--request", str(waiting), "--target-url", other, "--confirm", "postgres")
    assert ended.code == 21
    assert "is for" in ended.err
    assert run("restore", "--request", str(waiting), "--to-source").code == 21
    unnamed = run("restore", "--request", str(waiting))
    assert (unnamed.code, "keeps no password" in unnamed.err) == (2, True)
    assert books.newest().status is RestoreStatus.APPROVED


def test_a_dry_run_of_a_request_shows_its_plan_again(run: Run, waiting: int, damaged: Target, books: Books) -> None:
    before = books.newest()
    assert _perform(run, waiting, damaged, "--dry-run") == 0
    assert books.newest() == before


def test_requests_are_listed_and_shown(run: Run, waiting: int, damaged: Target) -> None:
    for arguments in (("restores",), ("restores", "list", "--status", "requested")):
        listed = run(*arguments)
        assert listed.code == 0
        for word in (str(waiting), "requested", "replace", damaged.database, "rahim", "wrong UPDATE"):
            assert word in listed.out
    assert [row["id"] for row in json.loads(run("restores", "list", "--json", "--limit", "1").out)] == [waiting]
    assert json.loads(run("restores", "list", "--status", "running", "--json").out) == []
    shown = run("restores", "show", str(waiting))
    assert shown.code == 0
    for word in ("requested", "wrong UPDATE", "public.goods", "400 rows now", "restore requested", damaged.database):
        assert word in shown.out
    told = json.loads(run("restores", "show", str(waiting), "--json").out)
    assert told["request"]["plan"]["database"] == damaged.database
    assert [event["action"] for event in told["audit"]] == ["restore requested"]
    assert damaged.password not in shown.out + json.dumps(told)


@pytest.mark.parametrize("arguments", [("show", "999"), ("approve", "999"), ("reject", "999", "--reason", "x")])
def test_what_is_not_there_is_not_found(run: Run, arguments: tuple[str, ...]) -> None:
    ended = run("restores", *arguments)
    assert (ended.code, "no restore request 999" in ended.err) == (10, True)


def test_on_the_worst_day_one_person_breaks_the_glass_and_it_is_told(
    run: Run, waiting: int, damaged: Target, books: Books
) -> None:
    confirm = ("--confirm", damaged.database)
    both = run("restore", "--request", str(waiting), "--target-url", damaged.url, "--dry-run", "--break-glass", "x")
    assert both.code == 2
    assert _perform(run, waiting, damaged, *confirm, "--break-glass", " ") == 21, "a reason is a reason"
    assert _perform(run, waiting, damaged, *confirm, "--break-glass", "the shop is down") == 0
    assert books.newest().status is RestoreStatus.DONE
    shown = run("restores", "show", str(waiting)).out
    assert "break_glass: the shop is down" in shown
    told = run("alerts", "list", "--all").out
    assert f"A restore without approval: shop into {damaged.database} (request {waiting})" in " ".join(told.split())
