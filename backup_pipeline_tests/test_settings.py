"""Tests of the settings: where a value comes from, what a bad one says, and that no secret is shown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import AliasChoices, SecretStr

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.settings import BUILT_IN_CATALOGS, Settings, default_workers, set_environment
from backup_pipeline_tests.environment import bare_environment

DOC = Path(__file__).parent.parent / "docs" / "configuration.md"


@pytest.fixture(autouse=True)
def _bare() -> Iterator[None]:
    with bare_environment("USER", "LOGNAME"):
        yield


def variables() -> set[str]:
    """Every environment variable that a setting is read from."""
    found = {"BACKUP_SOURCE_URL_<CATALOG>", "BACKUP_PING_START_URL_<CATALOG>", "BACKUP_RESTORE_TARGET_URL_<NAME>"}
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            found |= {str(choice) for choice in alias.choices}
        elif name not in {"source_urls", "ping_urls", "restore_targets"}:
            found.add(str(alias) if alias else f"BACKUP_{name.upper()}")
    return found


def test_without_anything_set_the_embedded_default_holds() -> None:
    settings = Settings()
    assert {settings.source_url, settings.ledger_url, settings.store, settings.work_dir} == {None}
    assert settings.catalogs == BUILT_IN_CATALOGS
    assert (settings.catalog, settings.alert_urls) == ("isp", ())


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (3, 1), (4, 2), (64, 2)])
def test_a_small_machine_is_read_by_one_worker(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert Settings().workers == default_workers(cores) == workers


def test_the_environment_goes_before_the_default_and_an_argument_before_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_WORKERS", "5")
    assert Settings().workers == 5
    assert Settings(workers=7).workers == 7


def test_an_empty_variable_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_WORKERS", "")
    monkeypatch.setenv("BACKUP_STORE", "")
    assert (Settings().workers, Settings().store) == (default_workers(os.cpu_count() or 1), None)


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (("BACKUP_S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"), "s3_region"),
    ],
)
def test_of_several_variables_the_first_counts(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], read: str
) -> None:
    for name in reversed(names):
        monkeypatch.setenv(name, f"from {name}")
        assert getattr(Settings(), read) == f"from {name}"


def test_settings_with_another_variable_can_be_given_by_their_name(tmp_path: Path) -> None:
    settings = Settings(s3_region="ap-south-1", dagster_home=tmp_path)
    assert (settings.s3_region, settings.dagster_home) == ("ap-south-1", tmp_path)


def test_a_catalog_may_have_its_own_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_SOURCE_URL", "postgresql://every/one")
    monkeypatch.setenv("BACKUP_SOURCE_URL_ISP_CUSTOMERS", "postgresql://crm/isp")
    monkeypatch.setenv("BACKUP_SOURCE_URL_RETAIL", "")
    settings = Settings()
    assert settings.source_url_of("isp_customers") == SecretStr("postgresql://crm/isp")
    assert settings.source_url_of("isp") == SecretStr("postgresql://every/one")
    assert settings.source_url_of("retail") == SecretStr("postgresql://every/one")


def test_a_source_of_one_catalog_is_none_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_SOURCE_URL_ISP", "postgresql://isp/isp")
    assert Settings().source_url_of("retail") is None


def test_alert_urls_are_split_at_white_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_ALERT_URLS", " mailto://a:b@c?to=x,y \n json://host\t")
    assert [url.get_secret_value() for url in Settings().alert_urls] == ["mailto://a:b@c?to=x,y", "json://host"]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("BACKUP_WORKERS", "many", "a whole number \\(given: 'many'\\)"),
        ("BACKUP_WORKERS", "0", "1 or more"),
        ("BACKUP_WORKERS", "33", "32 or less"),
        ("BACKUP_PAGE_MIB", "0", "1 or more"),
        ("BACKUP_ALERT_TIMEOUT_S", "0", "more than 0"),
        ("BACKUP_ALERT_TIMEOUT_S", "inf", "finite"),
        ("BACKUP_CONNECT_TIMEOUT_S", "0", "1 or more"),
        ("BACKUP_STATEMENT_TIMEOUT_S", "-1", "0 or more"),
        ("BACKUP_LOCK_TIMEOUT_S", "1.5", "a whole number"),
    ],
)
def test_a_bad_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=f"^{variable} is wrong: .*{said}") as refused:
        Settings()
    assert "docs/configuration.md" in refused.value.do


def test_a_misspelt_plural_of_the_source_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_SOURCE_URLS", "postgresql://app:hunter2@db/isp")
    with pytest.raises(SettingsError, match=r"^BACKUP_SOURCE_URLS is wrong") as refused:
        Settings()
    assert "hunter2" not in str(refused.value)


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "postgresql://app:hunter2@db/isp"
    for name in (
        "BACKUP_SOURCE_URL",
        "BACKUP_SOURCE_URL_ISP",
        "BACKUP_LEDGER_URL",
        "DAGSTER_PG_URL",
        "BACKUP_ALERT_URLS",
    ):
        monkeypatch.setenv(name, secret)
    settings = Settings()
    for shown in (repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()):
        assert "hunter2" not in shown
    assert settings.dagster_pg_url == SecretStr(secret)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(Settings(), "workers", 3)  # noqa: B010  # as a type checker would not let one write it


def test_the_environment_is_set_for_children_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_STORE", "before")
    set_environment({"BACKUP_STORE": "file:///after"})
    assert os.environ["BACKUP_STORE"] == Settings().store == "file:///after"


def test_every_variable_has_its_row_in_the_documentation() -> None:
    rows = [line for line in DOC.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    documented = {
        name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+(?:<CATALOG>|<NAME>)?)`", row.split("|")[1])
    }
    assert variables() - documented == set()


def test_the_documentation_names_no_variable_of_ours_that_does_nothing() -> None:
    documented = set(re.findall(r"`(BACKUP_[A-Z0-9_]+(?:<CATALOG>|<NAME>)?)`", DOC.read_text(encoding="utf-8")))
    assert documented - variables() == {"BACKUP_SOURCE_URL_ISP", "BACKUP_RESTORE_TARGET_URL_RESCUE"}  # the examples


def test_the_documentation_gives_the_defaults() -> None:
    rows = [line.split("|") for line in DOC.read_text(encoding="utf-8").splitlines() if line.startswith("| `BACKUP_")]
    given = {name.strip().strip("`"): default.strip().strip("`") for _, name, default, *_ in rows}
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, int | float):
            assert given[f"BACKUP_{name.upper()}"] == str(field.default), name


def test_settings_with_other_values_still_know_what_somebody_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_PAGE_MIB", "8")
    settings = Settings().updated(workers=3)
    assert (settings.page_mib, settings.workers) == (8, 3)
    assert {"page_mib", "workers"} <= settings.model_fields_set
    assert not {"catalog", "automation"} & settings.model_fields_set
