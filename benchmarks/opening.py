"""How long a memory takes to open, and what the checks of an opened memory cost: this checkout against another one.

    python benchmarks/opening.py --entries 1000000 --against ../earlier-checkout

Makes a memory of short texts and random keys once (two minutes and 2 GB for a million), then opens it in processes of both
checkouts in turn, each some times warm. A table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

_OPEN = """
import json, sys, time
from memgpt_rag.memory import Memory
Memory.open(sys.argv[1])
times = []
for _ in range(int(sys.argv[2])):
    began = time.perf_counter()
    Memory.open(sys.argv[1])
    times.append(1000 * (time.perf_counter() - began))
print(json.dumps(times))
"""


def make(folder: Path, entries: int, dimension: int = 384) -> None:
    import numpy as np

    from memgpt_rag.fingerprint import EncoderFingerprint, encode_probe
    from memgpt_rag.memory import MemoryWriter
    from memgpt_rag.passage import Passage

    rng, block = np.random.default_rng(0), 8192
    probe = encode_probe(np.ones(dimension))
    encoder = EncoderFingerprint("random", dimension, True, "", "", 512, 0.2, probe, probe)
    with MemoryWriter(folder) as writer:
        for start in range(0, entries, block):
            numbers = range(start, min(start + block, entries))
            writer.add_values(
                [Passage(f"d#{n}", f"Fact {n} of many.", "", "d", "", "line", n, n, 0, 18) for n in numbers]
            )
        for passages in writer.value_blocks(block):
            keys = rng.standard_normal((len(passages), dimension), dtype=np.float32)
            writer.add_keys(keys / np.linalg.norm(keys, axis=1, keepdims=True))
        writer.commit(encoder, splitting={"tokenizer": "random", "max_tokens": 160}, job={"name": "build"})


def opened(checkout: Path, memory: Path, times: int) -> list[float]:
    """Milliseconds of each opening but the first, in a process of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, str(memory), str(times)],
        env=environment,
        cwd=checkout,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--against", type=Path, help="folder of another checkout")
    parser.add_argument("--turns", type=int, default=5, help="processes of each checkout")
    parser.add_argument("--times", type=int, default=20, help="openings in a process")
    options = parser.parse_args()
    checkouts = {"this": ROOT} | ({} if options.against is None else {"other": options.against.resolve()})
    found: dict[str, list[float]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "memory", options.entries)
        for _ in range(options.turns):
            for name, checkout in checkouts.items():
                found[name].append(statistics.median(opened(checkout, Path(folder) / "memory", options.times)))
    print(f"{'checkout':<10}{'median ms':>10}{'least':>8}{'most':>8}   of {options.turns} processes")
    for name, medians in found.items():
        print(f"{name:<10}{statistics.median(medians):>10.2f}{min(medians):>8.2f}{max(medians):>8.2f}")
    result = {"entries": options.entries, **{name: statistics.median(medians) for name, medians in found.items()}}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
