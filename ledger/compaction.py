"""Many small data files become a sorted run: beside the stream, in a thread and a DuckDB of its own.

A run is what one merge made: files one after the other in the order of rows, so that a question, which
knows from the catalog what lies in which file, reads one of them. A merge reads immutable files and writes
new ones; only then the catalog is told, in one short transaction between two commits of the stream
(`Catalog.replace`). So the stream never waits for a sort, and a merge that is broken off leaves at most
files that no catalog names.

Compaction goes in tiers by the size of runs: a row is rewritten once or twice in each. Changes are sorted by
row, part by part of the order, so that no sort is larger than memory; the rest stays in its order. A large
merge takes minutes: between two parts of it the small ones that came meanwhile are done.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa
from pyarrow import parquet

from flux import sql
from flux.ledger import datafile, durability, engine
from flux.ledger.commit import Catalog, StoredFile
from flux.ledger.datafile import DataFile
from flux.ledger.durability import DataFiles
from flux.ledger.engine import identifier, literal, literals

TIERS: tuple[tuple[int, int], ...] = (
    *((1 << 20, 16), (16 << 20, 12), (200 << 20, 10)),
    *((2_000 << 20, 10), (20_000 << 20, 10), (200_000 << 20, 10)),
)
"""(bytes, count): runs below that size are merged once there are that many above the tier before. All of
them: one that was left out would be merged with the next commit's file, and with the one after that. A file
that a commit brought counts as a run."""
LARGE_BYTES = 256 << 20
"""A merge of more is large: small ones do not wait for it, and it needs room on the disk."""
FREE_BYTES_FACTOR = 2
"""A large merge begins where so many times its bytes are free: what it replaces goes later."""
BRIEF_SLACK, BRIEF_SIZE = 4, 4
"""Who waits for a merge has so many times as many small runs before one, and merges so many times the bytes
below which a run is small: 4 MiB of each table's smallest, in a second or two."""
FILE_BYTES = {"changes": 2 << 20, "contexts": 256 << 10}
"""Of each file of a run. A question looks at the bounds of every row group of the files that it reads, so
they are few; a scan of everything opens all files."""
FILE_BYTES_ELSE = 64 << 20
"""Of each file of a run of the other tables: Arrow keeps Bloom filters in memory until a file ends."""
FILES = 64
"""Of a run, once its files reach FILE_BYTES. A larger one has more of them and larger ones, both by the
square root: a question reads a file of each run, and the catalog names all of them."""
MEMORY_MAX = "128MB"
"""Of the DuckDB that merges."""
PART_BYTES = 96 << 20
"""Of the changes that are sorted together, as DuckDB holds them."""
PARTS_FINER = 4
"""When a part is larger than memory after all, the merge begins again with parts so many times smaller."""
PART_BYTES_MIN = 1 << 20
CHUNK_BYTES = 16 << 20
"""Of the files that are read together where nothing is sorted."""
GROUP_ROWS = {"changes": 4_096, "contexts": 2_048}
"""Rows of a row group where it is not `datafile.GROUP_ROWS`. A question reads whole groups: the changes of a
row lie in one group of a run, their contexts each in another."""
VALUE_BYTES = 16
"""What DuckDB takes for each value of a text column, the text itself left out."""
DRAWN_MAX = 200
"""Places drawn for each part to find where it begins."""
THREADS = 1
"""Of that DuckDB: it runs beside the stream."""


class Place(NamedTuple):
    """A place in the order in which changes are sorted."""

    relation: str
    key: str
    """Empty where the change has none."""
    lsn: int


_FIRST = Place("", "", 0)


@dataclass(frozen=True, slots=True)
class Merge:
    """Files of one table that are to become one run."""

    table: str
    files: tuple[StoredFile, ...]

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.files)

    @property
    def is_large(self) -> bool:
        """Whether it takes so long that others are done meanwhile."""
        return self.size > LARGE_BYTES


def due(
    files: Mapping[str, Sequence[StoredFile]],
    *,
    brief: bool = False,
    force: bool = False,
    without: Collection[str] = (),
    bytes_free: float = math.inf,
) -> list[Merge]:
    """Return what it is time to merge, at most one merge of each table; with `force` whatever is worth it.

    `brief` waits for BRIEF_SLACK times as many files, and then takes few of them. `without` are paths of
    files that are left alone, `bytes_free` is what the disk has room for.
    """
    merges = []
    for table, every in files.items():
        runs = _runs(file for file in every if file.path not in without)
        chosen = _of_all(runs) if force else _of_a_tier(runs, brief=brief)
        if FREE_BYTES_FACTOR * sum(run.size for run in chosen) > bytes_free:
            # A large one has to wait; what is not worth it without the others has to, too.
            few = _few(chosen, LARGE_BYTES)
            chosen = few if 2 * max(run.size for run in few) <= sum(run.size for run in few) else []
        if len(chosen) > 1:
            merges.append(Merge(table, tuple(file for run in chosen for file in run.files)))
    return merges


