"""What `flux state history` asks of the ledger, and how it goes on asking."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flux.cli.cell import local_time, shorten
from flux.cli.console import local_zone
from flux.cli.subject import Subject
from flux.model.errors import NoAnswer, UsageError
from flux.model.moment import Moment, Range

if TYPE_CHECKING:
    import pyarrow as pa

    from flux.ledger import Ledger

FOLLOW_INTERVAL_S = 0.5
"""Between looks at the catalog's version, a read of a millisecond."""
GAP = "gap"
"""The `op` of a line that is no mutation."""
_IDENTITY = ("source", "commit_lsn", "lsn", "seq", "xid", "op")


@dataclass(frozen=True, slots=True)
class Question:
    """A history: of what, seen from when, and which lines of it."""

    subject: Subject
    as_of: Moment | None
    range: Range
    columns: tuple[str, ...]
    request: str | None
    outcome: str | None
    limit: int
    """Mutations at most, the newest; 0 for all."""
    source: str | None

    @property
    def is_narrowed(self) -> bool:
        """Whether lines are left out."""
        return bool(self.columns or self.request or self.outcome or self.range.since or self.range.until)

    def ask(self, reader: Ledger, *, limit: int | None) -> pa.Table:
        """Return the ledger's answer."""
        return reader.history(
            self.subject.relation.root,
            self.subject.key,
            where=self.subject.where or None,
            as_of=self.as_of,
            since=self.range.since,
            until=self.range.until,
            columns=self.columns,
            request=self.request,
            outcome=self.outcome,
            limit=limit,
            source=self.source,
        )

    def history(self, reader: Ledger) -> tuple[pa.Table, bool]:
        """Return the newest `limit` mutations with their gaps, and whether there are more."""
        return self.newest(self.ask(reader, limit=self.limit + 1 if self.limit else None))

    def is_answered(self, answer: pa.Table) -> bool:
        """Whether there is a mutation; gaps alone are no history."""
        return bool(_mutations(answer))

    def newest(self, answer: pa.Table) -> tuple[pa.Table, bool]:
        """Return the last `limit` mutations of `answer` with the gaps among them, and whether it had more."""
        places = _mutations(answer)
        if not self.limit or len(places) <= self.limit:
            return answer, False
        return answer.slice(places[-self.limit]), True

    def nothing(self, reader: Ledger) -> NoAnswer:
        """Return the answer for an empty history: narrowed too far, or no such row at all."""
        title = self.subject.title
        names = [column.name for column in self.subject.relation.columns]
        strange = [column for column in self.columns if names and column not in names]
        if strange:
            raise UsageError(
                f"{self.subject.relation.root} has no column {strange[0]}",
                hint=f"there are: {', '.join(names)}",
            )
        if self.is_narrowed or self.as_of is not None:
            return NoAnswer(f"nothing that was asked for happened to {title}")
        if self.subject.key is None:
            return NoAnswer(f"nothing is recorded of {title}")
        return absent(reader, self.subject)


def _mutations(answer: pa.Table) -> list[int]:
    """Return the places of the lines that are no gaps."""
    return [place for place, op in enumerate(answer.column("op").to_pylist()) if op != GAP]


def absent(reader: Ledger, subject: Subject) -> NoAnswer:
    """Return the answer for a key of which nothing is recorded, with keys that there are."""
    keys = example_keys(reader, subject)
    names = ", ".join(subject.relation.key)
    examples = f"; keys ({names}) look like {keys}" if keys else "; no row of it is"
    return NoAnswer(f"nothing is recorded of {subject.title}{examples}")


def example_keys(reader: Ledger, subject: Subject) -> str:
    """Return `1, 2 or 3`: some keys of the table, shortened; empty if there are none."""
    from flux import sql
    from flux.ledger.engine import literal

    query = sql.text("cli/example_keys.sql").format(relation=literal(subject.relation.root))
    keys = [shorten(str(key)) for key in reader.sql(query).column(0).to_pylist()]
    return " or ".join([*[", ".join(keys[:-1])], keys[-1]]) if len(keys) > 1 else "".join(keys)


def unknown_then(reader: Ledger, subject: Subject, moment: Moment | None) -> str:
    """Return why the state at `moment` is not known: the table was not captured yet; else nothing."""
    if moment is None:
        return ""
    from flux import sql
    from flux.ledger.engine import literal

    query = sql.text("cli/known_since.sql").format(relation=literal(subject.relation.root))
    (first,) = reader.sql(query).to_pylist()
    if first["lsn"] is None:
        return ""
    before_lsn = moment.lsn is not None and moment.lsn < first["lsn"] - 1
    before_time = moment.time is not None and moment.time < first["at"]
    if not before_lsn and not before_time:
        return ""
    since = local_time(first["at"], local_zone())
    return f"what {subject.name} held then is not known: it is captured since {since}"


def not_there(reader: Ledger, subject: Subject, moment: Moment | None, source: str | None) -> NoAnswer:
    """Return the answer for a row that is not there at a moment: it was not yet, is gone, or never was."""
    name = subject.relation.root
    unknown = unknown_then(reader, subject, moment)
    if unknown:
        return NoAnswer(unknown)
    if not subject.key or not _mutations(reader.history(name, subject.key, limit=1, source=source)):
        return absent(reader, subject)
    state = "was not there then" if moment is not None else "is not there any more"
    return NoAnswer(
        f"{subject.title} {state}", hint=f"what happened to it: flux state history {subject.name} --id KEY"
    )


def no_key_given(reader: Ledger, subject: Subject) -> UsageError:
    """Return what to say when a question needs one row."""
    if not subject.relation.key:
        return UsageError(
            f"{subject.relation.root} has no key",
            why="who owns a value is known for rows that can be told apart",
            hint="flux state history shows its changes: --where COLUMN=VALUE",
        )
    names = ", ".join(subject.relation.key)
    keys = example_keys(reader, subject)
    return UsageError(
        "which row? --id is missing", hint=f"its key is ({names})" + (f", like {keys}" if keys else "")
    )


def follow(reader: Ledger, question: Question) -> Iterator[pa.Table]:
    """Yield all there is, then for ever what has come since: asks again whenever the ledger has changed.

    An attempt appears when its outcome is known, which may be after younger changes; so each
    answer is compared with all that was yielded, not only with its end.
    """
    from flux.ledger import catalog
    from flux.ledger.layout import Layout

    file = Layout(reader.path).catalog
    seen: set[tuple[Any, ...]] = set()
    known = -1
    while True:
        # Read before the question: what is committed between the two is asked for again.
        version = catalog.version(file)
        if version != known:
            known = version
            answer = question.ask(reader, limit=None)
            identities = _identities(answer)
            fresh = [identity not in seen for identity in identities]
            if any(fresh) or not seen:
                seen.update(identities)
                yield answer.filter(fresh)
        time.sleep(FOLLOW_INTERVAL_S)


def _identities(answer: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(answer.column(name).to_pylist() for name in _IDENTITY), strict=True))
