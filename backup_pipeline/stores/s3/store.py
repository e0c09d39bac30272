"""A store in an S3 bucket: bytes go through obstore, everything else through boto3."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import obstore
from botocore.exceptions import ClientError

from backup_pipeline.core.errors import BackupError, RefusedError, SettingsError, StoreError
from backup_pipeline.core.ports import Clock, StoredObject
from backup_pipeline.core.ports.files import Protection
from backup_pipeline.stores.files import check_document, check_key, check_prefix, span, taken
from backup_pipeline.stores.s3 import Lock, S3Settings, ServerSide, check_encrypted
from backup_pipeline.stores.s3.clients import (
    DENIED,
    Reply,
    administration,
    check_lockable,
    ensure_locked,
    explain,
    reply_of,
    retention,
    session_of,
    shown_retention,
    status_of,
    transfer,
    uploading,
)
from backup_pipeline.stores.s3.upload import Chunks, Conditions, KeptUpload, KeyTakenError, tell_unfinished

if TYPE_CHECKING:
    import boto3
    from obstore.store import S3Store as ObjectStoreClient


__all__ = ["S3Settings", "S3Store"]

PART = 16 << 20  # S3 takes 10,000 parts: objects up to 156 GiB
PARTS_AT_ONCE = 4
READ = 8 << 20
KEYS_A_DELETE = 1000  # S3's limit
LONGEST_URL = timedelta(days=7)  # SigV4's limit
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
TRIAL_KEY = "backup-pipeline-check"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class S3Store:
    """Objects of `bucket` whose key starts with `prefix` (no slashes around it; empty for the whole bucket).

    An object appears when its upload is completed, never before; when an upload fails, it is aborted. A process that is
    killed can not abort: a lifecycle rule of the bucket (AbortIncompleteMultipartUpload) removes what it left.
    """

    bucket: str
    prefix: str
    settings: S3Settings
    clock: Clock = _now

    def __post_init__(self) -> None:
        """Raise SettingsError for what can not be the name of a bucket."""
        if not BUCKET.fullmatch(self.bucket):
            what = f"Not the name of a bucket: {self.bucket!r}"
            raise SettingsError(what, do="Use 3 to 63 letters, digits, dots and hyphens: s3://my-backups/isp")

    @property
    def url(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """Upload `chunks` as one object, in parts of 16 MiB, four at a time. What `chunks` raises comes out as it is.

        Parts that fail are sent again for a while; then StoreUnavailableError. The size stored is compared with the
        size sent.
        """
        full, source = self._full(key), Chunks(chunks)
        try:
            self._upload(full, source)
        except BaseException as error:  # noqa: BLE001 - whatever the chunks raised must come out
            if source.error is not None:
                raise source.error  # noqa: B904 - almost always `error` itself
            raise self._explain(error, f"put {key}") from None
        return self._stored(key, source.sent)

    def keep(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> StoredObject:
        """Upload `chunks` as one object that stays, in parts of 16 MiB, four at a time.

        Its key is looked up first, and the store is told to refuse if it is taken meanwhile (If-None-Match), where it
        knows how. With a lock in the settings the object has it from its first moment, and the store is asked for it
        afterwards: StoreError when it is not there. SettingsError when the bucket can lock nothing.
        """
        full, source, begun = self._full(key), Chunks(chunks), self.clock()
        if not replace and self.head(key) is not None:
            raise taken(key, self.url)
        self._check_lockable()
        with self._explained(f"put {key}"):
            extra = {**(self.settings.lock.parameters(begun) if self.settings.lock else {}), **self._sse}
            upload = KeptUpload(self._uploading, self.bucket, full, extra, self._conditions, replace, PART)
        try:
            upload.send(source)
        except KeyTakenError:
            raise taken(key, self.url) from None
        except BaseException as error:  # noqa: BLE001 - whatever the chunks raised must come out
            if source.error is not None:
                raise source.error  # noqa: B904 - almost always `error` itself
            raise self._explain(error, f"put {key}") from None
        stored = self._stored(key, source.sent)
        if self.settings.lock is not None:
            self._check_locked(key, self.settings.lock, begun)
        return stored

    def protection(self, key: str) -> Protection:
        """Whether the store refuses to write over it, as far as that was seen, and how it is locked."""
        lock = Protection()
        if self.settings.lock is not None:
            with self._explained(f"look up the lock of {key}"):
                read_lock = retention if self._lockable else shown_retention
                lock = read_lock(self._admin, self.bucket, self._full(key))
        return dataclasses.replace(lock, refuses=self._conditions.refuses)

    def put_file(self, key: str, path: Path) -> StoredObject:
        """Upload the file at `path`. An OSError of reading it comes out as it is."""
        with path.open("rb") as file:
            return self.put(key, iter(lambda: file.read(READ), b""))

    def get(self, key: str) -> bytes:
        """The whole object."""
        with self._explained(f"get {key}"):
            answer = obstore.get(self._transfer, self._full(key))
            check_document(key, answer.meta["size"], self.url)
            return bytes(answer.bytes())

    def opened(self, key: str, data: bytes) -> bytes:
        """As it is: nothing is encrypted here."""
        return data

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes from `start`, 8 MiB a request, so that a slow reader holds no connection open.

        A missing key raises at the call. StoreError when another object takes the key meanwhile.
        """
        about = self._look_up(key)
        if about is None:
            raise self._error(Reply(404, "NoSuchKey", ""), f"read {key}")
        first, end = span(about["ContentLength"], start, length)
        return self._read(key, first, end, about.get("ETag"))

    def head(self, key: str) -> StoredObject | None:
        """What is stored under `key`, or None. A missing bucket is a StoreError."""
        object_head = self._look_up(key)
        return (
            None
            if object_head is None
            else StoredObject(key, object_head["ContentLength"], object_head["LastModified"])
        )

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in the order of the keys' UTF-8 bytes, a page at a time."""
        full = self._root + check_prefix(prefix)
        with self._explained(f"list {prefix}"):
            for page in self._admin.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=full):
                for content in page.get("Contents", ()):
                    key = content["Key"].removeprefix(self._root)
                    yield StoredObject(key, content["Size"], content["LastModified"])

    def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects, a thousand a request; a missing one is no error."""
        full = [self._full(key) for key in keys]
        for start in range(0, len(full), KEYS_A_DELETE):
            batch = full[start : start + KEYS_A_DELETE]
            action = f"delete {len(batch)} objects from {batch[0]}"
            with self._explained(action):
                request = {"Objects": [{"Key": key} for key in batch], "Quiet": True}
                failed = self._admin.delete_objects(Bucket=self.bucket, Delete=request).get("Errors", ())
            for error in failed:
                if error.get("Code") != "NoSuchKey":
                    raise self._error(Reply(200, error.get("Code", ""), error.get("Message", "")), action)

    def sign(self, key: str, *, expires: timedelta, file_name: str) -> str:
        """A presigned GET, made without a request: whether the object is there shows when the URL is used.

        It ends early when temporary credentials made it. RefusedError beyond one second to seven days.
        """
        if not timedelta(seconds=1) <= expires <= LONGEST_URL:
            what = f"A signed URL can not live for {expires}"
            raise RefusedError(what, do="Choose one second to seven days.")
        wanted = {
            "Bucket": self.bucket,
            "Key": self._full(key),
            "ResponseContentDisposition": _disposition(file_name),
        }
        with self._explained(f"sign {key}"):
            seconds = int(expires.total_seconds())
            return str(self._admin.generate_presigned_url("get_object", Params=wanted, ExpiresIn=seconds))

    def check(self) -> None:
        """Look the bucket up, list it, begin and abort an upload: leaves nothing, not even in a versioned bucket.

        SettingsError when objects are to be locked, and the bucket can lock nothing.
        """
        self._check_lockable()
        with self._explained("check"):
            self._check_bucket()
            self._admin.list_objects_v2(Bucket=self.bucket, Prefix=self._root, MaxKeys=1)
            trial = {"Bucket": self.bucket, "Key": self._root + TRIAL_KEY}
            upload = self._admin.create_multipart_upload(**trial, **self._sse)
            self._abort({**trial, "UploadId": upload["UploadId"]})

    @property
    def _root(self) -> str:
        return f"{self.prefix}/" if self.prefix else ""

    @cached_property
    def _session(self) -> boto3.Session:
        return session_of(self.settings)

    @cached_property
    def _admin(self) -> Any:
        return administration(self._session, self.settings)

    @cached_property
    def _uploading(self) -> Any:
        return uploading(self._session, self.settings)

    @cached_property
    def _conditions(self) -> Conditions:
        return Conditions()

    @cached_property
    def _lockable(self) -> bool:
        return check_lockable(self._admin, self.bucket)

    def _check_lockable(self) -> None:
        if self.settings.lock is not None:
            with self._explained("look up Object Lock"):
                _ = self._lockable

    def _abort(self, upload: Mapping[str, str]) -> None:
        """Abort an upload; a writer that may not is told so, and the bucket's lifecycle rule has to do it."""
        try:
            self._admin.abort_multipart_upload(**upload)
        except ClientError as error:
            reply = reply_of(error)
            if reply is None or reply.code not in DENIED:
                raise
            tell_unfinished(self.bucket)

    def _check_locked(self, key: str, lock: Lock, begun: datetime) -> None:
        """What is not protected as it should be must not pose as a backup: it is removed."""
        try:
            with self._explained(f"look up the lock of {key}"):
                place = (self._admin, self.bucket, self._full(key))
                ensure_locked(place, lock, begun, known=self._lockable)
        except StoreError:
            with suppress(StoreError):
                self.delete([key])
            raise

    @cached_property
    def _transfer(self) -> ObjectStoreClient:
        return transfer(self.bucket, self._session, self._admin, self.settings)

    def _full(self, key: str) -> str:
        return check_key(self._root + check_key(key))

    def _upload(self, full: str, source: Chunks) -> None:
        start = source.take(PART)
        body = start if len(start) < PART else chain([start], source)  # a small object is one request
        obstore.put(self._transfer, full, body, chunk_size=PART, max_concurrency=PARTS_AT_ONCE)

    def _look_up(self, key: str) -> Any | None:
        full = self._full(key)
        with self._explained(f"look up {key}"):
            try:
                return self._admin.head_object(Bucket=self.bucket, Key=full)
            except ClientError as error:
                if status_of(error) != 404:
                    raise
                self._check_bucket()  # a HEAD has no body to say which of the two is missing
                return None

    def _read(self, key: str, first: int, end: int, tag: str | None) -> Iterator[bytes]:
        for position in range(first, end, READ):
            with self._explained(f"read {key} from byte {position}"):
                options: Any = {"range": (position, min(position + READ, end))} | ({"if_match": tag} if tag else {})
                chunk = bytes(obstore.get(self._transfer, self._full(key), options=options).bytes())
            yield chunk

    def _stored(self, key: str, sent: int) -> StoredObject:
        about = self._look_up(key)
        if about is None or about["ContentLength"] != sent:
            actual = "nothing" if about is None else f"{about['ContentLength']} bytes"
            what = f"{sent} bytes were sent as {key}, {actual} are in bucket {self.bucket}"
            raise StoreError(what, do="Look whether something else writes or deletes there, then try again.")
        if self.settings.sse is not None:
            self._check_encrypted(key, about, self.settings.sse)
        return StoredObject(key, about["ContentLength"], about["LastModified"])

    def _check_encrypted(self, key: str, about: Any, wanted: ServerSide) -> None:
        """What is not encrypted as it should be must not stay: it is removed."""
        try:
            check_encrypted(about, wanted, f"{self.url}/{key}")
        except StoreError:
            with suppress(StoreError):
                self.delete([key])
            raise

    @property
    def _sse(self) -> Mapping[str, str]:
        return self.settings.sse.parameters() if self.settings.sse else {}

    def _check_bucket(self) -> None:
        try:
            self._admin.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            if status_of(error) != 404:
                raise
            raise self._error(Reply(404, "NoSuchBucket", ""), "look up the bucket") from error

    def _error(self, reply: Reply, action: str) -> BackupError:
        admin = self.__dict__.get("_admin")  # not made yet, when making it is what failed
        endpoint = self.settings.endpoint_url or (admin.meta.endpoint_url if admin else "its default endpoint")
        return explain(reply, action=action, endpoint=endpoint, bucket=self.bucket)

    def _explain(self, error: BaseException, action: str) -> BaseException:
        reply = reply_of(error)
        return error if reply is None else self._error(reply, action)

    @contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            explained = self._explain(error, action)
            if explained is error:
                raise
            raise explained from None  # the text of obstore's errors has access key ids and signatures


def _disposition(file_name: str) -> str:
    """The header that names a download, RFC 6266: for every browser in ASCII, for the others in full."""
    plain = "".join(letter if " " <= letter <= "~" and letter not in '"\\%;' else "_" for letter in file_name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"
