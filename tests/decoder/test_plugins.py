"""Both decoders against the formats: the same transactions give the same, right batches, however cut."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder.encode import (
    COMPOSITE,
    TABLE,
    UNSENT,
    Change,
    Message,
    Row,
    Streams,
    Transaction,
    relation_message,
)
from flux.decoder import Decoder, json_tokens
from flux.decoder import decoder as decoder_module
from flux.decoder.decoder import BEGINNING_BYTES_MAX, Plugin
from flux.model.batch import Batch
from flux.model.key import key_text
from flux.model.relation import Column, Relation

TEXT = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    st.sampled_from(
        [
            "",
            "x" * 12,
            "x" * 13,
            "é" * 6,
            "é" * 7,
            "😀",
            '","table":"',
            '"value":1}',
            "\\",
            '\\"',
            "\x01\x1f\n",
        ]
    ),
    st.integers(65_000, 70_000).map(lambda size: "long " * (size // 5)),
)
NUMBER = st.sampled_from(["0", "1.10", "-5", "1e+20", "123456789012345678901234567890.5"])


@st.composite
def rows(draw: st.DrawFn, relation: Relation, *, unsent: bool = False) -> dict[str, object]:
    if relation is COMPOSITE:
        row: dict[str, object] = {"b": draw(TEXT), "a": draw(TEXT), "note": draw(st.none() | TEXT)}
        if unsent and draw(st.booleans()):
            row["note"] = UNSENT
        return row
    row = {
        "id": str(draw(st.integers(-5, 5))),
        "plan": draw(st.none() | TEXT),
        "raw": draw(st.none() | st.binary(max_size=20).map(lambda raw: "\\x" + raw.hex())),
        "on": draw(st.sampled_from([None, "t", "f"])),
        "amount": draw(st.none() | NUMBER),
    }
    if unsent and draw(st.booleans()):
        row["plan"] = UNSENT
    return row


@st.composite
def changes(draw: st.DrawFn) -> Change:
    relation = draw(st.sampled_from([TABLE, COMPOSITE]))
    op = draw(st.sampled_from(["insert", "update", "update", "delete", "truncate"]))
    if op == "truncate":
        return Change(op, relation)
    if op == "insert":
        return Change(op, relation, new=draw(rows(relation)))
    if op == "delete":
        row = draw(rows(relation))
        return Change(op, relation, old={name: str(row[name]) for name in relation.key})
    new = draw(rows(relation, unsent=True))
    old = None
    if draw(st.booleans()):
        row = draw(rows(relation))
        key = {name: str(row[name]) for name in relation.key}
        if any(key[name] != new[name] for name in relation.key):
            old = key
    return Change(op, relation, new=new, old={**old} if old else None)


@st.composite
def tags(draw: st.DrawFn) -> Message:
    content = {
        "request_id": draw(st.none() | TEXT),
        "actor": draw(st.none() | TEXT),
        "attributes": draw(st.none() | st.sampled_from(['{"a":1,"b":"x","c":null}', "nonsense", ""])),
        "application_name": "psql",
        "db_user": draw(st.sampled_from(["alice", "bob"])),
        "client_addr": None,
        "backend_pid": 7,
        "statement": draw(TEXT),
    }
    # A tag says the same, as far as it may.
    prefix = draw(st.sampled_from(["flux.context", "flux.tag"]))
    return Message(prefix, json.dumps(content, ensure_ascii=draw(st.booleans())))


NO_TAG = st.sampled_from(
    [
        *("", "null", "5", "[]", "{}{}", '{} "x"', '{"a":', '{"request_id":"x"}\n{"request_id":"y"}'),
        *('{"request_id":7}', '{"attributes":[1]}', '{"request_id":"' + "x" * (1 << 20) + '"}'),
    ]
).map(lambda content: Message("flux.tag", content))


ITEM = st.one_of(changes(), changes(), tags(), NO_TAG, st.just(Message("other.tool", 'x"\\y')))
LOG = st.lists(st.lists(ITEM, max_size=6).map(tuple), min_size=1, max_size=5)
CUTS = st.lists(st.integers(1, 5), max_size=60)


def expected(log: list[Transaction], streams: Streams) -> list[dict[str, Any]]:
    """Write the log; return the changes as they must come, by a model of its own."""
    found = []
    for transaction in log:
        places: list[tuple[Change, int]] = []
        commit, _ = streams.transaction(transaction, places)
        by_change = iter(places)
        tag: dict[str, Any] = {}
        seq = 0
        for item in transaction.items:
            if isinstance(item, Message):
                if item.prefix == "flux.context":
                    tag = json.loads(item.content)
                elif item.prefix == "flux.tag" and (said := said_by(item.content)) is not None:
                    tag = {"db_user": tag.get("db_user"), **said}
                continue
            _, lsn = next(by_change)
            new, old = item.new, item.old
            source = new if new is not None else old
            found.append(
                {
                    "commit_lsn": commit,
                    "lsn": lsn,
                    "seq": seq,
                    "xid": transaction.xid,
                    "relation": item.relation.relation,
                    "key": key_text([str(source[name]) for name in item.relation.key]) if source else None,
                    "old_key": key_text([str(old[name]) for name in item.relation.key])
                    if old is not None and item.op == "update"
                    else None,
                    "op": item.op,
                    "before": ordered(item.relation, dict(old)) if old is not None else None,
                    "after": ordered(item.relation, new) if new is not None else None,
                    "unchanged": [n for n, v in new.items() if v is UNSENT] or None if new else None,
                    "request_id": tag.get("request_id") or None,
                    "actor": tag.get("actor") or None,
                    "tagged": bool(tag),
                    "db_user": tag.get("db_user"),
                    "statement": tag.get("statement"),
                }
            )
            seq += 1
    return found


def said_by(content: str) -> dict[str, str | None] | None:
    """Return what the content of a tag says; None when it is malformed."""
    if len(content.encode()) > 1 << 20:
        return None
    try:
        value = json.loads(content)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    names = {"request_id": 1024, "actor": 1024, "attributes": 65_536}
    said = {name: value.get(name) for name in names}
    if not all(text is None or isinstance(text, str) for text in said.values()):
        return None
    return {name: text and text[: names[name]] for name, text in said.items()}


def ordered(relation: Relation, row: dict[str, object]) -> list[tuple[str, object]]:
    """Return the sent columns in the relation's order."""
    return [(c.name, row[c.name]) for c in relation.columns if c.name in row and row[c.name] is not UNSENT]


