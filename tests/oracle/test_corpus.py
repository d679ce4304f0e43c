"""Every phenomenon, on every server and with every plugin: folding what the decoder says gives the tables."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Literal

import pytest

from flux.capture import install
from flux.ledger import open_ledger
from oracle import check, corpus
from oracle.kept import SOURCE, Kept, check_kept
from oracle.recording import TABLES, Recording, Told
from oracle.script import Played, Stage
from servers import Database

Plugin = Literal["pgoutput", "wal2json"]

LONG = os.environ.get("FLUX_ORACLE") == "long"
CASES = [
    ((major, "pgoutput"), family)
    for turn, family in enumerate(corpus.FAMILIES)
    for major in (15, 16, 17, 18)
    if LONG or major not in {16, 17} or major % 2 == turn % 2
]
"""On 15 wal2json reads the same database at the same time. 16 and 17 take turns unless there is time for all."""

KEPT = (15, 18) if LONG else (15,)
"""There the whole of Flux captures it too: wal2json on 15, pgoutput on 18 (in the workloads always)."""


def plugins_of(database: Database) -> tuple[Plugin, ...]:
    return ("pgoutput", "wal2json") if database.major == 15 else ("pgoutput",)


@pytest.mark.parametrize(
    ("database", "family"),
    CASES,
    indirect=["database"],
    ids=[f"{family}-{major}-{plugin}" for (major, plugin), family in CASES],
)
def test_folding_gives_the_tables(
    database: Database, family: str, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    cases = [case for case in corpus.cases(family) if database.major in case.majors]
    stage = Stage(database)
    with database.connect() as connection:
        for plugin in plugins_of(database):
            install.init(connection, plugin=plugin)
    recordings: dict[Plugin, Recording] = {}
    try:
        for case in cases:
            stage.set_up(case)
        for plugin in plugins_of(database):
            recordings[plugin] = Recording(database, plugin, f"oracle_{plugin}")
        kept = None
        if database.major in KEPT:
            kept = Kept(database, plugins_of(database)[-1], tmp_path)
            kept.catch_up()
        played = [stage.play(case) for case in cases]
        told: dict[Plugin, Told] = {}
        for plugin, recording in recordings.items():
            recording.catch_up()
            told[plugin] = recording.decode()
            for each in played:
                if plugin not in each.case.plugins:
                    continue
                with subtests.test(plugin=plugin, case=each.case.name):
                    check_case(each, told[plugin], plugin)
            with subtests.test(plugin=plugin, check="whole"):
                bare = [
                    f"{case.name}.{name}" for case in cases if not case.tag_trigger for name in case.track
                ]
                mine = told[plugin]
                check.check_whole(mine.changes, mine.contexts, mine.transactions, bare)
                assert told[plugin].open_attempts == 0
                assert min(each["lsn"] for each in told[plugin].relations) >= recording.start_lsn
            with subtests.test(plugin=plugin, check="cut anyhow"):
                check_cuts(recording, told[plugin], f"{family} {database.major}")
        if len(told) == 2:
            with subtests.test(check="both plugins say the same"):
                check.check_equal(told["pgoutput"], told["wal2json"])
        if kept is not None:
            kept.catch_up()
            check_ledger(kept, played, told[plugins_of(database)[-1]], subtests)
    finally:
        for recording in recordings.values():
            recording.close()
        stage.close()


def check_case(played: Played, told: Told, plugin: Plugin) -> None:
    case = played.case
    mine = {each for checkpoint in played.checkpoints for each in checkpoint.tables}
    changes = [
        change
        for change in told.changes
        if change["relation_id"] in mine or check.schema_of(change) == case.name
    ]
    check.check_expected(played, changes)
    check.check_fold(played, changes, told.relations, lossy=plugin == "wal2json", resync=told.resync)


def check_ledger(kept: Kept, played: list[Played], told: Told, subtests: pytest.Subtests) -> None:
    stored = kept.read()
    with subtests.test(check="the ledger holds what was decoded"):
        streamed = sorted(stored.streamed, key=told.order)
        for change in streamed:
            assert change.pop("source") == SOURCE
        assert streamed == told.changes
    with open_ledger(kept.settings.ledger) as ledger:
        for case in played:
            with subtests.test(ledger=kept.plugin, case=case.case.name):
                check_kept(case, stored, ledger, plugin=kept.plugin)


def check_cuts(recording: Recording, whole: Told, seed: str) -> None:
    """However the messages are cut into runs, the same comes out."""
    cut = recording.decode(random.Random(seed))
    for name in TABLES:
        assert getattr(cut, name) == getattr(whole, name), f"{name} differ"
    assert cut.resync == whole.resync
