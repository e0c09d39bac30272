"""As much of an S3 server as server-side encryption takes: it remembers what each object was asked to have.

No free server on a test machine encrypts; this one says what a server says that does (`honest`), that ignores the wish,
or that uses another key. It keeps objects in memory, and takes any signature.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Self
from urllib.parse import parse_qs, unquote, urlsplit

from backup_pipeline.stores.s3 import S3Settings

SSE = "x-amz-server-side-encryption"
KEY = "x-amz-server-side-encryption-aws-kms-key-id"
ARN = "arn:aws:kms:us-east-1:111122223333:key/"


@dataclass
class SseServer:
    """Runs in a `with`. `asked`: what each request that began an object said; `objects`: what is there."""

    behaviour: str = "honest"
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        owner: SseServer = self

        class Handler(_Handler):
            server_state = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    @property
    def settings(self) -> S3Settings:
        assert self._server is not None
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return S3Settings(endpoint_url=url, region="us-east-1", access_key_id="key", secret_access_key="secret")

    def begin(self, key: str, headers: dict[str, str]) -> dict[str, str]:
        """Note what a new object is asked to have; what the server will say that it has."""
        algorithm, kms = headers.get(SSE), headers.get(KEY)
        self.asked.append((key, algorithm, kms))
        if algorithm is None or self.behaviour == "ignores":
            return {}
        name = "another" if self.behaviour == "another key" else (kms or "default")
        return {SSE: algorithm, **({KEY: ARN + name} if algorithm.startswith("aws:kms") else {})}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: ClassVar[SseServer]

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def do_HEAD(self) -> None:
        found = self.server_state.objects.get(self._key)
        if self._key and found is None:
            self._answer(404)
            return
        body, headers = found or (b"", {})
        self._answer(200, b"", {**headers, "Content-Length": str(len(body))})

    def do_GET(self) -> None:
        body, headers = self.server_state.objects.get(self._key, (b"<ListBucketResult></ListBucketResult>", {}))
        self._answer(200, body, headers)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "uploadId" in self._query:
            self.server_state.uploads[self._query["uploadId"]][int(self._query["partNumber"])] = body
        elif self.headers.get("If-None-Match") and self._key in self.server_state.objects:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        else:
            self._store(body, self.server_state.begin(self._key, self._lower))
        self._answer(200, b"", {"ETag": '"x"'})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "uploads" in self._query:
            upload = f"u{len(self.server_state.uploads)}"
            self.server_state.uploads[upload] = {}
            self.server_state.objects[f"begun {upload}"] = (b"", self.server_state.begin(self._key, self._lower))
            self._answer(200, f"<R><UploadId>{upload}</UploadId></R>".encode())
            return
        if "delete" in self._query:
            self.server_state.objects.clear()
            self._answer(200, b"<DeleteResult></DeleteResult>")
            return
        upload = self._query["uploadId"]
        parts = self.server_state.uploads.pop(upload)
        self._store(
            b"".join(parts[number] for number in sorted(parts)), self.server_state.objects.pop(f"begun {upload}")[1]
        )
        self._answer(200, b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")

    def do_DELETE(self) -> None:
        self.server_state.objects.pop(f"begun {self._query.get('uploadId')}", None)
        self._answer(204)

    def _store(self, body: bytes, headers: dict[str, str]) -> None:
        self.server_state.objects[self._key] = (body, headers)

    @property
    def _key(self) -> str:
        return unquote(re.sub(r"^/[^/]+/?", "", urlsplit(self.path).path))

    @property
    def _query(self) -> dict[str, str]:
        return {name: value[0] for name, value in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}

    @property
    def _lower(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        given = {
            "Last-Modified": formatdate(usegmt=True),
            "ETag": '"x"',
            "Content-Length": str(len(body)),
            **(headers or {}),
        }
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
