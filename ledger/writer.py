"""The one writer of a ledger: batches in, each with its position, all or nothing.

One commit of the catalog brings the rows of one batch, or of a chain of batches whose transaction is
larger than a batch, together with the position they end at. It is there whole or not at all: after
any failure the ledger is what it was at the last commit, and `position()` says where to go on. What
`commit` returned for survives a kill and a power loss.

One thread at a time writes what the log brings. Beside it another may `record` what the application's side
tells of its requests: a commit of its own, which waits for nothing of the stream but an open transaction of
DuckLake. Readers in other processes never wait.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from flux import sql
from flux.ledger import baseline, datafile, engine, failure, layout, typed, upkeep
from flux.ledger.commit import Catalog
from flux.ledger.datafile import DataFile, Draft
from flux.ledger.durability import DataFiles
from flux.ledger.location import locate
from flux.ledger.lock import Lock
from flux.ledger.shapes import relation_of, relations_table
from flux.model.batch import Batch, Position
from flux.model.errors import LedgerError, invariant
from flux.model.relation import Relation

WRITER_THREADS = 2
"""DuckDB threads of a writer: it runs beside the decoder, often on the application's machine."""
TURN_WAIT_S = 60.0
"""What is recorded waits so long for the catalog; far less than a file without an owner may lie there."""
LOOKUP_MEMORY_MAX = "128MB"
"""Of the DuckDB that looks for spans which came already."""
FILE_BYTES_MAX = 32 << 20
"""A file of one commit is ended when it is as large: of a huge transaction there are several."""
WRITER_MEMORY_MAX = "1GB"
"""Beyond this DuckDB spills to the temporary folder (sorting in compaction, comparing a baseline)."""


@dataclass(frozen=True, slots=True)
class StoredPosition:
    """Where a source's log has been read to, as the ledger holds it."""

    slot: str
    """The replication slot the rows came through."""
    system_identifier: str
    """The database cluster's identity; another one means another history."""
    timeline: int
    """The cluster's timeline when the rows were read."""
    commit_lsn: int
    """START of the last commit record read."""
    end_lsn: int
    """END of it: where to start reading again."""
    at_us: int
    """Its commit time, microseconds since 1970-01-01 UTC."""


@dataclass(frozen=True, slots=True)
class StoredBaseline:
    """A copy of a relation's rows that was taken into the ledger."""

    relation_id: int
    relation: str
    lsn: int
    """The snapshot's log position."""
    at_us: int
    row_count: int


