"""compose.yaml run by a Docker engine: a change made in its PostgreSQL is in the history that Flux tells."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers import eventually
from servers.server import free_port

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

Run = Callable[..., str]


@pytest.fixture(scope="module", params=["17-bookworm", "15.8-bookworm"], ids=["new-minor", "old-minor"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Return a function that runs a command in a service's container and returns what it printed."""
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"no Docker engine with compose on this machine: {error}")
    from testcontainers.compose import DockerCompose

    with pytest.MonkeyPatch.context() as environment:
        # A project of its own: the volumes of a user who runs compose.yaml by hand are not touched.
        environment.setenv("COMPOSE_PROJECT_NAME", f"flux-test-{request.param.partition('.')[0]}")
        environment.setenv("POSTGRES_VERSION", request.param)
        environment.setenv("POSTGRES_PORT", str(free_port()))
        with DockerCompose(ROOT, build=True, wait=True, keep_volumes=False) as compose:

            def in_container(service: str, *command: str) -> str:
                printed, errors, code = compose.exec_in_container(list(command), service)
                assert code == 0, errors
                return str(printed)

            yield in_container


def test_a_change_reaches_history_with_its_baseline_and_its_rolled_back_attempt(run: Run) -> None:
    psql = ("psql", "--username", "postgres", "--quiet", "--command")
    run("postgres", *psql, "begin; update users set plan = 'gone' where id = 42; rollback", "shop")
    run("postgres", *psql, "update users set plan = 'pro' where id = 42", "shop")
    history = ("flux", "state", "history", "users", "--id", "42", "--format", "json")

    def outcomes() -> list[tuple[str, str]]:
        mutations = json.loads(run("flux", *history))["mutations"]
        return [(mutation["op"], mutation["outcome"]) for mutation in mutations]

    eventually(lambda: len(outcomes()) >= 3, within_s=60, what="three mutations in the history")
    assert outcomes() == [("baseline", "committed"), ("update", "rolled_back"), ("update", "committed")]
