"""Backups into a real S3 API server, through dagster-aws's resource; and what happens when S3 misbehaves."""

from __future__ import annotations

import hashlib
import urllib.request
from datetime import timedelta

import pytest

from backup_pipeline.core.ledger import Status
from backup_pipeline_tests.orchestration.installation import TABLES, Installation
from backup_pipeline_tests.servers.http_proxy import HttpProxy, Trouble
from backup_pipeline_tests.servers.swift import SwiftServer


@pytest.fixture
def in_s3(installation: Installation, s3_server: SwiftServer, s3_proxy: HttpProxy, s3_bucket: str) -> Installation:
    """The installation with its store in S3, reached through a proxy that can make trouble."""
    installation.configure(
        BACKUP_STORE=f"s3://{s3_bucket}/backups",
        BACKUP_S3_ENDPOINT_URL=s3_proxy.endpoint_url,
        BACKUP_S3_REGION=s3_server.region,
        AWS_ACCESS_KEY_ID=s3_server.access_key,
        AWS_SECRET_ACCESS_KEY=s3_server.secret_key,
    )
    return installation


@pytest.mark.acceptance("1.14")
def test_a_full_backup_into_s3_is_whole_and_can_be_downloaded_by_its_signed_url(
    in_s3: Installation, s3_server: SwiftServer, s3_bucket: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with in_s3.instance() as instance:
        result = in_s3.run_job("shop_full_backup", instance=instance)
    assert result.success
    manifest, attempt = in_s3.manifest(), in_s3.attempt()
    assert attempt.status.good
    assert {table.name for table in manifest.tables} == set(TABLES)

    stored = s3_server.client().get_object(Bucket=s3_bucket, Key=f"backups/{attempt.file_path}")["Body"].read()
    assert hashlib.sha256(stored).hexdigest() == attempt.sha256 == manifest.bundle.sha256
    assert len(stored) == attempt.file_size_bytes

    url = in_s3.store.sign(str(attempt.file_path), expires=timedelta(minutes=5), file_name="bundle.zip")
    with urllib.request.urlopen(url, timeout=30) as response:
        assert response.read() == stored

    captured = capfd.readouterr()
    told = captured.out + captured.err + manifest.model_dump_json() + repr(attempt)
    told += in_s3.event_log(result.run_id)
    assert "Finished execution of run" in told
    assert s3_server.secret_key not in told


def test_a_backup_outlives_an_s3_that_answers_503_for_a_while(in_s3: Installation, s3_proxy: HttpProxy) -> None:
    refused = s3_proxy.on(Trouble(times=4, status=503))
    result = in_s3.run("notes", "customers")
    assert result.success, result
    assert refused.met == 4
    assert in_s3.attempt().status.good
    assert in_s3.alerts() == []


def _assert_clear_failure(installation: Installation, *, code: int, what: str) -> None:
    result = installation.run("notes")
    assert not result.success
    assert result.exit_code == code
    assert what in result.error
    assert result.what_to_do
    attempt = installation.attempt()
    assert attempt.status is Status.FAILED
    assert attempt.file_path is None
    assert len(installation.alerts()) == 1


def test_a_missing_bucket_is_a_clear_failure(in_s3: Installation) -> None:
    in_s3.configure(BACKUP_STORE="s3://no-such-bucket-here/backups")
    _assert_clear_failure(in_s3, code=1, what="no-such-bucket-here")


@pytest.mark.slow
def test_an_s3_that_is_gone_is_a_clear_failure(in_s3: Installation, s3_proxy: HttpProxy) -> None:
    s3_proxy.stop()
    _assert_clear_failure(in_s3, code=1, what="S3 does not answer")


def test_an_s3_that_goes_away_before_the_bundle_leaves_no_backup(
    in_s3: Installation, s3_proxy: HttpProxy, s3_server: SwiftServer, s3_bucket: str
) -> None:
    s3_proxy.on(Trouble(when=lambda method, path: method in {"PUT", "POST"} and "/shop/backups/" in path, status=403))
    _assert_clear_failure(in_s3, code=1, what=".zip")
    s3_proxy.clear()
    assert in_s3.backups() == []
    assert s3_server.client().list_multipart_uploads(Bucket=s3_bucket).get("Uploads", []) == []