class _Run(NamedTuple):
    files: list[StoredFile]
    size: int


def _of_a_tier(runs: list[_Run], *, brief: bool) -> list[_Run]:
    """Return the runs of the first tier that has enough of them."""
    bytes_min = 0
    for bytes_max, count_min in TIERS:
        small = [run for run in runs if run.size < bytes_max]
        # Counted without the lower tiers: a few tiny runs are no reason to write a large one again.
        count = sum(1 for run in small if run.size >= bytes_min)
        bytes_min = bytes_max
        if count >= count_min * (BRIEF_SLACK if brief else 1):
            # A larger tier would only see the files that this one is about to make.
            return _few(small, min(LARGE_BYTES, BRIEF_SIZE * bytes_max)) if brief else small
    return []


def _few(runs: list[_Run], bytes_max: int) -> list[_Run]:
    """Return runs from the first on, as many as stay within `bytes_max`."""
    chosen: list[_Run] = []
    for run in runs:
        if sum(one.size for one in chosen) + run.size > bytes_max:
            if len(chosen) > 1:
                break
            # Too large to be merged with its neighbour.
            chosen = []
        chosen.append(run)
    return chosen


def _of_all(runs: list[_Run]) -> list[_Run]:
    """Return as many runs, from the smallest on, as merging them is worth writing the largest of them again.

    It is where the others are as much as that one; what is not large is written again in any case.
    """
    by_size = sorted(runs, key=lambda run: run.size)
    totals = list(accumulate(run.size for run in by_size))
    for count in range(len(runs), 1, -1):
        if totals[count - 1] <= LARGE_BYTES or by_size[count - 1].size <= totals[count - 2]:
            numbers = {run.files[0].number for run in by_size[:count]}
            return [run for run in runs if run.files[0].number in numbers]
    return []


def _runs(files: Iterable[StoredFile]) -> list[_Run]:
    """Return files, oldest rows first, in runs: those of one have the versions of the catalog in common."""
    runs: dict[tuple[int, int | None], list[StoredFile]] = {}
    for file in files:
        # A commit may bring several files; what it brought is no run.
        place = (file.number, None) if file.partial_max is None else (file.version, file.partial_max)
        # Not only neighbours: the rows of a file that was left out of a merge may lie between its rows.
        runs.setdefault(place, []).append(file)
    return [_Run(run, sum(file.size for file in run)) for run in runs.values()]


