"""The chunks of an object on their way into a store: counted, and what they raise remembered."""

from __future__ import annotations

import hashlib
import logging
from base64 import b64encode
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from backup_pipeline.stores.s3.clients import DENIED, reply_of


class Chunks:
    """Iterates over `chunks`, once. `sent` counts their bytes; `error` is what they raised, if they did."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.sent = 0
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise
        self.sent += len(chunk)
        return chunk

    def take(self, size: int) -> bytes:
        """The next `size` bytes or a little more, as whole chunks; fewer only at the end."""
        taken: list[bytes] = []
        until = self.sent + size
        while self.sent < until:
            chunk = next(self, None)
            if chunk is None:
                break
            taken.append(chunk)
        return b"".join(taken)


PARTS_AT_ONCE = 4
TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
UNKNOWN_CONDITION = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest"})
_NEW: Mapping[str, Any] = {"IfNoneMatch": "*"}

log = logging.getLogger(__name__)


class KeyTakenError(Exception):
    """The store has an object under that key, and was told not to write over it."""


@dataclass
class Conditions:
    """Whether a store refuses to write over what is there when it is told so; None until that was seen.

    `heard` is false once the store has said that it does not know the condition at all.
    """

    refuses: bool | None = None
    heard: bool = True

    def of(self, *, replace: bool) -> Mapping[str, Any]:
        """What a request says."""
        return {} if replace or not self.heard else _NEW


@dataclass(frozen=True)
class KeptUpload:
    """One upload to `key` of `bucket`. `extra` goes into the request that begins the object: its lock."""

    client: Any
    bucket: str
    key: str
    extra: Mapping[str, Any]
    conditions: Conditions
    replace: bool
    part_bytes: int
    _place: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Name the object as every request does."""
        object.__setattr__(self, "_place", {"Bucket": self.bucket, "Key": self.key})

    def send(self, source: Chunks) -> None:
        """Upload everything `source` gives. KeyTakenError when the store refuses; nothing appears on any error."""
        start = [source.take(self.part_bytes)]
        if len(start[0]) < self.part_bytes:
            self._put(start[0])
            return
        with self._begun() as upload:
            self._finish(upload, self._send_parts(upload, cut(_drained(start, source), self.part_bytes)))

    def _put(self, body: bytes) -> None:
        """One request; sent once more, to see whether the store refuses, where that is not known yet."""
        wanted = {**self._place, "Body": body, "ContentMD5": _md5(body), **self.extra}
        try:
            self._conditional(lambda more: self.client.put_object(**wanted, **more))
        except KeyTakenError:
            if self.client.get_object(**self._place)["Body"].read() != body:
                raise  # else it is ours: it was written, and the answer got lost
        if self.conditions.heard and self.conditions.refuses is None and not self.replace:
            try:
                self.client.put_object(**wanted, **_NEW)
            except (ClientError, BotoCoreError) as error:
                self.conditions.refuses = True if _is_taken(error) else None
            else:
                self.conditions.refuses = False

    @contextmanager
    def _begun(self) -> Iterator[str]:
        upload: str = self.client.create_multipart_upload(**self._place, **self.extra)["UploadId"]
        try:
            yield upload
        except BaseException:
            self._abort(upload)
            raise

    def _send_parts(self, upload: str, parts: Iterator[bytes]) -> list[dict[str, Any]]:
        done: list[dict[str, Any]] = []
        pending: deque[Future[dict[str, Any]]] = deque()
        with ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="upload") as threads:
            try:
                for number, body in enumerate(parts, 1):
                    pending.append(threads.submit(self._send_part, upload, number, body))
                    if len(pending) >= PARTS_AT_ONCE:
                        done.append(pending.popleft().result())
                done.extend(future.result() for future in pending)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        return done

    def _send_part(self, upload: str, number: int, body: bytes) -> dict[str, Any]:
        sent = self.client.upload_part(
            **self._place, UploadId=upload, PartNumber=number, Body=body, ContentMD5=_md5(body)
        )
        return {"PartNumber": number, "ETag": sent["ETag"]}

    def _finish(self, upload: str, parts: list[dict[str, Any]]) -> None:
        whole = {**self._place, "UploadId": upload, "MultipartUpload": {"Parts": parts}}
        self._conditional(lambda more: self.client.complete_multipart_upload(**whole, **more))

    def _conditional(self, request: Any) -> None:
        """Send `request` with the condition, and without it when the store does not know such a thing."""
        condition = self.conditions.of(replace=self.replace)
        try:
            request(condition)
        except ClientError as error:
            if not condition:
                raise
            if _is_taken(error):
                raise KeyTakenError from None
            reply = reply_of(error)
            if reply is None or reply.code not in UNKNOWN_CONDITION:
                raise
            self.conditions.heard, self.conditions.refuses = False, False
            request({})

    def _abort(self, upload: str) -> None:
        try:
            self.client.abort_multipart_upload(**self._place, UploadId=upload)
        except (ClientError, BotoCoreError) as error:
            reply = reply_of(error)
            if reply is not None and reply.code in DENIED:
                tell_unfinished(self.bucket)
            else:
                log.warning("An unfinished upload of %s stays in bucket %s: %s", self.key, self.bucket, error)


@cache
def tell_unfinished(bucket: str) -> None:
    """Say, once, that uploads which came to nothing stay in `bucket`."""
    log.warning(
        "Unfinished uploads stay in bucket %s: whoever writes may not abort them (s3:AbortMultipartUpload). Let a "
        "lifecycle rule (AbortIncompleteMultipartUpload) remove them.",
        bucket,
    )


def cut(source: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The bytes of `source` in parts of exactly `size`, but for the last: some stores want them so."""
    held = bytearray()
    for chunk in source:
        held += chunk
        while len(held) >= size:
            yield bytes(memoryview(held)[:size])
            del held[:size]
    if held:
        yield bytes(held)


def _drained(start: list[bytes], rest: Chunks) -> Iterator[bytes]:
    """What was taken, then the rest; it is held by nobody once it is sent."""
    yield start.pop()
    yield from rest


def _md5(body: bytes) -> str:
    """S3 wants this of every object with a lock; it is no protection from anybody."""
    return b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def _is_taken(error: Exception) -> bool:
    reply = reply_of(error)
    return reply is not None and (reply.code in TAKEN or reply.status == 412)
