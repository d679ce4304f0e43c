"""The recipes of docs/RECORDER.md for Celery and RQ, word for word, with real workers and a real Redis."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from recorder.collector import Collector, attributes_of
from recorder.shop import Shop
from recorder.test_export import collector
from servers import eventually
from servers.fixtures import missing
from servers.server import free_port

__all__ = ["collector"]

ROOT = Path(__file__).parents[2]
WITHIN_S = 60
KEYS = ("refused", "a", "b")

ORDERS = """
import os

import psycopg
from flux import recorder


def write(key):
    with psycopg.connect(os.environ["SHOP_DSN"]) as connection:
        connection.execute("insert into orders values (%s, %s)", [key, recorder.current().request_id])
        if key.endswith("refused"):
            raise LookupError("no such order")


def begin():
    recorder.install(service="shop")
    return recorder.request("POST /orders", request_id="web-1")
"""
"""What both applications do; a row says which request wrote it."""

CELERY = """
import os
import sys

import orders
from celery import Celery

{recipe}

app = Celery("shop", broker=os.environ["REDIS"], broker_connection_retry_on_startup=True)


@app.task
def place(key):
    orders.write(key)


if __name__ == "__main__":
    import jobs

    with orders.begin():
        for key in sys.argv[1:]:
            jobs.place.delay(key)
"""

RQ = """
import os
import sys

import orders
import redis
import rq

{recipe}

if __name__ == "__main__":
    import jobs

    queue = rq.Queue(connection=redis.Redis.from_url(os.environ["REDIS"]), job_class=jobs.Job)
    with orders.begin():
        for key in sys.argv[1:]:
            queue.enqueue("orders.write", key, meta={{"request": recorder.current().request_id}})
"""


def recipe(title: str) -> str:
    """Return the code that the documentation shows under a sentence that begins so."""
    text = (ROOT / "docs/RECORDER.md").read_text()
    found = re.search(rf"^{title}, .*?```python\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of our own; returns its URL."""
    program = shutil.which("redis-server")
    if program is None:
        missing("no redis-server on this machine")
    port = free_port()
    folder = tmp_path_factory.mktemp("redis")
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        eventually(lambda: _answers(port), within_s=WITHIN_S, what="Redis")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        return bool(redis.Redis(port=port, socket_timeout=2).ping())
    except redis.RedisError:
        return False


@dataclass(frozen=True, slots=True)
class Application:
    """A folder with the modules `orders` and `jobs`, and its programs."""

    folder: Path
    environment: dict[str, str]

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a program of this Python; what it prints goes to the file `log`."""
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-P", *words], cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )

    def run(self, *words: str) -> None:
        """Run a program to its end."""
        assert self.begin(*words).wait(WITHIN_S) == 0, (self.folder / "log").read_text()


@pytest.fixture
def application(tmp_path: Path, shop: Shop, broker: str, collector: Collector) -> Application:
    (tmp_path / "orders.py").write_text(ORDERS)
    ours = {
        "SHOP_DSN": shop.database.dsn,
        "REDIS": broker,
        "FLUX_OTLP_ENDPOINT": collector.endpoint,
        "FLUX_SPOOL": "",
        "PYTHONPATH": str(tmp_path),
    }
    return Application(tmp_path, {**os.environ, **ours})


@pytest.fixture
def stopping() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that end with the test."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.terminate()
        process.wait(WITHIN_S)


def check(shop: Shop, collector: Collector, prefix: str, *, is_of_queuer: bool) -> None:
    """Three jobs wrote, the last one failed: each has a span of its own, with the request of its change."""
    assert len(collector.spans) == 7  # the queuer; each job and its insert
    changes = shop.right(prefix, 3)
    assert sorted(change.outcome for change in changes) == ["committed", "committed", "rolled_back"]
    jobs = [
        (attributes_of(span)["flux.request_id"], span.status.code == Status.STATUS_CODE_ERROR)
        for span in collector.spans.values()
        if span.name in {"jobs.place", "orders.write"}
    ]
    expected = [(change.request_id, change.outcome == "rolled_back") for change in changes]
    assert sorted(jobs) == sorted(expected)
    assert len({request for request, _ in jobs}) == (1 if is_of_queuer else 3)
    assert ("web-1" in dict(jobs)) == is_of_queuer


@pytest.mark.parametrize("is_of_queuer", [False, True])
def test_celery(
    application: Application,
    shop: Shop,
    collector: Collector,
    stopping: list[subprocess.Popen[bytes]],
    is_of_queuer: bool,
) -> None:
    code = recipe("Celery")
    if is_of_queuer:
        code = code.replace(
            "task_id=task_id)", 'request_id=task.request.get("flux_request_id"), task_id=task_id)'
        )
    (application.folder / "jobs.py").write_text(CELERY.format(recipe=code))
    prefix = shop.prefix()
    application.run("jobs.py", *(f"{prefix}{key}" for key in KEYS))
    worker = application.begin("-m", "celery", "-A", "jobs", "worker", "--concurrency", "2", "-l", "warning")
    stopping.append(worker)
    with shop.database.connect() as connection:
        done = f"select 1 from orders where id like '{prefix}%'"
        eventually(lambda: connection.execute(done).rowcount == 2, within_s=WITHIN_S, what="two orders")
    # At once: it finishes what it began, and its spans are sent before it ends.
    worker.terminate()
    assert worker.wait(WITHIN_S) == 0
    check(shop, collector, prefix, is_of_queuer=is_of_queuer)


@pytest.mark.parametrize("is_of_queuer", [False, True])
def test_rq(application: Application, shop: Shop, collector: Collector, is_of_queuer: bool) -> None:
    code = recipe("RQ")
    if is_of_queuer:
        code = code.replace("job=self.id)", 'request_id=self.meta.get("request"), job=self.id)')
    (application.folder / "jobs.py").write_text(RQ.format(recipe=code))
    prefix = shop.prefix()
    application.run("jobs.py", *(f"{prefix}{key}" for key in KEYS))
    url = application.environment["REDIS"]
    application.run("-m", "rq.cli", "worker", "--burst", "--job-class", "jobs.Job", "--url", url)
    check(shop, collector, prefix, is_of_queuer=is_of_queuer)
