"""No message shows a password of a URL, however it is %-encoded, and whatever libraries and servers say."""

from __future__ import annotations

from random import Random

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import ArgumentError, OperationalError

from backup_pipeline.alerts import place_of
from backup_pipeline.cli.app import tell_failure
from backup_pipeline.core.errors import BackupError, SettingsError
from backup_pipeline.core.text import redact, redact_url
from backup_pipeline.ledger import ledger_error, ledger_url
from backup_pipeline.postgres.connection import parse_endpoint
from backup_pipeline.postgres.errors import connect_error, query_error
from backup_pipeline.stores import open_store
from backup_pipeline.stores.s3 import S3Settings
from backup_pipeline.wiring.restore import named_target
from backup_pipeline_tests.core.encoded import encoded_somehow

MARK = "Zq7x"  # stands in no message by itself
PASSWORDS = st.text(st.characters(exclude_categories=("C", "Z")), max_size=20).map(lambda rest: MARK + rest + MARK)
URLS = ("postgresql://app:{}@db:5432/isp", "postgresql://app:{}@[::1]/isp", "postgresql://db/isp?user=app&password={}")
_RESERVED = "%/?#@:&=+;[]"


def _written(password: str, seed: Random, always: str = _RESERVED) -> str:
    return "".join(encoded_somehow(char, seed, always=always) for char in password)


def _says(password: str, written: str, url: str) -> str:
    """What a library might say."""
    return f'could not connect with "{written}" ({password}) to {url}: password={password}'


def _messages(password: str, written: str, url: str) -> list[str]:
    """Everything that is shown of a URL: itself, and the errors of all that take it."""
    said = _says(password, written, url)
    endpoint, target = parse_endpoint(url), named_target(url)
    errors: list[BackupError] = [
        connect_error(psycopg.OperationalError(said), endpoint),
        query_error(psycopg.OperationalError(said), endpoint, "reading goods"),
        ledger_error(OperationalError("SELECT 1", {}, Exception(said)), url),
        ledger_error(ArgumentError(said), url),
    ]
    shown = [redact_url(url), str(endpoint), repr(endpoint), endpoint.shown_url, endpoint.redact(said)]
    shown += [repr(target), target.address.url, target.hide(said), place_of(url)]
    return [*shown, *(text for error in errors for text in (str(error), error.what, error.do, repr(error)))]


@given(password=PASSWORDS, seed=st.randoms(use_true_random=False), form=st.sampled_from(URLS))
def test_no_password_of_a_url_is_shown(password: str, seed: Random, form: str) -> None:
    written = _written(password, seed)
    for message in _messages(password, written, form.format(written)):
        assert password not in message
        assert written not in message


@given(password=PASSWORDS, seed=st.randoms(use_true_random=False))
def test_one_that_ought_to_be_encoded_and_is_not_is_not_shown_either(password: str, seed: Random) -> None:
    """Then nobody can tell where it ends: it is refused, or taken whole, and in neither case is a piece of it told."""
    url = f"postgresql://app:{_written(password, seed, always='%')}@db:5432/isp"
    for take in (parse_endpoint, ledger_url, named_target):
        try:
            told = str(take(url)) if take is parse_endpoint else ""
        except SettingsError as error:
            told = f"{error} {error.what} {error.do}"
        assert MARK not in told
    assert MARK not in redact_url(url)


@pytest.mark.parametrize(
    "url", ["postgresql://app:12/34@db/isp", "postgresql://app:a@b@db/isp", "postgresql://app:a?b@db"]
)
def test_a_url_that_can_be_read_in_two_ways_is_refused(url: str) -> None:
    for take in (parse_endpoint, ledger_url):
        with pytest.raises(SettingsError) as caught:
            take(url)
        assert "%-encode special characters" in caught.value.do
        assert not {"34", "b@db", "a?b"} & set(caught.value.what.split())


@given(password=PASSWORDS, seed=st.randoms(use_true_random=False))
def test_a_store_whose_url_holds_one_does_not_show_it(password: str, seed: Random) -> None:
    written = _written(password, seed)
    for url in (f"ftp://me:{written}@host/x", f"s3://me:{written}@bucket/x", f"https://me:{written}@host"):
        try:
            told = open_store(url, S3Settings()).url
        except BackupError as error:
            told = str(error)
        assert written not in told
        assert password not in told


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("debug", [True, False])
def test_what_a_command_prints_shows_none(capsys: pytest.CaptureFixture[str], *, as_json: bool, debug: bool) -> None:
    seed = Random(7)
    for password in ("Zq7x p/w@", "Zq7x%পাসZq7x", "Zq7x'\"Zq7x"):
        written = _written(password.replace(" ", ""), seed)
        url = f"postgresql://app:{written}@db/isp"
        for error in (BackupError(f"It is {url}.", do=f"Use {url}"), ValueError(f"invalid: {url}")):
            tell_failure(error, as_json=as_json, debug=debug)
    assert "Zq7x" not in capsys.readouterr().err
    assert "Zq7x" not in redact(url)
