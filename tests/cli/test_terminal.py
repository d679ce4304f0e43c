"""On a terminal and in a pipe: the same bytes, colour apart; quiet ends for Ctrl-C and `| head`."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli import shop
from cli.conftest import Flux
from flux.ledger.writer import Writer
from ledger.log import Log, Row, commit, update

COMMAND = [sys.executable, "-m", "flux.cli.main"]
SGR = re.compile(rb"\x1b\[[0-9;]*m")
DEADLINE_S = 60.0
QUESTIONS = [
    ["state", "history", "users", "--id", "43"],
    ["state", "blame", "users", "43"],
    ["state", "diff", "users", "--from", "lsn:0/2710"],
    ["sql", "select 1 as a, null as b"],
    ["state", "history", "users", "7", "--json"],
]


def environment(ledger: Path, **more: str) -> dict[str, str]:
    base = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    return base | {"TZ": "UTC", "TERM": "xterm", "COLUMNS": "100", "FLUX_LEDGER": str(ledger)} | more


def in_pipe(words: list[str], ledger: Path, **more: str) -> bytes:
    return subprocess.run(
        [*COMMAND, *words], env=environment(ledger, **more), capture_output=True, check=False
    ).stdout


def on_terminal(words: list[str], ledger: Path, **more: str) -> bytes:
    """Run with stdout on a pseudo-terminal and return what a person would get."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *words], env=environment(ledger, **more), stdout=slave, stderr=subprocess.DEVNULL
    )
    os.close(slave)
    parts = []
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(master)
    process.wait(DEADLINE_S)
    return b"".join(parts).replace(b"\r\n", b"\n")


@pytest.mark.parametrize("words", QUESTIONS, ids=" ".join)
def test_a_terminal_gets_the_same_bytes_apart_from_colour(words: list[str], ledger: Path) -> None:
    piped, shown = in_pipe(words, ledger), on_terminal(words, ledger)
    assert piped
    assert SGR.sub(b"", shown) == piped
    assert (shown != piped) == ("--json" not in words)


@pytest.mark.parametrize(
    ("place", "more", "coloured"),
    [
        (on_terminal, {}, True),
        (on_terminal, {"NO_COLOR": "1"}, False),
        (on_terminal, {"NO_COLOR": ""}, True),
        (on_terminal, {"TERM": "dumb"}, False),
        (in_pipe, {}, False),
        (in_pipe, {"FORCE_COLOR": "1"}, True),
        (in_pipe, {"FORCE_COLOR": "0"}, False),
        (in_pipe, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_who_gets_colour(place: object, more: dict[str, str], coloured: bool, ledger: Path) -> None:
    assert callable(place)
    assert bool(SGR.search(place(QUESTIONS[0], ledger, **more))) is coloured


def test_help_draws_no_boxes(ledger: Path) -> None:
    for words in (["--help"], ["state", "history", "--help"]):
        assert not set("╭╮╰╯│─") & set(on_terminal(words, ledger).decode())


def test_binary_formats_do_not_go_to_a_terminal(ledger: Path) -> None:
    assert on_terminal([*QUESTIONS[0], "-f", "parquet"], ledger) == b""
    assert in_pipe([*QUESTIONS[0], "-f", "parquet"], ledger).startswith(b"PAR1")


def test_output_is_utf8_in_any_locale(ledger: Path) -> None:
    shown = in_pipe(QUESTIONS[0], ledger, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert "free → pro" in shown.decode()


def test_times_are_local_in_a_table_and_utc_in_json(ledger: Path) -> None:
    assert b"2026-03-10 08:00:00  INSERT" in in_pipe(QUESTIONS[0], ledger, TZ="America/New_York")
    assert b'"2026-03-10T12:00:00Z"' in in_pipe([*QUESTIONS[0], "--json"], ledger, TZ="America/New_York")


def test_a_reader_that_goes_away_is_no_error(ledger: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, *QUESTIONS[0]], env=environment(ledger), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(DEADLINE_S) == 141


def test_the_prompt_answers_and_survives_a_mistake(ledger: Path) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "sql"],
        env=environment(ledger, TERM="dumb"),
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(slave)
    os.write(master, b"select nonsense;\nselect 6 *\n 7 as answer;\n\\d\n\\q\n")
    out, err = process.communicate(timeout=DEADLINE_S)
    os.close(master)
    assert process.returncode == 0
    assert b"answer\n------\n    42\n" in out
    assert b"\nmain" in out
    assert b"changes" in out
    assert b"flux: error: cannot answer" in err


def test_a_query_can_come_from_a_pipe_or_a_file(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "query.sql").write_text("select 42 as answer")
    answer = b"answer\n------\n    42\n"
    assert in_pipe(["sql", "--file", str(tmp_path / "query.sql")], ledger) == answer
    piped = subprocess.run(
        [*COMMAND, "sql"],
        env=environment(ledger),
        input=b"select 42 as answer",
        capture_output=True,
        check=True,
    )
    assert piped.stdout == answer


def read_until(process: subprocess.Popen[bytes], wanted: bytes) -> bytes:
    """Read stdout until `wanted` was there, with a deadline."""
    assert process.stdout is not None
    ending, got = time.monotonic() + DEADLINE_S, b""
    while wanted not in got:
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, ending - time.monotonic()))
        assert ready, f"no {wanted!r} in {got!r}"
        part = os.read(process.stdout.fileno(), 65536)
        assert part, f"ended without {wanted!r}: {got!r}"
        got += part
    return got


@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_follow_shows_what_comes_until_ctrl_c(form: str, tmp_path: Path) -> None:
    ledger = shop.make(tmp_path / "ledger")
    words = ["state", "history", "users", "--id", "43", "--follow", "-n", "2", "-f", form]
    with subprocess.Popen(
        [*COMMAND, *words], env=environment(ledger), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        first = read_until(process, b"4f9a3b2c")
        assert b"Alice Smith" not in first
        log = Log(lsn=1_000_000, clock=6 * 3600)
        row: Row = {"id": "43", "email": "new@b.com", "name": "Alice Smith", "plan": "pro"}
        log.transaction(update(shop.USERS, "43", row), request="f0110w")
        with Writer.open(ledger, source="shop") as writer:
            writer.append(log.batch())
            commit(writer)
        news = read_until(process, b"f0110w")
        assert news.count(b"\n") == 1
        assert b"new@b.com" in news
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert b"Traceback" not in err


@pytest.mark.parametrize("format_", ["table", "json", "jsonl", "csv", "parquet", "arrow"])
def test_a_cold_question_answers_without_numpy(format_: str, ledger: Path, flux: Flux) -> None:
    words = ["state", "history", "users", "43", "-f", format_]
    cold = subprocess.run(
        [sys.executable, "-X", "importtime", *COMMAND[1:], *words],
        env=environment(ledger),
        capture_output=True,
        check=True,
    )
    assert b" pyarrow.lib\n" in cold.stderr
    assert b"numpy" not in cold.stderr
    assert cold.stdout == flux(*words).out
