"""Runs a whole OpenStack Swift (account, container, object, proxy with its S3 API) in this one process, on loopback.

    python -m backup_pipeline_tests.servers.swift_runner HOME PORT

HOME holds the data, the configuration and `secret`, the key of the one user. PORT 0 picks a free port. Once the server
answers, one line with the port goes to standard output. The process ends when its standard input does, so it can not
outlive the process that started it, however that one dies.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import eventlet
import eventlet.hubs
import eventlet.patcher
import eventlet.wsgi

eventlet.patcher.monkey_patch(all=False, socket=True, select=True, thread=True, time=True)

LOOPBACK = "127.0.0.1"
MAX_HEADER = 65536
BACKENDS = ("account", "container", "object")

SWIFT_CONF = """\
[swift-hash]
swift_hash_path_suffix = backup-pipeline
swift_hash_path_prefix = tests
[storage-policy:0]
name = p0
default = yes
[swift-constraints]
max_header_size = 32768
"""

BACKEND_CONF = """\
[DEFAULT]
bind_ip = {loopback}
bind_port = {port}
workers = 0
mount_check = false
devices = {home}/data
swift_dir = {home}
[pipeline:main]
pipeline = healthcheck {name}-server
[app:{name}-server]
use = egg:swift#{name}
[filter:healthcheck]
use = egg:swift#healthcheck
"""

PROXY_CONF = """\
[DEFAULT]
bind_ip = {loopback}
bind_port = {port}
workers = 0
swift_dir = {home}
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck proxy-logging listing_formats s3api tempauth bulk slo dlo \
versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
object_chunk_size = 262144
client_chunk_size = 262144
[filter:tempauth]
use = egg:swift#tempauth
user_lab_key = {secret} .admin
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:slo]
use = egg:swift#slo
min_segment_size = 1
allow_async_delete = false
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:dlo]
use = egg:swift#dlo
[filter:symlink]
use = egg:swift#symlink
"""


def configure(home: Path, ports: dict[str, int]) -> None:
    """Write the rings and the configuration of all four servers into `home`."""
    from swift.common.ring import RingBuilder

    (home / "data" / "d1").mkdir(parents=True, exist_ok=True)
    (home / "swift.conf").write_text(SWIFT_CONF)
    for name in BACKENDS:
        conf = BACKEND_CONF.format(home=home, name=name, port=ports[name], loopback=LOOPBACK)
        (home / f"{name}.conf").write_text(conf)
        ring = RingBuilder(4, 1, 1)
        ring.add_dev(
            {"id": 0, "region": 1, "zone": 1, "weight": 1, "ip": LOOPBACK, "port": ports[name], "device": "d1"}
        )
        ring.rebalance()
        ring.get_ring().save(str(home / f"{name}.ring.gz"))
    secret = (home / "secret").read_text()
    proxy = PROXY_CONF.format(home=home, port=ports["proxy"], secret=secret, loopback=LOOPBACK)
    (home / "proxy.conf").write_text(proxy)


def serve(name: str, conf: Path, listener: Any) -> None:
    """Serve one of the four servers from now on, in a green thread."""
    from swift.common.wsgi import SwiftHttpProtocol, loadapp

    app = loadapp(str(conf), global_conf={"log_name": name})
    eventlet.spawn(
        eventlet.wsgi.server,
        listener,
        app,
        protocol=SwiftHttpProtocol,
        log_output=False,
        debug=False,
        keepalive=True,
        capitalize_response_headers=False,  # else the case of user metadata is mangled
        custom_pool=eventlet.GreenPool(512),
        socket_timeout=60,
    )


def main(home: Path, port: int) -> None:
    """Start everything, say the port, and serve until standard input ends."""
    from swift.common import constraints, storage_policy, utils

    listeners = {name: eventlet.listen((LOOPBACK, 0)) for name in BACKENDS}
    listeners["proxy"] = eventlet.listen((LOOPBACK, port))
    ports = {name: listener.getsockname()[1] for name, listener in listeners.items()}
    configure(home, ports)
    utils.set_swift_dir(str(home))
    storage_policy.reload_storage_policies()
    constraints.reload_constraints()
    eventlet.wsgi.MAX_HEADER_LINE = MAX_HEADER
    for name, listener in listeners.items():
        serve(name, home / f"{name}.conf", listener)
    sys.stdout.write(f"{ports['proxy']}\n")
    sys.stdout.flush()
    while True:
        eventlet.hubs.trampoline(sys.stdin.fileno(), read=True)
        if not os.read(sys.stdin.fileno(), 1024):
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]))
