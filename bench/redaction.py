"""What redaction costs: a batch of 100,000 changes of ten columns, under rules of each kind.

.venv/bin/python bench/redaction.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from flux.model.batch import CHANGES, ROW
from flux.model.cipher import Cipher
from flux.model.redaction import read
from flux.model.relation import Column, Relation
from flux.redaction import Redactor
from flux.redaction.statements import edits

ROWS = 100_000
COLUMNS = ("id", "email", "name", "plan", "city", "note", "card", "amount", "at", "doc")
RULES: dict[str, list[dict[str, str]]] = {
    "a column of another table": [{"relation": "public.other", "column": "email", "action": "mask"}],
    "mask a column": [{"relation": "public.users", "column": "email", "action": "mask"}],
    "last4 a column": [{"relation": "public.users", "column": "card", "action": "last4"}],
    "drop a column": [{"relation": "public.users", "column": "email", "action": "drop"}],
    "hash a column, all values different": [
        {"relation": "public.users", "column": "email", "action": "hash"}
    ],
    "encrypt a column, all values different": [{"column": "email", "action": "encrypt"}],
    "hash the key": [{"column": "id", "action": "hash"}],
    "a pattern that is nowhere": [{"pattern": r"\b4\d{15}\b", "action": "mask"}],
    "a pattern in every row, mask": [{"pattern": r"\b5\d{15}\b", "action": "mask"}],
    "a pattern in every row, hash": [{"pattern": r"\b5\d{15}\b", "action": "hash"}],
    "a JSON path in every row": [{"json": "$.pin", "action": "mask"}],
}


def changes() -> pa.Table:
    """Return updates, every one with all of its columns."""
    number = np.arange(ROWS)
    values = [
        [
            *(f"{n}", f"user{n}@example.org", f"Name {n % 5000}", "pro", "Berlin", f"a note about {n}"),
            *(f"5{n:015d}", f"{n}.50", "2026-03-10 14:00:00+00", f'{{"pin": "{n}", "n": {n}}}'),
        ]
        for n in number.tolist()
    ]
    items = pa.array([each for row in values for each in row], pa.string())
    keys = pa.array(list(COLUMNS) * ROWS, pa.string())
    offsets = pa.array(np.arange(ROWS + 1, dtype=np.int32) * len(COLUMNS))
    filled = {
        "commit_lsn": pa.array(number.astype(np.uint64) + 100),
        "lsn": pa.array(number.astype(np.uint64) + 100),
        "relation": pa.array(["public.users"] * ROWS),
        "relation_id": pa.array(np.full(ROWS, 16384, np.uint32)),
        "key": pa.array([row[0] for row in values]),
        "op": pa.array(["update"] * ROWS),
        "after": pa.MapArray.from_arrays(offsets, keys, items).cast(ROW),
        "request_id": pa.array([f"r{n // 10}" for n in number.tolist()]),
    }
    return pa.table([filled.get(field.name, pa.nulls(ROWS, field.type)) for field in CHANGES], schema=CHANGES)


def least_s(run: Callable[[], object]) -> float:
    """Return the least time of a processor that one of three runs took."""
    took = []
    for _ in range(3):
        began = time.process_time()
        run()
        took.append(time.process_time() - began)
    return min(took)


def main() -> None:
    """Measure and print."""
    users = Relation(
        16384,
        "public.users",
        16384,
        "public.users",
        1,
        tuple(
            Column(name, "text", place + 1, name == "id", not_null=False)
            for place, name in enumerate(COLUMNS)
        ),
        ("id",),
        row_columns=COLUMNS,
    )
    rows = changes()
    for name, tables in RULES.items():
        policy = read(tables, origin="bench", cipher=Cipher(bytes(32)))
        redactor = Redactor(policy, [users])
        took = least_s(lambda redactor=redactor: redactor.changes(rows))  # type: ignore[misc]
        print(f"{name:40} {took * 1000:7.0f} ms")
    policy = read(RULES["mask a column"], origin="bench", cipher=None)
    redactor = Redactor(policy, [users])
    text = (
        "update users set name = 'n {0}', email = 'user{0}@example.org' where id = {0} and plan in ('a', 'b')"
    )
    texts = [text.format(n) for n in range(2000)]
    took = least_s(lambda: [list(edits(text, redactor.known, redactor.texts)) for text in texts])
    print(f"{'a statement with literals, each':40} {took / len(texts) * 1e6:7.0f} us")


if __name__ == "__main__":
    main()
