"""The target of a restore: named, or the source; shown without its password, and the same one for the same request."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from backup_pipeline.core.errors import RefusedError, SettingsError, UsageError
from backup_pipeline.embedded.cluster import Connection
from backup_pipeline.settings import Settings
from backup_pipeline.wiring import addresses
from backup_pipeline.wiring.restore import chosen_target, named_target, target_of
from backup_pipeline_tests.ledger.restores import wish

HUSH = "h@sh/%&? hush"
CODED = "h%40sh%2F%25%26%3F%20hush"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    url = SecretStr(f"postgresql://reader:{CODED}@db.example:5433/isp?sslmode=prefer")
    return Settings(home=tmp_path, source_url=url, source_urls={})


@pytest.mark.parametrize(
    ("url", "shown", "database"),
    [
        (f"postgresql://app:{CODED}@db:5432/isp", "postgresql://app@db:5432/isp", "isp"),
        (f"postgres://app:{CODED}@db/isp?password={CODED}&sslmode=disable", "postgresql://app@db/isp", "isp"),
        (f"postgresql://app:{CODED}@[::1]:99/b%20d", "postgresql://app@[::1]:99/b%20d", "b d"),
        (f"postgresql:///isp?host=/run/pg&user=app&password={CODED}", "postgresql://app@%2Frun%2Fpg/isp", "isp"),
        ("postgresql://db", "postgresql://db/", pwd.getpwuid(os.geteuid()).pw_name),
    ],
)
def test_what_is_shown_says_where_and_as_whom_and_no_secret(url: str, shown: str, database: str) -> None:
    target = named_target(url)
    assert (target.address.url, target.address.database) == (shown, database)
    assert HUSH not in repr(target)
    assert CODED not in repr(target)
    if CODED in url:
        hidden = target.hide(f"FATAL: {HUSH} and {url}")
        assert HUSH not in hidden
        assert CODED not in hidden
    named_target(shown)  # libpq understands it


def test_another_scheme_is_refused_without_its_password() -> None:
    with pytest.raises(SettingsError, match="--target-url is not a PostgreSQL URL") as refused:
        named_target(f"mysql://app:{CODED}@db/isp")
    assert CODED not in str(refused.value)


def test_one_target_has_to_be_named(settings: Settings) -> None:
    with pytest.raises(UsageError, match="has no target"):
        chosen_target(settings, "isp", None, to_source=False)
    with pytest.raises(UsageError, match="Two targets"):
        chosen_target(settings, "isp", "postgresql://db/x", to_source=True)
    assert chosen_target(settings, "isp", "postgresql://db/x", to_source=False).address.database == "x"


@pytest.mark.parametrize("catalog", ["isp"])
def test_the_source_is_that_of_the_catalog_also_for_a_safety_backup(settings: Settings, catalog: str) -> None:
    urls = {"isp": SecretStr("postgresql://reader@other/isp")}
    target = chosen_target(settings.model_copy(update={"source_urls": urls}), catalog, None, to_source=True)
    assert target.address.url == "postgresql://reader@other/isp"


def test_the_demo_is_written_to_by_the_server_s_own_user(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Connection("127.0.0.1", 5999, 1, 1.0, 1, password=HUSH)
    monkeypatch.setattr(addresses, "running", lambda _: server)
    embedded = settings.model_copy(update={"source_url": None})
    expected = f"postgresql://{server.superuser}@127.0.0.1:5999/isp"
    assert chosen_target(embedded, "isp", None, to_source=True).address.url == expected
    told = settings.model_copy(update={"source_urls": {"isp": SecretStr(addresses.demo_url(server, settings.home))}})
    assert chosen_target(told, "isp", None, to_source=True).address.url == expected
    assert chosen_target(settings, "isp", None, to_source=True).address.url == "postgresql://reader@db.example:5433/isp"


def test_a_request_is_performed_on_its_own_target_only(settings: Settings) -> None:
    row = replace(wish(target="postgresql://app@db:5432/isp"), id=7)
    again = target_of(row, settings, f"postgresql://admin:{CODED}@db/isp", to_source=False)
    assert again.url.startswith("postgresql://admin")
    for url in ("postgresql://app@db:5432/isp2", "postgresql://app@db2:5432/isp", "postgresql://app@db:5433/isp"):
        with pytest.raises(RefusedError, match="request 7 is for postgresql://app@db:5432/isp, not for"):
            target_of(row, settings, url, to_source=False)
    with pytest.raises(RefusedError):
        target_of(row, settings, None, to_source=True)
    with pytest.raises(UsageError, match="keeps no password"):
        target_of(row, settings, None, to_source=False)


def test_a_request_for_the_source_needs_no_url_again(settings: Settings) -> None:
    row = replace(wish(target="postgresql://reader@db.example:5433/isp"), id=7)
    assert CODED in target_of(row, settings, None, to_source=False).url


def test_a_named_restore_target_is_known_with_its_password(settings: Settings) -> None:
    url = SecretStr(f"postgresql://app:{CODED}@db:5432/isp")
    known = settings.model_copy(update={"restore_targets": {"rescue": url}})
    row = replace(wish(target="postgresql://app@db/isp"), id=7)
    assert target_of(row, known, None, to_source=False).url == url.get_secret_value()
    with pytest.raises(UsageError, match="keeps no password"):
        target_of(replace(row, target="postgresql://app@db/other"), known, None, to_source=False)
