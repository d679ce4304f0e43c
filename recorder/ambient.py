"""The request in force: whose work the code that runs now is.

A context variable holds it, so asynchronous tasks inherit it by themselves; `flux.recorder.carry`
takes it into threads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from flux.recorder.record import Record
from flux.recorder.settings import EXCHANGES_MAX, LIFE_S_MAX

Tag = tuple[str, str, str]
"""Request id, actor and attributes as they are set in a transaction; empty means absent."""

ACTOR_CHARS_MAX = 1024
"""What the source keeps of an actor (docs/TAGS.md)."""
ATTRIBUTES_CHARS_MAX = 65_536
"""What the source keeps of attributes (docs/TAGS.md)."""


@dataclass(slots=True, eq=False)
class Request:
    """One unit of the application's work."""

    request_id: str
    """What its changes are tagged with."""
    actor: str | None = None
    """On whose behalf."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """What is to be found again with its changes; JSON."""
    record: Record | None = None
    """Its entry span; None when nothing is recorded."""
    sampled: bool = True
    """What its caller said of the trace; callees are told the same. It is recorded either way."""
    exchanges: int = 0
    """How many exchanges it has begun."""
    occurrences: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """How often it made an exchange of this kind, target and fingerprint; bounded by EXCHANGES_MAX."""
    ended_s: float | None = None
    """When it ended, on the monotonic clock; None while it goes on."""
    failure: BaseException | None = None
    """The exception that is recorded already."""
    _tag: Tag | None = None

    @property
    def tag(self) -> Tag:
        """What its transactions are tagged with."""
        if self._tag is None:
            text = json.dumps(self.attributes, default=str, ensure_ascii=False) if self.attributes else ""
            if len(text) > ATTRIBUTES_CHARS_MAX:
                text = json.dumps({"flux": "attributes too large"})
            self._tag = (self.request_id, clean(self.actor or "")[:ACTOR_CHARS_MAX], clean(text))
        return self._tag

    def identify(self, actor: str | None, attributes: Mapping[str, Any]) -> None:
        """Say on whose behalf it runs, and add attributes; for the writes that follow."""
        if actor is not None:
            self.actor = actor
            if self.record is not None:
                self.record.set("flux.actor", actor)
        self.attributes.update(attributes)
        self._tag = None

    def next_occurrence(self, kind: str, target: str, fingerprint: str) -> int:
        """Return how many exchanges like this it made before."""
        key = (kind, target, fingerprint)
        before = self.occurrences.get(key, 0)
        if before or len(self.occurrences) < EXCHANGES_MAX:
            self.occurrences[key] = before + 1
        return before


_request: ContextVar[Request | None] = ContextVar("flux_request", default=None)


def clean(text: str) -> str:
    """Return the text without what PostgreSQL takes in no text: NUL, and halves of surrogate pairs."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def current() -> Request | None:
    """Return the request whose work this is, or None outside one."""
    request = _request.get()
    if request is None or request.ended_s is None or time.monotonic() < request.ended_s + LIFE_S_MAX:
        return request
    return None


class in_force:  # noqa: N801 (reads as the statement it is)
    """`with in_force(request):` the block is this request's work; None is nobody's."""

    __slots__ = ("_request", "_token")

    def __init__(self, request: Request | None) -> None:
        self._request = request
        self._token: Any = None

    def __enter__(self) -> None:
        self._token = _request.set(self._request)

    def __exit__(self, *_: object) -> None:
        try:
            _request.reset(self._token)
        except ValueError:
            # A generator closed by the garbage collector ends in a context that is not the one it began in.
            _request.set(None)