def decode(plugin: Plugin, messages: list[bytes], cuts: list[int]) -> list[Batch]:
    decoder = Decoder(plugin, relations=[TABLE, COMPOSITE])
    batches, place = [], 0
    for size in [*cuts, len(messages)]:
        if messages[place : place + size]:
            batches.append(decoder.decode(messages[place : place + size]))
        place += size
    return batches


def table(batches: list[Batch], name: str) -> list[dict[str, Any]]:
    return [row for batch in batches for row in plain(getattr(batch, name))]


def plain(rows: pa.Table) -> list[dict[str, Any]]:
    for column in rows.columns:
        column.validate(full=True)
    found: list[dict[str, Any]] = rows.to_pylist()
    return found


@pytest.mark.property
@settings(max_examples=150, deadline=None)
@given(LOG, CUTS, st.sampled_from(["pgoutput", "wal2json"]), st.sampled_from([0, 100, BEGINNING_BYTES_MAX]))
def test_a_log_decodes_to_its_changes_however_it_is_cut(
    items: list[tuple[Change | Message, ...]], cuts: list[int], plugin: Plugin, beginning_bytes_max: int
) -> None:
    streams = Streams()
    log = [Transaction(700 + n, 1_700_000_000_000_000 + n, each) for n, each in enumerate(items)]
    wanted = expected(log, streams)
    messages = streams.wal2json
    if plugin == "pgoutput":
        messages = [relation_message(TABLE), relation_message(COMPOSITE), *streams.pgoutput]
    with mock.patch.object(decoder_module, "BEGINNING_BYTES_MAX", beginning_bytes_max):
        batches = decode(plugin, messages, cuts)
    got = table(batches, "changes")
    contexts = {row["context_id"]: row for row in table(batches, "contexts")}
    assert len(contexts) == len(table(batches, "contexts")), "a context is stored once"
    for row in got:
        assert row["context_id"] is None or row["context_id"] in contexts
        row["tagged"] = row["context_id"] is not None
        context = contexts.get(row["context_id"], {})
        row |= {name: context.get(name) for name in ("db_user", "statement")}
    assert [{name: row[name] for name in wanted[0]} for row in got] == wanted if wanted else not got
    counts = {row["xid"]: row["change_count"] for row in table(batches, "transactions")}
    assert counts == {t.xid: n for t in log if (n := sum(isinstance(item, Change) for item in t.items))}
    assert batches[-1].confirm_lsn == streams.lsn == batches[-1].position.end_lsn
    assert not batches[-1].open_transaction
    written = [item for each in items for item in each if isinstance(item, Message)]
    malformed = [item for item in written if item.prefix == "flux.tag" and said_by(item.content) is None]
    assert sum(batch.ignored_messages for batch in batches) == len(malformed)


