"""Generated workloads: whatever sessions do to whatever tables, folding gives what the tables hold."""

from __future__ import annotations

import itertools
import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from flux.capture import install
from flux.ledger import open_ledger
from oracle import check
from oracle.kept import Kept, check_kept
from oracle.recording import TABLES, Recording, Told
from oracle.script import Stage
from oracle.workload import Player, Workload, workloads
from servers import Database, on

LONG = os.environ.get("FLUX_ORACLE") == "long"
EXAMPLES = 1500 if LONG else 18
KEPT_EVERY = 6
"""One workload in so many is captured by the whole of Flux too."""
MOVES_MAX = 120 if LONG else 60

_serial = itertools.count(1)

pytestmark = [pytest.mark.property, pytest.mark.timeout(6 * 3600 if LONG else 300)]


@pytest.fixture
def stage(database: Database) -> Iterator[Stage]:
    with database.connect() as connection:
        install.init(connection, plugin="pgoutput")
    made = Stage(database)
    yield made
    made.close()


@on((15, "pgoutput"), (17, "pgoutput"), (18, "pgoutput"))
@settings(
    max_examples=EXAMPLES,
    derandomize=not LONG,
    database=None,
    deadline=None,
    print_blob=True,
    # Shrinking takes minutes: a failure here is shrunk by the long run.
    phases=[Phase.generate, Phase.shrink] if LONG else [Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(workload=workloads(MOVES_MAX))
def test_folding_gives_the_tables(stage: Stage, workload: Workload) -> None:
    number = next(_serial)
    with tempfile.TemporaryDirectory() as folder:
        play_and_check(stage, workload, number, Path(folder) if LONG or number % KEPT_EVERY == 0 else None)


def play_and_check(stage: Stage, workload: Workload, number: int, folder: Path | None = None) -> None:
    """Play in a schema of its own; with `folder`, capture it into a ledger too."""
    plugins = ("pgoutput", "wal2json") if stage.database.major == 15 else ("pgoutput",)
    player = Player(stage, f"w{number}", workload)
    recordings: list[Recording] = []
    kept = None
    try:
        player.set_up()
        recordings += [Recording(stage.database, plugin, f"w{number}_{plugin}") for plugin in plugins]  # type: ignore[arg-type]
        if folder is not None:
            kept = Kept(stage.database, plugins[-1], folder, slot=f"w{number}_ledger")
            kept.catch_up()
        played = player.play()
        told: list[Told] = []
        for recording in recordings:
            recording.catch_up()
            told.append(recording.decode())
            lossy = recording.plugin == "wal2json"
            check.check_whole(told[-1].changes, told[-1].contexts, told[-1].transactions)
            check.check_fold(
                played,
                told[-1].changes,
                told[-1].relations,
                lossy=lossy,
                resync=told[-1].resync | player.unseen,
            )
            check_outcomes(player, told[-1])
            cut = recording.decode(random.Random(number))
            for name in TABLES:
                assert getattr(cut, name) == getattr(told[-1], name), name
        if len(told) == 2:
            check.check_equal(*told)
        if kept is not None:
            kept.catch_up()
            stored = kept.read()
            changes = [{k: v for k, v in each.items() if k != "source"} for each in stored.streamed]
            assert sorted(changes, key=Told.order) == told[-1].changes
            unseen = frozenset(player.unseen)
            with open_ledger(kept.settings.ledger) as ledger:
                check_kept(played, stored, ledger, plugin=kept.plugin, unseen=unseen)
    finally:
        for recording in recordings:
            recording.drop()
        if kept is not None:
            kept.drop()
        player.close()


def check_outcomes(player: Player, told: Told) -> None:
    """As many rows of each outcome as the sessions were told they wrote."""
    left_out = player.uncounted
    found: Counter[tuple[int, str, str]] = Counter()
    for change in told.changes:
        if change["relation_id"] not in left_out:
            found[change["relation_id"], change["op"], change["outcome"]] += 1
    expected = Counter(
        {key: count for key, count in player.outcomes.items() if count and key[0] not in left_out}
    )
    for relation_id in player.unseen:
        for op in ("update", "delete"):
            expected.pop((relation_id, op, "committed"), None)
    assert found == expected
