"""What commands print, byte for byte, in every format: stdout, stderr and the exit code.

After a change that is meant: FLUX_UPDATE_GOLDEN=1 pytest tests/cli/test_golden.py, and read the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.conftest import Flux

GOLDEN = Path(__file__).parent / "golden"
BETWEEN = ["--from", "lsn:0/2710", "--to", "lsn:0/88B8"]
FORMATS = ("table", "json", "jsonl", "csv")
QUESTIONS: dict[str, list[str]] = {
    "history_row": ["state", "history", "users", "--id", "43"],
    "history_evil": ["state", "history", "users", "--id", "7"],
    "history_table": ["state", "history", "users"],
    "history_lossy": ["state", "history", "stock", "--id", '["eu","a,b"]'],
    "history_where": ["state", "history", "Odd Notes", "--where", "who=bob"],
    "history_none": ["state", "history", "users", "--id", "99"],
    "blame": ["state", "blame", "public.users", "43"],
    "at_row": ["state", "at", "users", "--id", "42", "--as-of", "lsn:0/2710"],
    "at_table": ["state", "at", "users", "--as-of", "2026-03-10T14:31:30Z"],
    "diff": ["state", "diff", "users", *BETWEEN],
    "diff_row": ["state", "diff", "users", "42", "--from", "req:4f9a", "--to", "lsn:0/4000"],
    "sql": ["sql", "select key, op, \"at\", after from changes where relation = 'public.users' order by lsn"],
    "sql_wrong": ["sql", "select at from changes"],
}
ONCE: dict[str, list[str]] = {
    "blame_porcelain": ["state", "blame", "users", "43", "--porcelain"],
    "blame_porcelain_evil": ["state", "blame", "users", "7", "--porcelain"],
    "history_full": ["state", "history", "users", "7", "--full"],
    "history_limit": ["state", "history", "users", "43", "--limit", "2"],
    "history_column": ["state", "history", "users", "43", "--column", "plan", "--column", "id"],
    "history_request": ["state", "history", "users", "--request", "req:4f9a"],
    "history_outcome": ["state", "history", "users", "--outcome", "rolled_back"],
    "history_since": ["state", "history", "users", "--since", "2026-03-10T14:22Z..2026-03-10T15:30Z"],
    "history_as_of": ["state", "history", "users", "42", "--as-of", "2026-03-10 14:22:00"],
    "at_limit": ["state", "at", "users", "--limit", "1"],
    "blame_gone": ["state", "blame", "users", "42"],
}
# These of the ledger of `checkout`.
ABOUT_REQUESTS: dict[str, list[str]] = {
    "tail": ["tail", "--no-follow"],
    "tail_filter": ["tail", "--no-follow", "--filter", "status>=500 and table=users and path~'^/check'"],
    "tail_none": ["tail", "--no-follow", "--filter", "status=418"],
    "incident_list": ["incident", "list"],
    "incident_none": ["incident", "list", "--since", "2026-03-10T16:00Z.."],
}
ONCE_ABOUT_REQUESTS: dict[str, list[str]] = {
    "tail_since": ["tail", "--since", "2026-03-10T14:22Z..2026-03-10T14:40Z", "--limit", "1"],
    "tail_fields": ["tail", "--filter", "help"],
    "tail_wrong": ["tail", "--filter", "statu>=500"],
    "why_timeout": ["why", "req:550e8400"],
    "why_timeout_json": ["why", "550e8400", "--json"],
    "why_sql": ["why", "deadbeef"],
    "why_sql_json": ["why", "deadbeef", "--json"],
    "why_went_well": ["why", "c0ff"],
    "why_job": ["why", "0b0b"],
    "why_tag_alone": ["why", "00aa"],
    "why_ambiguous": ["why", "550e"],
    "why_unknown": ["why", "nothing"],
    "why_csv": ["why", "550e8400", "-f", "csv"],
    "trace": ["trace", "550e8400"],
    "trace_full": ["trace", "deadbeef", "--full"],
    "trace_json": ["trace", "550e8400", "--json"],
    "trace_tag_alone": ["trace", "00aa"],
    "trace_diff": ["trace", "diff", "c0ff", "550e8400"],
    "trace_diff_json": ["trace", "diff", "c0ff", "550e8400", "--json"],
    "trace_diff_same": ["trace", "diff", "550e8400", "550e8499"],
    "trace_diff_one": ["trace", "diff", "c0ff"],
    "incident_show": ["incident", "show", "7a41"],
    "incident_show_json": ["incident", "show", "7a41", "--json"],
    "incident_show_unknown": ["incident", "show", "zz"],
}
FORMED = QUESTIONS | ABOUT_REQUESTS
CASES = {f"{name}.{form}": [*words, "-f", form] for name, words in FORMED.items() for form in FORMATS} | {
    f"{name}.once": words for name, words in (ONCE | ONCE_ABOUT_REQUESTS).items()
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, flux: Flux, requests_ledger: Path) -> None:
    words = CASES[name]
    if name.partition(".")[0] in ABOUT_REQUESTS | ONCE_ABOUT_REQUESTS:
        words = [*words, "--ledger", str(requests_ledger)]
    result = flux(*words)
    shown = b"exit %d\n--- stderr\n%s--- stdout\n%s" % (result.code, result.err.encode(), result.out)
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("FLUX_UPDATE_GOLDEN"):
        file.write_bytes(shown)
    assert shown == file.read_bytes()


def test_every_golden_file_has_its_case() -> None:
    assert {file.name for file in GOLDEN.iterdir()} == {f"{name}.txt" for name in CASES}


def test_no_answer_holds_a_raw_control_character() -> None:
    for file in GOLDEN.iterdir():
        text = file.read_text(encoding="utf-8")
        assert not set(text) & set("\x1b\x9b\u202e\x07\x00"), file.name
