"""A real S3 API server for tests: OpenStack Swift in one child process, on loopback, with its own directory."""

from __future__ import annotations

import importlib.util
import secrets
import select
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from backup_pipeline.stores.s3 import S3Settings
from backup_pipeline_tests.servers.clients import client_of

START_SECONDS = 30
STOP_SECONDS = 5
ROOT = Path(__file__).parents[2]


def why_not() -> str | None:
    """Why Swift can not run here, or None."""
    if sys.platform != "linux":
        return f"OpenStack Swift runs on Linux only, this is {sys.platform}"
    missing = [name for name in ("swift", "eventlet", "pyeclib") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


@dataclass
class SwiftServer:
    """Swift over `home`, between `start` and `stop` or for as long as a `with` lasts; the endpoint and the data stay.

    It has one user, who may do everything. It never outlives this process.
    """

    home: Path
    access_key: str = "lab:key"
    secret_key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    port: int = 0
    region: str = "us-east-1"
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    @property
    def endpoint_url(self) -> str:
        """The endpoint, once started."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def process_id(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    @property
    def settings(self) -> S3Settings:
        """What an S3 store needs to reach this server."""
        return S3Settings(
            endpoint_url=self.endpoint_url,
            region=self.region,
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
        )

    def environment(self) -> Mapping[str, str]:
        """The usual AWS variables, for a process that finds its settings there."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    def start(self) -> None:
        """Start, at the port of last time if there was one, and wait until it answers."""
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "secret").write_text(self.secret_key)
        command = [sys.executable, "-W", "ignore", "-m", "backup_pipeline_tests.servers.swift_runner"]
        with (self.home / "swift.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, str(self.home), str(self.port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
            )
        self.port = self._answer()

    def _answer(self) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            self.stop()
            raise RuntimeError(f"Swift did not start: {(self.home / 'swift.log').read_text()[-2000:]}")
        return int(line)

    def stop(self) -> None:
        """Stop it as a crash would, by its process id. What it acknowledged is on disk; `start` finds it again."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(STOP_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None

    def client(self) -> Any:
        """A boto3 S3 client of its user, to look at what is really stored."""
        return client_of(self.settings)

    def make_bucket(self, name: str) -> str:
        """Create the bucket `name` (three characters or more) and return its name."""
        self.client().create_bucket(Bucket=name)
        return name

    def empty_bucket(self, name: str) -> None:
        """Remove every object and every unfinished upload of the bucket."""
        client = self.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            for found in page.get("Contents", []):
                client.delete_object(Bucket=name, Key=found["Key"])
        for upload in client.list_multipart_uploads(Bucket=name).get("Uploads", []):
            client.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
