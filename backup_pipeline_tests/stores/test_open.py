"""From a URL to the store, or to an error that says which URLs there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.core.errors import SettingsError
from backup_pipeline.core.ports import Store
from backup_pipeline.stores import open_store
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.stores.s3 import S3Settings
from backup_pipeline.stores.s3.store import S3Store

SETTINGS = S3Settings(region="ap-south-1")


@pytest.mark.parametrize(
    ("url", "store"),
    [
        ("file:///var/backups", DirectoryStore(Path("/var/backups"))),
        ("file://localhost/var/our%20backups/", DirectoryStore(Path("/var/our backups"))),
        ("s3://bucket", S3Store("bucket", "", SETTINGS)),
        ("s3://bucket/", S3Store("bucket", "", SETTINGS)),
        ("s3://bucket/production/isp/", S3Store("bucket", "production/isp", SETTINGS)),
    ],
)
def test_a_url_opens_its_store(url: str, store: Store) -> None:
    assert open_store(url, SETTINGS) == store


@pytest.mark.parametrize("url", ["file:///var/our%20backups", "s3://bucket/production/isp", "s3://bucket"])
def test_the_url_of_an_open_store_opens_it_again(url: str) -> None:
    assert open_store(url, SETTINGS).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/var/backups",
        "ftp://host/x",
        "gs://bucket",
        "file://var/backups",
        "file:///",
        "file:///a/../b",
        "s3://b/a//b",
        "s3://bucket/a?region=x",
        "s3://key:hush@bucket/a",
        "s3:///prefix",
        "memory",
        "memory://",  # a backup that ends with its process is none
    ],
)
def test_any_other_url_is_refused_with_what_is_allowed_and_without_its_secret(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_store(url, SETTINGS)
    assert "s3://" in caught.value.do
    assert "memory" not in caught.value.do
    assert "hush" not in str(caught.value)
