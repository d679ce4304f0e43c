"""Load for the shop: so many connections, each asking again as soon as it is answered.

    python bench/recorder_load.py PORT SECONDS CONNECTIONS

Three of ten requests write a row. Prints a JSON document: requests answered, how many of them not with 200,
and the seconds that each took.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

USERS = 1_000


def message(draw: random.Random) -> bytes:
    """Return a request."""
    user = 100 + draw.randrange(USERS)
    if draw.random() < 0.7:
        return f"GET /users/{user} HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer s3cret\r\n\r\n".encode()
    body = json.dumps({"name": "x" * 200})
    head = f"POST /users/{user}/profile HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json"
    return f"{head}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


async def ask(port: int, until: float, seed: int, took: list[float], other: list[int]) -> None:
    """Ask on one connection."""
    draw = random.Random(seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        start = time.perf_counter()
        writer.write(message(draw))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        took.append(time.perf_counter() - start)
        if not head.startswith(b"HTTP/1.1 200"):
            other.append(1)
    writer.close()


async def main(port: int, seconds: float, connections: int) -> None:
    took: list[float] = []
    other: list[int] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*(ask(port, until, seed, took, other) for seed in range(connections)))
    print(json.dumps({"count": len(took), "other": len(other), "seconds": took}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
