"""The S3 server of the tests itself: real enough to trust, and gone when its parent is."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from backup_pipeline_tests.servers.swift import ROOT, SwiftServer


def test_what_was_stored_survives_a_stop_at_the_same_endpoint(s3_server: SwiftServer, s3_bucket: str) -> None:
    s3_server.client().put_object(Bucket=s3_bucket, Key="k", Body=b"1")
    before = s3_server.endpoint_url
    s3_server.stop()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(before, timeout=5)
    s3_server.start()
    assert s3_server.endpoint_url == before
    assert s3_server.client().get_object(Bucket=s3_bucket, Key="k")["Body"].read() == b"1"


PARENT = """if True:
    import sys
    from pathlib import Path
    from backup_pipeline_tests.servers.swift import SwiftServer
    server = SwiftServer(Path(sys.argv[1]))
    server.start()
    print(server.process_id, flush=True)
    sys.stdin.read()
"""


def test_the_server_ends_when_its_parent_is_killed(s3_server: SwiftServer, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "swift")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        assert server.is_running()
        parent.kill()
    gone, alive = psutil.wait_procs([server], timeout=10)
    assert (len(gone), len(alive)) == (1, 0)
