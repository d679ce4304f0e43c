"""Merging beside the stream: what is merged when, and that no answer changes meanwhile."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from flux.ledger import Writer, compaction, create_ledger, datafile, engine, open_ledger, upkeep
from flux.ledger.commit import StoredFile
from flux.ledger.compaction import GROUP_ROWS, LARGE_BYTES, TIERS, due
from flux.ledger.layout import Layout
from flux.model.errors import LedgerError
from ledger.log import Log, commit, insert, relation, truncate
from servers import eventually

USERS = relation()


def stored(*sizes: int) -> list[StoredFile]:
    return [
        StoredFile(number, f"{number}.parquet", 1, size, number, number, None)
        for number, size in enumerate(sizes)
    ]


def test_files_are_merged_in_tiers() -> None:
    small, count = TIERS[0][0] - 1, TIERS[0][1]
    middle, middle_count = TIERS[1][0] - 1, TIERS[1][1]
    assert due({"changes": stored(*[small] * (count - 1))}) == []
    (merge,) = due({"changes": stored(*[small] * count, middle)})
    assert [file.size for file in merge.files] == [small] * count
    # One of each table: a larger tier waits for what the smaller one makes.
    found = due({"changes": stored(*[small] * count, *[middle] * middle_count), "contexts": stored(1, 1)})
    assert [(merge.table, len(merge.files)) for merge in found] == [("changes", count)]
    # Who waits has more files, of which few are merged.
    assert due({"changes": stored(*[small] * (4 * count - 1))}, brief=True) == []
    (merge,) = due({"changes": stored(*[small] * 4 * count)}, brief=True)
    assert [file.size for file in merge.files] == [small] * 4
    (merge,) = due({"changes": stored(*[middle] * middle_count, 1)})
    assert len(merge.files) == middle_count + 1
    assert due({"changes": stored(*[middle] * (middle_count - 1), 1, 1)}) == []
    (merge,) = due({"contexts": stored(1, middle)}, force=True)
    assert len(merge.files) == 2
    assert due({"contexts": stored(1)}, force=True) == []


def test_files_of_one_merge_count_as_one() -> None:
    size, count = TIERS[1][0] // 4, TIERS[1][1]

    def run(number: int) -> list[StoredFile]:
        first = 10 * number
        return [
            StoredFile(first + nth, f"{first + nth}", 1, size, first, first + nth, first + 9)
            for nth in range(3)
        ]

    runs = [file for number in range(count) for file in run(number)]
    assert due({"changes": runs[3:]}) == []
    (merge,) = due({"changes": runs})
    assert merge.files == tuple(runs)
    assert due({"changes": run(0)}, force=True) == []
    # The rows of a file that was too large for the merge lie between those of the run.
    between = [*run(0)[:1], StoredFile(99, "99", 1, LARGE_BYTES, 4, 1, None), *run(0)[1:]]
    assert due({"changes": between}, force=True) == []


def test_a_merge_by_hand_is_worth_it() -> None:
    """Whatever is not large becomes one; a large run is written again with as much as it has itself."""
    large = LARGE_BYTES
    (merge,) = due({"changes": stored(3, large - 10, 5)}, force=True)
    assert len(merge.files) == 3
    (merge,) = due({"changes": stored(3, large, 5)}, force=True)
    assert [file.size for file in merge.files] == [3, 5]
    (merge,) = due({"changes": stored(large, 3, 3 * large, large, large)}, force=True)
    assert [file.size for file in merge.files] == [large, 3, 3 * large, large, large]
    (merge,) = due({"changes": stored(large, 4 * large, large)}, force=True)
    assert [file.size for file in merge.files] == [large, large]
    assert due({"changes": stored(large, 4 * large)}, force=True) == []


def test_a_large_merge_needs_room() -> None:
    runs = {"changes": stored(*[LARGE_BYTES] * TIERS[3][1])}
    needed = 2 * LARGE_BYTES * TIERS[3][1]
    assert due(runs, bytes_free=needed - 1) == []
    assert len(due(runs, bytes_free=needed)) == 1
    assert len(due({"changes": stored(1, 1)}, force=True, bytes_free=0)) == 1
    # Small files go on becoming fewer, and no large one is written again for them.
    (merge,) = due({"changes": stored(*[600_000] * 1_000)}, bytes_free=1 << 30)
    assert len(merge.files) > 2
    assert not merge.is_large
    assert due({"changes": stored(*[195 << 20] * 10, 600_000)}, bytes_free=1 << 30) == []


@pytest.mark.parametrize("size", [60_000, 540_000, 900_000, 12_000_000, 300_000_000])
def test_nothing_is_written_again_and_again(size: int) -> None:
    """However large the commits: few runs wait, and a row is rewritten once or twice in each tier."""
    draw = random.Random(size)
    shrinks = 0.98  # what is sorted takes less room than its parts
    runs: list[int] = []
    brought, written = 0, 0
    for _ in range(20_000):
        runs.append(draw.randint(size - size // 10, size + size // 10))
        brought += runs[-1]
        for _ in range(len(TIERS)):
            found = due({"changes": stored(*runs)})
            if not found:
                break
            for file in found[0].files:
                runs.remove(file.size)
            runs.append(int(shrinks * found[0].size))
            written += runs[-1]
        assert due({"changes": stored(*runs)}) == []
        assert len(runs) < sum(count for _, count in TIERS)
    assert written < 1.5 * brought * sum(1 for bytes_max, _ in TIERS if bytes_max > size)


def bring(log: Log, writer: Writer, count: int) -> None:
    for _ in range(count):
        key = str(log.lsn)
        log.transaction(insert(USERS, key, {"id": key, "email": "{'\"}=", "plan": None}), request=f"r{key}")
        log.store(writer)


@pytest.mark.parametrize("group_rows", [GROUP_ROWS["changes"], 2])
def test_ducklake_sees_each_version_as_before(
    tmp_path: Path, group_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files made here have what DuckLake needs to travel in time, merged twice over, several of a run."""
    monkeypatch.setattr(compaction, "GROUP_ROWS", {"changes": group_rows})
    monkeypatch.setattr(compaction, "FILE_BYTES", {"changes": 1})
    place = Layout(create_ledger(tmp_path / "ledger"))
    log = Log()
    log.shape(USERS)

    def seen() -> dict[int, Any]:
        lake = engine.open_engine(threads=1)
        try:
            engine.attach(lake, place.catalog, place.data, read_only=True)
            newest = lake.execute("select max(snapshot_id) from ducklake_snapshots('flux')").fetchone()
            return {
                version: lake.execute(
                    "select list(key order by key), list(after order by key), "
                    f"count(*) filter (commit_lsn > 20000) from changes at (version => {version})"
                ).fetchall()
                for version in range(2, (newest or (0,))[0] + 1)
            }
        finally:
            lake.close()

    with Writer.open(place.root, source="shop") as writer:
        bring(log, writer, 5)
        before = seen()
        writer.maintain(force=True)
        after = seen()
        assert {version: after[version] for version in before} == before
        bring(log, writer, 3)
        before = seen()
        writer.maintain(force=True)
        after = seen()
        assert {version: after[version] for version in before} == before
        made = {GROUP_ROWS["changes"]: (1, 1), 2: (3, 4)}[group_rows]
        assert len(live(place.root, "changes")) == made[1]
        assert len(list((place.data / "main" / "changes").iterdir())) == 5 + 3 + sum(made)


