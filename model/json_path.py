"""JSON paths, and where in a JSON text the values lie that they name.

A path is `$`, then `.name`, `["name"]`, `..name` (at any depth), `.*` or `[*]` (any member or element) and
`[3]`. The text need not be whole: a body may have been cut, and what is left of a named value is found, too.
Pure, and total: text that is no JSON has no such places.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

ANY = None
"""The label of a step that takes every member and element."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)
DEPTH_MAX = 512
"""Deeper text is taken for none."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path."""

    label: str | None
    """Name of a member, or number of an element as text; `ANY` for all."""
    deep: bool = False
    """At any depth from here."""


class Place(NamedTuple):
    """A value that a path names: `text[start:end]`."""

    start: int
    end: int
    path: int
    """Number of the path."""
    outer_start: int
    """With the member's name and the comma that goes with it."""
    outer_end: int


def parse_path(text: str) -> tuple[Step, ...]:
    """Return the steps of a path; raise `ValueError` if it is none."""
    if not text.startswith("$") or len(text) < 2:
        raise ValueError("a JSON path begins with $ and names something: $.card.number")
    steps: list[Step] = []
    at, deep = 1, False
    while at < len(text):
        if text.startswith("..", at):
            at, deep = at + 2, True
        elif text.startswith(".", at) and not deep:
            at += 1
        elif not text.startswith("[", at) and not deep:
            raise ValueError(f"not a step of a JSON path at character {at + 1}")
        label, at = _label(text, at)
        steps.append(Step(label, deep))
        deep = False
    return tuple(steps)


_BRACKET = re.compile(r"""\[(?:(\*)|(\d+)|"([^"]*)"|'([^']*)')\]""")
_BARE = re.compile(r"""[^.\[\]\s"']+""")


def _label(text: str, at: int) -> tuple[str | None, int]:
    if found := _BRACKET.match(text, at):
        star, number, double, single = found.groups()
        label = ANY if star else next(each for each in (number, double, single) if each is not None)
        return label, found.end()
    if (found := _BARE.match(text, at)) is None:
        raise ValueError(f"not a step of a JSON path at character {at + 1}")
    return (ANY if found[0] == "*" else found[0]), found.end()


def last_name(path: Sequence[Step]) -> str | None:
    """Return a name that every text with such a value holds; None if there is none."""
    names = [step.label for step in path if step.label is not ANY and not step.label.isdigit()]
    return names[-1] if names else None


_State = frozenset[tuple[int, int]]
"""Paths, and how many of their steps are taken."""


@dataclass(slots=True)
class _Frame:
    """An object or array that is open."""

    is_object: bool
    states: _State
    label: str | None = None
    """Of the member whose value is next."""
    count: int = 0
    """Elements so far."""
    begin: int = -1
    """Where the member or element began."""
    comma: int = -1
    """Where the comma before it is."""


def places(text: str, paths: Sequence[Sequence[Step]], *, root: str | None = None) -> list[Place]:
    """Return the values that the paths name, in order, none inside of another.

    `root`: the text is the value of a member of that name, and not the whole document.
    """
    states: _State = frozenset((number, 0) for number in range(len(paths)))
    if root is not None:
        states = _advance(states, root, paths)
    return list(_walk(text, states, paths))


def member(name: str, paths: Sequence[Sequence[Step]]) -> int | None:
    """Return the number of a path that names the member `name` of the document itself."""
    states = _advance(frozenset((number, 0) for number in range(len(paths))), name, paths)
    return _complete(states, paths)


def _advance(states: _State, label: str, paths: Sequence[Sequence[Step]]) -> _State:
    found = set()
    for path, taken in states:
        if taken == len(paths[path]):
            continue
        step = paths[path][taken]
        if step.deep:
            found.add((path, taken))
        if step.label is ANY or step.label == label:
            found.add((path, taken + 1))
    return frozenset(found)


def _complete(states: _State, paths: Sequence[Sequence[Step]]) -> int | None:
    return min((path for path, taken in states if taken == len(paths[path])), default=None)


def _walk(text: str, states: _State, paths: Sequence[Sequence[Step]]) -> Iterator[Place]:
    stack: list[_Frame] = []
    tokens = list(_TOKEN.finditer(text))
    at = 0
    while at < len(tokens):
        token = tokens[at]
        first = token[0][0]
        frame = stack[-1] if stack else None
        if first in "]}":
            if stack:
                stack.pop()
        elif first == ",":
            if frame is not None:
                frame.comma, frame.begin, frame.label = token.start(), -1, None
        elif first == ":":
            pass
        elif frame is not None and frame.is_object and frame.label is None:
            frame.label, frame.begin = string(token[0]), token.start()
        else:
            label = _next_label(frame, token.start())
            inner = states if label is None else _advance(frame.states if frame else states, label, paths)
            path = _complete(inner, paths)
            if path is not None:
                last = _last_token(tokens, at)
                yield _place(tokens, at, last, path, frame)
                at = last
            elif first in "[{":
                if len(stack) == DEPTH_MAX:
                    return
                stack.append(_Frame(first == "{", inner))
        at += 1


def _next_label(frame: _Frame | None, start: int) -> str | None:
    """Return the label of the value that begins here; None for the document itself."""
    if frame is None:
        return None
    if frame.is_object:
        return frame.label
    frame.begin = start
    frame.count += 1
    return str(frame.count - 1)


def _last_token(tokens: list[re.Match[str]], at: int) -> int:
    """Return the number of the last token of the value that begins at token `at`."""
    depth = 0
    for number in range(at, len(tokens)):
        first = tokens[number][0][0]
        depth += (first in "[{") - (first in "]}")
        if depth <= 0:
            return number
    return len(tokens) - 1


def _place(tokens: list[re.Match[str]], at: int, last: int, path: int, frame: _Frame | None) -> Place:
    start, end = tokens[at].start(), tokens[last].end()
    outer_start, outer_end = start, end
    if frame is not None:
        outer_start = frame.begin
        follows = last + 1 < len(tokens) and tokens[last + 1][0] == ","
        if follows:
            outer_end = tokens[last + 1].end()
        elif frame.comma >= 0:
            outer_start = frame.comma
    return Place(start, end, path, outer_start, outer_end)


def string(token: str) -> str:
    """Return what a JSON string says; a cut or broken one as it stands, without its quotes."""
    if "\\" not in token and len(token) > 1 and token.endswith('"'):
        return token[1:-1]
    try:
        # Half of a surrogate pair is no text.
        return str(json.loads(token, strict=False)).encode("utf-8", "replace").decode()
    except ValueError:
        return token.strip('"')
