"""A trace in a comment of a statement counts; what only looks like one does not."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.decoder.traceparent import CUT, HEAD_CHARACTERS, _comments, trace_of, with_traces

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"traceparent='00-{TRACE}-00f067aa0ba902b7-01'"
COMMENT = f"/*{PARENT}*/"

NAMES_ONE = [
    f"update t set a = 1 {COMMENT}",
    f"update t set a = 1 {COMMENT};\n ",
    f"{COMMENT} update t set a = 1",
    f"update t {COMMENT} set a = 1",
    f"update t set a = 1 /*db_driver='pg',route='%2Fa%2Fb',{PARENT},tracestate='x%3D1'*/",
    f"update t set a = 1 /*route='a--b',{PARENT}*/",
    f"update t set a = 1 -- {PARENT}",
    f"update t set a = 1 -- {PARENT}\nwhere b = 2",
    f"update t set a = 1 /* {PARENT.replace(chr(39), chr(34))} */",
    f"update t set a = 1 /* {PARENT.replace(chr(39), '%27').replace('-', '%2D')} */",
    f"update t set a = 1 /* outer /* {PARENT} */ */",
    f"update t set a = '/*' {COMMENT}",
    f"update t set a = 'it''s' {COMMENT} where b = $1",
    f"update t set a = E'\\'' {COMMENT} where b = $$x$$",
    f"update t set a = $a$ ' $b$ $a$ {COMMENT} where b = 1",
    f"/* {'x' * 5000} */ {COMMENT} select 1"[:HEAD_CHARACTERS].replace("x" * 1500, "", 1) + f"*/{COMMENT}",
    ("select " + "x" * HEAD_CHARACTERS)[:HEAD_CHARACTERS] + CUT + "y" * 300 + COMMENT,
    COMMENT.ljust(HEAD_CHARACTERS) + CUT + "y" * 400,
]
NAMES_NONE = [
    "update t set a = 1",
    f"update t set {PARENT}",
    f"update t set a = '{COMMENT}'",
    f"insert into t values ('{COMMENT.replace(chr(39), chr(34))}')",
    f"insert into t values ('/*{PARENT.replace(chr(39), chr(39) * 2)}*/')",
    f"insert into t values (E'\\'/*{PARENT.replace(chr(39), chr(92) + chr(39))}*/')",
    f"insert into t values ($${COMMENT}$$)",
    f"insert into t values ($x${COMMENT}$x$) /* traceparent */",
    f'select "{COMMENT}"',
    f'select "/*{PARENT}" -- */',
    f"select $$/*{PARENT}$$ -- */",
    COMMENT.replace(TRACE, "0" * 32),
    COMMENT.replace("00f067aa0ba902b7", "0" * 16),
    COMMENT.replace(TRACE, TRACE[:-1]),
    COMMENT.replace(TRACE, TRACE + "0"),
    f"/*not_{PARENT}*/",
    # The literal was open where the statement was cut.
    ("select '" + "x" * HEAD_CHARACTERS)[:HEAD_CHARACTERS] + CUT + "y" * 300 + COMMENT + "'",
]


@pytest.mark.parametrize(
    ("statement", "trace"), [(each, TRACE) for each in NAMES_ONE] + [(each, None) for each in NAMES_NONE]
)
def test_what_counts(statement: str, trace: str | None) -> None:
    assert trace_of(statement) == trace
    found = with_traces(pa.array([None, "", "own"]), pa.array([statement] * 3)).to_pylist()
    assert [each or None for each in found] == [trace, trace, "own"]


def test_a_tag_comes_first_and_others_stay() -> None:
    given_ids = pa.array(["own", None, None, ""])
    statements = pa.array([f"select 1 {COMMENT}", f"select 1 {COMMENT}", None, "select 2"])
    assert with_traces(given_ids, statements).to_pylist() == ["own", TRACE, None, ""]


@pytest.mark.property
@given(
    st.text(alphabet="ab'\"$/*-\\\n eE;%", max_size=40), st.text(alphabet="ab'\"$/*-\\\n eE;%", max_size=40)
)
def test_the_fast_way_and_the_exact_one_agree(before: str, after: str) -> None:
    statement = before + COMMENT + after
    whole = with_traces(pa.array([None], pa.string()), pa.array([statement])).to_pylist()
    exact = trace_of(statement)
    # A statement that ends in an open literal never ran.
    assert whole == [exact] or "end*/" not in _comments(f"{statement}\n/*end*/")
