"""Tests of what must never be shown: every way a password gets into a text, and every name that gives one away."""

from __future__ import annotations

import json
import time
from random import Random
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.text import HIDDEN, looks_secret, redact, redact_url, url_secrets
from backup_pipeline_tests.core.encoded import encoded_somehow

PW = "hunter2"
ODD = ["p@ss", "p:ss", "p/ss", "p/w@h", "a@b@c", "p?q#r", "%40%2F", "p%", 'p"w', "p'w", "p<w>", "ünï", "12/34", "পাস"]


@pytest.mark.parametrize("password", [PW, *ODD])
def test_a_password_in_a_url_is_hidden_whatever_it_holds(password: str) -> None:
    text = f"can not connect to postgresql://app:{password}@db:5432/isp now"
    assert redact(text) == "can not connect to postgresql://app:***@db:5432/isp now"


@pytest.mark.parametrize("password", [PW, "two words", "two\nlines", *ODD])
def test_a_url_fit_for_logs_has_neither_password_nor_query(password: str) -> None:
    url = f"postgresql://app:{password}@db:5432/isp?sslmode=require#x"
    assert redact_url(url) == "postgresql://app:***@db:5432/isp"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://db/isp", "postgresql://db/isp"),
        ("postgresql://app@db/isp", "postgresql://app@db/isp"),
        ("postgresql://db:5432/isp?password=hunter2", "postgresql://db:5432/isp"),
        ("postgresql://me@corp:hunter2@db/isp", "postgresql://me@corp:***@db/isp"),
        ("redis://:hunter2@cache", "redis://:***@cache"),
        ("postgresql+psycopg://app:hunter2@[::1]:5432/isp", "postgresql+psycopg://app:***@[::1]:5432/isp"),
        ("postgresql://app:hunter2@[::1/isp", "postgresql://app:***@[::1/isp"),  # malformed, and shown all the same
        ("host=db user=app password=hunter2", "host=db user=app password=***"),
        ("postgresql:///?service=shop", "postgresql:///?service=shop"),
        ("postgresql:///?password=hunter2&service=shop&user=app", "postgresql:///?service=shop"),
        ("postgresql:///?service=shop hunter2", "postgresql:///"),
        ("postgresql://app:hunter2@db/isp?service=shop", "postgresql://app:***@db/isp"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("file:///var/backups/a@b", "file:///var/backups/a@b"),
        ("http://127.0.0.1:9000/bucket", "http://127.0.0.1:9000/bucket"),
        ("", ""),
    ],
)
def test_urls_of_every_kind(url: str, shown: str) -> None:
    assert redact_url(url) == shown


def test_two_urls_in_one_text_both_lose_their_password() -> None:
    assert redact("a://u:one@h b://v:two@i") == "a://u:***@h b://v:***@i"
    assert "one" not in redact("a://u:one@h,b://v:two@i")
    assert "two" not in redact("a://u:one@h,b://v:two@i")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("host=db password=hunter2 user=app", "host=db password=*** user=app"),
        ("password = 'two words' user=app", "password = '***' user=app"),
        (r"password='it\'s hunter2' user=app", "password='***' user=app"),
        ("password='cut off hunter2", "password='***'"),
        ("PGPASSWORD=hunter2", "PGPASSWORD=***"),
        ("db_password: hunter2", "db_password: ***"),
        ("sslpassword=hunter2", "sslpassword=***"),
        ("Pwd=hunter2;", "Pwd=***"),
        ("AWS_SECRET_ACCESS_KEY=hunter2", "AWS_SECRET_ACCESS_KEY=***"),
        ("aws_session_token=hunter2", "aws_session_token=***"),
        ("api_key=hunter2", "api_key=***"),
        ("apiKey: hunter2", "apiKey: ***"),
        ("X-Amz-Signature=hunter2", "X-Amz-Signature=***"),
        ("authorization: Bearer hunter2", "authorization: Bearer ***"),
        ('{"password": "two words", "a": 1}', '{"password": "***", "a": 1}'),
        ('{"password":"hun\\"ter2","a":1}', '{"password":"***","a":1}'),
        ("{'token': 'hunter2', 'a': 1}", "{'token': '***', 'a': 1}"),
        ("password=hunter2&mode=x", "password=***"),
        ("DETAIL: Key (password)=(hunter2) already exists.", "DETAIL: Key (password)=(*** already exists."),
    ],
)
def test_a_secret_behind_its_keyword_is_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        'FATAL: password authentication failed for user "app"',
        "Catalog isp would export columns that look like secrets: routers.api_password, api_keys.key_hash.",
        "http://127.0.0.1:3000/runs/1 and mail to a@b.org",
        "Table payments: 12 rows at 10:30:00",
        "s3://bucket/isp/backups/backup_date=2026-11-21/",
        "postgresql://app@db:5432/isp",
        "the tokens_used: 12",
    ],
)
def test_plain_messages_stay_as_they_are(text: str) -> None:
    assert redact(text) == text


