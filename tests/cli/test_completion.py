"""What the shell completes: commands, tables of the ledger, recent requests; and never an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def complete(words: str, ledger: Path) -> list[str]:
    """Ask as the function that bash has installed does."""
    asked = {
        "_FLUX_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "flux.cli.main"],
        env={"PATH": os.environ["PATH"], "FLUX_LEDGER": str(ledger)} | asked,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("flux st", ["status", "state"]),
        ("flux state history us", ["users"]),
        ("flux state blame public.u", ["public.users"]),
        ("flux state history users --request 550e840", ["550e8400-e29b-41d4-a716-446655440000"]),
        ("flux state history users --request req:4f9", ["req:4f9a3b2c-52c8-4bb0-9fd1-9a1c7b1f0002"]),
        ("flux state history users --outcome r", ["rolled_back"]),
        ("flux state history nothing", []),
    ],
)
def test_completion(words: str, offered: list[str], ledger: Path) -> None:
    assert sorted(complete(words, ledger)) == sorted(offered)


def test_without_a_ledger_there_is_nothing_to_offer(tmp_path: Path) -> None:
    assert complete("flux state history us", tmp_path / "none") == []


def test_requests_are_completed_where_they_are_recorded(requests_ledger: Path) -> None:
    """Also those that changed nothing, the newest first."""
    assert complete("flux why 4bf", requests_ledger) == ["4bf92f3577b34da6a3ce929d0e0e4736"]
    assert complete("flux trace diff 550e84", requests_ledger) == [
        "550e8499-e29b-41d4-a716-446655440000",
        "550e8400-e29b-41d4-a716-446655440000",
    ]
    assert complete("flux why 00aa", requests_ledger) == ["00aa00aa-52c8-4bb0-9fd1-9a1c7b1f0007"]
