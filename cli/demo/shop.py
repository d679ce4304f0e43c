"""The demo's shop at work: examples/shop and its payment service as processes, and its customers.

Promises: the processes listen on loopback, on free ports; `close` ends them, however the demo ends. The
shop's source is copied beside the demo's ledger and runs from there, as a user's own code would.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources, util
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from flux import sql
from flux.model.errors import FluxError, TimedOut, UsageError, invariant

TABLES = ("users", "products", "orders", "payments")
USER = 42
"""The row of the story: the user who signs up, is upgraded, and cannot check out."""
TEAPOT = 7

SIGN_UP = "c81d4e2e-bcf2-41d6-869b-7df92533d2db"
RENAME = "a3c91ef0-6f3b-4c1d-9f0a-2b7c5e8d1a64"
UPGRADE = "4f9a3b2c-1d5e-4a7b-8c6d-0e9f8a7b6c5d"
CHECKOUT = "550e8400-e29b-41d4-a716-446655440000"
"""The request that fails."""
RETRY = "9b2e6c71-03fa-4e8d-b5a2-7d1c0f4e6a93"
REQUESTS = (SIGN_UP, RENAME, UPGRADE, CHECKOUT, RETRY)

NEEDED = ("fastapi", "uvicorn", "httpx", "psycopg_pool", "opentelemetry.sdk")
"""What the shop imports."""
EXAMPLE = "flux.cli.demo.example"
"""The package that examples/shop is installed as."""
START_TIMEOUT_S = 60.0
"""Bound on the start of a process; it takes two seconds."""
STOP_TIMEOUT_S = 5.0
"""How long a friendly end may take."""
ANSWER_TIMEOUT_S = 30.0
"""Bound on a request."""

# Whoever runs the demo may have put packages where only this process looks.
_BOOT = """
import runpy, site, sys
folder, *packages = sys.argv[1:]
for one in packages:
    site.addsitedir(one)
sys.path.insert(0, folder)
sys.argv[1:] = ["0"]
runpy.run_module("shop", run_name="__main__")
"""


@dataclass(frozen=True, slots=True)
class Visit:
    """One thing that happened to the shop."""

    what: str
    result: str
    """What the customer, or Carol, got to see."""
    request_id: str | None


def require() -> None:
    """Raise `UsageError` unless everything that the shop imports is installed."""
    for name in NEEDED:
        try:
            found = util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise UsageError(
                f"the demo's shop needs {name.partition('.')[0]}, which is not installed",
                hint="pip install 'flux-ledger[demo]'",
            )


def open_shop(dsn: str) -> None:
    """Make the shop's database, its tables, and a few users and goods."""
    with psycopg.connect(dsn, dbname="postgres", autocommit=True) as connection:
        connection.execute(statement("database"))
    with psycopg.connect(dsn, application_name="shop") as connection:
        connection.execute(resources.files(EXAMPLE).joinpath("schema.sql").read_bytes())
        connection.execute(statement("carol"))


