"""The history of a row as a person reads it: one change a block of lines, gaps where they lie.

Works on the document that `--format json` prints (times still as datetimes), so that what is shown
is what is there. Columns are aligned by the answer alone, never by the terminal's width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from rich.cells import cell_len

from flux.cli import console
from flux.cli.cell import pad, value_text
from flux.model.outcome import Op, Outcome

Document = dict[str, Any]

CHANGES_WIDTH_MAX = 64
"""Columns the changes of a line may take before they go on in the next one."""
REQUEST_WIDTH_MIN = 8
"""Letters of a request id that are shown at least."""
UNKNOWN = "(unknown)"
"""Stands for an old value that the ledger never saw."""
_TAB = 8

OUTCOMES = {
    Outcome.COMMITTED: "",
    Outcome.ROLLED_BACK: "ROLLED BACK",
    Outcome.SAVEPOINT_ROLLED_BACK: "ROLLED BACK TO SAVEPOINT",
}
_COUNTED = {
    Outcome.COMMITTED: "committed",
    Outcome.ROLLED_BACK: "rolled back",
    Outcome.SAVEPOINT_ROLLED_BACK: "rolled back to a savepoint",
}
_OP_STYLE = {Op.INSERT: console.GREEN, Op.DELETE: console.RED, Op.TRUNCATE: console.RED}


@dataclass(frozen=True, slots=True)
class Look:
    """How values and times are shown."""

    zone: tzinfo
    colour: bool = False
    full: bool = False
    """Do not shorten values."""
    only: frozenset[str] = frozenset()
    """Columns that were asked for: where a row appears or goes, the others are left out."""
    key: frozenset[str] = frozenset()
    """Key columns: they stand in the heading and are not repeated when a row appears."""
    many: bool = False
    """The lines are of several rows: each names its own."""
    sentence_width: int = 90
    """Columns at which a sentence is wrapped; 0 if whoever draws it does that."""

    def clock(self, at: datetime | None) -> str:
        """Return `at` as local time, in seconds: the order of the lines says the rest."""
        return at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S") if at else " " * 19

    def value(self, value: str | None, *, lossy: bool = False) -> str:
        """Return a value; `lossy` says that a null may have been NaN or infinite."""
        return value_text(value, lossy=lossy, full=self.full)

    def paint(self, text: str, style: str) -> str:
        """Return `text` in `style`, if this look has colour."""
        return console.paint(text, style, colour=self.colour)


class Names:
    """The short names of requests: as few letters as tell them apart in this answer, 8 at least."""

    def __init__(self, request_ids: Sequence[str | None]) -> None:
        known = sorted({request_id for request_id in request_ids if request_id})
        self._short: dict[str, str] = {}
        for index, request_id in enumerate(known):
            width = REQUEST_WIDTH_MIN
            for other in known[max(index - 1, 0) : index] + known[index + 1 : index + 2]:
                width = max(width, _common(request_id, other) + 1)
            self._short[request_id] = request_id[:width]

    def request(self, request_id: str) -> str:
        """Return `req:` and the short form of `request_id`."""
        return "req:" + console.escape(self._short.get(request_id, request_id))

    def who(self, change: Document) -> str:
        """Return who made a change: its request, else the application, role and address."""
        if change["request_id"]:
            return self.request(change["request_id"])
        context = change.get("context") or {}
        application, user = context.get("application_name"), context.get("db_user")
        if not user:
            return console.escape(application or "")
        address = context.get("client_addr") or "local"
        return console.escape(" ".join(part for part in (application, f"{user}@{address}") if part))


def _common(first: str, second: str) -> int:
    """Return how many letters two texts have in common at their start."""
    for index, (left, right) in enumerate(zip(first, second, strict=False)):
        if left != right:
            return index
    return min(len(first), len(second))


def counted(mutations: Sequence[Document]) -> str:
    """Return `4 mutations: 3 committed, 1 rolled back`."""
    counts = Counter(Outcome(mutation["outcome"]) for mutation in mutations)
    parts = [f"{counts[outcome]:,} {word}" for outcome, word in _COUNTED.items() if counts[outcome]]
    noun = "mutation" if len(mutations) == 1 else "mutations"
    return f"{len(mutations):,} {noun}" + (": " + ", ".join(parts) if parts else "")


def history_lines(title: str, timeline: Sequence[Document], look: Look) -> Iterator[str]:
    """Yield the lines of a history, each with its line end, oldest change first."""
    mutations = [line for line in timeline if "gap" not in line]
    yield f"{look.paint(console.escape(title), console.BOLD)}  ({counted(mutations)})\n\n"
    yield from timeline_lines(timeline, Layout.of(mutations, look), look)


def timeline_lines(timeline: Sequence[Document], layout: Layout, look: Look) -> Iterator[str]:
    """Yield the lines of mutations and gaps in a layout."""
    names = Names([line["request_id"] for line in timeline if "gap" not in line])
    for line in timeline:
        if "gap" in line:
            yield gap_line(line["gap"], look)
        else:
            yield from layout.block(line, names, look)


def gap_line(gap: Document, look: Look) -> str:
    """Return the line that says between which moments changes may be missing, and why."""
    start, end = gap.get("from_at"), gap.get("to_at")
    when = f"{look.clock(start) if start else 'the beginning'} to {look.clock(end) if end else 'now'}"
    text = f"-- gap: {when}, changes may be missing: {console.escape(gap.get('reason') or 'unknown')}"
    return "  " + look.paint(text, console.YELLOW) + "\n"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the columns of a history stand. A committed change may run through the outcome's."""

    op_width: int
    key_width: int
    outcome_at: int
    who_at: int

    @classmethod
    def of(cls, mutations: Sequence[Document], look: Look) -> Layout:
        """Return the layout that fits `mutations`."""
        plain, marked, outcome_width = 0, 0, 0
        for mutation in mutations:
            width = max((cell_len(line) for line in change_lines(mutation, look)), default=0)
            width = min(width, CHANGES_WIDTH_MAX)
            outcome = OUTCOMES[Outcome(mutation["outcome"])]
            if outcome:
                marked, outcome_width = max(marked, width), max(outcome_width, len(outcome))
            else:
                plain = max(plain, width)
        outcome_at = -(-(marked + 3) // _TAB) * _TAB
        return cls(
            op_width=max((len(mutation["op"]) for mutation in mutations), default=0),
            key_width=max((cell_len(row_name(line, look)) for line in mutations), default=0) + 2 * look.many,
            outcome_at=outcome_at,
            who_at=max(plain + 3, outcome_at + outcome_width + 3 if outcome_width else 0),
        )

    def block(self, mutation: Document, names: Names, look: Look) -> Iterator[str]:
        """Yield the lines of one change."""
        op = Op(mutation["op"])
        outcome = OUTCOMES[Outcome(mutation["outcome"])]
        first, *others = change_lines(mutation, look) or [""]
        row = pad(row_name(mutation, look), self.key_width)
        head = f"  {look.clock(mutation['at'])}  "
        indent = " " * (len(head) + self.op_width + 2 + self.key_width)
        name = look.paint(pad(op.upper(), self.op_width), _OP_STYLE.get(op, console.YELLOW))
        line, width = first, cell_len(first)
        if outcome:
            outcome_at = max(self.outcome_at, width + 3)
            line = pad(first, outcome_at) + look.paint(outcome, console.RED)
            width = outcome_at + len(outcome)
        who = names.who(mutation)
        if who:
            line += " " * max(self.who_at - width, 3) + look.paint(who, console.CYAN)
        yield f"{head}{name}  {row}{line}".rstrip() + "\n"
        for other in others:
            yield f"{indent}{other}\n"


def row_name(mutation: Document, look: Look) -> str:
    """Return the key of a change where a history is of several rows."""
    return look.value(mutation["key"]) if look.many and mutation["key"] is not None else ""


def change_lines(mutation: Document, look: Look) -> list[str]:
    """Return what a change changed, in lines of bounded width."""
    lines: list[str] = []
    parts = list(_changes(mutation, look))
    for index, part in enumerate(parts):
        text = part + ("," if index < len(parts) - 1 else "")
        if lines and cell_len(lines[-1]) + 1 + cell_len(text) <= CHANGES_WIDTH_MAX:
            lines[-1] += " " + text
        else:
            lines.append(text)
    return lines


def _changes(mutation: Document, look: Look) -> Iterator[str]:
    """Yield `column: old → new` for an update, `column: value` where a row appears or goes."""
    changed: Document = mutation["changed"]
    lossy, unknown = mutation.get("lossy", ()), mutation.get("unknown", ())
    side = {Op.INSERT: "to", Op.BASELINE: "to", Op.DELETE: "from"}.get(Op(mutation["op"]))
    shown = changed
    if side is not None:
        shown = {
            column: pair
            for column, pair in changed.items()
            if (pair[side] is not None or column in lossy) and column not in look.key
        }
        shown = {column: pair for column, pair in changed.items() if column in look.only} or shown
    for column, pair in (shown or changed).items():
        name = console.escape(column)
        if side is not None:
            yield f"{name}: {look.value(pair[side], lossy=column in lossy)}"
            continue
        old = UNKNOWN if column in unknown else look.value(pair["from"], lossy=column in lossy)
        yield f"{name}: {old} → {look.value(pair['to'], lossy=column in lossy)}"


def blame_lines(columns: Sequence[Document], look: Look, gaps: Sequence[Document] = ()) -> Iterator[str]:
    """Yield the lines of a blame: column, value, when, who, later attempts rolled back; then the gaps."""
    requests = [column["request_id"] for column in columns]
    requests += [attempt["request_id"] for column in columns for attempt in column["rolled_back"]]
    names = Names(requests)
    texts = [look.value(column["value"], lossy=bool(column.get("lossy"))) for column in columns]
    labels = [console.escape(column["column"]) for column in columns]
    label_width = max(map(cell_len, labels), default=0)
    value_width = max(map(cell_len, texts), default=0)
    for column, label, text in zip(columns, labels, texts, strict=True):
        owner = names.who(column) or f"({column['op']})"
        when = look.clock(column["at"]) if column["at"] else " " * 19
        start = f"  {pad(label, label_width)}   {pad(text, value_width)}   {when}  "
        line = start + look.paint(owner, console.CYAN)
        indent = " " * (cell_len(start) + cell_len(owner))
        attempts = [_attempt(attempt, names, look) for attempt in column["rolled_back"]]
        yield (line + ("   " + attempts[0] if attempts else "")).rstrip() + "\n"
        for attempt in attempts[1:]:
            yield f"{indent}   {attempt}\n"
    for gap in gaps:
        yield gap_line(gap, look)


def _attempt(attempt: Document, names: Names, look: Look) -> str:
    outcome = OUTCOMES[Outcome(attempt["outcome"])].lower()
    who = names.who(attempt) or "someone"
    return look.paint(f"✗ {who} tried {look.value(attempt['value'])}, {outcome}", console.RED)
