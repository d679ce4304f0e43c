"""What the demo says between its answers, on stderr: short, for someone who has twenty seconds."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from flux.cli import console
from flux.cli.demo import shop
from flux.cli.demo.server import Server

ANSWERS = (
    ("state", "history", "users", "--id", str(shop.USER)),
    ("state", "blame", "users", "--id", str(shop.USER)),
)
"""The commands that the demo ends with."""

FOLLOW_UPS = (
    (("sql", shop.statement("attempted")), "all that the failed request attempted"),
    (("state", "history", "products", "--id", str(shop.TEAPOT)), "another row of the same incident"),
    (("state", "at", "users", "--id", str(shop.USER), "--as-of", "req:4f9a3b2c"), "the row as it was then"),
    (("state", "diff", "users", "--from", "req:c81d4e2e", "--to", "now"), "what became of the table since"),
)
"""Commands to go on with, each with what it shows."""


def opening() -> None:
    """Say what is going to happen."""
    _say("A small shop, a PostgreSQL of its own, an incident; nothing of yours is touched.")


def begun(version: str, seconds: float) -> None:
    """Say what was set up, as the commands that do it elsewhere."""
    _say()
    _command(("init",), "")
    _command(("track", *shop.TABLES, "--rollbacks"), "")
    _command(("up",), f"  # captures PostgreSQL {version} from now on ({seconds:.1f} s since the start)")
    _say()
    _say("The shop at work:")


def visit(one: shop.Visit) -> None:
    """Say what happened in the shop."""
    name = f"req:{one.request_id[:8]}" if one.request_id else "untagged"
    _say(f"  {name:<12}  {one.what:<14}  {one.result}")


def question(plan: str | None, credit: int) -> None:
    """Say what the database knows of the failure: nothing."""
    _say()
    _say(f"The checkout says the plan was null. The database says: plan = {plan}, credit = {credit}.")
    _say("Its transaction was rolled back, and with it every trace. Not so here:")


def answer(words: tuple[str, ...]) -> None:
    """Announce a command whose answer follows."""
    _say()
    _command(words, "")


def explanation() -> None:
    """Say what the answers show."""
    _say()
    _say("So it was the failing request itself that set plan to null, just before its payment was refused;")
    _say("the rollback took it back. The next checkout's voucher went back to its savepoint, and Carol's")
    _say("fix by hand shows as hers. No change to the shop but its tag: the log of the database told it.")


def farewell(folder: Path, ledger: Path, server: Server | None) -> None:
    """Print the commands to go on with; each works as it stands."""
    _say()
    _say("Go on asking, the ledger stays:")
    _line(f"export FLUX_LEDGER={quote(str(ledger))}")
    for words, why in FOLLOW_UPS:
        _line(f"{command(words)}  # {why}")
    if server is None:
        _line(f"rm -r {quote(str(folder))}  # when you have seen enough")
        return
    _say()
    _say(f"The server is up (process {server.pid}); change something, capture it, ask again:")
    _line(f"export FLUX_DSN={quote(server.dsn)}")
    _line(f'{server.programs / "psql"} "$FLUX_DSN"')
    _line(f"{command(('up', '--once'))}")
    _line(f"kill -INT {server.pid}  # stops it; then: rm -r {quote(str(folder))}")


def command(words: tuple[str, ...]) -> str:
    """Return the command as one types it in a shell, with the path of `flux` if it needs one."""
    return " ".join(quote(word) for word in (_program(), *words))


def quote(word: str) -> str:
    """Return `word` for a shell, in double quotes where it needs any and that is enough."""
    import shlex

    if shlex.quote(word) == word:
        return word
    return f'"{word}"' if not set(word) & set('"$`\\!') else shlex.quote(word)


def _program() -> str:
    """Return what starts this program: `flux` if the shell finds this one by that name, else its path."""
    ours = Path(sys.executable).with_name("flux")
    found = shutil.which("flux")
    if not ours.exists() or (found is not None and Path(found).samefile(ours)):
        return "flux"
    return str(ours)


def _command(words: tuple[str, ...], rest: str) -> None:
    """Show a command at a prompt."""
    line = console.escape("$ " + " ".join(quote(word) for word in ("flux", *words)))
    sys.stdout.flush()
    colour = console.has_colour(sys.stderr)
    sys.stderr.write(console.paint(line, console.BOLD, colour=colour) + rest + "\n")


def _line(text: str) -> None:
    _say(f"  {text}")


def _say(text: str = "") -> None:
    console.note(text)
