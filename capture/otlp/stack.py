"""Where in the application's own code an exception came from, read from the stack as its language prints it.

For senders that do not say so themselves: Python, Node, Java, .NET, Go, Ruby. A frame of a library, of the
language or of its runtime is not the application's. Where nothing fits there is no location: none is guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

STACK_LENGTH_MAX = 200_000
"""Letters of a stack that are read, from its end where the innermost frame is last, else from its start."""


@dataclass(frozen=True, slots=True)
class _Language:
    frame: re.Pattern[str]
    """One frame, with the groups `file`, `line` and `function`."""
    foreign: re.Pattern[str]
    """Frames that are not the application's."""
    is_innermost_last: bool = False


_LANGUAGES = (
    _Language(
        re.compile(r'^ *File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<function>.+)$', re.MULTILINE),
        re.compile(r"/(?:site|dist)-packages/|/lib/python\d|/lib64/python\d|<frozen|<string>"),
        is_innermost_last=True,
    ),
    _Language(
        re.compile(
            r"^ *at (?:async )?(?:(?P<function>[^\n(]+?) \()?(?:file://)?"
            r"(?P<file>/[^\n()]+?|[A-Za-z]:\\[^\n()]+?|[^\n():]+\.[cm]?[jt]sx?):(?P<line>\d+):\d+\)?$",
            re.MULTILINE,
        ),
        re.compile(r"node_modules|\bnode:|\(internal/|<anonymous>"),
    ),
    _Language(
        re.compile(
            r"^\s*at (?P<function>\S+?)\((?P<file>[\w$]+\.(?:java|kt|scala)):(?P<line>\d+)\)", re.MULTILINE
        ),
        re.compile(
            r"at (?:java|javax|jdk|sun|com\.sun|jakarta|kotlin|kotlinx|scala|org\.springframework|org\.apache"
            r"|org\.eclipse|org\.hibernate|io\.netty|io\.opentelemetry|com\.zaxxer|org\.postgresql)[.$]"
        ),
    ),
    _Language(
        re.compile(
            r"^\s*at (?P<function>[^\n(]+)\([^\n]*\) in (?P<file>[^\n]+?):line (?P<line>\d+)", re.MULTILINE
        ),
        re.compile(r"at (?:System|Microsoft|Npgsql|OpenTelemetry)\."),
    ),
    _Language(
        re.compile(
            r"^(?P<function>[\w./*()\[\]-]+)\([^\n]*\)\n\t(?P<file>\S+\.go):(?P<line>\d+)", re.MULTILINE
        ),
        re.compile(r"^(?:runtime|net/http|panic)\b|/pkg/mod/|/usr/local/go/"),
    ),
    _Language(
        re.compile(
            r"^\s*(?:from )?(?P<file>\S+\.rb):(?P<line>\d+):in [`'](?P<function>[^'\n]+)'", re.MULTILINE
        ),
        re.compile(r"/gems/|/lib/ruby/"),
    ),
)


def location(stack: str | None) -> str | None:
    """Return `file:line, function` of the innermost frame in the application's own code; None if unknown."""
    if not stack:
        return None
    for language in _LANGUAGES:
        text = stack[-STACK_LENGTH_MAX:] if language.is_innermost_last else stack[:STACK_LENGTH_MAX]
        frames = list(language.frame.finditer(text))
        own = [frame for frame in frames if not language.foreign.search(frame[0])]
        if own:
            frame = own[-1] if language.is_innermost_last else own[0]
            function = (frame["function"] or "").strip()
            return f"{frame['file']}:{frame['line']}" + (f", {function}" if function else "")
        if frames:
            return None
    return None
