"""A short stream of a real server with something of everything in it, as the wire hands it over.

Recording begins before the tables are made: the stream itself says what they are like, so it can be decoded,
and a damaged copy kept, without a server.

    python tests/decoder/recorded.py FOLDER writes both plugins' streams, as inputs of `decoder.target`
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

from decoder.damage import pack
from flux.capture import install
from flux.decoder.decoder import Plugin
from flux.decoder.frames import HEADER_BYTES
from oracle.recording import Recording
from oracle.script import Case, Stage
from servers import Database, Server
from servers.fixtures import require_installation

_LARGE = "(select string_agg(md5(i::text), '') from generate_series(1, 70) i)"

CASE = Case(
    "recorded",
    setup=f"""
        create table t (id int primary key, v text, n numeric, b bytea, f boolean, d timestamptz);
        create table toasted (id int primary key, body text, n int);
        alter table toasted alter column body set storage external;
        create table wide (id int primary key, {", ".join(f"c{number} text" for number in range(60))});
        create table part (id int, region text, primary key (region, id)) partition by list (region);
        create table part_eu partition of part for values in ('eu');
        create table part_rest partition of part default;
        create table whole (a int, b text);
        alter table whole replica identity full;
    """,
    track=("t", "toasted", "wide", "part", "whole"),
    steps=f"""
        insert into t values (1, 'fr"ee\\{{}}', 1.10, '\\xdead', true, '2026-01-01'), (2, null, null, null, null, null);
        begin; select flux.tag('r1', 'ann', '{{"a": 1}}'); update t set v = 'é', id = 3 where id = 1;
        savepoint s; select flux.tag('r2'); update t set v = 'lost' where id = 2; savepoint u; delete from t; rollback to s;
        savepoint s; insert into t values (4, e'tab\\t\\n\\x01', 'NaN', '', false, 'infinity'); release s; commit;
        begin; select flux.tag('r3', 'bob'); update t set n = 5; insert into wide (id) values (9); rollback;
        insert into toasted values (1, {_LARGE}, 0); update toasted set n = 1; update toasted set id = 2;
        begin; update toasted set n = 2; rollback;
        insert into wide (id, c7, c59) values (1, 'seven', 'last'); update wide set c8 = 'eight'; delete from wide;
        insert into part values (1, 'eu'), (2, 'us'); update part set region = 'eu' where id = 2; truncate part_eu;
        insert into whole values (1, 'a'), (2, null); update whole set b = 'z' where a = 1; delete from whole where a = 2;
        alter table t add column extra int default 7; update t set extra = 8 where id = 2; alter table t rename column v to w;
        begin; alter table t drop column f; insert into t (id, w) values (11, 'ddl'); rollback;
        truncate t, part, wide; insert into t (id) values (12);
        select pg_logical_emit_message(false, 'others', 'not ours'), pg_logical_emit_message(true, 'others', 'nor this');
        @ untrack whole
        drop table part;
    """,
)


def record(database: Database) -> dict[Plugin, list[bytes]]:
    """Play the case; return its stream by each plugin that the server has."""
    plugins: tuple[Plugin, ...] = ("pgoutput", "wal2json") if database.major == 15 else ("pgoutput",)
    stage = Stage(database)
    recordings: dict[Plugin, Recording] = {}
    try:
        with database.connect() as connection:
            for plugin in plugins:
                install.init(connection, plugin=plugin)
        for plugin in plugins:
            recordings[plugin] = Recording(database, plugin, f"recorded_{plugin}")
        stage.set_up(CASE)
        stage.play(CASE)
        for recording in recordings.values():
            recording.catch_up()
        return {
            plugin: [without_secret(message, recording.secret) for message in recording.messages]
            for plugin, recording in recordings.items()
        }
    finally:
        for recording in recordings.values():
            recording.close()
        stage.close()


def without_secret(message: bytes, secret: str) -> bytes:
    """Take the secret out: a seed is kept for good, and read by a decoder that was told none."""
    opening = f"{secret} ".encode()
    if b'"content":"' + opening in message:
        return message.replace(b'"content":"' + opening, b'"content":"', 1)
    before, found, content = message.partition(opening)
    if not found or not before[:-4].endswith(b"\0") or not before.startswith(b"M", HEADER_BYTES):
        return message
    return before[:-4] + struct.pack("!I", len(content)) + content


def main(folder: Path) -> None:
    """Write the streams, whole and in part, for `make fuzz`."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Server.create(require_installation(15, "wal2json"))
    try:
        server.start()
        streams = record(server.create_database())
    finally:
        server.close()
    for number, (plugin, messages) in enumerate(streams.items()):
        for count in (len(messages) // 4, len(messages) // 2, len(messages)):
            (folder / f"{plugin}-{count}").write_bytes(bytes((number,)) + pack(messages[:count]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