class Shop:
    """The running shop. A context manager: its processes end with its block."""

    def __init__(self, folder: Path, dsn: str, intake: str) -> None:
        """`folder` is the demo's own; `intake` is where the shop's spans go."""
        self._folder = folder
        self._dsn = dsn
        self._intake = intake
        self._processes: list[subprocess.Popen[bytes]] = []
        self._url = ""

    def __enter__(self) -> Self:
        try:
            place = self._folder / "shop"
            place.mkdir()
            for file in resources.files(EXAMPLE).iterdir():
                if file.is_file():
                    (place / file.name).write_bytes(file.read_bytes())
            service = self._start("payments", str(place / "payment_service.py"), "0")
            packages = [one for one in sys.path if one.endswith(("site-packages", "dist-packages"))]
            shop = self._start("shop", "-c", _BOOT, str(self._folder), *packages, payments=service)
            self._url = f"http://127.0.0.1:{shop}"
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._processes = []
        for log in self._folder.glob("*.log"):
            log.unlink()
        shutil.rmtree(self._folder / "spool", ignore_errors=True)

    def post(self, path: str, request_id: str, body: dict[str, Any] | None = None) -> Visit:
        """Ask the shop for something, as a customer's browser does behind a gateway that numbers requests."""
        request = urllib.request.Request(  # noqa: S310 -- a loopback address of ours
            self._url + path,
            data=json.dumps(body or {}).encode(),
            headers={"content-type": "application/json", "x-request-id": request_id},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=ANSWER_TIMEOUT_S) as answer:
                result = f"{answer.status} {answer.read().decode()}"
        except urllib.error.HTTPError as error:
            with error:
                result = f"{error.code} {error.read().decode()}"
        return Visit(f"POST {path}", result, request_id)

    def _start(self, name: str, *arguments: str, payments: int | None = None) -> int:
        """Start a process and return the port that it listens on."""
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("FLUX", "OTEL"))
        }
        environment |= {
            "SHOP_DSN": self._dsn,
            "PAYMENTS_URL": f"http://127.0.0.1:{payments}",
            "FLUX_OTLP_ENDPOINT": f"{self._intake}/v1/traces",
            "FLUX_SPOOL": str(self._folder / "spool"),
            "NO_PROXY": "127.0.0.1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        log = self._folder / f"{name}.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                # Ctrl-C is for the demo, which ends them in their order.
                start_new_session=True,
            )
        self._processes.append(process)
        told = _first_line(process)
        if not told.startswith("listening on "):
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise FluxError(f"the demo's {name} did not start", why="".join(last), hint="please report it")
        return int(told.split()[-1])


def _first_line(process: subprocess.Popen[bytes]) -> str:
    """Return the first line that a process prints; empty if it ends before. Raises `TimedOut`."""
    invariant(process.stdout is not None, "the process was started with a pipe")
    assert process.stdout is not None  # noqa: S101 -- for the type checker
    deadline = time.monotonic() + START_TIMEOUT_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(max(0.0, deadline - time.monotonic())):
            raise TimedOut(f"the demo's shop did not start within {START_TIMEOUT_S:.0f} s")
    return process.stdout.readline().decode().strip()


def visits(shop: Shop, dsn: str) -> Iterator[Visit]:
    """Let the story happen, one visit after another."""
    yield shop.post("/signup", SIGN_UP, {"email": "alice@example.com"})
    yield shop.post(f"/users/{USER}/profile", RENAME, {"name": "Alice Smith"})
    yield shop.post(f"/users/{USER}/upgrade", UPGRADE)
    yield _hot_fix(dsn)
    # A coupon that the pricing code does not know; the payment service then never answers.
    yield shop.post(f"/users/{USER}/checkout", CHECKOUT, {"product": TEAPOT, "coupon": "SPRING"})
    # Without it, and with a voucher that has expired: that part goes back to its savepoint.
    yield shop.post(f"/users/{USER}/checkout", RETRY, {"product": TEAPOT, "voucher": "OLD"})


def row(dsn: str) -> tuple[str | None, int]:
    """Return what the database says of the user: plan and credit."""
    with psycopg.connect(dsn) as connection:
        found = connection.execute(statement("row"), {"user": USER}).fetchone()
    invariant(found is not None, "the user of the story is there")
    plan, credit = found or (None, 0)
    return plan, credit


def _hot_fix(dsn: str) -> Visit:
    """Somebody mends data by hand: no request, no tag."""
    with psycopg.connect(dsn, user="carol", application_name="psql") as psql:
        done = psql.execute(statement("hot_fix"))
    return Visit("psql, by hand", done.statusmessage or "", None)


def statement(name: str) -> str:
    """Return the statement of a file, without the file's comment: the ledger keeps what was sent."""
    lines = sql.text(f"demo/{name}.sql").splitlines()
    return "\n".join(line for line in lines if not line.startswith("--"))
