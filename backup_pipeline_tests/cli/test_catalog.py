"""`catalog check`, `show` and `init`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.schedule import local_date
from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import Installation

WRONG = """\
catalog: shop
timezone: Dhaka
tables:
  goods:
    colums: {}
"""


def test_offline_every_catalog_of_the_folder_is_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_SOURCE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    ended = run("catalog", "check", "--offline")
    assert (ended.code, ended.out) == (0, "shop: right, 2 tables\n")


def test_offline_the_built_in_catalogs_are_right(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKUP_CATALOGS")
    ended = run("catalog", "check", "--offline")
    assert ended.code == 0
    assert "isp: right, 24 tables" in ended.out


def test_mistakes_are_told_with_file_line_and_field(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(WRONG)
    ended = run("catalog", "check", "wrong.yaml", "--offline")
    assert ended.code == 2
    assert "wrong.yaml:2: timezone" in ended.err
    assert "wrong.yaml:5: tables.goods.colums" in ended.err


def test_against_its_database_a_whole_catalog_fits(run: Run) -> None:
    ended = run("catalog", "check", "shop")
    assert ended.code == 0
    assert "shop fits database" in ended.out


def test_what_does_not_fit_ends_with_2_and_is_told_table_by_table(run: Run, tmp_path: Path) -> None:
    declared = {"catalog": "shop", "timezone": "UTC", "tables": {"good": None}}
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(declared))
    ended = run("catalog", "check", "shop.yaml")
    assert ended.code == 2
    assert "Did you mean public.goods?" in ended.out
    assert "Warning: public.sold is neither listed nor excluded" in ended.out
    (report,) = json.loads(run("catalog", "check", "shop.yaml", "--json").out)
    assert (report["fits"], list(report["failed"]), report["unlisted"]) == (
        False, ["good"], ["public.goods", "public.sold"],
    )  # fmt: skip


def test_a_database_that_does_not_answer_ends_with_1_and_hides_the_password(run: Run) -> None:
    ended = run("catalog", "check", "shop", "--source", "postgresql://u:hushhush@127.0.0.1:1/x")
    assert ended.code == 1
    assert "hushhush" not in ended.err + ended.out


def test_an_unknown_catalog_ends_with_10_and_those_that_are_there(run: Run) -> None:
    ended = run("catalog", "show", "shopp")
    assert ended.code == 10
    assert "Use one of shop" in ended.err


def test_show_tells_what_is_declared(run: Run) -> None:
    assert "public.goods" in run("catalog", "show", "shop").out
    assert set(json.loads(run("catalog", "show", "shop", "--json").out)["tables"]) == {"goods", "sold"}


def test_init_writes_a_catalog_that_the_check_finds_right(run: Run, tmp_path: Path) -> None:
    ended = run("catalog", "init", "--out", "mine.yaml", "--name", "mine", "--timezone", "Asia/Dhaka")
    assert (ended.code, ended.out) == (0, "")
    assert "2 tables" in ended.err
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text())["catalog"] == "mine"
    assert run("catalog", "check", "mine.yaml").code == 0


def test_init_without_a_file_prints_the_catalog_and_nothing_else(run: Run) -> None:
    declared = yaml.safe_load(run("catalog", "init").out)
    assert declared["tables"]["sold"]["columns"]["good"] == "good_id.name"


def test_init_overwrites_only_when_forced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("precious")
    assert run("catalog", "init", "--out", "mine.yaml").code == 21
    assert (tmp_path / "mine.yaml").read_text() == "precious"
    assert run("catalog", "init", "--out", "mine.yaml", "--force").code == 0


def test_its_days_begin_today_and_writing_it_anew_moves_no_day(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    assert run("catalog", "init", "--out", "mine.yaml", "--timezone", "Asia/Dhaka").code == 0
    days = {local_date(datetime.now(UTC) + timedelta(minutes=-by), "Asia/Dhaka").isoformat() for by in (0, 5)}
    drafted = load_catalog(path)
    assert drafted.start_date in days
    for start in ("2026-02-03", None):
        before = path.read_text().replace(f"start_date: '{drafted.start_date}'\n", "")
        path.write_text(before + (f"start_date: '{start}'\n" if start else ""))
        assert run("catalog", "init", "--out", "mine.yaml", "--force").code == 0
        assert load_catalog(path).start_date == start
        path.write_text(path.read_text().replace(f"start_date: '{start}'\n", ""))


def test_init_into_a_folder_that_is_not_there_ends_with_2(run: Run) -> None:
    assert run("catalog", "init", "--out", "no/where.yaml").code == 2


def test_init_without_a_database_says_how_to_give_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKUP_SOURCE_URL")
    ended = run("catalog", "init")
    assert ended.code == 2
    assert "--source" in ended.err


def test_the_installation_is_left_alone(run: Run, installation: Installation) -> None:
    assert installation.bundle.is_file()
    assert len(json.loads(run("list", "--json").out)) == 2
