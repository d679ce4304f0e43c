"""Which code runs: the git commit of the folder the application was started in.

`FLUX_REVISION` says it where there is no git, as in a container's image. It is looked up in the exporter's
thread: asking git about a large work tree takes seconds.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

GIT_S_MAX = 10.0
"""How long git may take to look at the work tree."""


def revision_of(root: Path) -> str | None:
    """Return the commit's 40 hex digits, with `+dirty` when the work tree differs; None when unknown."""
    given = os.environ.get("FLUX_REVISION", "").strip()
    if given:
        return given
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+dirty" if changed else commit


def _git(root: Path, *arguments: str) -> str | None:
    # Without optional locks: looking must not get in the way of the user's own git.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=GIT_S_MAX,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
