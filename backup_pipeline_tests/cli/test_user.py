"""`user` and `audit verify`: people are managed without a browser, and the audit vouches for itself."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator

import psycopg
import pytest

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.cli.conftest import Run, made_installation
from backup_pipeline_tests.cli.installation import Installation

PASSWORD = "copper kettle rain 41"
Typed = Callable[[str], None]


@pytest.fixture(scope="module")
def installation(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One of this file's own: its users and its audit are counted."""
    with made_installation(postgres_server, tmp_path_factory.mktemp("people")) as made:
        yield made


@pytest.fixture(autouse=True)
def typed(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Give a command a line on standard input; no user is left of the test before."""
    with psycopg.connect(installation.environment["BACKUP_LEDGER_URL"]) as session:
        session.execute("TRUNCATE users, console_sessions, one_time_links, system_settings")

    def give(line: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{line}\n"))

    give(PASSWORD)
    return give


@pytest.mark.acceptance("3.27")
def test_users_are_added_listed_changed_and_disabled(run: Run, typed: Typed) -> None:
    assert run("user", "add", "karim@example.com", "--role", "super_admin").code == 0
    typed(PASSWORD)
    assert run("user", "add", "rahim", "--role", "business_admin", "--business", "42").code == 0
    assert run("user", "set", "RAHIM", "--role", "viewer", "--may-run").code == 0
    [karim, rahim] = json.loads(run("user", "list", "--json").out)
    assert (karim["name"], karim["role"]) == ("karim@example.com", "super_admin")
    assert (rahim["role"], rahim["may_run"], rahim["may_download"], rahim["businesses"]) == ("viewer", True, False, [])
    assert run("user", "disable", "rahim").code == 0
    listed = run("user", "list").out
    assert "disabled" in listed
    assert "super admin" in listed
    assert run("user", "set", "rahim", "--enable").code == 0
    assert "disabled" not in run("user", "list").out
    actions = [row["action"] for row in json.loads(run("audit", "list", "--json").out)]
    assert actions[:5] == ["user_changed", "user_changed", "user_changed", "user_added", "user_added"]


@pytest.mark.parametrize(
    ("password", "why"),
    [("short", "needs 12"), ("backup_pipeline1", "soon guessed"), ("karim@example.com", "soon guessed")],
)
def test_a_password_that_is_soon_guessed_is_refused_with_advice(
    run: Run, typed: Typed, password: str, why: str
) -> None:
    typed(password)
    ended = run("user", "add", "karim@example.com")
    assert ended.code == 2
    assert why in ended.err
    assert json.loads(run("user", "list", "--json").out) == []


def test_a_password_is_no_argument(run: Run) -> None:
    assert run("user", "add", "karim", "--password", PASSWORD).code == 2


def test_what_can_not_be_is_refused(run: Run, typed: Typed) -> None:
    assert run("user", "add", "karim", "--role", "super_admin").code == 0
    for command, code in (
        (("user", "add", "KARIM"), 2),
        (("user", "add", "x", "--role", "business_admin"), 2),
        (("user", "add", "x", "--business", "42"), 2),
        (("user", "add", "x", "--role", "business_admin", "--business", "../42"), 2),
        (("user", "set", "karim"), 2),
        (("user", "set", "nobody", "--may-run"), 10),
        (("user", "disable", "karim"), 21),
        (("user", "set", "karim", "--role", "admin"), 21),
        (("user", "sessions", "nobody"), 10),
    ):
        typed(PASSWORD)
        assert run(*command).code == code, command


def test_an_invitation_is_a_link(run: Run) -> None:
    ended = run("user", "add", "karim", "--invite")
    assert re.fullmatch(r"http://127\.0\.0\.1:3001/welcome/[\w-]{43}\n", ended.out)
    assert run("user", "password", "karim", "--invite").out != ended.out


def test_how_people_have_to_sign_in_is_shown_and_changed(run: Run) -> None:
    assert "as people like" in run("user", "policy").out
    changed = run("user", "policy", "--second-factor", "super_admin", "--no-local-login").out
    assert "compulsory for super admin" in changed
    assert "off" in changed
    assert "as people like" in run("user", "policy", "--no-second-factor", "--local-login").out


@pytest.mark.acceptance("3.27")
def test_the_audit_vouches_for_itself_and_names_the_row_that_does_not_fit(run: Run, installation: Installation) -> None:
    assert run("user", "add", "karim").code == 0
    whole = run("audit", "verify")
    assert whole.code == 0, whole.err
    noted = whole.out.split()[-1]
    assert run("audit", "verify", "--expect", noted).code == 0
    with psycopg.connect(installation.environment["BACKUP_LEDGER_URL"]) as session:
        session.execute("ALTER TABLE backup_audit DISABLE TRIGGER ALL")
        [(number,)] = session.execute("SELECT min(id) FROM backup_audit").fetchall()
        session.execute("UPDATE backup_audit SET actor = 'somebody else' WHERE id = %s", [number])
        session.commit()
        changed = run("audit", "verify")
        assert changed.code == 20
        assert f"Row {number} of the audit" in changed.err
        session.execute("DELETE FROM backup_audit WHERE id = %s", [number])
        session.commit()
        assert f"Row {number + 1} of the audit" in run("audit", "verify").err
        session.execute("TRUNCATE backup_audit")
        session.execute("ALTER TABLE backup_audit ENABLE ALWAYS TRIGGER backup_audit_in_turn")
        session.execute("ALTER TABLE backup_audit ENABLE ALWAYS TRIGGER backup_audit_chain")
        session.commit()
        assert run("audit", "verify").code == 0
        assert run("audit", "verify", "--expect", noted).code == 20, "what was cut off is missed by who kept a hash"
