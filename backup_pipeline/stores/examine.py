"""A bucket examined: an upload in parts, a conditional write, versions, locks, encryption by the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from backup_pipeline.core.doctor import Bucket, BucketFacts
from backup_pipeline.core.errors import SettingsError
from backup_pipeline.core.ports import Store
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline.stores.s3.clients import administration, check_lockable, session_of
from backup_pipeline.stores.s3.errors import explain, reply_of
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline.stores.s3.upload import TAKEN

_PRECONDITION_FAILED = 412


def bucket_of(store: Store) -> Bucket | None:
    """How the bucket behind `store` is examined, also when it is wrapped; None for what is no bucket."""
    inner = _innermost(store)
    return ExaminedBucket(inner) if isinstance(inner, S3Store) else None


def folder_of(store: Store) -> str | None:
    """The directory behind `store`; None for what is none."""
    inner = _innermost(store)
    return str(inner.root) if isinstance(inner, DirectoryStore) else None


def _innermost(store: Store) -> object:
    inner: object = store
    while (wrapped := getattr(inner, "inner", None)) is not None:
        inner = wrapped
    return inner


@dataclass(frozen=True)
class ExaminedBucket:
    """The port `Bucket` over the bucket of a store."""

    store: S3Store

    def put_in_parts(self, key: str, data: bytes) -> None:
        """Write a small object by an upload in parts, which is aborted when it fails."""
        place = self._place(key)
        sse = self.store.settings.sse.parameters() if self.store.settings.sse else {}
        with self._explained("upload in parts"):
            upload = {**place, "UploadId": self._client.create_multipart_upload(**place, **sse)["UploadId"]}
            try:
                sent = self._client.upload_part(**upload, PartNumber=1, Body=data)
                parts = {"Parts": [{"PartNumber": 1, "ETag": sent["ETag"]}]}
                self._client.complete_multipart_upload(**upload, MultipartUpload=parts)
            except BaseException:
                self._client.abort_multipart_upload(**upload)
                raise

    def refuses(self, key: str) -> bool | None:
        """Whether If-None-Match is heeded: the object at `key` is told to be written only if there is none."""
        try:
            self._client.put_object(**self._place(key), Body=b"second", IfNoneMatch="*")
        except ClientError as error:
            reply = reply_of(error)
            if reply is not None and (reply.code in TAKEN or reply.status == _PRECONDITION_FAILED):
                return True
            return None
        except BotoCoreError:
            return None
        return False

    def facts(self, key: str) -> BucketFacts:
        """Versions, locks, encryption; what may not be asked is not known."""
        return BucketFacts(
            versioned=_known(lambda: self._versioning() == "Enabled"),
            lockable=_known(self._lockable),
            encrypted=_known(lambda: self._client.head_object(**self._place(key)).get("ServerSideEncryption")),
        )

    def _versioning(self) -> str:
        return str(self._client.get_bucket_versioning(Bucket=self.store.bucket).get("Status", ""))

    def _lockable(self) -> bool | None:
        try:
            return True if check_lockable(self._client, self.store.bucket) else None
        except SettingsError:
            return False

    def _place(self, key: str) -> dict[str, str]:
        root = f"{self.store.prefix}/" if self.store.prefix else ""
        return {"Bucket": self.store.bucket, "Key": root + key}

    @cached_property
    def _client(self) -> Any:
        return administration(session_of(self.store.settings), self.store.settings)

    @contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            reply = reply_of(error)
            if reply is None:
                raise
            endpoint = self.store.settings.endpoint_url or self._client.meta.endpoint_url
            raise explain(reply, action=action, endpoint=endpoint, bucket=self.store.bucket) from None


def _known(ask: Callable[[], Any]) -> Any:
    """The answer; None when the server does not give it."""
    try:
        return ask()
    except (ClientError, BotoCoreError):
        return None
