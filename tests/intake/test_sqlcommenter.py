"""A request that only a comment of its statements names: its changes and attempts carry its trace id."""

from __future__ import annotations

from pathlib import Path

from capture.rig import make_rig
from servers import Database, on

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
COMMENT = f"/*traceparent='00-{TRACE}-00f067aa0ba902b7-01'*/"


@on((15, "wal2json"), (15, "pgoutput"), (18, "pgoutput"))
def test_changes_and_attempts_have_the_trace_of_a_comment(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        connection.execute("create table item (id int primary key, name text)")
    rig = make_rig(database, tmp_path, "item")
    rig.once()
    rig.execute(
        f"insert into item values (1, 'kept') {COMMENT}",
        f"insert into item values (2, '{'x' * 3000}') {COMMENT}",
        f"insert into item values (3, '{COMMENT.replace(chr(39), chr(39) * 2)}')",
        f"insert into item values (4, '{COMMENT.replace(chr(39), chr(34))}')",
        f"begin; select flux.tag('tagged'); insert into item values (5, 'tagged') {COMMENT}; commit",
    )
    with database.connect(autocommit=False) as connection:
        connection.execute(f"update item set name = 'undone' where id = 1 {COMMENT}")
        connection.rollback()
    rig.once()
    with rig.asking():
        assert rig.ask(
            "select key, outcome, request_id from changes where op <> 'baseline' order by lsn"
        ) == [
            ("1", "committed", TRACE),
            ("2", "committed", TRACE),
            ("3", "committed", None),
            ("4", "committed", None),
            ("5", "committed", "tagged"),
            ("1", "rolled_back", TRACE),
        ]
        assert rig.ask(
            "select distinct request_ids from transactions where len(request_ids) > 0 order by 1"
        ) == [
            ([TRACE],),
            (["tagged"],),
        ]
        assert rig.ask("select count(*) from contexts where request_id = '" + TRACE + "'") == [(3,)]
