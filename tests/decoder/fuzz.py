"""`make fuzz`: inputs of `decoder.target`, changed so that they reach more and more of the decoder's code.

    python tests/decoder/fuzz.py FOLDER MINUTES

Atheris (libFuzzer) keeps what reaches code that nothing reached before, in FOLDER/corpus; it begins with
the streams that `decoder.recorded` left in FOLDER/streams and with tests/decoder/seeds. What fails is left
as FOLDER/found-…, ends the run, and belongs, once mended, in tests/decoder/seeds, which `make test` replays.
"""

from __future__ import annotations

import multiprocessing
import random
import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["flux.decoder"]):
    from decoder import target

from decoder.damage import CPU_S_MAX, MEMORY_BYTES_MAX, bounded, damage, damage_bytes, pack, unpack

SEEDS = Path(__file__).parent / "seeds"

INPUT_BYTES_MAX = 256 << 10
SLICE_S = 300
"""Atheris 3.0 grows by some 40 KB an input, 2 MB a second: its process is begun anew."""


def one(data: bytes) -> None:
    """Feed one input, within the bounds."""
    with bounded(CPU_S_MAX, MEMORY_BYTES_MAX):
        target.run(data)


def mutate(data: bytes, size_max: int, seed: int) -> bytes:
    """Change an input: as libFuzzer would, or by what a stream is made of."""
    chance = random.Random(seed)
    if len(data) < 3 or chance.random() < 0.1:
        return bytes(atheris.Mutate(data, size_max))
    head, rest = data[:1], data[1:]
    for _ in range(chance.randint(1, 3)):
        if head[0] % 6 < 2:
            rest = pack(damage(unpack(rest), chance))
        else:
            rest = rest[:1] + damage_bytes(rest[1:], chance)
    return (head + rest)[:size_max]


def fuzz(folder: Path, seconds: float) -> None:
    """Run for so long; never returns: exits with 0, or with another code at the first failure."""
    atheris.Setup(
        [
            *(sys.argv[0], str(folder / "corpus"), str(folder / "streams"), str(SEEDS)),
            f"-max_total_time={seconds:.0f}",
            f"-max_len={INPUT_BYTES_MAX}",
            f"-artifact_prefix={folder}/found-",
            "-timeout=60",
            "-rss_limit_mb=0",  # the bounds above are for one input
        ],
        one,
        custom_mutator=mutate,
    )
    atheris.Fuzz()


def main(folder: Path, minutes: float) -> None:
    """Run slices until the time is over or one of them fails."""
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + minutes * 60
    while (left := end - time.monotonic()) > 1:
        process = multiprocessing.get_context("spawn").Process(target=fuzz, args=(folder, min(left, SLICE_S)))
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(f"found: the newest {folder}/found-…, and why above")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
