"""`payment`, `plan` and `businesses` at the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from backup_pipeline.core.access import NewUser, Role
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.payments.accounts import RegistryEntry
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.cli.conftest import Run, made_installation
from backup_pipeline_tests.cli.installation import Installation


@pytest.fixture(scope="module")
def installation(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One with two businesses and a super admin."""
    with made_installation(postgres_server, tmp_path_factory.mktemp("money")) as made:
        with closing(SqlLedger(made.environment["BACKUP_LEDGER_URL"])) as ledger:
            now = datetime.now(UTC)
            entries = [RegistryEntry("42", "Rupa Stores"), RegistryEntry("43", "Dhaka Bikes")]
            ledger.businesses.register("retail", entries, RAHIM, now)
            ledger.as_person(PersonIdentity()).access.users.add(NewUser("karim", Role.SUPER_ADMIN), RAHIM, now)
        yield made


def pay(run: Run, *words: str, code: int = 0) -> str:
    ended = run("payment", "verify", "42", *words, "--by", "karim")
    assert ended.code == code, ended.err
    return ended.out + ended.err


def test_a_plan_is_made_a_business_put_on_it_and_its_payments_verified(run: Run) -> None:
    assert "no plan yet" in run("plan", "list").out
    assert run("plan", "set", "pro", "200.00", "--title", "Pro").code == 0
    assert "200.00" in run("plan", "list").out
    assert "due" in run("businesses", "set", "42", "--plan", "pro").out
    bank = ("--method", "bank_transfer", "--reference", "TXN123456")
    assert "1 × 200.00 BDT a month" in pay(run, "200.00", *bank)
    assert "verified before" in pay(run, "200.00", *bank, code=1)
    assert "0.01 BDT are missing" in pay(run, "199.99", "--method", "cash", "--reference", "R1", code=2)
    answer = pay(run, "199.99", "--method", "cash", "--reference", "R1", "--accept", "a rounding", "--json")
    assert (json.loads(answer)["status"], json.loads(answer)["amount"]) == ("accepted", "199.99")
    rows = json.loads(run("payment", "list", "--json").out)
    assert [(row["business"], row["amount"], row["price"]["period"]) for row in rows] == [
        ("42", "199.99", "month"), ("42", "200.00", "month"),
    ]  # fmt: skip
    assert "TXN123456" in run("payment", "list", "--business", "42").out
    assert "No payment" in run("payment", "list", "--business", "43").out


def test_businesses_are_listed_and_switched(run: Run) -> None:
    assert run("businesses", "feature", "43", "backups", "--off").code == 0
    listed = run("businesses", "list").out
    assert "Dhaka Bikes" in listed
    assert "backups paused" in listed
    assert [row["business"] for row in json.loads(run("businesses", "list", "--text", "bikes", "--json").out)] == ["43"]
    assert run("businesses", "list", "--gone").out.startswith("No business")
    shown = run("businesses", "settings", "--grace-days", "10", "--method", "bkash").out
    assert shown.splitlines() == ["Overdue: more than 10 days after the date.", "Methods: bkash."]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("payment", "verify", "44", "1", "--method", "cash", "--reference", "x", "--by", "karim"), 10),
        (("payment", "verify", "42", "1", "--method", "cash", "--reference", "x", "--by", "nobody"), 21),
        (("payment", "verify", "42", "1,5", "--method", "cash", "--reference", "x", "--by", "karim"), 2),
        (("plan", "set", "Pro!", "1"), 2),
        (("plan", "set", "pro", "1", "--currency", "taka"), 2),
        (("businesses", "set", "42"), 2),
        (("businesses", "set", "42", "--plan", "gold"), 10),
        (("businesses", "set", "42", "--next-payment", "soon"), 2),
        (("businesses", "settings", "--grace-days", "1000"), 2),
    ],
)
def test_what_can_not_be_is_refused_with_its_code(run: Run, words: tuple[str, ...], code: int) -> None:
    ended = run(*words)
    assert ended.code == code, ended.err
    assert "What to do" in ended.err


@pytest.mark.acceptance("3.13")
def test_analytics_are_shown_and_printed(run: Run) -> None:
    run("plan", "set", "gold", "300", "--period", "quarter")
    run("businesses", "set", "43", "--plan", "gold")
    overview = json.loads(run("analytics", "overview", "--json").out)
    assert [(each["currency"], each["end"]) for each in overview["document"]["mrr"]] == [("BDT", "300.00")]
    assert "300.00 BDT" in run("analytics", "overview").out
    assert "399.99" in run("analytics", "revenue", "--months", "2").out
    assert "Churned" in run("analytics", "growth").out
    own = run("analytics", "business", "42").out
    assert "Rupa Stores" in own
    assert "399.99 BDT" in own
    assert run("analytics", "business", "44").code == 10
