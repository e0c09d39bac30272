"""As much of Kubernetes' API as a run launcher asks for: a Job's command is executed as a process, in a pod of its own.

A pod has the environment that its Job and the secrets give it and nothing else, a host name, and process ids of its
own.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_JOB = re.compile(r"/apis/batch/v1/namespaces/(?P<namespace>[\w-]+)/jobs(?:/(?P<name>[\w-]+))?(?:/status)?")
_PODS = re.compile(r"/api/v1/namespaces/[\w-]+/pods")


@dataclass
class Job:
    """What was asked for, and the process that does it."""

    body: dict[str, Any]
    process: subprocess.Popen[bytes]
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    def seen(self) -> dict[str, Any]:
        """As the API shows it."""
        code = self.process.poll()
        counts = {"active": code is None, "succeeded": code == 0, "failed": code not in {None, 0}}
        status: dict[str, Any] = {key: 1 for key, holds in counts.items() if holds}
        return {**self.body, "status": {**status, "startTime": self.started.isoformat()}}

    def kill(self) -> None:
        """As a node that goes down: nobody is asked."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Kubernetes:
    """The API and its pods; `secrets` are known by name."""

    logs: Path
    path: str
    secrets: Mapping[str, Mapping[str, str]]
    jobs: dict[str, Job] = field(default_factory=dict)

    def create(self, body: dict[str, Any]) -> Job:
        """Start the pod of a Job."""
        name = body["metadata"]["name"]
        [container] = body["spec"]["template"]["spec"]["containers"]
        environment = {"PATH": self.path, "HOME": "/nonexistent"}
        for source in container.get("envFrom") or ():
            if "secretRef" in source:
                environment |= self.secrets[source["secretRef"]["name"]]
        environment |= {each["name"]: each["value"] for each in container["env"] if "value" in each}
        enter = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        inside = [
            "sh",
            "-c",
            'hostname "$0" && exec "$@"',
            name[:60],
            *(container.get("command") or ()),
            *container["args"],
        ]
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*enter, *inside], env=environment, stdout=log, stderr=log, cwd=self.logs, start_new_session=True
            )
        self.jobs[name] = Job(body, process)
        return self.jobs[name]


@contextmanager
def kubernetes(logs: Path, path: str, secrets: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[Kubernetes, str]]:
    """The API on a port of its own, and its address; its pods end with the context."""
    cluster = Kubernetes(logs, path, secrets)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(cluster))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield cluster, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        for job in cluster.jobs.values():
            job.kill()


def _handler_of(cluster: Kubernetes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(201, cluster.create(body).seen())

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if _PODS.fullmatch(path):
                self._answer(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": []})
            elif (found := _JOB.fullmatch(path)) and found["name"] in cluster.jobs:
                self._answer(200, cluster.jobs[found["name"]].seen())
            else:
                self._answer(404, {"kind": "Status", "code": 404, "reason": "NotFound"})

        def do_DELETE(self) -> None:
            found = _JOB.fullmatch(self.path.partition("?")[0])
            if found and found["name"] in cluster.jobs:
                os.killpg(cluster.jobs[found["name"]].process.pid, signal.SIGTERM)
            self._answer(200, {"kind": "Status", "status": "Success"})

        def _answer(self, code: int, body: object) -> None:
            text = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler
