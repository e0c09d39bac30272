"""The same backup in an S3 store: the signed URL gives the bundle to somebody who has nothing but the URL."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.request import urlopen

import pytest

from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline_tests.cli.conftest import Run
from backup_pipeline_tests.cli.installation import Installation
from backup_pipeline_tests.servers.swift import SwiftServer


@pytest.fixture
def in_s3(
    installation: Installation, s3_server: SwiftServer, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Installation:
    """The installation, with its backup copied to a bucket and the settings pointing there."""
    store = S3Store(s3_bucket, "", s3_server.settings)
    for path in (installation.bundle, installation.store / installation.place.manifest):
        store.put_file(str(path.relative_to(installation.store)), path)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BACKUP_STORE", f"s3://{s3_bucket}")
    monkeypatch.setenv("BACKUP_S3_ENDPOINT_URL", s3_server.endpoint_url)
    return installation


@pytest.mark.acceptance("0.17")
def test_a_signed_url_gives_the_bundle_and_is_written_down(run: Run, in_s3: Installation) -> None:
    ended = run("url", "latest", "--expires", "5m")
    assert ended.code == 0
    assert "Good until" in ended.err
    with urlopen(ended.out.strip(), timeout=20) as answer:
        assert answer.read() == in_s3.bundle.read_bytes()
        assert in_s3.manifest.bundle.name in answer.headers["Content-Disposition"]
    audit = json.loads(run("show", "latest", "--json").out)["audit"]
    assert audit[-1]["action"] == "url"
    assert "Signature" not in json.dumps(audit)


def test_verify_and_download_work_from_s3(run: Run, in_s3: Installation, tmp_path: Path) -> None:
    assert run("verify", "latest").code == 0
    assert run("download", "latest", "--to", "got.zip").code == 0
    assert (tmp_path / "got.zip").read_bytes() == in_s3.bundle.read_bytes()


def test_a_bucket_that_is_not_there_is_no_finding_of_a_verification(
    run: Run, in_s3: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_STORE", "s3://no-such-bucket-at-all")
    ended = run("verify", in_s3.good.backup_id)
    assert ended.code == 1
    assert "no-such-bucket-at-all" in ended.err
