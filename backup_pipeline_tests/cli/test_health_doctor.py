"""`doctor`: all is well, and then one thing after the other is broken; each is told with what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import make_url

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline_tests.alerts.servers import free_port, http_server
from backup_pipeline_tests.cli.conftest import Run, made_installation
from backup_pipeline_tests.cli.installation import Installation

Lines = list[Mapping[str, str]]


@pytest.fixture(scope="module")
def installation(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with made_installation(postgres_server, tmp_path_factory.mktemp("examined")) as made:
        yield made


@pytest.fixture(autouse=True)
def _shop(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `run` has set the environment."""
    monkeypatch.setenv("BACKUP_CATALOG", "shop")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def _lines(run: Run, code: int, *arguments: str) -> Lines:
    ended = run("doctor", "--json", *arguments)
    found: Lines = json.loads(ended.out)
    assert ended.code == code, found
    return found


def _of(lines: Lines, topic: str, *states: str) -> list[str]:
    return [line["what"] for line in lines if line["topic"] == topic and line["state"] in states]


def _problems(lines: Lines) -> list[str]:
    found = [line for line in lines if line["state"] == "problem"]
    assert all(line["do"] for line in found)
    return [line["topic"] for line in found]


@pytest.mark.acceptance("2.24")
def test_a_good_installation_has_warnings_at_most(run: Run, installation: Installation) -> None:
    # The failed attempt of the installation has an alert that did not reach anybody.
    lines = _lines(run, 1)
    assert _problems(lines) == ["alerts"]
    topics = {line["topic"] for line in lines}
    assert topics >= {"source shop", "ledger", "lease shop", "store", "keys", "pings", "disk", "timezones"}
    assert any("a superuser" in what for what in _of(lines, "source shop", "warning"))
    assert any("the catalog fits: 2 tables" in what for what in _of(lines, "source shop", "ok"))
    assert _of(lines, "store", "warning", "problem") == []
    assert _of(lines, "second store", "warning") == ["none is set: what destroys the store destroys every backup"]
    assert any("Asia/Dhaka is known" in what for what in _of(lines, "timezones", "ok"))
    assert "a restore was rehearsed last: never" in _of(lines, "backups shop", "warning")
    assert all(line["do"] for line in lines if line["state"] in {"warning", "problem"})
    assert not list((installation.store / "doctor").glob("*"))


@pytest.mark.acceptance("2.35")
def test_for_people_each_line_is_followed_by_what_to_do(run: Run) -> None:
    ended = run("doctor")
    lines = ended.out.splitlines()
    [at] = [number for number, line in enumerate(lines) if "second store: none is set" in line]
    assert lines[at].startswith("warning")
    assert lines[at + 1].strip().startswith("do: Set BACKUP_SECOND_STORE")


def test_a_dead_source_is_told_and_everything_else_too(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(installation.environment["BACKUP_SOURCE_URL"]).set(port=free_port())
    monkeypatch.setenv("BACKUP_SOURCE_URL", url.render_as_string(hide_password=False))
    lines = _lines(run, 1)
    assert "source shop" in _problems(lines)
    assert any("it deletes" in what for what in _of(lines, "store", "ok"))
    assert str(url.password) not in json.dumps(lines)


def test_a_dead_ledger_is_told_and_everything_else_too(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(installation.environment["BACKUP_LEDGER_URL"]).set(port=free_port())
    monkeypatch.setenv("BACKUP_LEDGER_URL", url.render_as_string(hide_password=False))
    lines = _lines(run, 1)
    assert {"ledger", "leases", "alerts", "backups shop"} <= set(_problems(lines))
    assert _of(lines, "store", "problem") == []
    assert _of(lines, "source shop", "problem") == []


def test_a_store_that_can_not_be_written_is_told(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("BACKUP_STORE", (tmp_path / "file").as_uri())
    lines = _lines(run, 1)
    assert "store" in _problems(lines)
    assert any("nothing can be written" in what for what in _of(lines, "store", "problem"))


def test_a_channel_is_tried_only_when_that_is_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(answer=500) as server:
        monkeypatch.setenv("BACKUP_ALERT_URLS", f"json://127.0.0.1:{server.port}/hook/t0ken")
        quiet = _lines(run, 1)
        assert server.bodies == []
        assert any("doctor --send" in what for what in _of(quiet, "alerts", "ok"))
        loud = _lines(run, 1, "--send")
        assert any("did not take the message" in what for what in _of(loud, "alerts", "problem"))
        server.answer = 200
        assert any("took a message" in what for what in _of(_lines(run, 1, "--send"), "alerts", "ok"))
    assert "t0ken" not in json.dumps([quiet, loud])


def test_a_catalog_that_does_not_fit_is_told(
    run: Run, installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "catalog: shop\ntimezone: Asia/Dhaka\ntables:\n  goods:\n  sold:\n  lost:\n"
    (tmp_path / "shop.yaml").write_text(text)
    monkeypatch.setenv("BACKUP_CATALOGS", str(tmp_path))
    assert any("public.lost" in what for what in _of(_lines(run, 1), "source shop", "problem"))


def test_an_empty_dagster_home_has_no_daemon(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").touch()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    assert any("no daemon has ever run" in what for what in _of(_lines(run, 1), "dagster", "problem"))


def test_a_second_store_is_tried_too_and_a_missing_copy_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BACKUP_SECOND_STORE", (tmp_path / "second").as_uri())
    lines = _lines(run, 1)
    assert any("it deletes" in what for what in _of(lines, "second store", "ok"))
    assert any("no good copy" in what for what in _of(lines, "second store", "warning"))


def test_a_catalog_that_is_not_there_is_exit_code_10(run: Run) -> None:
    assert run("doctor", "--catalog", "nowhere").code == 10
