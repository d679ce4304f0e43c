"""A terminal for one `flux tui`: it says that it knows synchronized output, so frames have ends.

What is measured is what a person waits for: from a key to the end of the frame it makes.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Sequence
from pathlib import Path

SIZE = (40, 120)
"""Lines and columns."""
DEADLINE_S = 60.0
QUIET_S = 0.3
"""Without output for so long the screen stands still."""
_ASKED, _ANSWER = b"\x1b[?2026$p", b"\x1b[?2026;2$y"
_FRAME_END = b"\x1b[?2026l"
_CODES = re.compile(rb"\x1b\[[0-9;?<>=]*[ -/]*[@-~]|\x1b[\]P^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.")


class Terminal:
    """One run of a program, 120 by 40."""

    def __init__(self, command: list[str]) -> None:
        self._began = time.perf_counter()
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
            os.execv(command[0], command)  # noqa: S606
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))

    def until(self, words: str) -> float:
        """Return the seconds since the start at which a frame with these words had ended."""
        return self._frames((words,))[0] - self._began

    def press(self, key: str, *words: str) -> list[float]:
        """Press a key; return for each of `words` the milliseconds until a frame with them had ended."""
        start = time.perf_counter()
        os.write(self._file, key.encode())
        return [(at - start) * 1000 for at in self._frames(words)]

    def settle(self) -> None:
        """Read until the screen stands still."""
        while self._read(QUIET_S):
            pass

    def peak_mib(self) -> float:
        """Return the largest resident set (Linux)."""
        (found,) = re.findall(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(found) / 1024

    def close(self) -> None:
        """Leave as a person does."""
        os.write(self._file, b"\x11")  # Ctrl-Q
        while self._read(DEADLINE_S):
            pass
        os.waitpid(self.pid, 0)
        os.close(self._file)

    def _frames(self, words: Sequence[str]) -> list[float]:
        """Return when frames with each of these words had ended."""
        seen = b""
        found: list[float] = []
        end = time.perf_counter() + DEADLINE_S
        while len(found) < len(words):
            left = end - time.perf_counter()
            if left <= 0:
                raise SystemExit(f"no frame with {words[len(found)]!r}:\n{seen[-4000:]!r}")
            seen += self._read(left)
            whole = seen[: seen.rfind(_FRAME_END) + 1]
            drawn = _CODES.sub(b"", whole).decode(errors="replace")
            while whole and len(found) < len(words) and words[len(found)] in drawn:
                found.append(time.perf_counter())
        return found

    def _read(self, within_s: float) -> bytes:
        """Return what comes next; nothing once it is quiet for so long, or over."""
        if not select.select([self._file], [], [], max(0.0, within_s))[0]:
            return b""
        try:
            found = os.read(self._file, 1 << 20)
        except OSError:  # the program ended
            return b""
        if _ASKED in found:
            os.write(self._file, _ANSWER)
        return found
