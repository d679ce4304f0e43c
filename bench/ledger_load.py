"""A ledger of generated changes, written through the Writer as capture would.

    python bench/ledger_load.py PATH [CHANGES] [ROWS]

Shop-like: `public.orders` (10 columns, one of them large and rarely sent) and `public.users`;
ten changes a transaction, every hundredth transaction is rolled back.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from flux.ledger import Writer, create_ledger
from flux.ledger.shapes import relations_table
from flux.model.batch import CHANGES, CONTEXTS, DDL, TRANSACTIONS, Batch, Position
from flux.model.relation import Column, Relation

COLUMNS = ("id", "user_id", "status", "total", "currency", "note", "created_at", "updated_at", "city", "doc")
START_US = 1_763_715_600_000_000
BATCH_CHANGES = 20_000


def orders() -> Relation:
    columns = tuple(
        Column(
            name, "bigint" if name in {"id", "user_id"} else "text", number + 1, name == "id", name == "id"
        )
        for number, name in enumerate(COLUMNS)
    )
    return Relation(16400, "public.orders", 16400, "public.orders", 1, columns, ("id",), "d", COLUMNS)


def batch(number: int, count: int, row_count: int, draw: np.random.Generator) -> Batch:
    index = np.arange(number * count, (number + 1) * count)
    transaction = index // 10
    aborted = transaction % 100 == 99
    commit_lsn = (transaction + 1) * 2000
    lsn = (transaction * 2000) + (index % 10) * 100 + 100
    first = index < row_count
    key = np.where(first, index, draw.integers(0, row_count, count)).astype(str)
    status = draw.choice(np.array(["new", "paid", "sent", "done", "failed"]), count)
    stamp = (START_US + transaction * 10_000).astype(str)
    values = {
        "id": key,
        "user_id": draw.integers(0, 10_000, count).astype(str),
        "status": status,
        "total": draw.integers(1, 100_000, count).astype(str),
        "currency": np.full(count, "EUR"),
        "note": np.char.add("note ", stamp),
        "created_at": stamp,
        "updated_at": stamp,
        "city": draw.choice(np.array(["Rome", "Oslo", "Lima"]), count),
        "doc": np.char.add("d" * 200, key),
    }
    keep = np.ones((count, len(COLUMNS)), bool)
    keep[:, -1] = first
    flat = np.stack([values[name].astype(object) for name in COLUMNS], axis=1)[keep]
    names = np.broadcast_to(np.array(COLUMNS, object), (count, len(COLUMNS)))[keep]
    offsets = np.concatenate([[0], np.cumsum(keep.sum(axis=1))])
    after = pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(names), pa.array(flat))
    unchanged = pa.array([[] if one else ["doc"] for one in first], pa.list_(pa.string()))
    request = np.char.add("req-", transaction.astype(str))
    at = pa.array(START_US + transaction * 10_000, pa.timestamp("us", tz="UTC"))

    def text(value: str) -> pa.Array:
        return pa.array(np.full(count, value, object), pa.string())

    changes = pa.table(
        {
            "commit_lsn": pa.array(commit_lsn, pa.uint64(), mask=aborted),
            "lsn": pa.array(lsn, pa.uint64()),
            "seq": pa.array(index % 10, pa.uint64()),
            "xid": pa.array(transaction + 700, pa.uint64()),
            "subxid": pa.nulls(count, pa.uint64()),
            "at": at,
            "relation": text("public.orders"),
            "relation_id": pa.array(np.full(count, 16400), pa.uint32()),
            "key": pa.array(key.astype(object)),
            "old_key": pa.nulls(count, pa.string()),
            "op": pa.array(np.where(first, "insert", "update").astype(object)),
            "before": pa.nulls(count, CHANGES.field("before").type),
            "after": after,
            "unchanged": unchanged,
            "outcome": pa.array(np.where(aborted, "rolled_back", "committed").astype(object)),
            "request_id": pa.array(request.astype(object)),
            "actor": text("anna"),
            "context_id": pa.array(transaction * 2000 + 50, pa.uint64()),
        },
        schema=CHANGES,
    )
    ones = np.unique(transaction)
    contexts = pa.Table.from_pylist(
        [
            {
                "context_id": int(one) * 2000 + 50,
                "xid": int(one) + 700,
                "lsn": int(one) * 2000 + 50,
                "request_id": f"req-{one}",
                "actor": "anna",
                "attributes": [("route", "/checkout")],
                "application_name": "shop",
                "db_user": "app",
                "client_addr": "10.0.0.7",
                "backend_pid": 4711,
                "statement": "update orders set status = $1, updated_at = now() where id = $2",
            }
            for one in ones
        ],
        schema=CONTEXTS,
    )
    transactions = pa.Table.from_pylist(
        [
            {
                "xid": int(one) + 700,
                "commit_lsn": (int(one) + 1) * 2000,
                "end_lsn": (int(one) + 1) * 2000 + 60,
                "at": START_US + int(one) * 10_000,
                "outcome": "committed",
                "change_count": 10,
                "request_ids": [f"req-{one}"],
                "origin": None,
            }
            for one in ones
            if one % 100 != 99
        ],
        schema=TRANSACTIONS,
    )
    last = int(ones[-1])
    return Batch(
        changes,
        contexts,
        transactions,
        relations_table([orders()] if number == 0 else []),
        pa.Table.from_pylist([], schema=DDL),
        Position((last + 1) * 2000, (last + 1) * 2000 + 60, START_US + last * 10_000),
        0,
    )


def fill(path: Path, total: int, row_count: int) -> dict[str, float]:
    """Make a ledger of `total` changes to `row_count` rows; return the seconds of writing and of upkeep."""
    create_ledger(path)
    draw = np.random.default_rng(1)
    spent = {"write": 0.0, "maintain": 0.0}
    with Writer.open(path, source="shop") as writer:
        for number in range(total // BATCH_CHANGES):
            one = batch(number, BATCH_CHANGES, row_count, draw)
            start = time.perf_counter()
            writer.append(one)
            writer.commit(slot="s", system_identifier="1", timeline=1)
            middle = time.perf_counter()
            writer.maintain(wait=True)
            spent["write"] += middle - start
            spent["maintain"] += time.perf_counter() - middle
    return spent


def main() -> None:
    total = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    row_count = int(sys.argv[3]) if len(sys.argv) > 3 else total // 10
    spent = fill(Path(sys.argv[1]), total, row_count)
    print(f"{total:,} changes: written in {spent['write']:.1f} s, compacted in {spent['maintain']:.1f} s")


if __name__ == "__main__":
    main()
