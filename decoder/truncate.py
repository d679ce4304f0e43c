"""TRUNCATE of partitioned tables: one row for the root, whichever way the plugin tells it.

pgoutput names the leaves, wal2json the root and the leaves. When all leaves of a root were truncated, the
root was. When only some were, no row says which keys are gone: the root needs a new baseline.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from flux.decoder.catalog import Catalog
from flux.decoder.events import TRUNCATE, Events
from flux.decoder.frames import Bools


@dataclass(frozen=True, slots=True)
class Truncates:
    """What to make of the truncate events of a run."""

    dropped: Bools
    """[n] Events that must not become a change: a sibling stands for them, or a new baseline will."""
    resync: frozenset[int]


def whole_truncates(events: Events, catalog: Catalog) -> Truncates:
    """Keep one truncate event for each root that was truncated whole."""
    dropped = np.zeros(events.kind.size, np.bool_)
    resync: set[int] = set()
    # The truncates of one statement are one record of the log and share its position.
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for event in np.flatnonzero((events.kind == TRUNCATE) & (events.version >= 0)).tolist():
        version = catalog.versions[int(events.version[event])]
        groups[int(events.lsn[event]), version.root_id].append(event)
    for (lsn, root_id), members in groups.items():
        named = {catalog.versions[int(events.version[event])].relation_id for event in members}
        leaves = catalog.leaves(root_id, lsn)
        if root_id in named or (leaves and leaves <= named):
            dropped[members[1:]] = True
        else:
            dropped[members] = True
            resync.add(root_id)
    return Truncates(dropped, frozenset(resync))
