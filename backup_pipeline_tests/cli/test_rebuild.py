"""`rebuild`: the ledger is dropped for good; list, verify, restore and hold work again from the store alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline_tests.cli.conftest import Run, made_installation
from backup_pipeline_tests.cli.installation import Installation
from backup_pipeline_tests.servers.swift import SwiftServer


@pytest.fixture(scope="module")
def installation(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One of this file's own, because its ledger is lost."""
    with made_installation(postgres_server, tmp_path_factory.mktemp("lost")) as made:
        yield made


@pytest.fixture
def drop(installation: Installation, postgres_server: EmbeddedPostgres) -> Callable[[], None]:
    """Drop the ledger's database, with whatever is connected to it."""

    def dropped() -> None:
        name = str(make_url(installation.environment["BACKUP_LEDGER_URL"]).database)
        with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as session:
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    return dropped


def _restored(run: Run, url: str) -> None:
    ended = run("restore", "latest", "--target-url", url)
    assert ended.code == 0, ended.err
    with psycopg.connect(url) as session:
        assert session.execute("SELECT count(*) FROM sold").fetchall() == [(2000,)]


def test_a_dropped_ledger_is_made_of_the_store(
    run: Run, drop: Callable[[], None], installation: Installation, fresh_database: str
) -> None:
    good = installation.good.backup_id
    assert run("hold", good, "--reason", "the audit of 2026").code == 0
    before = {row["backup_id"]: row for row in json.loads(run("list", "--json").out)}
    drop()
    assert run("list").code == 1
    shown = run("rebuild")
    assert shown.code == 0, shown.err
    assert f"add  {good}  shop  its manifest is in the store, and it has no row; it is held" in shown.out
    assert "Nothing was written" in shown.err
    assert json.loads(run("list", "--json").out) == []
    done = run("rebuild", "--confirm")
    assert done.code == 0, done.err
    assert "Rows written: 1" in done.out
    [row] = json.loads(run("list", "--json").out)
    same = ("backup_id", "status", "catalog", "partition_date", "record_count", "sha256", "file_path", "table_counts")
    assert {name: row[name] for name in same} == {name: before[good][name] for name in same}
    assert row["held_by"] == "unknown"
    assert run("delete", good, "--confirm", good).code == 21
    verified = run("verify", "latest")
    assert verified.code == 0, verified.err
    _restored(run, fresh_database)
    again = run("rebuild", "--confirm", "--json")
    assert json.loads(again.out)["plan"]["changes"] == []
    assert run("check").code == 0
    actions = [event["action"] for event in json.loads(run("show", good, "--json").out)["audit"]]
    assert "rebuild" in actions


def test_the_same_from_a_bucket(
    run: Run,
    drop: Callable[[], None],
    installation: Installation,
    s3_server: SwiftServer,
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    fresh_database: str,
) -> None:
    store = S3Store(s3_bucket, "", s3_server.settings)
    for path in sorted(path for path in installation.store.rglob("*") if path.is_file()):
        store.put_file(str(path.relative_to(installation.store)), path)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BACKUP_STORE", f"s3://{s3_bucket}")
    monkeypatch.setenv("BACKUP_S3_ENDPOINT_URL", s3_server.endpoint_url)
    drop()
    done = run("rebuild", "--confirm")
    assert done.code == 0, done.err
    assert [row["backup_id"] for row in json.loads(run("list", "--json").out)] == [installation.good.backup_id]
    assert run("verify", "latest").code == 0
    _restored(run, fresh_database)


def test_what_can_not_be_settled_is_exit_code_3(run: Run, drop: Callable[[], None], installation: Installation) -> None:
    place = installation.store / installation.place.manifest
    whole = place.read_bytes()
    drop()
    place.write_bytes(whole[: len(whole) // 2])
    try:
        ended = run("rebuild", "--confirm")
    finally:
        place.write_bytes(whole)
    assert ended.code == 3
    assert "its manifest can not be read" in ended.out
    assert run("rebuild", "--confirm").code == 0