class Redaction(Protocol):
    """What is done to rows before they are stored; `flux.redaction.Redactor` is one."""

    def batch(self, batch: Batch) -> Batch:
        """Return a batch as it is stored."""

    def relation(self, relation: Relation) -> Relation:
        """Return a version of a relation as it is stored."""

    def rows(self, relation: Relation, rows: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        """Return the rows of a baseline as they are stored."""

    def requests(
        self, requests: pa.Table, spans: pa.Table, exchanges: pa.Table
    ) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Return requests, spans and exchanges as they are stored."""


class Writer:
    """See the module's contract. Made by `Writer.open`, closed by `close` or a `with` block."""

    def __init__(
        self,
        place: layout.Layout,
        source: str,
        lock: Lock,
        lake: duckdb.DuckDBPyConnection,
        redaction: Redaction | None,
    ) -> None:
        self._place = place
        self._source = source
        self._lock = lock
        self._lake = lake
        self._redaction = redaction
        self._files = DataFiles(place.data)
        self._catalog = Catalog(place.catalog)
        self._upkeeper = upkeep.Upkeeper(place, self._catalog, self._files)
        self._drafts: dict[str, Draft] = {}  # by table: what is being written
        self._pending: list[DataFile] = []  # written, and not in the catalog yet
        # Whose turn it is at the catalog: DuckLake's transactions and ours exclude each other (`commit`).
        self._turn = threading.Lock()
        self._is_open = False  # a transaction of DuckLake, with the turn
        self._row_count = 0
        self._reached: Position | None = None
        self._reshaped: set[int] = set()
        self._is_changed = False
        self._stored = self._read_position()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        source: str,
        redaction: Redaction | None = None,
    ) -> Writer:
        """Open the ledger at `path` (found as the command line does when None) for writing.

        `source` is the short name that the rows of this capture carry; whatever is to be stored goes
        through `redaction` first. Raises `LedgerMissing`,
        `LedgerLocked` (says who writes it), `LedgerDamaged`.
        """
        place = layout.inspect(locate(path)[0])
        lock = Lock(place.lock)
        try:
            lake = engine.open_engine(threads=WRITER_THREADS, memory_max=WRITER_MEMORY_MAX)
            with failure.translated(place.root, "open"):
                engine.attach(lake, place.catalog, place.data, read_only=False)
                layout.upgrade(place, lake)
                return cls(place, source, lock, lake, redaction)
        except BaseException:
            lock.release()
            raise

    @property
    def path(self) -> Path:
        """The ledger's folder."""
        return self._place.root

    @property
    def source(self) -> str:
        """The short name that the rows of this writer carry."""
        return self._source

    def position(self) -> StoredPosition | None:
        """Return where the source's log has been read to; None before the first commit."""
        return self._stored

    @property
    def row_count(self) -> int:
        """Rows appended since the last commit."""
        return self._row_count

    def relations(self, since_lsn: int) -> list[Relation]:
        """Return the versions in force at `since_lsn` and all later ones, partitions too, by position."""
        words = {"source": self._source, "since": since_lsn}
        with self._catalog_alone():
            rows = self._ask("relations", words).to_arrow_table().to_pylist()
        return [relation_of(row) for row in rows]

    def baselines(self) -> list[StoredBaseline]:
        """Return the baselines taken of this source, oldest first."""
        with self._catalog_alone():
            rows = self._ask("baselines", {"source": self._source}).fetchall()
        return [StoredBaseline(*row) for row in rows]

    def append(self, batch: Batch) -> None:
        """Add `batch` to what the next `commit` makes count.

        Raises `LedgerError` when it cannot be written; everything since the last commit is then
        rolled back.
        """
        self._check(batch)
        if self._redaction is not None:
            batch = self._redaction.batch(batch)
        with self._all_or_nothing():
            self._add_file("changes", batch.changes)
            for rows in batch.late:
                self._row_count += rows.num_rows
                self._add_file("changes", rows)
            self._add_file("contexts", batch.contexts)
            self._add_file("transactions", batch.transactions)
            self._insert("append", "ddl", batch.ddl)
            self._insert("append_relations", "relations", batch.relations, every=bool(batch.gone))
            if batch.gone:
                self._begin()
                relation_ids, lsns = zip(*batch.gone, strict=True)
                words = {"source": self._source, "relation_ids": relation_ids, "lsns": lsns}
                self._ask("forget_relations", words)
            self._reshaped.update(batch.relations.column("root_id").to_pylist())
            self._is_changed |= bool(batch.gone) or batch.relations.num_rows > 0
            self._row_count += batch.row_count
            self._reached = batch.position

    def commit(self, *, slot: str, system_identifier: str, timeline: int) -> None:
        """Make everything appended durable, together with the position it ends at.

        Does nothing when nothing was appended and the position is the stored one.
        """
        reached = self._reached
        if reached is None:
            return
        stored = StoredPosition(
            slot, system_identifier, timeline, reached.commit_lsn, reached.end_lsn, reached.at_us
        )
        if self._row_count == 0 and not self._is_changed and stored == self._stored:
            self.rollback()
            return
        with self._all_or_nothing():
            self._finish_all()
            self._files.flush(file.path for file in self._pending)
            if self._is_open or not self._commit_files(stored):
                self._commit_all(stored)
            self._forget()
        self._stored = stored
        with failure.translated(self._place.root, "compact"), self._catalog_alone():
            self._upkeeper.collect()

    def _commit_files(self, stored: StoredPosition) -> bool:
        """Commit files and position past DuckLake; False where it must be asked."""
        position = {"source": self._source, **asdict(stored)}
        position["at"] = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=position.pop("at_us"))
        # From here on the catalog may name the files, even if it fails: they stay, and upkeep deletes what
        # no catalog names.
        files, self._pending = self._pending, []
        with self._catalog_alone():
            is_done = self._catalog.commit(files, {"positions": position})
        if not is_done:
            self._pending = files
        return is_done

    def _commit_all(self, stored: StoredPosition) -> None:
        """Commit files, position and what changes the shape of tables in one transaction of DuckLake."""
        self._begin()
        files, self._pending = self._pending, []
        self._take_in(files)
        self._ask("position_append", {"source": self._source, **asdict(stored)})
        if self._reshaped:
            typed.refresh(self._lake, self._reshaped)
        self._commit_lake()

    def rollback(self) -> None:
        """Forget everything since the last commit."""
        pending, drafts = self._pending, self._drafts
        self._forget()
        try:
            if self._is_open:
                try:
                    self._lake.rollback()
                finally:
                    self._end()
                    self._files.discard_new()
        finally:
            for draft in drafts.values():
                draft.abandon()
            for file in pending:
                file.path.unlink(missing_ok=True)

    def record(self, requests: pa.Table, spans: pa.Table, exchanges: pa.Table) -> None:
        """Add rows of `REQUESTS`, `SPANS` and `EXCHANGES`, durable when this returns.

        Thread safe, also beside `append` and `commit`. Waits while the stream has a transaction of DuckLake
        open (a new shape of a table, a baseline). Raises `LedgerError`; nothing of it is stored then.
        """
        if self._redaction is not None:
            requests, spans, exchanges = self._redaction.requests(requests, spans, exchanges)
        made: list[DataFile] = []
        with failure.translated(self._place.root, "write"), ExitStack() as others:
            ready = False
            try:
                for table, rows in (("requests", requests), ("spans", spans), ("exchanges", exchanges)):
                    if rows.num_rows:
                        path = datafile.new_path(self._place.data, table)
                        others.enter_context(self._files.making(path))
                        made.append(datafile.write(path, table, rows, self._source, self._catalog.ids(table)))
                self._files.flush(file.path for file in made)
                ready = self._turn.acquire(timeout=TURN_WAIT_S)
                if not ready:
                    raise LedgerError(
                        f"cannot write the ledger at {self._place.root}",
                        why="a baseline is being taken",
                        hint="send it again later",
                    )
                # From here on the catalog may name the files, even if it fails.
                if made and not self._catalog.commit(made):
                    self._record_first(made)
            finally:
                if ready:
                    self._turn.release()
                else:
                    for file in made:
                        file.path.unlink(missing_ok=True)

    def _record_first(self, made: list[DataFile]) -> None:
        """Let DuckLake take in the first rows of a table."""
        self._lake.begin()
        try:
            self._take_in(made)
            self._lake.commit()
        except BaseException:
            self._lake.rollback()
            raise

    def spans_known(self, since: datetime, until: datetime, span_ids: Sequence[str]) -> set[tuple[str, str]]:
        """Return (trace id, span id) of those spans that the ledger has and that began between two times.

        Thread safe.
        """
        with failure.translated(self._place.root, "read"):
            with self._turn:
                stored = self._catalog.files().get("spans", [])
            if not stored:
                return set()
            folder = datafile.folder(self._place.data, "spans")
            files = engine.literals(folder / file.path for file in stored)
            text = sql.text("ledger/writer/spans_known.sql").format(files=files)
            with engine.open_bare(threads=1, memory_max=LOOKUP_MEMORY_MAX) as lookup:
                # A table: a list of thousands as a parameter takes a second to bind.
                lookup.register("asked", pa.table({"span_id": pa.array(span_ids, pa.string())}))
                return set(lookup.execute(text, {"since": since, "until": until}).fetchall())

    def add_gap(self, *, from_lsn: int, to_lsn: int, from_us: int, to_us: int, reason: str) -> None:
        """Record, in a commit of its own, that the ledger lacks the log between two positions."""
        with self._own_transaction():
            self._ask(
                "gap_append",
                {
                    "source": self._source,
                    "from_lsn": from_lsn,
                    "to_lsn": to_lsn,
                    "from_us": from_us,
                    "to_us": to_us,
                    "reason": reason,
                },
            )

    def reconcile(
        self, relation: Relation, rows: Iterable[pa.RecordBatch], *, lsn: int, at_us: int
    ) -> baseline.Reconciled:
        """Make the ledger hold exactly `rows` for `relation` as of `lsn`, in a commit of its own.

        `rows` are text columns named as the relation's, read in a snapshot whose log position is
        `lsn`. What differs from the ledger's state is written with commit_lsn = lsn - 1, where no
        commit record can start: `baseline` for new and different rows, `delete` for rows that are
        gone. A first baseline is only written, not compared.
        """
        if self._redaction is not None:
            relation = self._redaction.relation(relation)
            rows = self._redaction.rows(relation, rows)
        with self._own_transaction():
            if self._insert("append_relations", "relations", relations_table([relation]), every=False):
                typed.refresh(self._lake, {relation.root_id})
            write = partial(self._add_file, "changes")
            done = baseline.reconcile(self._lake, self._source, relation, rows, write, lsn=lsn, at_us=at_us)
            self._finish_all()
            files, self._pending = self._pending, []
            self._take_in(files)
            return done

    def maintain(self, *, wait: bool = False, brief: bool = False, force: bool = False) -> upkeep.Upkeep:
        """Compact what has become small files and delete what no reader needs, if it is time to.

        Compaction goes on in the background, and `commit` takes in what it made. Cheap when there is
        nothing to do; call it between commits. `wait` until it is done; `brief` leaves more files, so that
        it is done soon; `force` compacts what can be.
        """
        is_between = not (self._is_open or self._pending or self._drafts)
        invariant(is_between, "upkeep runs between ledger transactions")
        with failure.translated(self._place.root, "compact"), self._catalog_alone():
            return self._upkeeper.maintain(wait=wait, brief=brief, force=force)

    def close(self) -> None:
        """Roll back what was not committed and let another writer in."""
        try:
            self._upkeeper.close()
            self.rollback()
            self._lake.close()
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, name: str, parameters: dict[str, Any]) -> duckdb.DuckDBPyConnection:
        return self._lake.execute(sql.text(f"ledger/writer/{name}.sql"), parameters)

    def _add_file(self, table: str, rows: pa.Table) -> None:
        """Write `rows` into a file that the next commit brings: one a table, unless it becomes large."""
        if not rows.num_rows:
            return
        if table not in self._drafts:
            path = datafile.new_path(self._place.data, table)
            self._drafts[table] = Draft(path, table, self._source, self._catalog.ids(table))
        self._drafts[table].add(rows)
        if self._drafts[table].size >= FILE_BYTES_MAX:
            self._finish(table)

    def _finish_all(self) -> None:
        """End every file that is being written."""
        for table in tuple(self._drafts):
            self._finish(table)

    def _finish(self, table: str) -> None:
        """End the file of `table` that is being written."""
        self._pending.append(self._drafts[table].finish())
        del self._drafts[table]

    def _take_in(self, files: Iterable[DataFile]) -> None:
        """Let DuckLake, in its open transaction, take in files."""
        for file in files:
            statement = sql.text("ledger/writer/add_file.sql").format(table=file.table)
            self._lake.execute(statement, {"file": str(file.path)})

    def _insert(self, statement: str, table: str, rows: pa.Table, **words: object) -> int:
        """Insert `rows` by that statement; return how many it took."""
        if rows.num_rows == 0:
            return 0
        self._begin()
        self._lake.register("batch", rows)
        try:
            text = sql.text(f"ledger/writer/{statement}.sql")
            words["source"] = self._source
            taken = self._lake.execute(text.format(table=table), words).fetchone()
            return int(taken[0]) if taken is not None else 0
        finally:
            self._lake.unregister("batch")

    def _read_position(self) -> StoredPosition | None:
        with self._catalog_alone():
            row = self._ask("position", {"source": self._source}).fetchone()
        return StoredPosition(*row) if row is not None else None

    def _check(self, batch: Batch) -> None:
        """The decoder skips what the ledger holds; a row twice would be a lie."""
        before = self._stored.commit_lsn if self._stored is not None else 0
        if batch.changes.num_rows:
            lowest = pc.min(batch.changes.column("commit_lsn")).as_py()
            invariant(lowest is None or lowest > before, "a batch holds only what the ledger does not")

    def _begin(self) -> None:
        """Open a transaction of DuckLake unless one is."""
        if not self._is_open:
            self._turn.acquire()
            try:
                self._lake.begin()
            except BaseException:
                self._turn.release()
                raise
            self._is_open = True

    def _end(self) -> None:
        self._is_open = False
        self._turn.release()

    @contextmanager
    def _catalog_alone(self) -> Iterator[None]:
        """Have the turn at the catalog, which an open transaction of DuckLake has already."""
        if self._is_open:
            yield
        else:
            with self._turn:
                yield

    def _commit_lake(self) -> None:
        self._files.flush_new()
        self._lake.commit()
        self._end()

    def _forget(self) -> None:
        self._drafts, self._pending = {}, []
        self._row_count = 0
        self._reached = None
        self._reshaped = set()
        self._is_changed = False

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Any failure rolls back everything since the last commit."""
        try:
            with failure.translated(self._place.root, "write"):
                yield
        except BaseException:
            # The failed transaction may be gone already; its error is the one to report.
            with suppress(duckdb.Error):
                self.rollback()
            raise

    @contextmanager
    def _own_transaction(self) -> Iterator[None]:
        if self._is_open or self._pending or self._drafts:
            raise LedgerError(
                "cannot write this between the pieces of a batch", hint="commit or roll back first"
            )
        with self._all_or_nothing():
            self._begin()
            yield
            self._commit_lake()
            self._forget()
