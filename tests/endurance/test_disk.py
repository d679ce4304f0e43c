"""A disk under the ledger that hangs while the stream runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from capture.conftest import ITEM
from capture.rig import BOUNDS, Rig, make_rig
from flux.decoder import wire
from flux.decoder.wire import Stream
from servers import Database, database_on, eventually

database = database_on((17, "pgoutput"))

SENDER_TIMEOUT_S = 1.0
QUEUE_BYTES_MAX = 1 << 20
SMALL = replace(BOUNDS, flush_interval_s=0.3, queue_bytes_max=QUEUE_BYTES_MAX, receive_timeout_s=1.0)


class Disk:
    """The machine's disk, whose flush can be made to hang."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._answers = threading.Event()
        self._answers.set()
        self.hanging = threading.Event()
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._flush)

    def hang(self) -> None:
        """From now on a flush waits for `heal`."""
        self._answers.clear()

    def heal(self) -> None:
        """Let all that waits go on."""
        self._answers.set()

    def _flush(self, handle: int) -> None:
        if not self._answers.is_set():
            self.hanging.set()
            self._answers.wait()
        self._fsync(handle)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(monkeypatch)
    yield disk
    disk.heal()


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[Stream]:
    """The streams that capture opens, to look at."""
    opened: list[Stream] = []

    def open_stream(*arguments: Any, **options: Any) -> Stream:
        opened.append(real(*arguments, **options))
        return opened[-1]

    real = wire.open_stream
    monkeypatch.setattr("flux.capture.opening.open_stream", open_stream)
    return opened


@pytest.fixture
def rig(database: Database, tmp_path: Path, disk: Disk) -> Iterator[Rig]:
    """`item` with a row; nothing captured yet."""
    with database.connect() as connection:
        connection.execute(ITEM)
        connection.execute("insert into item values (1, 'first', 1)")
        connection.execute(f"alter database {database.name} set wal_sender_timeout = '{SENDER_TIMEOUT_S:g}s'")
    rig = make_rig(database, tmp_path, "item", rollbacks=False)
    yield rig
    disk.heal()
    if rig.running is not None:
        rig.running.stop()


def test_a_disk_that_hangs(rig: Rig, disk: Disk, streams: list[Stream]) -> None:
    """A long transaction and a huge one come while nothing can be made durable."""
    running = rig.start(bounds=SMALL)
    eventually(lambda: any("baseline public.item" in line for line in rig.lines), within_s=30)
    with rig.database.connect(autocommit=False) as long, rig.database.connect() as connection:

        def sender() -> tuple[int, float]:
            row = connection.execute(
                "select r.pid, extract(epoch from r.reply_time)::float8 from pg_stat_replication r "
                "join pg_replication_slots s on s.active_pid = r.pid where s.slot_name = %s",
                [rig.settings.slot],
            ).fetchone()
            assert row is not None
            return row[0], row[1]

        long.execute("update item set name = 'long' where id = 1")
        disk.hang()
        connection.execute("insert into item select i, 'few', i from generate_series(100, 5000) i")
        eventually(disk.hanging.is_set, within_s=20, what="a flush")
        pid, began = sender()
        confirmed = streams[-1].confirmed_lsn

        connection.execute("insert into item select i, 'many', i from generate_series(10000, 210000) i")
        long.execute("update item set name = 'longer' where id = 1")
        long.commit()
        eventually(lambda: streams[-1].queue_bytes >= QUEUE_BYTES_MAX, within_s=20, what="a full queue")
        # The server hears of us, though nothing goes on, for longer than it would wait for a dead reader.
        queued = [0]

        def outlived() -> bool:
            queued.append(streams[-1].queue_bytes)
            return sender()[1] > began + 2.5 * SENDER_TIMEOUT_S

        eventually(outlived, within_s=20, what="feedback")
        # It may be passed by one chunk of a quarter of a MiB and a message.
        assert max(queued) <= QUEUE_BYTES_MAX + (300 << 10)
        assert streams[-1].confirmed_lsn == confirmed
        assert sender()[0] == pid

        disk.heal()
        row = connection.execute("select pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None
        eventually(lambda: streams[-1].confirmed_lsn >= row[0], within_s=40, what="the rest")
        assert sender()[0] == pid
    assert running.stop().reconnects == 0
    # The rig's own fold would take longer over so many rows than all before.
    counted = """
        select op, count(*), count(distinct (commit_lsn, seq)), count(distinct key),
            string_agg(distinct after['name'], ' ' order by after['name'])
        from changes where op <> 'baseline' group by op order by op
    """
    few, many = 4901, 200001
    assert rig.ask(counted) == [
        ("insert", few + many, few + many, few + many, "few many"),
        ("update", 2, 2, 1, "long longer"),
    ]
