"""The capture process ends: asked to, or because the disk is full. Killed: see the oracle tests."""

from __future__ import annotations

import json
import signal

from capture.process import start
from capture.rig import Rig
from flux.capture.health import status_file
from flux.decoder.slot import read_slot
from servers import eventually, on


def test_sigterm_ends_it_cleanly(rig: Rig) -> None:
    rig.once()
    process = start(rig)
    path = status_file(rig.settings.ledger, rig.settings.source)

    def streams() -> bool:
        found = json.loads(path.read_text())
        return bool(found["pid"] == process.pid and found["state"] == "streaming")

    eventually(streams, within_s=30)
    rig.execute("update item set name = 'last' where id = 1")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    rig.once()
    rig.check("public.item")


@on((15, "wal2json"), (17, "pgoutput"))
def test_a_full_disk_ends_it_and_nothing_is_lost(rig: Rig) -> None:
    rig.once()
    with rig.database.connect() as connection:
        before = read_slot(connection, rig.settings.slot)
        connection.execute(
            "insert into item "
            "select i, md5(i::text) || md5((-i)::text), i from generate_series(1000, 40000) i"
        )
        # No file may become larger than this: to a writer it is as good as a full disk.
        process = start(rig, once=True, file_bytes_max=500_000)
        assert process.wait(120) == 5
        after = read_slot(connection, rig.settings.slot)
    assert before is not None
    assert after is not None
    assert after.confirmed_lsn == before.confirmed_lsn
    assert rig.ask("select count(*) from changes") == [(100,)]
    rig.once()
    rig.check("public.item")