SECRETS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=4).filter(lambda s: HIDDEN not in s)


@given(secret=SECRETS)
def test_a_known_secret_is_hidden_in_every_form(secret: str) -> None:
    forms = (secret, quote(secret), quote(secret, safe=""), quote_plus(secret))
    text = " | ".join(forms)
    assert redact(text, secret, "") == " | ".join([HIDDEN] * len(forms))


def test_of_two_known_secrets_the_longer_goes_first() -> None:
    assert redact("hunter2hunter2x", "hunter2", "hunter2hunter2x") == HIDDEN


@pytest.mark.acceptance("2.32")
@given(password=st.text(st.characters(exclude_categories=("Cs", "Z", "C")), min_size=1))
def test_no_password_of_a_url_survives(password: str) -> None:
    shown = f"postgresql://app:{HIDDEN}@db/isp"
    assert redact(f"postgresql://app:{password}@db/isp") == shown
    assert redact_url(f"postgresql://app:{password}@db/isp") == shown


@given(password=st.text(st.characters(codec="utf-8"), min_size=1))
def test_no_password_in_json_survives(password: str) -> None:
    for ascii_only in (True, False):
        text = json.dumps({"password": password, "n": 1}, ensure_ascii=ascii_only)
        assert redact(text) == '{"password": "***", "n": 1}'


@pytest.mark.parametrize(
    "text", ["a" * 100_000, "a://" * 25_000, "password" * 12_000, "password='" * 10_000, "a.b+" * 25_000]
)
def test_long_texts_take_no_time(text: str) -> None:
    start = time.perf_counter()
    redact(text)
    assert time.perf_counter() - start < 5


def test_hiding_twice_changes_nothing() -> None:
    once = redact("postgresql://a:b@c password='x y' token=z")
    assert redact(once) == once


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("a://u:p%40w@h", ("p@w",)),
        ("a://u:p%2Fw@[::1", ("p/w",)),
        ("a://u@h", ()),
        ("a://h/x", ()),
        ("a://h/x?password=a%20b&sslmode=require&sslpassword=c", ("a b", "c")),
    ],
)
def test_the_passwords_of_a_url_are_decoded(url: str, secrets: tuple[str, ...]) -> None:
    assert url_secrets(url) == secrets


@given(secret=SECRETS, seed=st.randoms(use_true_random=False))
def test_a_known_secret_is_hidden_however_it_is_encoded(secret: str, seed: Random) -> None:
    encoded = "".join(encoded_somehow(char, seed) for char in secret)
    assert redact(f"it said {encoded}.", secret) == f"it said {HIDDEN}."


@pytest.mark.parametrize(
    "name",
    [
        *("password", "Password", "PASSWORD", "password2", "password_hash", "passwordhash", "encrypted_password"),
        *("wifiPassword", "wifi_pass", "pass_word", "passwd", "user_pwd", "pw", "passphrase", "admin_passwords"),
        *("apiKey", "APIKey", "api_key", "apikey", "api_keys", "api_key_id", "privateKey", "private_key_pem"),
        *("secret", "client_secret", "clientsecret", "secretkey", "aws_secret_access_key", "webhookSecret"),
        *("token", "access_token", "refreshToken", "accesstoken", "tokens", "device-token", "token hash"),
        *("hash", "cash_hash", "file_hashes", "pwhash", "salt", "credential", "credentials", "otp_code", "jwt"),
        *("token_no", "tokens_used"),  # asked about once: `allow` answers
    ],
)
def test_names_that_look_like_secrets(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("id", "name", "key", "primary_key", "keyboard", "monkey", "access", "public_key", "foreign_key"),
        *("passport_no", "passenger", "pass_rate", "bypass_reason", "compass", "secretary", "secretariat"),
        *("hashtag", "cash", "cashier", "salted", "tokenized", "address", "addresses", "username", "author"),
        *("pppoe_username", "mac_address", "pin_code", "description", "নাম", "", "_", "123"),
    ],
)
def test_names_that_do_not(name: str) -> None:
    assert not looks_secret(name)


@pytest.mark.parametrize(
    "advice",
    [
        "Give new rows a value with --fill users.password_hash=VALUE --fill users.api_token=VALUE.",
        "Give each its own: --fill users.token='{random}' (32 random digits), or '…{n}' (numbered).",
        "--fill users.token='…{n}', then again.",
    ],
)
def test_the_placeholders_of_our_own_advice_are_no_secrets(advice: str) -> None:
    assert redact(advice) == advice


def test_what_only_begins_like_a_placeholder_is_hidden() -> None:
    assert redact("--fill users.token=VALUE99 password={random}x secret='VALUE or so'").count("***") == 3
