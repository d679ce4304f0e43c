"""What must hold of whatever was told about a played case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from oracle import fold
from oracle.fold import Change, FoldedTable
from oracle.recording import Told
from oracle.script import Played
from oracle.truth import Rows, Table, without_special


def line_of(change: Change) -> str:
    """Return a change as the expectations of a case write it.

    `table op key`, then as far as it is so: `old_key=…`, `unchanged=a,b`, the outcome if it is not
    committed, `req=…`.
    """
    parts = [
        change["relation"].partition(".")[2],
        change["op"],
        change["key"] if change["key"] is not None else "-",
    ]
    if change["old_key"] is not None:
        parts.append(f"old_key={change['old_key']}")
    if change["unchanged"]:
        parts.append("unchanged=" + ",".join(change["unchanged"]))
    if change["outcome"] != "committed":
        parts.append(change["outcome"])
    if change["request_id"] is not None:
        parts.append(f"req={change['request_id']}")
    return " ".join(parts)


def check_fold(
    played: Played,
    changes: Iterable[Change],
    relations: Iterable[Change],
    *,
    lossy: bool,
    resync: Mapping[int, int] | set[int],
) -> None:
    """Fold the changes of a case and hold every checkpoint against them."""
    case = played.case
    relations = list(relations)
    ordered = fold.committed(changes)
    first = played.checkpoints[0]
    for relation_id in {each for checkpoint in played.checkpoints for each in checkpoint.tables}:
        if relation_id in resync or relation_id not in first.tables:
            continue
        if first.tables[relation_id].relation.partition(".")[2] in case.unseen:
            continue
        folded = FoldedTable(relation_id, fold.versions_of(relations, relation_id))
        folded.begin(first.tables[relation_id], first.lsn)
        mine = [change for change in ordered if change["relation_id"] == relation_id]
        place = 0
        for checkpoint in played.checkpoints:
            while place < len(mine) and mine[place]["commit_lsn"] < checkpoint.lsn:
                folded.apply(mine[place])
                place += 1
            table = checkpoint.tables.get(relation_id)
            if table is None:
                continue
            folded.reshape(checkpoint.lsn)
            compare(
                folded.rows(),
                table,
                lossy=lossy,
                what=f"{case.name}: {table.relation} after {checkpoint.after!r}",
            )
        assert place == len(mine), f"{case.name}: changes after the end"


def compare(found: Rows, table: Table, *, lossy: bool, what: str) -> None:
    """Hold folded rows against the truth."""
    expected = table.rows
    if lossy:
        found, expected = without_special(found, table.lossy), without_special(expected, table.lossy)
    if found != expected:
        surplus, lacking = found - expected, expected - found
        raise AssertionError(
            f"{what}:\n  only folded: {_shown(surplus)}\n  only in the table: {_shown(lacking)}"
        )


def _shown(rows: Rows) -> str:
    return repr(
        [
            (key, {n: v if v is None or len(v) < 80 else v[:77] + "…" for n, v in items})
            for key, items in list(rows)[:3]
        ]
    )


def check_expected(played: Played, changes: Iterable[Change]) -> None:
    """Hold the changes of a case, the rolled-back ones included, against what it says."""
    if played.case.expect is None:
        return
    # The log position orders committed changes and attempts alike.
    found = [line_of(change) for change in sorted(changes, key=lambda c: int(c["lsn"]))]
    expected = [line.strip() for line in played.case.expect.strip().splitlines()]
    assert found == expected, f"{played.case.name}:\n" + "\n".join(_difference(expected, found))


def _difference(expected: list[str], found: list[str]) -> list[str]:
    import difflib

    return list(difflib.unified_diff(expected, found, "expected", "found", lineterm="", n=2))


def check_whole(
    changes: list[Change],
    contexts: list[Change],
    transactions: list[Change],
    bare: Collection[str] = (),
) -> None:
    """Check what must hold of every stream: identities are unique, ordinals dense, references whole.

    `bare` are relations without a tag's trigger: their changes may be nobody's.
    """
    done = fold.committed(changes)
    identity = Counter((change["commit_lsn"], change["seq"]) for change in done)
    assert not [each for each, count in identity.items() if count > 1], "(commit_lsn, seq) twice"
    per_commit: dict[int, list[Change]] = {}
    for change in done:
        per_commit.setdefault(change["commit_lsn"], []).append(change)
    told = {each["commit_lsn"]: each for each in transactions if each["outcome"] == "committed"}
    assert told.keys() == per_commit.keys(), "transactions and their changes differ"
    for commit_lsn, mine in per_commit.items():
        assert [change["seq"] for change in mine] == list(range(len(mine))), "ordinals are not dense"
        row = told[commit_lsn]
        assert row["change_count"] == len(mine)
        assert {change["xid"] for change in mine} == {row["xid"]}
        assert {change["at"] for change in mine} == {row["at"]}
        requests = {change["request_id"] for change in mine} - {None}
        assert sorted(row["request_ids"] or ()) == sorted(requests), (row["request_ids"], requests)
    known = {context["context_id"]: context for context in contexts}
    assert len(known) == len(contexts), "a context twice"
    for change in changes:
        if change["context_id"] is None and change["relation"] in bare:
            assert change["request_id"] is None
            continue
        assert change["context_id"] is not None, f"a change without context: {line_of(change)}"
        context = known[change["context_id"]]
        assert context["xid"] == change["xid"], line_of(change)
        assert (context["request_id"], context["actor"]) == (change["request_id"], change["actor"])
    attempts = Counter(
        (change["xid"], change["seq"]) for change in changes if change["outcome"] != "committed"
    )
    assert not [each for each, count in attempts.items() if count > 1], "(xid, seq) of an attempt twice"


def check_equal(pgoutput: Told, wal2json: Told) -> None:
    """Both plugins say the same of the same log.

    But that wal2json before 2.6 has null for special numbers.
    """
    for mine, its in zip(pgoutput.changes, wal2json.changes, strict=False):
        what = line_of(mine)
        for field, value in mine.items():
            if field in ("before", "after") and value is not None and its[field] is not None:
                assert value.keys() == its[field].keys(), (field, what)
                for column in value:
                    assert fold.same(value[column], its[field][column]), (field, column, what)
            else:
                assert value == its[field], (field, what, value, its[field])
    assert len(pgoutput.changes) == len(wal2json.changes)
    assert pgoutput.contexts == wal2json.contexts
    told = [[{**each, "origin": None} for each in told.transactions] for told in (pgoutput, wal2json)]
    assert told[0] == told[1]
    assert pgoutput.ddl == wal2json.ddl
    assert pgoutput.resync == wal2json.resync


def schema_of(change: Mapping[str, Any]) -> str:
    """Return the schema that a change's relation was in."""
    return str(change["relation"]).partition(".")[0]
