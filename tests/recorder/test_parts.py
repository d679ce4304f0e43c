"""The recorder's parts that need no server: statements, identities, bodies, masks."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from flux import recorder
from flux.recorder import mask
from flux.recorder.body import Body
from flux.recorder.database.asyncpg import Filter
from flux.recorder.identity import identity
from flux.recorder.settings import Settings
from flux.recorder.statement import examine

SETTINGS = Settings("shop")


def request_id_from(headers: dict[str, str]) -> str:
    return identity(headers.get("x-request-id", ""), headers.get("traceparent", ""))[0]


@pytest.mark.parametrize(
    ("text", "writes", "controls"),
    [
        ("select * from insert_log", False, False),
        ("  -- why\n /* and */ (select 1)", False, False),
        ("INSERT into t values (1)", True, False),
        ("/* comment */ update t set a = 1", True, False),
        ("with a as (select 1) select 1", False, False),
        ("with a as (delete from t returning *) select * from a", True, False),
        ("explain analyze insert into t values (1)", True, False),
        ("copy t from stdin", True, False),
        ("copy t to stdout", False, False),
        ("copy (select * from t) to stdout", False, False),
        ("merge into t using s on true when matched then delete", True, False),
        ("truncate t", True, False),
        ("begin", False, True),
        ("rollback to savepoint a", False, True),
        ("savepoint a", False, False),
        ("select 1; delete from t", True, False),
        ("select 1; rollback to a", False, True),
        ("select 1;", False, False),
        ("", False, False),
        ("create table t (a int)", False, False),
    ],
)
def test_what_a_statement_is(text: str, writes: bool, controls: bool) -> None:
    statement = examine(text)
    assert (statement.writes, statement.controls) == (writes, controls)


def test_where_a_request_id_comes_from() -> None:
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}
    assert request_id_from({"x-request-id": " abc ", **trace}) == "abc"
    assert request_id_from(trace) == "0af7651916cd43dd8448eb211c80319c"
    for bad in ("a b", "a\nb", "é", "x" * 201, ""):
        assert request_id_from({"x-request-id": bad, **trace}) == "0af7651916cd43dd8448eb211c80319c"
    for bad in ("00-" + "0" * 32 + "-b7ad6b7169203331-01", "ff" + trace["traceparent"][2:], "nonsense"):
        assert len(request_id_from({"traceparent": bad})) == 32
    assert request_id_from({}) != request_id_from({})


def test_a_body_is_bounded_and_says_so() -> None:
    body = Body(8)
    for chunk in (b"abc", b"defghijk", b"l"):
        body.add(chunk)
    assert body.text("text/plain", "", SETTINGS) == "abcdefgh\n[flux: cut, 8 of 12 bytes]"
    packed = Body(1000)
    packed.add(gzip.compress(b"plain text"))
    assert packed.text("text/plain", "gzip", SETTINGS) == "plain text"
    assert packed.text("text/plain", "br", SETTINGS) == f"[flux: {packed.size} bytes of text/plain, br]"
    assert Body(8).text("text/plain", "", SETTINGS) is None
    bomb = Body(100_000)
    bomb.add(gzip.compress(b"x" * 10_000_000))
    assert len(bomb.text("text/plain", "gzip", SETTINGS) or "") < 100_200


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"password": "a\\"b", "x": 1}', '{"password": "[masked]", "x": 1}'),
        ('[{"Token":12345}]', '[{"Token":"[masked]"}]'),
        ('{"a": {"secret": "cut of', '{"a": {"secret": "[masked]"'),
        ("user=anna&password=x", "user=anna&password=[masked]"),
        ("plain text", "plain text"),
    ],
)
def test_secret_fields_are_masked(text: str, masked: str) -> None:
    assert mask.body(text, SETTINGS) == masked


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_the_answers_to_a_tag_are_taken_out_however_they_are_cut(size: int) -> None:
    def message(kind: bytes, body: bytes = b"") -> bytes:
        return kind + (len(body) + 4).to_bytes(4, "big") + body

    ours = [message(b"1"), message(b"2"), message(b"D", b"row"), message(b"C", b"SELECT 1\0")]
    notice, theirs = (
        message(b"N", b"notice"),
        message(b"2") + message(b"C", b"INSERT 0 1\0") + message(b"Z", b"I"),
    )
    for stream, expected in (
        (b"".join(ours) + theirs, theirs),
        (ours[0] + notice + b"".join(ours[1:]) + theirs, notice + theirs),
        (message(b"E", b"wrong") + message(b"Z", b"I"), message(b"E", b"wrong") + message(b"Z", b"I")),
    ):
        filter_ = Filter()
        filter_.expect()
        seen = b""
        for at in range(0, len(stream), size):
            piece = stream[at : at + size]
            seen += piece if filter_.idle else filter_.passed(piece)
        assert seen == expected
        assert filter_.idle


def test_a_fault_of_ours_is_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    from flux.recorder.fault import failing_open

    before: Any = recorder.stats().get("faults", 0)
    for _ in range(3):
        with failing_open("a place of this test"):
            raise ValueError("hunter2")
    assert recorder.stats()["faults"] == before + 3
    assert len(caplog.records) == 1
    assert "hunter2" not in caplog.text