def in_order(place: tuple[str, str | None, int]) -> tuple[str, str, int]:
    relation, key, lsn = place
    return relation, key or "", lsn


@pytest.mark.parametrize("part_bytes", [1, 3_000, 20_000, compaction.PART_BYTES])
@pytest.mark.parametrize("large_bytes", [0, LARGE_BYTES])
def test_changes_are_sorted_by_row_part_by_part(
    tmp_path: Path, part_bytes: int, large_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rows that change all the time, rows without a key, several tables, attempts among the changes."""
    monkeypatch.setattr(compaction, "PART_BYTES", part_bytes)
    monkeypatch.setattr(compaction, "LARGE_BYTES", large_bytes)
    monkeypatch.setattr(compaction, "CHUNK_BYTES", part_bytes)
    monkeypatch.setattr(compaction, "_of_all", list)
    # Several files of each run, which the parts of the next merge tell apart by their bounds.
    monkeypatch.setattr(compaction, "GROUP_ROWS", {"changes": 3})
    monkeypatch.setattr(compaction, "FILE_BYTES", {"changes": 1})
    draw = random.Random(7)
    tables = [USERS, relation("public.orders", oid=16500), relation('public."Odd \'one"', oid=16600, key=())]
    path = create_ledger(tmp_path / "ledger")
    log = Log()
    for table in tables:
        log.shape(table)
    with Writer.open(path, source="shop") as writer:
        for turn in range(8):
            if turn == 3:
                assert writer.maintain(force=True).merged_files
            for _ in range(20):
                table = draw.choice(tables)
                key = (
                    draw.choice(["hot", "hot", str(draw.randrange(30)), "O'Hara", ""]) if table.key else None
                )
                change = insert(table, key, {"id": key, "email": "x" * draw.randrange(50)})
                choice = draw.randrange(10)
                if choice == 0:
                    log.rolled_back(change)
                elif choice == 1:
                    log.transaction(change, truncate(table), request="r")
                else:
                    log.transaction(change)
            log.store(writer)
        with open_ledger(path) as reader:
            before = reader.sql("select * from changes order by all")
        assert writer.maintain(force=True).merged_files
    with open_ledger(path) as reader:
        assert reader.sql("select * from changes order by all") == before
    files = live(path, "changes")
    assert len(files) > 20
    places: list[tuple[str, str | None, int]] = []
    for file in files:
        rows = parquet.read_table(
            path / "data" / "main" / "changes" / file, columns=["relation", "key", "lsn"]
        )
        places += zip(*(column.to_pylist() for column in rows.columns), strict=True)
    assert places == sorted(places, key=in_order)


@pytest.mark.parametrize("is_large", [True, False])
def test_small_merges_do_not_wait_for_a_large_one(
    tmp_path: Path, is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    read = datafile.read

    def noted(path: Path, table: str) -> Any:
        made.append(table)
        return read(path, table)

    def changes_first(*arguments: Any, **options: Any) -> list[compaction.Merge]:
        return sorted(due(*arguments, **options), key=lambda merge: merge.table)

    path = create_ledger(tmp_path / "ledger")
    log = Log()
    log.shape(USERS)
    with Writer.open(path, source="shop") as writer:
        for _ in range(3):
            text = "".join(random.Random(1).choices("abcdefghijklmnop", k=40_000))
            log.transaction(insert(USERS, str(log.lsn), {"id": "1", "email": text}), request="r")
            log.store(writer)
        monkeypatch.setattr(compaction, "TIERS", ((1 << 20, 3),))
        monkeypatch.setattr(compaction, "LARGE_BYTES", 30_000 if is_large else LARGE_BYTES)
        monkeypatch.setattr(compaction, "PART_BYTES", 1)
        monkeypatch.setattr(datafile, "read", noted)
        monkeypatch.setattr(upkeep, "due", changes_first)
        assert writer.maintain(wait=True).merged_files == 9
    assert made.index("changes") == (2 if is_large else 0)
    with open_ledger(path) as reader:
        assert len(reader.sql("from changes join contexts using (context_id)")) == 3


def test_who_is_in_a_hurry_does_not_wait_for_a_large_merge(
    tmp_path: Path, gate: tuple[threading.Event, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    there, go_on = gate
    monkeypatch.setattr(compaction, "LARGE_BYTES", 0)
    monkeypatch.setattr(compaction, "TIERS", ((1 << 20, 3),))
    path = create_ledger(tmp_path / "ledger")
    log = Log()
    log.shape(USERS)
    writer = Writer.open(path, source="shop")
    bring(log, writer, 3)
    writer.maintain()
    eventually(there.is_set, what="a merge under way")
    assert writer.maintain(wait=True, brief=True).merged_files == 0
    closing = threading.Thread(target=writer.close)
    closing.start()
    go_on.set()
    closing.join()
    assert len(live(path, "changes")) == 3


def test_what_is_done_is_taken_in_before_what_failed_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = create_ledger(tmp_path / "ledger")
    log = Log()
    log.shape(USERS)
    real = datafile.read

    def failing(file: Path, table: str) -> Any:
        if table == "changes":
            raise OSError(28, "No space left on device")
        return real(file, table)

    with Writer.open(path, source="shop") as writer:
        bring(log, writer, TIERS[0][1])
        monkeypatch.setattr(datafile, "read", failing)
        assert writer.maintain(wait=True).merged_files == 2 * TIERS[0][1]
        with pytest.raises(LedgerError, match="disk is full"):
            writer.maintain(wait=True)
    assert len(live(path, "contexts")) == len(live(path, "transactions")) == 1
    assert len(live(path, "changes")) == TIERS[0][1]


def test_what_memory_cannot_hold_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Capture goes on, other files are merged, and nobody tries the same again and again."""
    monkeypatch.setattr(compaction, "MEMORY_MAX", "16MB")
    path = create_ledger(tmp_path / "ledger")
    log, large = Log(), "".join(random.Random(1).choices("abcdefghijklmnop", k=9 << 20))
    log.shape(USERS)
    with Writer.open(path, source="shop") as writer:
        for key in "ab":
            log.transaction(insert(USERS, key, {"id": key, "email": large}))
            log.store(writer)
        assert writer.maintain(force=True).merged_files == 2, "the transactions"
        bring(log, writer, 3)
        assert writer.maintain(force=True).merged_files > 0
        assert len(live(path, "changes")) == 3
        assert writer.maintain(force=True).merged_files == 0
    with open_ledger(path) as reader:
        found = reader.sql("select count(*) as n, max(length(after['email'])) as longest from changes")
        assert found.to_pylist() == [{"n": 5, "longest": len(large)}]


def test_what_memory_cannot_hold_is_met_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contexts are not sorted: half of them are written when the large one comes."""
    monkeypatch.setattr(compaction, "MEMORY_MAX", "32MB")
    path = create_ledger(tmp_path / "ledger")
    log = Log()
    log.shape(USERS)
    with Writer.open(path, source="shop") as writer:
        for large in (False, True):
            for number in range(20_000):
                log.transaction(insert(USERS, str(number), {"id": str(number)}), request=f"r{number}")
            log.contexts[-1]["statement"] = "x" * (40 << 20) if large else "x"
            log.store(writer)
        writer.maintain(force=True)
        assert len(live(path, "contexts")) == 2
        assert len(live(path, "changes")) == 1
        bring(log, writer, 1)
    with open_ledger(path) as reader:
        assert reader.sql("select count(*) as n from contexts").to_pylist() == [{"n": 40_001}]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """A merge that has written its file waits: (it is there, it may go on)."""
    there, go_on = threading.Event(), threading.Event()
    real = datafile.read

    def waiting(path: Path, table: str) -> Any:
        there.set()
        assert go_on.wait(60)
        return real(path, table)

    monkeypatch.setattr(datafile, "read", waiting)
    return there, go_on


def test_the_stream_goes_on_beside_a_merge(
    tmp_path: Path, gate: tuple[threading.Event, threading.Event]
) -> None:
    there, go_on = gate
    path = create_ledger(tmp_path / "ledger")
    log = Log()
    log.shape(USERS)
    with Writer.open(path, source="shop") as writer:
        bring(log, writer, TIERS[0][1])
        assert writer.maintain().merged_files == 0
        eventually(there.is_set, what="a merge under way")
        bring(log, writer, 2)
        # A change of shape goes through DuckLake; rolled back, it takes none of the merge's files with it.
        log.shape(relation(columns=("id", "email", "plan", "more")))
        writer.append(log.batch())
        writer.rollback()
        with open_ledger(path) as reader:
            before = reader.sql("select * from changes order by all")
            assert len(before) == TIERS[0][1] + 2
            go_on.set()
            assert writer.maintain(wait=True).merged_files > 0
            assert reader.sql("select * from changes order by all") == before
    assert len(live(path, "changes")) == 3


def live(path: Path, table: str) -> list[str]:
    from flux.ledger import catalog

    place = Layout(path)
    return [file.path.name for file in catalog.read(place.catalog, place.data).files[table]]


@pytest.mark.parametrize("large_bytes", [0, LARGE_BYTES])
def test_a_merge_that_is_broken_off_leaves_nothing(
    tmp_path: Path,
    gate: tuple[threading.Event, threading.Event],
    large_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compaction, "LARGE_BYTES", large_bytes)
    there, go_on = gate
    path = create_ledger(tmp_path / "ledger")
    log = Log()
    log.shape(USERS)
    writer = Writer.open(path, source="shop")
    bring(log, writer, TIERS[0][1])
    writer.maintain()
    eventually(there.is_set, what="a merge under way")
    closing = threading.Thread(target=writer.close)
    closing.start()
    go_on.set()
    closing.join()
    on_disk = {file.name for file in (path / "data" / "main" / "changes").iterdir()}
    assert on_disk == set(live(path, "changes"))
    with Writer.open(path, source="shop") as writer:
        log.transaction(insert(USERS, "last", {"id": "last"}))
        writer.append(log.batch())
        commit(writer)
        assert writer.maintain(wait=True).merged_files > 0
    with open_ledger(path) as reader:
        assert len(reader.sql("from changes")) == TIERS[0][1] + 1


def test_what_a_merge_has_just_made_is_no_orphan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files may be old when it ends, and no catalog names them before they are taken in."""
    path = create_ledger(tmp_path / "ledger")
    log = Log()
    log.shape(USERS)
    with Writer.open(path, source="shop") as writer:
        bring(log, writer, TIERS[0][1])
        writer.maintain()
        merging = writer._upkeeper._compactor
        eventually(lambda: all(made.done() for _, made in merging._under_way), what="the merges are done")
        assert merging.is_busy
        monkeypatch.setattr(upkeep, "READER_GRACE_S", -60)
        writer._upkeeper._orphans_at = 0.0
        writer._upkeeper._delete()
        assert writer.maintain(wait=True).merged_files > 0
    with open_ledger(path) as reader:
        assert len(reader.sql("from changes")) == TIERS[0][1]
