"""compose.yaml and its scripts without a Docker engine: their shape, and the entry script on real servers."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from servers import NewServer
from servers.fixtures import missing
from servers.installation import Installation, find_installations

ROOT = Path(__file__).parents[2]
ENTRYPOINT = ROOT / "examples/compose/postgres/flux-entrypoint.sh"
SCRIPTS = [
    ENTRYPOINT,
    ROOT / "examples/compose/flux/flux-capture.sh",
    ROOT / "examples/compose/flux/flux-ready",
]


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def test_everything_that_compose_names_is_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        context = ROOT / service["build"]["context"]
        dockerfile = context / service["build"].get("dockerfile", "Dockerfile")
        assert dockerfile.is_file()
        for source in _copied(dockerfile):
            assert (context / source).exists(), f"{dockerfile} copies {source}"
        for volume in service["volumes"]:
            assert volume.split(":")[0] in compose["volumes"]
        for dependency, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in services[dependency]


def test_nothing_listens_beyond_loopback(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_image_of_flux_gets_every_room() -> None:
    ignored = (ROOT / "examples/compose/flux/Dockerfile.dockerignore").read_text().split()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = set(settings["tool"]["setuptools"]["package-dir"].values())
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} <= folders
    assert folders <= {line.removeprefix("!") for line in ignored if line.startswith("!")}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_can_be_run(script: Path) -> None:
    assert os.access(script, os.X_OK)
    if script.read_text().startswith("#!/bin/sh"):
        subprocess.run(["sh", "-n", str(script)], check=True)


def test_the_capture_script_uses_commands_and_options_that_exist() -> None:
    lines = (ROOT / "examples/compose/flux/flux-capture.sh").read_text().splitlines()
    calls = [
        line.removeprefix("exec ").split() for line in lines if line.removeprefix("exec ").startswith("flux ")
    ]
    assert [call[1] for call in calls] == ["init", "track", "up"]
    for _, command, *arguments in calls:
        shown = subprocess.run(
            [str(Path(sys.executable).with_name("flux")), command, "--help"],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        for option in (argument for argument in arguments if argument.startswith("--")):
            assert f"{option} " in shown, f"flux {command} has no {option}"


@pytest.mark.parametrize("major", [15, 16, 17, 18])
def test_servers_start_with_what_the_entry_script_gives_them(
    major: int, tmp_path: Path, new_server: NewServer
) -> None:
    installations = find_installations(major)
    if not installations:
        missing(f"no PostgreSQL {major} on this machine")
    for installation in installations:
        arguments = _entry(installation, tmp_path, "postgres", "-c", "work_mem=5MB")
        assert arguments[0] == "postgres"
        settings = dict(text.split("=", 1) for text in arguments[2::2])
        assert arguments[1::2] == ["-c"] * len(settings)
        assert ("output_plugin_libraries" in settings) == installation.restricts_plugins
        server = new_server(installation, settings)
        with server.connect() as connection:
            assert connection.execute("show wal_level").fetchone() == ("logical",)
            assert connection.execute("show work_mem").fetchone() == ("5MB",)
            if "wal2json" in installation.plugins:
                connection.execute("select pg_create_logical_replication_slot('s', 'wal2json')")


def test_the_entry_script_leaves_other_commands_alone(tmp_path: Path) -> None:
    installations = [each for major in (15, 17, 18) for each in find_installations(major)]
    if not installations:
        missing("no PostgreSQL on this machine")
    assert _entry(installations[0], tmp_path, "bash", "-c", "true") == ["bash", "-c", "true"]
    assert _entry(installations[0], tmp_path)[:3] == ["postgres", "-c", "wal_level=logical"]


def _entry(installation: Installation, folder: Path, *arguments: str) -> list[str]:
    """Run the entry script beside `installation`; return what it hands to the image's own entry script."""
    stand_in = folder / "docker-entrypoint.sh"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    path = os.pathsep.join([str(folder), str(installation.root / "bin"), os.environ["PATH"]])
    done = subprocess.run(
        [str(ENTRYPOINT), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
    )
    return done.stdout.splitlines()


def _copied(dockerfile: Path) -> list[str]:
    copies = [line.split()[1:-1] for line in dockerfile.read_text().splitlines() if line.startswith("COPY ")]
    return [source for sources in copies if not sources[0].startswith("--") for source in sources]