class Compactor:
    """Merges files of one ledger, one after another."""

    def __init__(self, data: Path, catalog: Catalog, files: DataFiles) -> None:
        self._data = data
        self._catalog = catalog
        self._files = files
        self._engine: duckdb.DuckDBPyConnection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: list[tuple[Merge, Future[list[DataFile]]]] = []
        self._waiting: deque[tuple[Merge, Future[list[DataFile]]]] = deque()
        self._is_closed = threading.Event()
        self.too_large: set[str] = set()
        """Files with values that memory cannot hold while they are merged: they stay as they are."""

    @property
    def is_busy(self) -> bool:
        """Whether a merge is under way."""
        return bool(self._under_way)

    @property
    def held(self) -> set[str]:
        """Paths of the files that are being merged, or cannot be."""
        return self.too_large.union(file.path for merge, _ in self._under_way for file in merge.files)

    @property
    def takes_more(self) -> bool:
        """Whether merges can begin: those before them are taken in, but for a large one."""
        return all(merge.is_large for merge, _ in self._under_way)

    def start(self, merges: Iterable[Merge]) -> int:
        """Begin these merges, but one large one at a time; return how many."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="flux-compact")
        count = 0
        for merge in merges:
            if merge.is_large and any(other.is_large for other, _ in self._under_way):
                continue
            begun = merge, Future[list[DataFile]]()
            self._under_way.append(begun)
            self._waiting.append(begun)
            self._thread.submit(self._work)
            count += 1
        return count

    def finished(self, *, wait: bool = False, brief: bool = False) -> list[tuple[Merge, list[DataFile]]]:
        """Return the merges that are done, their files durable; raise what prevented one.

        `wait` for those under way; if it is to be `brief`, not for large ones.
        """
        done: list[tuple[Merge, list[DataFile]]] = []
        for begun in list(self._under_way):
            merge, made = begun
            if not (made.done() or (wait and not (brief and merge.is_large))):
                continue
            try:
                done.append((merge, made.result()))
            except duckdb.OutOfMemoryException:
                self.too_large.update(file.path for file in merge.files)
            except BaseException:
                if done:
                    break  # first what is done, the next call raises it
                self._under_way.remove(begun)
                raise
            self._under_way.remove(begun)
        return done

    def close(self) -> None:
        """Break off what is under way."""
        self._is_closed.set()
        if self._engine is not None:
            self._engine.interrupt()
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        for _, made in self._under_way:
            if made.done() and made.exception() is None:
                for file in made.result():
                    file.path.unlink(missing_ok=True)
        self._under_way = []
        if self._engine is not None:
            self._engine.close()

    def _work(self) -> None:
        """Do the merges that wait; in the thread, and again between two parts of a large one."""
        while self._waiting:
            merge, made = self._waiting.popleft()
            try:
                made.set_result(self._merge(merge))
            except BaseException as error:  # noqa: BLE001 (`finished` raises it)
                made.set_exception(error)

    def _merge(self, merge: Merge) -> list[DataFile]:
        if self._engine is None:
            self._engine = engine.open_bare(threads=THREADS, memory_max=MEMORY_MAX)
        self._go_on()
        # What decoding gave back and Arrow keeps would stand beside what the sort takes.
        pa.default_memory_pool().release_unused()
        part_bytes = PART_BYTES
        while True:
            try:
                return self._write(self._engine, merge, part_bytes)
            except duckdb.OutOfMemoryException:
                part_bytes //= PARTS_FINER
                if merge.table != "changes" or part_bytes < PART_BYTES_MIN:
                    raise

    def _go_on(self) -> None:
        if self._is_closed.is_set():
            raise duckdb.InterruptException("the writer is closed")

    def _write(self, engine: duckdb.DuckDBPyConnection, merge: Merge, part_bytes: int) -> list[DataFile]:
        """Write the rows of a merge as durable files; leave nothing behind when it fails."""
        folder = datafile.folder(self._data, merge.table)
        group_rows = GROUP_ROWS.get(merge.table, datafile.GROUP_ROWS)
        sought = datafile.SOUGHT.get(merge.table, ())
        file_bytes = _file_bytes(merge)
        ids = {**self._catalog.ids(merge.table), datafile.VERSION: datafile.VERSION_ID}
        paths: list[Path] = []
        # A rollback of the writer meanwhile must not take them for files of its own.
        with ExitStack() as making:
            try:
                with ExitStack() as one:
                    writer = None
                    for statement in self._statements(engine, merge, folder, part_bytes):
                        self._go_on()
                        if merge.is_large:
                            self._work()
                            self._go_on()
                        for group in _groups(engine, statement, group_rows):
                            if writer is None or paths[-1].stat().st_size >= file_bytes:
                                one.close()
                                paths.append(datafile.new_path(self._data, merge.table))
                                making.enter_context(self._files.making(paths[-1]))
                                writer = one.enter_context(
                                    datafile.writing(paths[-1], group.schema, ids, sought)
                                )
                            writer.write_batch(group)
                for path in paths:
                    durability.flush_file(path)
                durability.flush_folder(folder)
                return [datafile.read(path, merge.table) for path in paths]
            except BaseException:
                for path in paths:
                    path.unlink(missing_ok=True)
                raise

    def _statements(
        self, engine: duckdb.DuckDBPyConnection, merge: Merge, folder: Path, part_bytes: int
    ) -> Iterator[str]:
        """Yield the statements whose rows, one after the other, are those of the run."""
        columns = ", ".join(map(identifier, self._catalog.columns(merge.table)))
        if merge.table != "changes":
            text = sql.text("ledger/upkeep/merged.sql")
            for chunk in _chunks(merge.files):
                yield text.format(columns=columns, reading=_reading(folder, chunk))
            return
        sources = [_source(folder / file.path, file) for file in merge.files]
        count = math.ceil(sum(source.memory for source in sources) / part_bytes)
        self._go_on()
        places = _places(engine, _reading(folder, merge.files), count)
        text = sql.text("ledger/upkeep/merged_part.sql")
        for low, high in zip([_FIRST, *places], [*places, None], strict=True):
            files = [source.file for source in sources if source.may_hold(low, high)]
            yield text.format(columns=columns, reading=_reading(folder, files), **_between(low, high))


def _file_bytes(merge: Merge) -> float:
    """Return how large a file of the run becomes before the next one begins."""
    least = FILE_BYTES.get(merge.table, FILE_BYTES_ELSE)
    return least * max(1.0, math.sqrt(merge.size / (FILES * least)))


def _chunks(files: Iterable[StoredFile]) -> Iterator[list[StoredFile]]:
    """Yield files, in their order, so many as are read together."""
    chunk: list[StoredFile] = []
    for file in files:
        if chunk and sum(one.size for one in chunk) + file.size > CHUNK_BYTES:
            yield chunk
            chunk = []
        chunk.append(file)
    yield chunk


def _reading(folder: Path, files: Sequence[StoredFile]) -> str:
    """Return what reads the rows of files, each with the version that brought it."""
    whole = [file for file in files if file.partial_max is None]
    merged = [file for file in files if file.partial_max is not None]
    readings = []
    if whole:
        text = sql.text("ledger/upkeep/reading.sql")
        versions = str([file.version for file in whole])
        readings.append(text.format(files=literals(folder / file.path for file in whole), versions=versions))
    if merged:
        text = sql.text("ledger/upkeep/reading_merged.sql")
        readings.append(text.format(files=literals(folder / file.path for file in merged)))
    return " union all by name ".join(readings)


class _Source(NamedTuple):
    """A file of changes that is to be merged."""

    file: StoredFile
    memory: int
    """About how many bytes its rows take in DuckDB."""
    low: tuple[str, str]
    """Relation and key: no row is before that."""
    high: tuple[str, str | None] | None
    """No row is after that; None: of the relation, or at all, anything may be in it."""

    def may_hold(self, low: Place, high: Place | None) -> bool:
        """Whether rows from `low` up to `high` may be in it."""
        if high is not None and self.low > high[:2]:
            return False
        if self.high is None:
            return True
        relation, key = self.high
        return relation > low.relation or (relation == low.relation and (key is None or key >= low.key))


def _source(path: Path, file: StoredFile) -> _Source:
    footer = parquet.read_metadata(path)
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(footer.num_columns)]
    memory = sum(chunk.total_uncompressed_size + VALUE_BYTES * chunk.num_values for chunk in chunks)
    bounds = datafile.bounds_of(footer)
    relation, key = bounds["relation"], bounds["key"]
    if relation.low is None or relation.high is None:
        return _Source(file, memory, ("", ""), None)
    if relation.low != relation.high or key.low is None or key.high is None or key.null_count:
        return _Source(file, memory, (relation.low, ""), (relation.high, None))
    return _Source(file, memory, (relation.low, key.low), (relation.high, key.high))


def _groups(engine: duckdb.DuckDBPyConnection, statement: str, rows: int) -> Iterator[pa.RecordBatch]:
    """Return the rows of a statement, so many at a time, as they are read."""
    try:
        yield from engine.execute(statement).to_arrow_reader(rows)
    except OSError as error:
        # What DuckDB meets on the way comes through Arrow, which has one kind for all.
        if "Out of Memory" in str(error):
            raise duckdb.OutOfMemoryException("a value larger than the memory of a merge") from error
        raise


def _places(engine: duckdb.DuckDBPyConnection, reading: str, count: int) -> list[Place]:
    """Return where the second and later ones of `count` parts of about the same size begin."""
    if count < 2:
        return []
    text = sql.text("ledger/upkeep/places.sql").format(reading=reading, count=count * DRAWN_MAX)
    drawn = sorted(Place(*row) for row in engine.execute(text).fetchall())
    return sorted({drawn[number * len(drawn) // count] for number in range(1, count)} - {drawn[0]})


def _between(low: Place, high: Place | None) -> dict[str, str]:
    """Return the words of `merged_part.sql` for the changes from `low` up to `high`."""
    end = high or low
    is_of_relation = high is not None and low.relation == high.relation and low.key > ""
    return {
        "low_relation": literal(low.relation),
        "low_key": literal(low.key),
        "low_lsn": str(low.lsn),
        "high_relation": literal(end.relation),
        "high_key": literal(end.key),
        "high_lsn": str(end.lsn),
        "is_last": str(high is None),
        # Without a key there is nothing to compare: such changes come first in their relation.
        "is_of_relation": str(is_of_relation),
        "is_of_key": str(high is not None and low[:2] == high[:2]),
    }
