"""Is the slot where the ledger left it? Pure.

A log that lost a piece is never papered over by starting from the newer position: every way it can
happen is told apart here and refused. `flux up --resnapshot` then records the gap.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flux.capture.confirmed import Confirmed
from flux.decoder.slot import SlotState, System
from flux.model.batch import Position
from flux.model.errors import SlotError, SlotLost, SourceError
from flux.model.lsn import lsn_text
from flux.model.relation import Relation

_REMEDY = "`flux up --resnapshot` records the gap, makes a new slot and a new baseline of every table"

_NEW_NAME = "capture it under a new name: `flux init --source NEWNAME`"


@dataclass(frozen=True, slots=True)
class Stored:
    """What the ledger says of a source's position."""

    system_identifier: str
    timeline: int
    commit_lsn: int
    end_lsn: int
    at_us: int = 0


def check(
    slot_name: str,
    plugin: str,
    system: System,
    slot: SlotState | None,
    stored: Stored | None,
    confirmed: Confirmed | None,
) -> None:
    """Return when streaming may go on from where the ledger is.

    Raises `SlotLost` (what, why, remedy) when a piece of the log is missing or may be, `SlotError` when
    the slot is not one of ours. A new source (nothing stored, nothing confirmed) passes whether or
    not its slot exists.
    """
    if slot is not None:
        _check_kind(slot, plugin, system)
    if stored is None and confirmed is None:
        if slot is not None and slot.lost:
            raise _lost(f"the slot {slot_name!r} has lost its log", _invalid(slot))
        return
    _check_server(system, stored, confirmed)
    if slot is None:
        raise _lost(
            f"the slot {slot_name!r} is missing", "it was dropped, or the server was rebuilt without it"
        )
    if slot.lost:
        raise _lost(f"the slot {slot_name!r} has lost its log", _invalid(slot))
    _check_reach(slot, stored, confirmed)


def last_commit(stored: Stored | None, confirmed: Confirmed | None) -> Position | None:
    """Return the last commit that was in the log; `check_log` wants to be told whether it still is."""
    known = [confirmed.last] if confirmed is not None and confirmed.last is not None else []
    if stored is not None:
        known.append(Position(stored.commit_lsn, stored.end_lsn, stored.at_us))
    return max(known, key=lambda commit: commit.end_lsn, default=None)


def check_log(last: Position, is_there: bool | None) -> None:
    """Refuse a log that reaches beyond the ledger's position and does not hold the last commit.

    The slot that a backup brings back keeps the log from before the backup on, so this log can be looked at;
    where it cannot (None), it was removed because the slot is past it.
    """
    if is_there is False:
        raise _lost(
            "the server's log is not the one that the ledger has read",
            f"the commit at {lsn_text(last.commit_lsn)} is another one now: a restored backup, "
            "which has been written to since",
        )


def check_resnapshot(consistent_point: int, stored: Stored | None) -> None:
    """Refuse a new baseline before what the ledger holds: it orders by log position."""
    if stored is not None and consistent_point <= stored.end_lsn:
        raise SourceError(
            "cannot continue this source in this ledger",
            why=f"the server's log is at {lsn_text(consistent_point)}, before the ledger's "
            f"{lsn_text(stored.end_lsn)}: what happens now would sort before what is stored",
            hint=_NEW_NAME,
        )


def check_relations(stored: Iterable[Relation], found: Iterable[Relation]) -> None:
    """Refuse a cluster in which an OID or a column's number means something else than in the ledger.

    An upgrade keeps them; a dump restored elsewhere gives them anew, and the rows of one table would go on as
    those of another. `stored` are versions in their order, the last one counts.
    """
    known = {relation.relation_id: relation for relation in stored}
    for relation in found:
        before = known.get(relation.relation_id, relation)
        names = {column.attnum: column.name for column in before.columns if column.attnum}
        if before.relation == relation.relation and all(
            names.get(column.attnum, column.name) == column.name for column in relation.columns
        ):
            continue
        raise SourceError(
            "cannot continue this source in this ledger",
            why=f"in this cluster {relation.relation} and its columns have numbers that the ledger knows "
            "as others: a dump was restored, or something was renamed",
            hint=_NEW_NAME,
        )


def _check_kind(slot: SlotState, plugin: str, system: System) -> None:
    if slot.plugin != plugin:
        raise SlotError(
            f"the slot {slot.slot!r} is for the plugin {slot.plugin}",
            why=f"this source is captured with {plugin}",
            hint=f"run `flux init --plugin {slot.plugin}`, or drop the slot",
        )
    if slot.database != system.database:
        raise SlotError(
            f"the slot {slot.slot!r} belongs to the database {slot.database!r}",
            why=f"the connection is to {system.database!r}",
            hint="correct --dsn, or choose another slot with `flux init`",
        )


def _check_server(system: System, stored: Stored | None, confirmed: Confirmed | None) -> None:
    """Check that it is the same cluster, on the same timeline, not put back."""
    known = confirmed or stored  # the file is the younger one after a new generation
    if known is None:
        return
    if known.system_identifier != system.system_identifier:
        raise _lost(
            "this is another database cluster than the one in the ledger",
            f"system identifier {system.system_identifier}, the ledger has {known.system_identifier}",
        )
    if known.timeline != system.timeline:
        raise _lost(
            "the server is on another timeline than the ledger",
            f"timeline {system.timeline}, the ledger has {known.timeline}: a failover or a recovery",
        )
    reached = max(stored.end_lsn if stored else 0, confirmed.confirmed_lsn if confirmed else 0)
    if system.lsn < reached:
        raise _lost(
            "the server's log ends before the ledger's position",
            f"the server is at {lsn_text(system.lsn)}, the ledger at {lsn_text(reached)}: a restored backup",
        )


def _check_reach(slot: SlotState, stored: Stored | None, confirmed: Confirmed | None) -> None:
    """Check that the slot still holds everything that the ledger lacks."""
    if confirmed is not None and confirmed.commit_lsn > (stored.commit_lsn if stored else 0):
        raise _lost(
            "the ledger was put back to an older state",
            f"it had reached {lsn_text(confirmed.commit_lsn)}, "
            f"now it ends at {lsn_text(stored.commit_lsn if stored else 0)}",
        )
    ours = max(stored.end_lsn if stored else 0, confirmed.confirmed_lsn if confirmed else 0)
    if slot.confirmed_lsn is not None and slot.confirmed_lsn > ours:
        raise _lost(
            f"the slot {slot.slot!r} is ahead of the ledger",
            f"it was confirmed up to {lsn_text(slot.confirmed_lsn)}, we have confirmed {lsn_text(ours)}: "
            "something else read from it, it was made anew, or the ledger is an older copy",
        )


def _invalid(slot: SlotState) -> str:
    reason = f" ({slot.invalidation_reason})" if slot.invalidation_reason else ""
    return f"wal_status is {slot.wal_status}{reason}; see max_slot_wal_keep_size"


def _lost(what: str, why: str) -> SlotLost:
    return SlotLost(what, why=why, hint=_REMEDY)
