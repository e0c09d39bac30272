"""An S3 API that knows Object Lock and enforces IAM policies: moto's server, in a child process on loopback.

It is a model of Amazon S3 and no store: it holds everything in memory and checks no signatures. What it is for is what
Swift has not: locks, and who may do what.
"""

from __future__ import annotations

import importlib.util
import json
import select
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from backup_pipeline.stores.s3 import S3Settings
from backup_pipeline_tests.servers.clients import client_of

START_SECONDS = 60
_EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_PROGRAM = """
import sys, threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()  # until whoever started it is gone
server.stop()
"""


def why_not() -> str | None:
    """Why moto can not run here, or None."""
    missing = [name for name in ("moto", "flask", "flask_cors") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


@dataclass
class MotoServer:
    """Moto for as long as a `with` lasts. Every request needs a user with a policy that allows it."""

    port: int = 0
    admin: S3Settings = field(default_factory=S3Settings)
    asks_who_lifts_a_lock: bool = False
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        """Start, make the administrator, and begin to enforce."""
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            self.__exit__()
            raise RuntimeError("moto did not start")
        self.port = int(line)
        self.admin = S3Settings(self.endpoint_url, "us-east-1", "first", "first")
        self.admin = self.new_user("administrator", _EVERYTHING)
        self._enforce()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, by its process id."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def endpoint_url(self) -> str:
        """The endpoint, once started."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str = "s3") -> Any:
        """A boto3 client of the administrator."""
        return client_of(self.admin, service)

    def new_user(self, name: str, policy: dict[str, Any]) -> S3Settings:
        """A user who may do what `policy` says; how a store is reached as that user."""
        for statement in policy["Statement"]:
            if "s3:ListBucket" in statement["Action"]:  # which moto wants under another name for a HEAD
                names = statement["Action"]
                statement["Action"] = [*([names] if isinstance(names, str) else names), "s3:HeadBucket"]
        iam = self.client("iam")
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return S3Settings(self.endpoint_url, "us-east-1", key["AccessKeyId"], key["SecretAccessKey"])

    def make_bucket(self, name: str, *, lock: bool = False) -> str:
        """Create the bucket `name`, with Object Lock or without."""
        self.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
        return name

    def _enforce(self) -> None:
        request = urllib.request.Request(
            f"{self.endpoint_url}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}
        )
        with urllib.request.urlopen(request, timeout=10):
            pass


def policy_of(path: Path, bucket: str) -> dict[str, Any]:
    """A policy of the docs, for the bucket `bucket`."""
    found: dict[str, Any] = json.loads(path.read_text().replace("my-backups", bucket))
    return found
