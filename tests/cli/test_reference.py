"""docs/CLI.md is what the commands say of themselves, and says everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from flux.cli.main import EXITS, tree
from flux.cli.reference import leaves, reference

DOCUMENT = Path(__file__).parents[2] / "docs" / "CLI.md"


def test_the_document_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == reference(), (
        "make it anew: python -m flux.cli.reference > docs/CLI.md"
    )


def test_every_command_option_and_exit_code_is_in_it() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for path, command in leaves(tree(), "flux"):
        section = text.partition(f"\n### {path}\n")[2].partition("\n### ")[0]
        assert section, path
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("-"):
                    assert f"`{option}" in section or f", {option}" in section, f"{path} {option}"
    for code in EXITS:
        assert f"| {code} |" in text


def test_every_command_says_what_it_is_for() -> None:
    for path, command in leaves(tree(), "flux"):
        assert command.help, path
        for parameter in command.params:
            assert parameter.help, f"{path} {parameter.name}"


@pytest.mark.parametrize("later", ["undo", "replay", "resume", "bug", "verify", "erase"])
def test_what_is_not_there_yet_is_not_shown(later: str) -> None:
    assert later not in {path.rpartition(" ")[2] for path, _ in leaves(tree(), "flux")}
