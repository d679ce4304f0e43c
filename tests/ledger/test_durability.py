"""What was committed survives: kills, full disks, compaction beside readers."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from flux.ledger import Writer, create_ledger, open_ledger, upkeep
from flux.ledger.durability import DataFiles
from flux.ledger.failure import ledger_error
from flux.model.errors import LedgerDamaged, LedgerError
from ledger.log import Log, commit, insert, ledger_with, relation, update

TESTS = str(Path(__file__).parent.parent)
USERS = relation()

WRITING = """
import sys
sys.path.insert(0, {tests!r})
from flux.ledger import Writer
from ledger.log import Log, insert, relation, update, commit
users = relation()
log = Log()
with Writer.open(sys.argv[1], source="shop") as writer:
    stored = writer.position()
    if stored is None:
        log.shape(users)
    else:
        log.lsn = stored.end_lsn
    for number in range(int(sys.argv[2])):
        # Ten rows a transaction: their count and the position must stay together.
        row = {{"id": "1", "email": "x", "plan": None}}
        log.transaction(*(insert(users, f"{{log.lsn}}-{{key}}", row) for key in range(10)))
        log.store(writer)
        if number % 5 == 4:
            writer.maintain(force=True)
        print(log.position.commit_lsn, flush=True)
"""


def start_writing(path: Path, count: int, out: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITING.format(tests=TESTS), str(path), str(count)],
        stdout=out,
        text=True,
    )


def whole(path: Path) -> tuple[int, int]:
    """(changes, the position's transactions): ten changes belong to each transaction."""
    with open_ledger(path) as ledger:
        counts = ledger.sql(
            "select (select count(*) from changes) as changes, (select count(*) from transactions) as done, "
            "(select coalesce(max(commit_lsn), 0) from positions) as position, "
            "(select coalesce(max(commit_lsn), 0) from transactions) as newest"
        ).to_pylist()[0]
    assert counts["changes"] == counts["done"] * 10
    assert counts["position"] == counts["newest"]
    return counts["changes"], counts["position"]


@pytest.mark.crash
def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    path = create_ledger(tmp_path / "ledger")
    last = 0
    for kill_after in (1, 3, 6, 2):
        process = start_writing(path, 1000)
        assert process.stdout is not None
        for _ in range(kill_after):
            last = int(process.stdout.readline())
        process.kill()
        process.wait()
        process.stdout.close()
        _, position = whole(path)
        assert position >= last
        with Writer.open(path, source="shop") as writer:
            stored = writer.position()
            assert stored is not None
            assert stored.commit_lsn == position


READS = 10_000 if os.environ.get("FLUX_SOAK_MINUTES") else 60


@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_readers_beside_a_writer_see_whole_commits(tmp_path: Path) -> None:
    """Position, counts and what folding gives belong to one moment, while the writer commits and compacts."""
    path = create_ledger(tmp_path / "ledger")
    process = start_writing(path, 10**6, subprocess.DEVNULL)
    seen = (0, 0)
    moments: set[tuple[int, int]] = set()
    try:
        with open_ledger(path) as ledger:
            reads = 0
            while reads < READS or len(moments) < 10:
                assert process.poll() is None
                row = ledger.sql(
                    "select (select count(*) from changes) as changes, count(*) as done, "
                    "coalesce(max(commit_lsn), 0) as newest, "
                    "(select coalesce(max(commit_lsn), 0) from positions) as position from transactions"
                ).to_pylist()[0]
                assert row["changes"] == row["done"] * 10
                assert row["newest"] == row["position"]
                assert (row["changes"], row["position"]) >= seen
                seen = (row["changes"], row["position"])
                moments.add(seen)
                if reads % 100 == 50:
                    # Rows are only inserted: folding gives as many as there are changes.
                    (counts,) = ledger.sql(
                        "select (select count(*) from table_at('users', 18446744073709551615)) as rows, "
                        "count(*) as changes from changes"
                    ).to_pylist()
                    assert counts["rows"] == counts["changes"]
                reads += 1
    finally:
        process.kill()
        process.wait()
    assert whole(path)[0] >= seen[0]


def test_files_are_durable_before_the_catalog_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def noting(handle: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        real(handle)

    monkeypatch.setattr(os, "fsync", noting)
    log = Log()
    log.shape(USERS)
    log.transaction(insert(USERS, "1", {"id": "1", "email": "a", "plan": None}))
    path = ledger_with(tmp_path / "ledger", log)
    files = {str(file) for file in (path / "data").rglob("*.parquet")}
    assert files
    assert files <= set(synced)
    assert str(path / "data" / "main" / "changes") in synced
    assert DataFiles(path / "data").flush_new() == 0


def test_a_file_that_is_made_beside_the_writer_is_left_alone(tmp_path: Path) -> None:
    """Named before it is there, and whatever the writer commits or rolls back meanwhile."""
    files, theirs, own = DataFiles(tmp_path), tmp_path / "theirs.parquet", tmp_path / "own.parquet"
    with files.making(theirs):
        assert files.flush_new() == 0
        theirs.write_bytes(b"")
        own.write_bytes(b"")
        files.discard_new()
        assert theirs.exists()
        assert not own.exists()
        assert files.flush_new() == 0
    files.discard_new()
    assert theirs.exists()


def many_commits(path: Path, count: int) -> Log:
    log = Log()
    with Writer.open(path, source="shop") as writer:
        log.shape(USERS)
        for number in range(count):
            key = str(number % 3)
            made = insert if number < 3 else update
            log.transaction(made(USERS, key, {"id": key, "email": str(number), "plan": None}))
            log.store(writer)
    return log


def test_compaction_keeps_every_answer(tmp_path: Path) -> None:
    path = create_ledger(tmp_path / "ledger")
    many_commits(path, 20)
    with open_ledger(path) as ledger:
        before = ledger.history("users", "1")
        with Writer.open(path, source="shop") as writer:
            done = writer.maintain(wait=True)
            assert done.merged_files >= 20
            assert writer.maintain(wait=True).merged_files == 0
        assert ledger.history("users", "1").equals(before)
        # What compaction replaced stays for readers that still name it.
        assert len(list((path / "data" / "main" / "changes").glob("*.parquet"))) == 21
    moved = tmp_path / "elsewhere"
    shutil.move(path, moved)
    with open_ledger(moved) as ledger:
        assert ledger.history("users", "1").equals(before)
        assert len(ledger.sql("from positions")) == 20


def test_files_nobody_reads_are_deleted_and_others_are_not(tmp_path: Path) -> None:
    path = create_ledger(tmp_path / "ledger")
    many_commits(path, 3)
    folder = path / "data" / "main" / "changes"
    old, new = folder / "ducklake-old.parquet", folder / "ducklake-new.parquet"
    for file in (old, new):
        file.write_bytes(b"left behind by a kill")
    os.utime(old, (1, 1))
    with Writer.open(path, source="shop") as writer:
        writer.maintain(force=True)
    assert not old.exists()
    assert new.exists()
    assert whole_history(path) == 1


def test_replaced_files_go_when_their_grace_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = create_ledger(tmp_path / "ledger")
    many_commits(path, 20)
    folder = path / "data" / "main" / "changes"
    with Writer.open(path, source="shop") as writer:
        assert writer.maintain(force=True).deleted_files == 0
        assert len(list(folder.iterdir())) == 21
        monkeypatch.setattr(upkeep, "READER_GRACE_S", 0)
        monkeypatch.setattr(upkeep, "VERSIONS_MIN", 1)
        monkeypatch.setattr(upkeep, "DELETED_MAX", 30)
        assert [writer.maintain(force=True).deleted_files for _ in range(3)] == [30, 10, 0]
        assert len(list(folder.iterdir())) == 1
    with closing(sqlite3.connect(path / "catalog.sqlite")) as catalog:
        # The catalog forgot its versions too, but for the newest and what made it.
        assert catalog.execute("select count(*) from ducklake_snapshot").fetchone()[0] <= 2
    assert whole_history(path) == 7


def whole_history(path: Path) -> int:
    with open_ledger(path) as ledger:
        return len(ledger.history("users", "1"))


def test_a_missing_file_is_damage_and_says_so(tmp_path: Path) -> None:
    path = create_ledger(tmp_path / "ledger")
    many_commits(path, 1)
    for file in (path / "data" / "main" / "changes").glob("*.parquet"):
        file.unlink()
    with pytest.raises(LedgerDamaged, match="damaged or missing"), open_ledger(path) as ledger:
        ledger.history("users", "0")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("cannot mount a small disk here")
    try:
        path = create_ledger(disk / "ledger")
        log = many_commits(path, 3)
        with Writer.open(path, source="shop") as writer:
            before = writer.position()
            big = os.urandom(4_000_000).hex()
            log.transaction(update(USERS, "0", {"id": "0", "email": big, "plan": None}))
            with pytest.raises(LedgerError, match="disk is full"):
                log.store(writer)
            assert writer.position() == before
            log.transaction(update(USERS, "0", {"id": "0", "email": "small", "plan": None}))
            writer.append(log.batch())
            commit(writer)
        with open_ledger(path) as ledger:
            assert dict(ledger.at("users", "0").to_pylist()[0]["row"])["email"] == "small"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_errors_of_the_store_name_no_value() -> None:
    error = ledger_error(
        Path("/x"), "write", RuntimeError("cannot cast 'secret@mail' to \"t\" \nLINE 1: secret")
    )
    assert "secret" not in str(error)
    full = ledger_error(Path("/x"), "write", OSError(28, "No space left on device"))
    assert "disk is full" in str(full)