@pytest.mark.property
@settings(max_examples=50, deadline=None)
@given(LOG, st.integers(0, 4))
def test_what_the_ledger_holds_is_left_out(items: list[tuple[Change | Message, ...]], stored: int) -> None:
    streams = Streams()
    log = [Transaction(700 + n, 1_700_000_000_000_000 + n, each) for n, each in enumerate(items)]
    wanted = expected(log, streams)
    messages = [relation_message(TABLE), relation_message(COMPOSITE), *streams.pgoutput]
    whole = Decoder("pgoutput", relations=[TABLE, COMPOSITE])
    positions = [whole.decode([message]).position for message in messages]
    held = sorted(set(positions), key=lambda p: p.commit_lsn)[min(stored, len(set(positions)) - 1)]
    again = Decoder("pgoutput", relations=[TABLE, COMPOSITE], position=held).decode(messages)
    got = [(row["commit_lsn"], row["seq"]) for row in plain(again.changes)]
    assert got == [(r["commit_lsn"], r["seq"]) for r in wanted if r["commit_lsn"] > held.commit_lsn]


@pytest.mark.parametrize("plugin", ["pgoutput", "wal2json"])
def test_the_beginning_of_a_short_transaction_waits_for_its_commit(plugin: Plugin) -> None:
    streams = Streams()
    for xid in (700, 701):
        changes = tuple(Change("insert", TABLE, new={"id": f"{xid}{n}"}) for n in range(3))
        streams.transaction(Transaction(xid, 0, changes), [])
    messages = getattr(streams, plugin)
    decoder = Decoder(plugin, relations=[TABLE])
    first = decoder.decode(messages[:7])  # one of five, and two of the next
    assert (first.changes.num_rows, first.open_transaction, decoder.waiting) == (3, False, True)
    second = decoder.decode(messages[7:9])  # nothing is before it: it is decoded as it comes
    assert (second.changes.num_rows, second.open_transaction, decoder.waiting) == (3, True, False)
    last = decoder.decode(messages[9:])
    assert (last.changes.num_rows, last.open_transaction) == (0, False)
    assert last.position.end_lsn == streams.lsn


@pytest.mark.parametrize("plugin", ["pgoutput", "wal2json"])
def test_of_a_long_transaction_what_is_there_is_decoded(plugin: Plugin) -> None:
    streams = Streams()
    long = Change("insert", TABLE, new={"id": "1", "plan": "x" * (BEGINNING_BYTES_MAX // 3)})
    for xid, count in ((700, 1), (701, 2), (702, 3)):
        streams.transaction(Transaction(xid, 0, (long,) * count), [])
    messages = getattr(streams, plugin)
    decoder = Decoder(plugin, relations=[TABLE])
    first = decoder.decode(messages[:6])  # one of three, and two rows of the next
    assert (first.changes.num_rows, first.open_transaction, decoder.waiting) == (1, False, True)
    second = decoder.decode(messages[6:11])  # its end, and three rows of the last
    assert (second.changes.num_rows, second.open_transaction, decoder.waiting) == (5, True, False)


ODD = replace(
    COMPOSITE,
    columns=(
        Column('k"1', "text", 1, is_key=True, not_null=True),
        Column("n}", "integer", 2, is_key=False, not_null=False),
        Column("b\\", "boolean", 3, is_key=False, not_null=False),
        Column("é\n", "bytea", 4, is_key=False, not_null=False),
    ),
    key=('k"1',),
    row_columns=('k"1', "n}", "b\\", "é\n"),
)


@pytest.mark.parametrize("plugin", ["pgoutput", "wal2json"])
@pytest.mark.parametrize("has_room", [True, False])
def test_names_and_values_that_json_escapes(
    plugin: Plugin, has_room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_room:  # as beside a message of a gigabyte
        monkeypatch.setattr(json_tokens, "BUFFER_BYTES_MAX", 0)
    rows: list[Row] = [
        {'k"1': 'a"},{"name":"n}","value":1', "n}": "-12", "b\\": "t", "é\n": "\\x00ff"},
        {'k"1': "\x01\\u0041\\\\\x1f", "n}": None, "b\\": "f", "é\n": "\\x"},
        {'k"1': "", "n}": "7", "b\\": None, "é\n": None},
    ]
    changes = (
        *(Change("insert", ODD, new={**row}) for row in rows),
        Change("update", ODD, new={**rows[0], "n}": "13"}),
    )
    streams = Streams()
    streams.transaction(Transaction(700, 0, changes), [])
    messages = getattr(streams, plugin)
    if plugin == "pgoutput":
        messages = [relation_message(ODD), *messages]
    found = plain(Decoder(plugin, relations=[ODD]).decode(messages).changes)
    assert [dict(row["after"]) for row in found] == [*rows, {**rows[0], "n}": "13"}]
    assert [row["key"] for row in found] == [row['k"1'] for row in (*rows, rows[0])]
