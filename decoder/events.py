"""What both plugins are turned into: the events of the stream as columns, before they are resolved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flux.decoder.frames import Bools, Bytes, Ints, Lsns
from flux.decoder.schema import SchemaChange

NULL, TEXT, UNCHANGED, ABSENT = 0, 1, 2, 3
"""State of a value: NULL; a text; not sent because unchanged (TOAST); not part of what was sent."""

BEGIN, COMMIT, INSERT, UPDATE, DELETE, TRUNCATE, MESSAGE = (ord(letter) for letter in "BCIUDTM")
"""Kinds of events, named as the plugins name them."""

OTHER, CONTEXT, ATTEMPT, MARK, HEARTBEAT, DDL, TRACK, TAG = range(8)
"""Kinds of messages, by prefix; OTHER is somebody else's."""

PREFIXES = {
    b"flux.context": CONTEXT,
    b"flux.attempt": ATTEMPT,
    b"flux.mark": MARK,
    b"flux.heartbeat": HEARTBEAT,
    b"flux.ddl": DDL,
    b"flux.track": TRACK,
    b"flux.tag": TAG,
}


@dataclass(frozen=True, slots=True)
class Tuples:
    """`m` rows as one flat run of values each, in the column order of their relation version."""

    version: npt.NDArray[np.int32]
    """[m] Number of the relation version in the catalog."""
    offset: Ints
    """[m+1] Values of row i are `offset[i]:offset[i+1]`."""
    state: npt.NDArray[np.uint8]
    """[values] NULL, TEXT, UNCHANGED or ABSENT."""
    start: Ints
    """[values] Offset of the text in the buffer, in bytes."""
    length: Ints
    """[values] Length of the text, in bytes."""

    @property
    def row(self) -> Ints:
        """[values] The row each value belongs to."""
        return np.repeat(np.arange(self.version.size), np.diff(self.offset))

    @property
    def position(self) -> Ints:
        """[values] The place of each value in its row."""
        return np.arange(self.state.size) - np.repeat(self.offset[:-1], np.diff(self.offset))


@dataclass(frozen=True, slots=True)
class Events:
    """`n` events in stream order. A field that does not concern an event's kind is 0 or -1."""

    buffer: Bytes
    kind: npt.NDArray[np.uint8]
    lsn: Lsns
    """[n] Row changes: start of the record. Messages: end of the record. Begin, commit: of the commit."""
    xid: npt.NDArray[np.uint32]
    """[n] Begin only."""
    commit_lsn: Lsns
    """[n] Begin and commit: start of the commit record."""
    end_lsn: Lsns
    """[n] Commit only: end of the commit record."""
    at_us: Ints
    """[n] Begin only: commit time, microseconds since 1970 UTC."""
    version: npt.NDArray[np.int32]
    """[n] Row changes and truncates: relation version."""
    old: npt.NDArray[np.int32]
    """[n] Row of `tuples` that holds the old image, or -1."""
    new: npt.NDArray[np.int32]
    """[n] Row of `tuples` that holds the new image, or -1."""
    message: npt.NDArray[np.uint8]
    """[n] Messages: kind by prefix."""
    transactional: Bools
    content_start: Ints
    content_length: Ints
    tuples: Tuples
    origin: dict[int, str]
    """Event number of a begin → the name of its replication origin."""
    forged: int
    """Messages under our prefixes without the secret; they are OTHER here."""
    schema: dict[int, SchemaChange | None]
    """Position of a committed `flux.ddl` or `flux.track` message → what it says; None if malformed."""
