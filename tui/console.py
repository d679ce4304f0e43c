"""SQL: a read-only console over the ledger, with completion, history, and its answers as a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
from textual.binding import Binding, BindingType
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input

from flux import sql
from flux.tui.actions import KEY_NAMES, bindings
from flux.tui.grid import Grid
from flux.tui.view import View

if TYPE_CHECKING:
    from flux.ledger import Ledger

ROWS_MAX = 100_000
"""Rows of an answer that are kept in memory."""
_WORD = re.compile(r"[\w.]+$")
_KEYWORDS = (
    "select", "from", "where", "group by", "order by", "limit", "join", "having", "distinct", "count(*)",
    "describe", "summarize", "and", "not", "between", "is null", "union all", "with", "desc",
)  # fmt: skip


class _Completion(Suggester):
    """Completes the last word of a query."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self.words: list[str] = list(_KEYWORDS)

    async def get_suggestion(self, value: str) -> str | None:
        """Return the query with its last word whole; → takes it."""
        found = _WORD.search(value)
        if found is None:
            return None
        begun = found[0].lower()
        for word in self.words:
            if word.lower().startswith(begun) and len(word) > len(begun):
                return value[: found.start()] + found[0] + word[len(begun) :]
        return None


class _Query(Input):
    """The query, with the history on ↑ and ↓."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Run", key_display="Enter"),
        Binding("right", "cursor_right", "Complete", key_display="→"),
        Binding("up", "older", "Older", key_display="↑"),
        Binding("down", "newer", "Newer", key_display="↓"),
        Binding("escape", "to_answer", "To the answer", key_display="Esc"),
    ]

    def __init__(self, completion: _Completion, queries: Sequence[str]) -> None:
        super().__init__(placeholder="select …", suggester=completion, id="query")
        self.queries = queries
        self._place = 0

    def action_older(self) -> None:
        """Show the query before."""
        self._recall(self._place + 1)

    def action_newer(self) -> None:
        """Show the next query."""
        self._recall(self._place - 1)

    def _recall(self, place: int) -> None:
        if 0 <= place <= len(self.queries):
            self._place = place
            self.value = self.queries[-place] if place else ""
            self.cursor_position = len(self.value)

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Tell that `?` and the like are typed here as well: the footer then does not offer them."""
        del character
        typed = KEY_NAMES.get(key, key)
        return len(typed) == 1 and typed not in "→↑↓"

    def rewind(self) -> None:
        """Begin the history at its end again."""
        self._place = 0

    def action_to_answer(self) -> None:
        """Leave the line for the answer, where keys are keys again; without one leave the console."""
        view = self.screen
        if not isinstance(view, Console):
            return
        answer = view.query_one("#answer", Grid)
        if answer.table is not None:
            answer.focus_table()
        else:
            view.browser.call_later(view.browser.run_action, "back")


class Console(View):
    """The console."""

    place = "sql"
    about = (
        "Type a query, Enter runs it; → completes, ↑ and ↓ go through the history, Esc goes to the answer."
    )
    BINDINGS = bindings(place)

    def __init__(self) -> None:
        super().__init__()
        self.asked = ""
        self.answer: pa.Table | None = None
        self._completion = _Completion()

    @property
    def crumb(self) -> str:
        """`SQL`."""
        return "SQL"

    def panes(self) -> Iterable[Widget]:
        """Return the line and the answer."""
        yield _Query(self._completion, self.browser.layout_kept.queries)
        yield Grid(
            "Answer",
            "The answer, as a table. Enter on the line above runs it again.",
            self.browser.zone,
            id="answer",
        )

    def load(self) -> None:
        """Ask for the names that complete, and again for what was asked."""

        def names(ledger: Ledger) -> list[str]:
            found = ledger.sql(sql.text("tui/words.sql"))
            return [str(word) for word in found.column(0).to_pylist()]

        self.ask(names, self._complete, name="names")
        if self.asked:
            self._run()

    def _complete(self, words: list[str]) -> None:
        self._completion.words = [*words, *_KEYWORDS]

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Run the query."""
        if not event.value.strip():
            return
        self.asked = event.value
        self.browser.layout_kept.remember_query(event.value)
        line = self.query_one(_Query)
        line.queries = self.browser.layout_kept.queries
        line.rewind()
        self.show_trouble(None)
        self._run()

    def _run(self) -> None:
        query = self.asked
        self.query_one("#answer", Grid).border_title = "Answer: …"
        self.ask(lambda ledger: ledger.sql(query), self._show)

    def _show(self, answer: pa.Table) -> None:
        self.answer = answer.slice(0, ROWS_MAX)
        self.begin(partial(self._draw, answer), "draw")

    async def _draw(self, answer: pa.Table) -> None:
        grid = self.query_one("#answer", Grid)
        noun = "row" if answer.num_rows == 1 else "rows"
        cut = f", the first {ROWS_MAX:,} are shown" if answer.num_rows > ROWS_MAX else ""
        grid.border_title = f"Answer: {answer.num_rows:,} {noun}{cut}"
        await grid.show(answer.slice(0, ROWS_MAX))

    def action_search(self) -> None:
        """Go to the line: a question is how one searches here."""
        self.query_one("#query").focus()

    def words(self) -> Sequence[str]:
        """Return `sql`."""
        return ["sql", *([self.asked] if self.asked else [])]

    def document(self) -> Any:
        """Return the rows."""
        return self.answer.to_pylist() if self.answer is not None else []

    def text(self) -> str:
        """Return the rows."""
        return self.query_one("#answer", Grid).plain()
