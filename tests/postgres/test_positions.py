"""The position that pg_logical_emit_message returns is the one that decoding reports."""

from __future__ import annotations

from collections.abc import Callable

from postgres.stream import Source
from servers import on

COUNT = 6_000
SEGMENT_BYTES = 16 << 20


@on((15, "pgoutput"), (16, "pgoutput"), (17, "pgoutput"), (18, "pgoutput"))
def test_returned_and_decoded_positions_are_equal(new_source: Callable[..., Source]) -> None:
    """Contents of every length put record ends at every offset, page and segment boundaries included."""
    source = new_source("create table returned (n int, lsn pg_lsn)")
    source.listen()
    source.connection.execute("select setseed(0.5)")
    for transactional in ("true", "false"):
        source.connection.execute(
            "do $$ declare lsn pg_lsn; begin for n in 1 .. "
            f"{COUNT // 2} loop"
            f" lsn := pg_logical_emit_message({transactional}, 'p', '{transactional} ' || n ||"
            " repeat('x', (random() * case when n % 10 = 0 then 70000 else 900 end)::int));"
            f" insert into returned values (case when {transactional} then n else -n end, lsn);"
            " end loop; end $$"
        )
    decoded = {}
    for message in source.messages("p"):
        kind, rest = message.content.split(" ", 1)
        number = int(rest.rstrip("x"))
        decoded[number if kind == "true" else -number] = message.lsn
    rows = source.connection.execute("select n, lsn::text, lsn - '0/0'::pg_lsn from returned").fetchall()
    returned = {row[0]: row[1] for row in rows}
    assert len(returned) == COUNT
    assert decoded == returned
    positions = sorted(int(row[2]) for row in rows)
    segments = {position // SEGMENT_BYTES for position in positions}
    assert len(segments) > 1, "no segment boundary was crossed"
    assert any(position % 8192 == 0 for position in positions), "no record ended on a page boundary"
