"""A bucket beside its objects' bytes: what a delete leaves (versions, locks, uploads), and an examination of it."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from backup_pipeline.core.doctor import BucketFacts
from backup_pipeline.core.errors import BackupError, SettingsError
from backup_pipeline.core.ports import StoredObject
from backup_pipeline.core.retention.prune import Left, Unfinished, Versions, Why
from backup_pipeline.stores.s3 import S3Settings
from backup_pipeline.stores.s3.clients import administration, check_lockable, explain, reply_of, session_of, status_of
from backup_pipeline.stores.s3.store import TRIAL_KEY, S3Store
from backup_pipeline.stores.s3.upload import TAKEN

_HIDDEN = (
    "Remove them too with `backup-pipeline prune --versions remove`, or let a lifecycle rule of the bucket do it "
    "(NoncurrentVersionExpiration) and set BACKUP_PRUNE_VERSIONS=leave."
)


def hidden_left(key: str, versions: Sequence[Mapping[str, Any]]) -> Left:
    """An object of a versioned bucket that was deleted, and so only hidden."""
    real = [version for version in versions if not version["marker"]]
    size = sum(version["size"] for version in real)
    message = f"The bucket is versioned: the object is hidden, {len(real)} versions of it with {size:,} bytes stay."
    return Left(key, Why.VERSIONED, message, _HIDDEN, hidden=True)


def lock_left(key: str, head: Mapping[str, Any], *, hidden: bool) -> Left | None:
    """An object that is locked, as its head tells; None when it is not, or not any more."""
    until: datetime | None = head.get("ObjectLockRetainUntilDate")
    mode = str(head.get("ObjectLockMode", "")).lower()
    if head.get("ObjectLockLegalHoldStatus") == "ON":
        message = "It is under a legal hold (Object Lock)."
        return Left(key, Why.LOCKED, message, "Whoever may (s3:PutObjectLegalHold) lifts the hold; then prune.", hidden)
    if until is None or until <= datetime.now(until.tzinfo):
        return None
    message = f"It is locked until {until:%Y-%m-%d %H:%M} UTC (Object Lock, {mode})."
    wait = f"Wait until {until:%Y-%m-%d}: the next prune after that removes it."
    if mode == "governance":
        wait += " Who has s3:BypassGovernanceRetention may shorten the lock before."
    return Left(key, Why.LOCKED, message, wait, hidden)


KEYS_A_DELETE = 1000  # S3's limit
_DENIED = {"AccessDenied", "AllAccessDisabled", "MethodNotAllowed", "Forbidden", "403"}
_FORBIDDEN, _NOT_IMPLEMENTED = 403, 501
_LOCK_UNKNOWN = {_FORBIDDEN, 404, 405}
"""How a HEAD is answered by a server that does not say: not allowed, not there, a delete marker."""
_GRANT = "Prune with credentials that have s3:DeleteObject here (docs/retention.md), then run it again."
_GRANT_VERSIONS = (
    "Prune with credentials that have s3:ListBucketVersions and s3:DeleteObjectVersion, then run it again."
)


@dataclass(frozen=True)
class S3Removals:
    """The port `Removals` over the objects of `bucket` whose key starts with `prefix`."""

    bucket: str
    prefix: str
    settings: S3Settings

    def locked(self, keys: Sequence[str]) -> Sequence[Left]:
        """Those with a retention date that is yet to come, or a legal hold; where that can be read."""
        return [left for key in keys if (left := self._lock_of(key, None)) is not None]

    def remove(self, keys: Sequence[str], versions: Versions) -> Sequence[Left]:
        """Delete the objects, a thousand a request; where the bucket keeps versions, do with them what is said."""
        left: list[Left] = []
        for start in range(0, len(keys), KEYS_A_DELETE):
            batch = {self._full(key): key for key in keys[start : start + KEYS_A_DELETE]}
            refused, marked = self._delete([{"Key": full} for full in batch])
            left += [self._refused(batch[full], *words) for full, words in refused.items()]
            hidden = [key for full, key in batch.items() if full not in refused and (self._versioned or full in marked)]
            if hidden and versions is not Versions.LEAVE:
                left += self._handle_versions(hidden, versions)
        return left

    def hidden(self, prefix: str) -> Iterator[StoredObject]:
        """The objects whose newest version is a delete marker; StoreError when versions can not be listed."""
        if not self._versioned:
            return
        with self._explained_errors("list versions"):
            listed = self._listed_versions(self._full(prefix))
        for full, versions in listed.items():
            real = [version for version in versions if not version["marker"]]
            if real and any(version["marker"] and version["latest"] for version in versions):
                size = sum(version["size"] for version in real)
                yield StoredObject(full.removeprefix(self._root), size, max(version["at"] for version in versions))

    def unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """Uploads in parts that were begun and neither completed nor aborted; none where they can not be listed.

        Among them are those of a trial (`Store.check`) whose process was killed: they belong to no catalog.
        """
        with self._explained_errors("list unfinished uploads"):
            try:
                for each in (prefix, TRIAL_KEY):
                    yield from self._uploads(self._full(each))
            except ClientError as error:
                if not _is_denied(error) and status_of(error) != _NOT_IMPLEMENTED:
                    raise

    def discard(self, unfinished: Unfinished) -> Left | None:
        """Abort the upload; one that is gone meanwhile is no error."""
        with self._explained_errors(f"abort the upload of {unfinished.key}"):
            try:
                self._client.abort_multipart_upload(
                    Bucket=self.bucket, Key=self._full(unfinished.key), UploadId=unfinished.token
                )
            except ClientError as error:
                if _code(error) != "NoSuchUpload":
                    return self._refused(unfinished.key, *_words(error))
        return None

    def _uploads(self, prefix: str) -> Iterator[Unfinished]:
        for page in self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix):
            for upload in page.get("Uploads", ()):
                yield Unfinished(upload["Key"].removeprefix(self._root), upload["Initiated"], upload["UploadId"])

    @property
    def _root(self) -> str:
        return f"{self.prefix}/" if self.prefix else ""

    def _full(self, key: str) -> str:
        return self._root + key

    @cached_property
    def _client(self) -> Any:
        return administration(session_of(self.settings), self.settings)

    @cached_property
    def _versioned(self) -> bool:
        """Whether a delete only hides, as the bucket says; where it may not be asked, its answers to deletes tell."""
        with self._explained_errors("look up versioning"):
            try:
                versioning = self._client.get_bucket_versioning(Bucket=self.bucket)
            except ClientError as error:
                if _is_denied(error) or status_of(error) == _NOT_IMPLEMENTED:
                    return False
                raise
            return versioning.get("Status") in {"Enabled", "Suspended"}

    def _delete(self, objects: Sequence[Mapping[str, str]]) -> tuple[Mapping[str, tuple[str, str]], frozenset[str]]:
        """Delete in one request; code and message of what was refused, and the keys that only got a delete marker.

        What was refused is named by its key, or by its version id where one was given.
        """
        with self._explained_errors(f"delete {len(objects)} objects"):
            try:
                answer = self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": list(objects)})
            except ClientError as error:
                if not _is_denied(error):
                    raise
                return {entry.get("VersionId", entry["Key"]): _words(error) for entry in objects}, frozenset()
        errors = [entry for entry in answer.get("Errors", ()) if entry["Code"] not in {"NoSuchKey", "NoSuchVersion"}]
        marked = frozenset(entry["Key"] for entry in answer.get("Deleted", ()) if entry.get("DeleteMarker"))
        return {
            entry.get("VersionId") or entry["Key"]: (entry["Code"], entry.get("Message", "")) for entry in errors
        }, marked

    def _handle_versions(self, keys: Sequence[str], versions: Versions) -> Sequence[Left]:
        try:
            listed = self._versions(keys)
        except ClientError as error:
            if not _is_denied(error):
                raise self._error(error, "list versions") from None
            message = "It is hidden; what versions of it the bucket keeps can not be listed."
            return [Left(key, Why.VERSIONED, message, _GRANT_VERSIONS, hidden=True) for key in keys]
        if versions is Versions.REMOVE:
            return [left for key, each in listed.items() for left in self._remove_versions(key, each)]
        return [
            hidden_left(key, each) for key, each in listed.items() if any(not version["marker"] for version in each)
        ]

    def _versions(self, keys: Sequence[str]) -> Mapping[str, list[dict[str, Any]]]:
        """The versions and delete markers of each of the keys that has any."""
        full_keys = {self._full(key): key for key in keys}
        common = os.path.commonprefix(list(full_keys))  # noqa: RUF071  # a prefix of S3 is one of letters
        listed = self._listed_versions(common)
        return {key: listed[full] for full, key in full_keys.items() if full in listed}

    def _listed_versions(self, prefix: str) -> Mapping[str, list[dict[str, Any]]]:
        listed: dict[str, list[dict[str, Any]]] = {}
        for page in self._client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix):
            for kind in ("Versions", "DeleteMarkers"):
                for entry in page.get(kind, ()):
                    version = {"id": entry["VersionId"], "size": entry.get("Size", 0), "marker": kind != "Versions"}
                    version |= {"latest": entry["IsLatest"], "at": entry["LastModified"]}
                    listed.setdefault(entry["Key"], []).append(version)
        return listed

    def _remove_versions(self, key: str, versions: Sequence[Mapping[str, Any]]) -> Iterator[Left]:
        """Versions first, the markers that hide them last: what is interrupted leaves nothing that shows again."""
        full = self._full(key)
        for marker in (False, True):
            objects = [{"Key": full, "VersionId": each["id"]} for each in versions if each["marker"] is marker]
            for start in range(0, len(objects), KEYS_A_DELETE):
                refused, _ = self._delete(objects[start : start + KEYS_A_DELETE])
                if refused:
                    yield from self._left_versions(key, " ".join(next(iter(refused.values()))))
                    return

    def _left_versions(self, key: str, words: str) -> Iterator[Left]:
        """The versions that are still there, each with its lock where it has one; else with the store's words."""
        with self._explained_errors("list versions"):
            remaining = self._listed_versions(self._full(key)).get(self._full(key), ())
        for version in (version["id"] for version in remaining if not version["marker"]):
            message = f"It is hidden, its version {version} stays: {words.strip()}."
            yield self._lock_of(key, version) or Left(key, Why.DENIED, message, _GRANT_VERSIONS, hidden=True)

    def _lock_of(self, key: str, version: str | None) -> Left | None:
        """The lock of an object as its head tells it; None without one, or when it may not be read."""
        of_version = {"VersionId": version} if version else {}
        with self._explained_errors(f"look up the lock of {key}"):
            try:
                head = self._client.head_object(Bucket=self.bucket, Key=self._full(key), **of_version)
            except ClientError as error:
                if status_of(error) in _LOCK_UNKNOWN:
                    return None
                raise
        return lock_left(key, head, hidden=version is not None)

    def _refused(self, key: str, code: str, message: str) -> Left:
        reason = f"The store would not delete it: {code} {message}".strip()
        return Left(key, Why.DENIED if code in _DENIED else Why.FAILED, f"{reason}.", _GRANT)

    def _error(self, error: Exception, action: str) -> BackupError:
        reply = reply_of(error)
        assert reply is not None  # noqa: S101  # only errors of boto3 come here
        return explain(reply, action=action, endpoint=self._client.meta.endpoint_url, bucket=self.bucket)

    @contextmanager
    def _explained_errors(self, action: str) -> Iterator[None]:
        """Whatever is no answer about an object is a StoreError."""
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            raise self._error(error, action) from None


def _is_denied(error: ClientError) -> bool:
    return _code(error) in _DENIED or status_of(error) == _FORBIDDEN


def _code(error: ClientError) -> str:
    return _words(error)[0]


def _words(error: ClientError) -> tuple[str, str]:
    """The error's code and message."""
    about = error.response.get("Error", {})
    return str(about.get("Code", "")), str(about.get("Message", ""))


_PRECONDITION_FAILED = 412


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
