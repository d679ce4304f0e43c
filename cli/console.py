"""The terminal: the two streams, colour, and the escaping of what strangers wrote.

Answers go to stdout through `Out`, everything else to stderr through `note`, `warn` and
`report`. Text is UTF-8 whatever the locale says. A value is escaped before it is printed: nothing
that a database row holds may move the cursor, ring the bell, or reverse the reading order.
Colour changes no other byte, and there is none in a pipe unless `FORCE_COLOR` asks for it.
"""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime, tzinfo
from typing import TextIO

from flux.model.errors import FluxError

_BEYOND_ASCII = (
    "\x7f-\x9f"  # DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that change the reading order
    "\u00ad\u180e\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"  # unseen
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
    "\ud800-\udfff"  # halves of surrogate pairs: bytes that are no UTF-8
)
_CONTROL = re.compile(f"[\x00-\x1f{_BEYOND_ASCII}]")
_CONTROL_IN_CELL = re.compile(f"[\x00-\x08\x0b-\x1f{_BEYOND_ASCII}]")
_IN_JSON = re.compile(f"[{_BEYOND_ASCII}]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"
"""SGR codes; the first sixteen colours follow the terminal's own theme."""


def escape(text: str) -> str:
    r"""Return `text` with everything that a terminal would obey written out: `\n`, `\x1b`, `\u202e`."""
    return _CONTROL.sub(_written_out, text)


def escape_cell(text: str) -> str:
    """Like `escape`, but line ends and tabs stay: CSV quotes them."""
    return _CONTROL_IN_CELL.sub(_written_out, text)


def escape_json(document: str) -> str:
    """Return JSON text with what a terminal would obey in JSON's own escapes; the values stay the same."""
    return _IN_JSON.sub(_json_escape, document)


def _written_out(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def has_colour(stream: TextIO) -> bool:
    """Tell whether `stream` wants colour: NO_COLOR and TERM=dumb say no, FORCE_COLOR yes."""
    if os.environ.get("NO_COLOR"):
        return False
    forced = os.environ.get("FORCE_COLOR")
    if forced:
        return forced != "0"
    return os.environ.get("TERM") != "dumb" and stream.isatty()


def paint(text: str, style: str, *, colour: bool) -> str:
    """Return `text` in `style` if `colour`; blanks around it stay plain."""
    if not colour or not text.strip():
        return text
    core = text.strip(" ")
    start = text.index(core)
    return f"{text[:start]}\x1b[{style}m{core}\x1b[0m{text[start + len(core) :]}"


def prepare_streams() -> None:
    """Make both streams UTF-8, whatever the locale: an arrow must not be an exception."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="backslashreplace")


def out(text: str) -> None:
    """Write a part of the answer to stdout."""
    sys.stdout.write(text)


def note(text: str) -> None:
    """Narrate: one plain line on stderr."""
    sys.stdout.flush()
    sys.stderr.write(f"{escape(text)}\n")


def warn(text: str) -> None:
    """Warn: one line on stderr, marked."""
    sys.stdout.flush()
    sys.stderr.write(f"{paint('warning:', YELLOW, colour=has_colour(sys.stderr))} {escape(text)}\n")


def report(error: FluxError) -> None:
    """Print an error: what failed, why, what to do next; at most one line each."""
    sys.stdout.flush()
    colour = has_colour(sys.stderr)
    label = "flux:" if error.exit_code == 1 else paint("flux: error:", RED, colour=colour)
    lines = [f"{label} {escape(error.what)}"]
    if error.why:
        lines.append(f"  {paint('why:', DIM, colour=colour)} {escape(error.why)}")
    if error.hint:
        lines.append(f"  {paint('hint:', DIM, colour=colour)} {escape(error.hint)}")
    sys.stderr.write("\n".join(lines) + "\n")


def local_zone() -> tzinfo:
    """Return the zone of this terminal, with its daylight saving: `TZ`, else the machine's."""
    from zoneinfo import ZoneInfo

    name = os.environ.get("TZ", "").lstrip(":")
    if name:
        try:
            return ZoneInfo(name)
        except (OSError, ValueError):
            # A POSIX rule (`CET-1CEST`) or a path: the offset of now is the best that is known.
            return datetime.now(UTC).astimezone().tzinfo or UTC
    try:
        with open("/etc/localtime", "rb") as file:  # noqa: PTH123 - no pathlib on the way of a cold start
            place = os.path.realpath("/etc/localtime")
            return ZoneInfo.from_file(file, key=place.rpartition("zoneinfo/")[2])
    except (OSError, ValueError):
        return datetime.now(UTC).astimezone().tzinfo or UTC
