"""The table of actions holds: each is done by somebody, keys do not collide, docs/tui.md lists them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from flux.tui.actions import ACTIONS, EVERYWHERE, GRIDS, LISTS, TIMELINE, Action
from flux.tui.app import Browser
from flux.tui.capture import Capture
from flux.tui.console import Console
from flux.tui.diff import Diff
from flux.tui.exchange import Exchange
from flux.tui.grid import _Table
from flux.tui.incidents import Incident, Incidents
from flux.tui.listing import Listing
from flux.tui.reference import table
from flux.tui.request import Request
from flux.tui.requests import Requests
from flux.tui.row import Row
from flux.tui.table import Table, Tables
from flux.tui.timeline import Timeline

DOCUMENT = Path(__file__).parents[2] / "docs" / "tui.md"
VIEWS = (Incidents, Incident, Requests, Request, Exchange, Row, Tables, Table, Diff, Console, Capture)
PLACES: dict[str, tuple[type, ...]] = {view.place: (view,) for view in VIEWS} | {
    EVERYWHERE: (Browser,),
    LISTS: (Listing, _Table),
    GRIDS: (_Table,),
    TIMELINE: (Timeline,),
}


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: str(action.id))
def test_each_action_is_done_where_it_stands(action: Action) -> None:
    name = action.id.partition("(")[0]
    for where in action.where:
        for owner in PLACES[where]:
            assert hasattr(owner, f"action_{name}"), f"{owner.__name__}.action_{name}"


@pytest.mark.parametrize("view", [view.place for view in VIEWS])
@pytest.mark.parametrize("pane", [{LISTS, GRIDS}, {TIMELINE}], ids=["lists", "timeline"])
def test_no_key_means_two_things(view: str, pane: set[str]) -> None:
    seen = Counter(
        key for action in ACTIONS if {view, EVERYWHERE, *pane} & set(action.where) for key in action.keys
    )
    assert not [key for key, count in seen.items() if count > 1]


def test_the_document_has_the_table() -> None:
    assert table() in DOCUMENT.read_text(encoding="utf-8"), "make it anew: make docs"
