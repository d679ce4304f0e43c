"""The process that `bench/tui.py` measures: the browser, and nothing else that would weigh in it.

python bench/tui_browsing.py LEDGER KEYS BEGAN
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from datetime import UTC
from pathlib import Path

SIZE = (120, 40)


async def browse(ledger: Path, keys: int, began: float) -> dict[str, object]:
    """Start the browser in this process, press keys, and return what it took since `began`."""
    from flux.tui.app import Browser

    app = Browser(ledger, zone=UTC, state=ledger.parent / "state.json")
    times: list[float] = []
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        painted_s = time.time() - began
        await app.workers.wait_for_complete()
        await pilot.pause()
        answered_s = time.time() - began
        await pilot.press("2")
        await app.workers.wait_for_complete()
        for nth in range(keys):
            start = time.perf_counter()
            await pilot.press("k" if nth % 10 == 9 else "j")
            times.append((time.perf_counter() - start) * 1000)
        await app.workers.wait_for_complete()
    return {"first_paint_s": painted_s, "answered_s": answered_s, "key_ms": times, "peak_mib": peak_mib()}


def peak_mib() -> float:
    """Return the largest resident set; not `getrusage`, which begins with that of the parent."""
    (found,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(found) / 1024


if __name__ == "__main__":
    place, count, start = sys.argv[1:]
    print(json.dumps(asyncio.run(browse(Path(place), int(count), float(start)))))
