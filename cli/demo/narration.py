"""What the demo says between its answers, on stderr: short, for someone who has twenty seconds."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from flux.cli import console
from flux.cli.demo import shop
from flux.cli.demo.server import Server

ANSWERS = (
    (("tail", "--no-follow"), "What came in, and what became of it:"),
    (("why", "550e8400"), "Why did that one fail?"),
    (
        ("state", "history", "users", "--id", str(shop.USER)),
        "All that ever happened to this user, and whose it was:",
    ),
    (("state", "blame", "users", "--id", str(shop.USER)), "And who owns each value now:"),
)
"""The commands that the demo ends with, each with what leads to it."""

FOLLOW_UPS = (
    (("sql", shop.statement("attempted")), "all that the failed request attempted"),
    (("trace", "diff", "9b2e6c71", "550e8400"), "where it parted from the one that went well"),
    (("state", "history", "products", "--id", str(shop.TEAPOT)), "another row of the same incident"),
    (("state", "at", "users", "--id", str(shop.USER), "--as-of", "req:4f9a3b2c"), "the row as it was then"),
    (("state", "diff", "users", "--from", "req:c81d4e2e", "--to", "now"), "what became of the table since"),
)
"""Commands to go on with, each with what it shows."""


def opening() -> None:
    """Say what is going to happen."""
    _say("A small shop, a PostgreSQL of its own, an incident; nothing of yours is touched.")


def begun(version: str) -> None:
    """Say what was set up, as the commands that do it elsewhere."""
    _say()
    _command(("init",), "")
    _command(("track", *shop.TABLES, "--rollbacks"), "")
    _command(("up",), f"  # reads the log of this PostgreSQL {version} from now on")
    _say()
    _say("The shop at work:")


def visit(one: shop.Visit) -> None:
    """Say what happened in the shop."""
    name = f"req:{one.request_id[:8]}" if one.request_id else "untagged"
    _say(f"  {name:<12}  {one.what:<23}  {one.result}")


def question(plan: str | None, credit: int) -> None:
    """Say what the database knows of the failure: nothing."""
    _say()
    _say(
        f"A customer says that checkout failed. The database shows plan = {plan}, credit = {credit}: what the"
    )
    _say("failed request had done was rolled back, and no trace of it is left there. Flux has it.")


def answer(words: tuple[str, ...], lead: str) -> None:
    """Announce a command whose answer follows."""
    _say()
    _say(lead)
    _command(words, "")


def explanation() -> None:
    """Say what the answers show."""
    _say()
    _say("An unknown coupon made the pricing code set plan to null; the payment service hung on a bill")
    _say("without a plan, while order, stock and plan were locked; then all of it was rolled back. Carol's")
    _say("fix by hand shows as hers. What the shop has of Flux: recorder.install(…), recorder.ASGI(app).")


def farewell(folder: Path, ledger: Path, server: Server | None) -> None:
    """Print the commands to go on with; each works as it stands."""
    _say()
    _say("Go on asking, the ledger stays:")
    if (programs := _off_path()) is not None:
        _line(f'export PATH="{programs}:$PATH"')
    _line(f"export FLUX_LEDGER={quote(str(ledger))}")
    width = max(len(command(words)) for words, _ in FOLLOW_UPS[1:])
    for words, why in FOLLOW_UPS:
        _line(f"{command(words):<{width}}  # {why}")
    if server is None:
        _line(f"rm -r {quote(str(folder))}  # when you have seen enough")
        return
    _say()
    _say(f"The server is up (process {server.pid}); change something, capture it, ask again:")
    _line(f"export FLUX_DSN={quote(server.dsn)}")
    _line(f'{server.programs / "psql"} "$FLUX_DSN"')
    _line(command(("up", "--once")))
    _line(f"kill -INT {server.pid}  # stops it; then: rm -r {quote(str(folder))}")


def command(words: tuple[str, ...]) -> str:
    """Return the command as one types it in a shell."""
    return " ".join(quote(word) for word in ("flux", *words))


def quote(word: str) -> str:
    """Return `word` for a shell, in double quotes where it needs any and that is enough."""
    if shlex.quote(word) == word:
        return word
    return f'"{word}"' if not set(word) & set('"$`\\!') else shlex.quote(word)


def _off_path() -> Path | None:
    """Return the folder of this `flux` if the shell does not find it by its name."""
    ours = Path(sys.executable).with_name("flux")
    found = shutil.which("flux")
    if not ours.exists() or (found is not None and Path(found).samefile(ours)):
        return None
    return ours.parent


def _command(words: tuple[str, ...], rest: str) -> None:
    """Show a command at a prompt."""
    line = console.escape(f"$ {command(words)}")
    sys.stdout.flush()
    colour = console.has_colour(sys.stderr)
    sys.stderr.write(console.paint(line, console.BOLD, colour=colour) + rest + "\n")


def _line(text: str) -> None:
    _say(f"  {text}")


def _say(text: str = "") -> None:
    console.note(text)
