"""The source line of a failure, where the checkout that ran is at hand."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

GIT_TIMEOUT_S = 3.0
AROUND = 2
"""Lines above and below."""
FILE_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some lines of a file."""

    first: int
    """The number of the first of them."""
    lines: Sequence[str]
    note: str
    """Where they are from, if that is not certain to be what ran; else empty."""


def excerpt(file: str, line: int, version: str | None, folder: Path) -> Excerpt | None:
    """Return the lines around `line` of `file` as the commit `version` has them; None if none are at hand.

    `file` is a path from the project's root on. Without that commit it is the file as it lies there now.
    """
    place = PurePosixPath(file.replace("\\", "/"))
    commit = (version or "").partition("+")[0]
    text = None
    note = ""
    if commit and not place.is_absolute() and ".." not in place.parts and commit.isalnum():
        text = _of_commit(commit, str(place), folder)
        note = "with changes that are not in the commit" if text and version != commit else ""
    if text is None:
        text = _of_folder(place, folder)
        note = "as the file is now" if text else ""
    lines = text.splitlines() if text else []
    if not 1 <= line <= len(lines):
        return None
    first = max(1, line - AROUND)
    return Excerpt(first, lines[first - 1 : line + AROUND], note)


def _of_commit(commit: str, file: str, folder: Path) -> str | None:
    try:
        shown = subprocess.run(
            ["git", "show", f"{commit}:{file}"],
            cwd=folder,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return shown.stdout.decode("utf-8", "replace") if shown.returncode == 0 else None


def _of_folder(place: PurePosixPath, folder: Path) -> str | None:
    for root in (folder, *folder.parents):
        found = root / place
        if found.is_file() and found.stat().st_size <= FILE_BYTES_MAX:
            return found.read_text(encoding="utf-8", errors="replace")
        if (root / ".git").exists():
            break
    return None
