"""A pgbouncer of our own in transaction mode, before one server."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from servers import eventually
from servers.fixtures import missing
from servers.server import free_port

POOL_SIZE = 5
"""Connections to the server, for fifty clients and more: transactions of many share each of them."""

_SETTINGS = """
[databases]
* = host=127.0.0.1 port={server_port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 500
logfile = {folder}/pgbouncer.log
"""


@contextmanager
def pooler(server_port: int) -> Iterator[int]:
    """Yield the port of a pooler before the server, run by an unprivileged user; it ends with the block."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        missing("no pgbouncer on this machine; apt-get install pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="flux-pooler-", dir="/tmp"))
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        identity = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
        shutil.chown(folder, "nobody")
    port = free_port()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        _SETTINGS.format(server_port=server_port, port=port, pool_size=POOL_SIZE, folder=folder)
    )
    process = subprocess.Popen([program, "-q", str(settings)], cwd="/", **identity)
    try:
        eventually(lambda: _answers(process, port), within_s=20, what="the start of pgbouncer")
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    if process.poll() is not None:
        raise RuntimeError("pgbouncer did not start")
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
