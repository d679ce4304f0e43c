"""What administrators make of a server: a cold backup, a standby, a newer major."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from servers.server import Server


def back_up(server: Server) -> None:
    """Copy the data folder of the stopped server; the server runs again after it."""
    server.stop()
    _copy(server.data, _backup(server))
    server.start()


def put_back(server: Server) -> None:
    """Run the server on the copy that `back_up` made last."""
    server.stop()
    _copy(_backup(server), server.data)
    server.start()


@contextlib.contextmanager
def standby_of(primary: Server) -> Iterator[Server]:
    """Start a streaming standby; closed at the end."""
    standby = Server.place(primary.installation)
    with contextlib.closing(standby):
        standby.run(
            *("pg_basebackup", "-D", str(standby.data), "-d", primary.dsn(), "-R", "-c", "fast", "--no-sync")
        )
        with (standby.data / "postgresql.conf").open("a") as file:
            file.write(f"port = {standby.port}\nunix_socket_directories = '{standby.socket_folder}'\n")
        standby.start()
        yield standby


def upgrade(old: Server, new: Server) -> None:
    """Bring the data of `old` into `new`, an empty server of a later major; `new` runs after it."""
    old.stop()
    new.stop()
    if new.major >= 18 > old.major:
        new.run("pg_checksums", "--disable", "--no-sync", "-D", str(new.data))
    new.run(
        *("pg_upgrade", "--no-sync", "-U", "postgres", "-s", str(new.socket_folder)),
        *("-b", old.installation.program(""), "-d", str(old.data), "-p", str(old.port)),
        *("-B", new.installation.program(""), "-D", str(new.data), "-P", str(new.port)),
    )
    new.start()


def _backup(server: Server) -> Path:
    return server.data.with_name("backup")


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
