"""`flux tail` beside a writer: what was there, then what comes, each request once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flux.ledger import Writer, create_ledger
from ledger.calls import call, calls
from ledger.log import Log, insert, relation
from servers import eventually

USERS = relation()


@contextmanager
def tailing(path: Path, *options: str) -> Iterator[tuple[list[str], subprocess.Popen[str]]]:
    """Run `flux tail`; the list grows by the ids that it prints."""
    command = [sys.executable, "-m", "flux.cli.main", "tail", "-f", "jsonl", "--ledger", str(path), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen: list[str] = []
    stream = process.stdout
    reader = threading.Thread(target=lambda: seen.extend(json.loads(line)["request_id"] for line in stream))
    reader.start()
    try:
        yield seen, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(20)
        reader.join(20)
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def test_every_request_is_shown_once(tmp_path: Path) -> None:
    """Backfill, then live, while files are merged under it."""
    path = create_ledger(tmp_path / "ledger")
    with Writer.open(path, source="shop") as writer:
        writer.record(*calls(range(5)))
        with tailing(path, "--limit", "3") as (seen, process):
            eventually(lambda: len(seen) >= 3)
            for number in range(5, 45):
                writer.record(*call(number))
                if number % 10 == 9:
                    writer.maintain(force=True)
            eventually(lambda: "r44" in seen)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
    assert seen == [f"r{number}" for number in range(2, 45)]


def test_a_filter_of_changes_waits_for_them(tmp_path: Path) -> None:
    """The change comes into the ledger after its request did."""
    path = create_ledger(tmp_path / "ledger")
    log = Log()
    with Writer.open(path, source="shop") as writer:
        log.shape(USERS)
        log.transaction(insert(USERS, "1", {"id": "1", "email": None, "plan": None}), request="r1")
        log.store(writer)
        writer.record(*call(0))
        with tailing(path, "--filter", "table=users or request=r9") as (seen, _):
            writer.record(*calls(range(2, 4)))
            row = {"id": "2", "email": None, "plan": None}
            log.transaction(insert(USERS, "2", row), request="r3")
            log.store(writer)
            writer.record(*call(9))
            eventually(lambda: "r9" in seen)
    assert [one for one in seen if one != "r3"] == ["r9"]
    assert "r3" in seen
