"""A database with a tracked table, its ledger, and a plain fold of what the ledger holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flux.capture import install, tracking
from flux.capture.daemon import Summary, run
from flux.capture.settings import Bounds, Settings
from flux.ledger.layout import create_ledger
from flux.ledger.writer import Writer
from servers import Database, eventually

BOUNDS = Bounds(
    flush_interval_s=0.05,
    heartbeat_interval_s=0.5,
    heartbeat_urgent_s=0.1,
    idle_confirm_interval_s=0.2,
    status_interval_s=0.2,
    backoff_min_s=0.05,
    backoff_max_s=0.5,
    slot_busy_wait_s=2.0,
)

Row = dict[str, str | None]


@dataclass
class Rig:
    """One source and its ledger."""

    database: Database
    settings: Settings
    lines: list[str] = field(default_factory=list)
    """What the runs said."""
    running: Running | None = None
    """The run that `start` began last."""
    _writer: Writer | None = None
    """The ledger, while `asking`."""

    def once(self, **changes: Any) -> Summary:
        """Capture what there is."""
        return run(replace(self.settings, once=True, **changes), say=self.lines.append)

    def start(self, **changes: Any) -> Running:
        """Start capturing in a thread."""
        self.running = Running(replace(self.settings, **changes), self.lines.append)
        return self.running

    def execute(self, *statements: str) -> None:
        """Run statements in the source, each in a transaction of its own."""
        with self.database.connect() as connection:
            for statement in statements:
                connection.execute(statement)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Open the ledger once for every `ask` in the block; nobody may be writing."""
        with Writer.open(self.settings.ledger, source=self.settings.source) as writer:
            self._writer = writer
            try:
                yield
            finally:
                self._writer = None

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the ledger's tables; nobody may be writing."""
        with nullcontext() if self._writer else self.asking():
            assert self._writer is not None
            return self._writer._lake.execute(query).fetchall()

    def folded(self, relation: str) -> dict[str, Row]:
        """Return the rows that the ledger says there are."""
        rows: dict[str, Row] = {}
        query = f"""
            select op, key, old_key, after from changes
            where relation = '{relation}' and outcome = 'committed'
            order by commit_lsn, seq
        """
        for op, key, old_key, after in self.ask(query):
            if op == "truncate":
                rows.clear()
                continue
            before = rows.pop(old_key if old_key is not None else key, {})
            if op != "delete":
                rows[key] = {**(before if op == "update" else {}), **after}
        return rows

    def truth(self, relation: str) -> dict[str, Row]:
        """Return the rows that PostgreSQL says there are; the key is the first column."""
        with self.database.connect() as connection:
            cursor = connection.execute(f"select * from {relation}")
            names = [column.name for column in cursor.description or ()]
            columns = ", ".join(f'"{name}"::text' for name in names)
            rows = connection.execute(f"select {columns} from {relation}").fetchall()
        return {row[0]: dict(zip(names, row, strict=True)) for row in rows}

    def check(self, relation: str) -> None:
        """The ledger equals the table, and holds nothing twice."""
        twice = """
            select commit_lsn, seq, relation, key from changes
            where commit_lsn is not null group by all having count(*) > 1
        """
        again = "select lsn from changes where commit_lsn is null group by all having count(*) > 1"
        with nullcontext() if self._writer else self.asking():
            assert self.folded(relation) == self.truth(relation)
            assert self.ask(twice) == []
            assert self.ask(again) == []


class Running:
    """A capture running in a thread of this process."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._ended = threading.Event()
        self.summary: Summary | None = None
        self.error: BaseException | None = None
        self._say = say
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.summary = run(self._settings, say=self._say, stop=self._stop)
        except BaseException as error:  # noqa: BLE001 (handed to the test)
            self.error = error
        finally:
            self._ended.set()

    def wait(self, within_s: float = 30.0) -> None:
        """Wait until it ends by itself."""
        eventually(self._ended.is_set, within_s=within_s, what="the end of capture")
        self._thread.join()

    def stop(self) -> Summary:
        """End it as SIGTERM does; return what it did, or raise what it raised."""
        self._stop.set()
        self.wait()
        if self.error is not None:
            raise self.error
        assert self.summary is not None
        return self.summary


def make_rig(database: Database, folder: Path, *tables: str, rollbacks: bool = True) -> Rig:
    """Install Flux in the database, track `tables`, make a ledger; `tables` must be there."""
    with database.connect() as connection:
        install.init(connection, plugin=database.plugin)
        if tables:
            tracking.track(connection, tables, rollbacks=rollbacks)
    ledger = create_ledger(folder / "ledger")
    slot = f"flux_{database.name}"
    return Rig(
        database,
        Settings(
            ledger=ledger, source="shop", slot=slot, plugin=database.plugin, dsn=database.dsn, bounds=BOUNDS
        ),
    )
