"""An S3 server that runs already, with locks and policies of its own: the tests of both can be pointed at one.

    BACKUP_TEST_S3_URL=http://127.0.0.1:7480 BACKUP_TEST_S3_KEYS=admin:secret,writer:secret,reader:secret,pruner:secret

The first user may do everything, also put policies; each other one gets the policy that a test has for its name. That
is how they were tried against Ceph, which has no wheel.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from typing import Any

from backup_pipeline.stores.s3 import S3Settings
from backup_pipeline_tests.servers.clients import client_of

URL, KEYS = "BACKUP_TEST_S3_URL", "BACKUP_TEST_S3_KEYS"


def is_named() -> bool:
    """Whether there is one to use."""
    return bool(os.environ.get(URL))


@dataclass(frozen=True)
class RunningServer:
    """The server that the environment names; the same as `MotoServer` to a test."""

    endpoint_url: str
    keys: dict[str, str]
    asks_who_lifts_a_lock: bool = True

    @staticmethod
    def named() -> RunningServer:
        """That server."""
        pairs = (pair.partition(":") for pair in os.environ[KEYS].split(","))
        return RunningServer(os.environ[URL], {name: secret for name, _, secret in pairs})

    @property
    def admin(self) -> S3Settings:
        """How a store is reached as the user who may do everything."""
        return self._settings(next(iter(self.keys)))

    def client(self, service: str = "s3") -> Any:
        """A boto3 client of that user."""
        return client_of(self.admin, service)

    def new_user(self, name: str, policy: dict[str, Any]) -> S3Settings:
        """The user whose name `name` begins with, with `policy` and no other."""
        user = name.partition("-")[0]
        self.client("iam").put_user_policy(UserName=user, PolicyName="tests", PolicyDocument=json.dumps(policy))
        return self._settings(user)

    def make_bucket(self, name: str, *, lock: bool = False) -> str:
        """Create a bucket whose name begins with `name`, with Object Lock or without."""
        own = f"{name}-{uuid.uuid4().hex[:8]}"
        self.client().create_bucket(Bucket=own, ObjectLockEnabledForBucket=lock)
        return own

    def _settings(self, user: str) -> S3Settings:
        return S3Settings(self.endpoint_url, "us-east-1", user, self.keys[user])
