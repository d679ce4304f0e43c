"""Rows in every format, byte for byte."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from pyarrow import parquet

from flux.cli.cell import cell_csv, json_text, shorten, value_text
from flux.cli.render import Format, Rows, Target, unique, write_rows
from flux.model.errors import UsageError

BERLIN = ZoneInfo("Europe/Berlin")
AT = datetime(2026, 3, 10, 14, 22, 1, 500_000, UTC)
TABLE = pa.table(
    {
        "name": pa.array(["Zoë", "日本", "", None, 'a "quoted", one', "tab\tline\nesc\x1b\u202e"]),
        "count": pa.array([1, 20, 300, None, -5, 2**60], pa.int64()),
        "at": pa.array([AT, AT.replace(microsecond=0), None, AT, AT, AT], pa.timestamp("us", "UTC")),
        "row": pa.array(
            [[("plan", "pro")], [], None, [("a", None)], [], []], pa.map_(pa.string(), pa.string())
        ),
    }
)


def written(capfdbinary: pytest.CaptureFixture[bytes], rows: Rows | pa.Table, form: Format) -> str:
    write_rows(rows, Target(form, BERLIN))
    return capfdbinary.readouterr().out.decode()


def test_table(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert written(capfdbinary, TABLE, Format.TABLE) == (
        "name                                    count  at                          row\n"
        "------------------------  -------------------  --------------------------  --------------\n"
        'Zoë                                         1  2026-03-10 15:22:01.500000  {"plan":"pro"}\n'
        "日本                                       20  2026-03-10 15:22:01         {}\n"
        "''                                        300  null                        null\n"
        'null                                     null  2026-03-10 15:22:01.500000  {"a":null}\n'
        'a "quoted", one                            -5  2026-03-10 15:22:01.500000  {}\n'
        "tab\\tline\\nesc\\x1b\\u202e  1152921504606846976  2026-03-10 15:22:01.500000  {}\n"
    )


def test_jsonl(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    lines = written(capfdbinary, TABLE, Format.JSONL).splitlines()
    assert lines[0] == '{"name":"Zoë","count":1,"at":"2026-03-10T14:22:01.500000Z","row":{"plan":"pro"}}'
    assert lines[1] == '{"name":"日本","count":20,"at":"2026-03-10T14:22:01Z","row":{}}'
    assert lines[5].startswith('{"name":"tab\\tline\\nesc\\u001b\\u202e","count":1152921504606846976,')
    assert json.loads(lines[5])["name"] == "tab\tline\nesc\x1b\u202e"


def test_json_is_one_document(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    rows = Rows(("setting", "value"), [("dsn", None), ("ledger", "/x")])
    assert written(capfdbinary, rows, Format.JSON) == (
        '[\n  {\n    "setting": "dsn",\n    "value": null\n  },\n'
        '  {\n    "setting": "ledger",\n    "value": "/x"\n  }\n]\n'
    )


def test_csv(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert written(capfdbinary, TABLE, Format.CSV) == (
        "name,count,at,row\n"
        'Zoë,1,2026-03-10T14:22:01.500000Z,"{""plan"":""pro""}"\n'
        "日本,20,2026-03-10T14:22:01Z,{}\n"
        '"",300,,\n'
        ',,2026-03-10T14:22:01.500000Z,"{""a"":null}"\n'
        '"a ""quoted"", one",-5,2026-03-10T14:22:01.500000Z,{}\n'
        '"tab\tline\nesc\\x1b\\u202e",1152921504606846976,2026-03-10T14:22:01.500000Z,{}\n'
    )


def test_parquet_and_arrow_keep_everything(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_rows(TABLE, Target(Format.PARQUET, UTC))
    assert parquet.read_table(io.BytesIO(capfdbinary.readouterr().out)).to_pylist() == TABLE.to_pylist()
    write_rows(TABLE, Target(Format.ARROW, UTC))
    assert pa.ipc.open_stream(capfdbinary.readouterr().out).read_all().equals(TABLE)
    write_rows(Rows(("a", "b"), [(1, "x"), (None, None)]), Target(Format.ARROW, UTC))
    table = pa.ipc.open_stream(capfdbinary.readouterr().out).read_all()
    assert table.to_pylist() == [{"a": 1, "b": "x"}, {"a": None, "b": None}]


def test_an_answer_can_go_to_a_file(tmp_path: Path) -> None:
    write_rows(Rows(("a",), [("\x1b",)]), Target(Format.TABLE, UTC, tmp_path / "answer"))
    assert (tmp_path / "answer").read_text() == "a\n----\n\\x1b\n"
    with pytest.raises(UsageError, match="cannot write"):
        write_rows(Rows(("a",), []), Target(Format.TABLE, UTC, tmp_path / "none" / "answer"))


def test_no_column_hides_another() -> None:
    assert unique(["a", "b", "a", "a", "a_2"]) == ["a", "b", "a_2", "a_3", "a_2_2"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), '"nan"'),
        (float("-inf"), '"-inf"'),
        (Decimal("1.10"), '"1.10"'),
        (2**80, f'"{2**80}"'),
        (b"\x00\xff", '"\\\\x00ff"'),
        (date(2026, 3, 10), '"2026-03-10"'),
        ({"a": [1, None, True]}, '{"a":[1,null,true]}'),
        ("\ud800", '"\\ud800"'),
    ],
)
def test_json_says_nothing_wrong(value: object, expected: str) -> None:
    assert json_text(value) == expected


def test_blanks_at_the_ends_of_a_value_can_be_seen() -> None:
    assert [value_text(text) for text in ("a b", " a", "a ", " ", "")] == ["a b", "' a'", "'a '", "' '", "''"]
    assert value_text(" " * 84) == "' ' × 84"
    assert value_text(" " * 84, full=True) == "'" + " " * 84 + "'"
    padded = value_text("a" + " " * 84)
    assert (len(padded), padded[:2], padded[-2:]) == (48, "'a", " '")


def test_shorten_keeps_both_ends_and_the_width() -> None:
    assert shorten("x" * 48) == "x" * 48
    assert shorten("a" * 30 + "b" * 30, 11) == "aaaaa…bbbbb"
    assert shorten("日" * 30, 11) == "日日…日日"


def test_csv_tells_null_and_empty_apart() -> None:
    assert (cell_csv(None), cell_csv(""), cell_csv(" x")) == ("", '""', '" x"')
