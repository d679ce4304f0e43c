"""A request's trace: its spans with the mutations in their places, and two of them side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from flux.ledger.spans import Span, tree, walk
from flux.ledger.why import Document, about, entry_of, mutations_of
from flux.sql.attempted import attempted

if TYPE_CHECKING:
    from flux.ledger.reader import Ledger

SLOWER = 2.0
"""A step is slower, or faster, by this factor at least …"""
SLOWER_MS = 5.0
"""… and by this: below it a machine's own noise is larger."""


class Step(StrEnum):
    """How a step of one request compares with that of another."""

    SAME = "same"
    FASTER = "faster"
    SLOWER = "slower"
    CHANGED = "changed"
    """It ended otherwise, or wrote otherwise."""
    MISSING = "missing"
    """Only the first request has it."""
    ADDED = "added"
    """Only the second request has it."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A step of two requests, in either's order."""

    step: Step
    depth: int
    first: Span | None
    second: Span | None
    why: tuple[str, ...] = ()
    """What differs."""

    @property
    def span(self) -> Span:
        """The step itself, the first request's if it has it."""
        found = self.first or self.second
        assert found is not None  # noqa: S101 -- one of the two is always there
        return found


def place(tops: Sequence[Span], changes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each change to the span of the statement that made it; return those without one.

    A statement made a change if it writes to that table in that way, in the order of the log, and not more
    rows than it said. A rolled-back change has a clock of its own, which must lie in the statement's time.
    """
    writing = []
    for _, span in walk(tops):
        if span.is_sql and span.statement:
            found = attempted(span.statement)
            if found is not None:
                writing.append((span, found.op, found.relation.rpartition(".")[2].strip('"')))
    writing.sort(key=lambda one: one[0].start)
    unplaced = []
    first = 0
    for change in sorted(changes, key=lambda one: one["lsn"] or 0):
        table = str(change["relation"]).partition(".")[2].strip('"')
        for nth in range(first, len(writing)):
            span, op, relation = writing[nth]
            is_full = span.row_count is not None and len(span.changes) >= span.row_count
            is_then = change["outcome"] == "committed" or span.start <= change["at"] <= span.end
            if relation == table and op == change["op"] and not is_full and is_then:
                span.changes.append(change)
                first = nth
                break
        else:
            unplaced.append(change)
    return unplaced


def traced(ledger: Ledger, request_id: str) -> Document:
    """Return a request's trace: `request`, `tops` (spans), `unplaced` changes, and `skipped` steps.

    Skipped are steps that the nearest request of the same route that went well has and a failed one has not.
    """
    found = ledger.request_rows(request_id).to_pylist(maps_as_pydicts="lossy")
    request = entry_of(found)
    tops, unplaced = _tops(ledger, request_id)
    document: Document = {"request": about(request, request_id), "tops": tops, "unplaced": unplaced}
    skipped: list[Compared] = []
    sibling = ledger.sibling(request) if request is not None and request["failed"] and tops else None
    if sibling is not None:
        others, _ = _tops(ledger, sibling)
        skipped = [one for one in compare(tops, others) if one.step is Step.ADDED]
    return document | {"sibling": sibling, "skipped": skipped}


def _tops(ledger: Ledger, request_id: str) -> tuple[list[Span], list[Document]]:
    """Return a request's spans as trees, with its changes in their places, and those without one."""
    tops = tree(ledger.spans_of(request_id).to_pylist(maps_as_pydicts="lossy"))
    changes, _ = mutations_of(ledger, request_id)
    return tops, place(tops, changes)


def compared(ledger: Ledger, first_id: str, second_id: str) -> Document:
    """Return two requests side by side: `first`, `second`, `steps`, and the first `divergence`."""
    steps = list(compare(_tops(ledger, first_id)[0], _tops(ledger, second_id)[0]))
    first, second = (
        about(entry_of(ledger.request_rows(one).to_pylist(maps_as_pydicts="lossy")), one)
        for one in (first_id, second_id)
    )
    return {"first": first, "second": second, "steps": steps, "divergence": divergence(steps)}


def compare(first: Sequence[Span], second: Sequence[Span], depth: int = 0) -> Iterator[Compared]:
    """Yield the steps of two requests, callers first: aligned by what they do, level by level."""
    for one, other in _aligned(first, second):
        if one is None or other is None:
            step = Step.MISSING if other is None else Step.ADDED
            alone = one or other
            assert alone is not None  # noqa: S101 -- `_aligned` pairs nothing with nothing never
            for level, span in walk([alone], depth):
                yield Compared(step, level, span if other is None else None, span if one is None else None)
            continue
        yield _compared(one, other, depth)
        yield from compare(one.children, other.children, depth + 1)


def _aligned(first: Sequence[Span], second: Sequence[Span]) -> Iterator[tuple[Span | None, Span | None]]:
    likenesses = [one.likeness for one in first], [one.likeness for one in second]
    matcher = SequenceMatcher(None, *likenesses, autojunk=False)
    for kind, low, high, other_low, other_high in matcher.get_opcodes():
        ours, theirs = list(first[low:high]), list(second[other_low:other_high])
        if kind == "equal":
            yield from zip(ours, theirs, strict=True)
            continue
        # What has the same name and does otherwise is one step that changed, not one missing and one added.
        while ours:
            one = ours.pop(0)
            nth = next((nth for nth, other in enumerate(theirs) if _is_named_alike(one, other)), None)
            if nth is None:
                yield one, None
                continue
            for other in theirs[:nth]:
                yield None, other
            yield one, theirs[nth]
            theirs = theirs[nth + 1 :]
        for other in theirs:
            yield None, other


def _is_named_alike(one: Span, other: Span) -> bool:
    return (one.row["kind"], one.name, one.is_sql) == (other.row["kind"], other.name, other.is_sql)


def _compared(one: Span, other: Span, depth: int) -> Compared:
    why = []
    if one.likeness != other.likeness:
        why.append(f"{one.label} → {other.label}")
    if one.status != other.status:
        why.append(f"status {one.status or 'none'} → {other.status or 'none'}")
    told = [_told(span) for span in (one, other)]
    if told[0] != told[1]:
        why.append(f"{told[0]} → {told[1]}")
    written = [_written(span) for span in (one, other)]
    if written[0] != written[1]:
        why.append(f"wrote {written[0]} → {written[1]}")
    if why:
        return Compared(Step.CHANGED, depth, one, other, tuple(why))
    before, after = one.row["duration_ms"] or 0.0, other.row["duration_ms"] or 0.0
    step = Step.SAME
    if after >= before * SLOWER and after - before >= SLOWER_MS:
        step = Step.SLOWER
    elif before >= after * SLOWER and before - after >= SLOWER_MS:
        step = Step.FASTER
    return Compared(step, depth, one, other)


def _told(span: Span) -> str:
    failure = span.failure()
    return "went well" if failure is None else f"failed: {failure.kind or 'unknown'}"


def _written(span: Span) -> str:
    """Return what a span wrote, as far as two requests can have it in common.

    Without the outcome: what is rolled back is so because of a later step.
    """
    words = []
    for change in span.changes:
        columns = ", ".join(sorted(change["changed"] or ()))
        words.append(f"{change['op']} {change['relation']}{f' ({columns})' if columns else ''}")
    return "; ".join(words) or "nothing"


def divergence(steps: Sequence[Compared]) -> Compared | None:
    """Return the first step in which two requests differ in what they did; else in how long it took.

    A caller differs because of what it called: the deepest of the first ones is the one.
    """
    differing = [step for step in steps if step.step in {Step.CHANGED, Step.MISSING, Step.ADDED}]
    differing = differing or [step for step in steps if step.step is not Step.SAME]
    if not differing:
        return None
    found = differing[0]
    for step in differing[1:]:
        if step.depth <= found.depth:
            break
        found = step
    return found
