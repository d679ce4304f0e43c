"""A session of `flux tui` in a real terminal, tmux: its screens become the pictures of docs/tui.md.

    python tests/tui/session.py docs/tui.md

The ledger is that of `cli.checkout`, so that the screens are the same each time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cli import checkout
from flux.tui.reference import renewed
from servers.deadline import eventually

COLUMNS, LINES = 120, 30
DEADLINE_S = 30.0
"""That a screen may take to show what is waited for."""
QUERY = "select op, key, outcome, request_id from changes"
BEGIN, END = "<!-- screens -->\n", "<!-- end of screens -->\n"

Step = tuple[str, tuple[tuple[str, str], ...]]
"""A title, and keys, each with what is on the screen when it has worked."""
SESSIONS: Sequence[tuple[str, str, Sequence[Step]]] = (
    (
        "",
        "2      3  03-10",
        (
            ("Incidents", ()),
            ("An incident", (("G", "PaymentTimeout"), ("Enter", "POST /checkout/42 → 500"))),
            ("A request: why, and the waterfall", (("G", "→ 500"), ("Enter", "skipped, which"))),
        ),
    ),
    (
        "users/42",
        "req:seed",
        (
            ("A row: history, blame, state", ()),
            (
                "The same, with the time cursor on a change",
                tuple((",", f"as of 2026-03-10 {clock}") for clock in ("14:23:30", "14:22:01", "14:20:00")),
            ),
        ),
    ),
    (
        "",
        "PaymentTimeout",
        (("The SQL console", (("4", "select …"), (QUERY, QUERY), ("Enter", "rolled_back"))),),
    ),
)
"""Where each begins, what is waited for then, and its screens."""


class Terminal:
    """A tmux of our own, on a socket of its own: one that ends still answers on its socket for a moment."""

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)
        self._before = ""

    def run(self, *words: str) -> str:
        command = ["tmux", "-S", self._socket, "-f", "/dev/null", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def screen(self) -> str:
        return self.run("capture-pane", "-p")

    def wait_for(self, words: str) -> str:
        """Return the screen when it has these words, and stands still."""
        return eventually(lambda: self._still(words), within_s=DEADLINE_S, what=f"{words!r} on the screen")

    def press(self, key: str, words: str) -> str:
        """Press a key, or type words; return the screen when it has what is waited for."""
        literal = ["-l"] if len(key) > 1 and key != "Enter" else []
        self.run("send-keys", *literal, key)
        return self.wait_for(words)

    def _still(self, words: str) -> str:
        shown = self.screen()
        is_still, self._before = shown == self._before, shown
        return shown if is_still and words in shown else ""


def captured(folder: Path) -> str:
    """Return the screens as Markdown."""
    ledger = checkout.make(folder / "ledger")
    flux = Path(sys.executable).with_name("flux")
    environment = f"TZ=UTC XDG_STATE_HOME={folder} TERM=screen-256color FLUX_DSN=host=/nowhere"
    parts = []
    for nth, (start, first, steps) in enumerate(SESSIONS):
        terminal = Terminal(folder / f"tmux-{nth}")
        command = f"env {environment} {flux} tui --ledger {ledger} {start}"
        terminal.run("new-session", "-d", "-x", str(COLUMNS), "-y", str(LINES), command)
        try:
            shown = terminal.wait_for(first)
            for title, keys in steps:
                for key, words in keys:
                    shown = terminal.press(key, words)
                body = "\n".join(line.rstrip() for line in shown.splitlines())
                parts.append(f"### {title}\n\n```text\n{body}\n```\n")
        finally:
            terminal.run("kill-server")
    return "\n" + "\n".join(parts) + "\n"


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    page = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="flux-docs-") as name:
        screens = captured(Path(name))
    page.write_text(renewed(page.read_text(encoding="utf-8"), BEGIN, END, screens), encoding="utf-8")
