"""How does a memory grow: time, memory and disk of a build, and of searches, against what `memgpt-index plan` said before?

    python benchmarks/growth.py                              10,000 and 100,000 entries (10 minutes)
    python benchmarks/growth.py --entries 1000000            (an hour)

Records are made up of made-up words, about forty each, and embedded as the mean of static vectors of their tokens, so that
reading, cutting, writing and indexing are the load. Each step runs in a process of its own, on one thread. Memory is what is
no file's: keys and values are mapped, and the system takes back their pages when it needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from static_encoder import make_static_encoder

from indexing.engines.base import SplitterRecipe
from indexing.engines.local import LocalEngine
from indexing.jobs.build_memory import NewMemory, PassageStream, build_memory
from indexing.jobs.choose_index import index_memory
from indexing.planning.forecast import Constraints, anonymous_bytes, forecast
from indexing.planning.plan import plan_memory
from indexing.sources.find_files import find_files
from indexing.sources.read_options import ReadOptions
from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.memory import Memory
from memgpt_rag.memory.dense.faiss_index import one_thread

SYLLABLES = ["ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "wo", "zu", "chen", "dor"]


def write_records(path: Path, count: int) -> None:
    """Each about one of some hundred topics, with words of its own."""
    rng = np.random.default_rng(0)
    words = np.array(["".join(rng.choice(SYLLABLES, rng.integers(2, 5))) for _ in range(20_000)])
    with path.open("w") as file:
        for number in range(count):
            topic = 200 * (number * 7919 % 97)
            chosen = np.concatenate([topic + rng.integers(0, 200, 20), rng.integers(0, len(words), 20)])
            file.write(json.dumps({"id": str(number), "text": " ".join(words[rng.permutation(chosen)]) + "."}) + "\n")


def make_engine(encoder: str) -> LocalEngine:
    loaded = load_encoder(EncoderConfig(encoder))
    return LocalEngine(loaded, SplitterRecipe(None, 160)(lambda: loaded))


def plan(source: Path, encoder: str, recall: float) -> dict[str, float | str]:
    engine = make_engine(encoder)
    planned = plan_memory(PassageStream(find_files([source]), engine, ReadOptions()), dimension=384)
    expected = forecast(planned, engine.encoder, {}, Constraints(recall=recall))
    return {
        "seconds": expected.seconds - expected.index.seconds,
        "index_seconds": expected.index.seconds,
        "peak_mb": expected.peak_bytes / 1e6,
        "disk_mb": expected.disk_with(None) / 1e6,
        "exact_ms": expected.exact_milliseconds,
        "index": expected.index.kind,
        "index_ms": expected.index.milliseconds,
    }


def build(source: Path, encoder: str, folder: Path, recall: float) -> dict[str, float | str]:
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], anonymous_bytes())

    watching = threading.Thread(target=watch)
    watching.start()
    new = NewMemory(lexical=True)  # as by default on the command line
    report = build_memory(find_files([source]), folder, make_engine(encoder), tokenizer_name=encoder, new=new)
    began = time.perf_counter()
    with one_thread():
        (choice,) = index_memory(folder, recall=recall).values()
    seconds = time.perf_counter() - began
    done.set()
    watching.join()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "seconds": report.seconds,
        "index_seconds": seconds,
        "peak_mb": peak[0] / 1e6,
        "disk_mb": size / 1e6,
        "index": "exact" if choice.index is None else choice.index.settings.factory,
        "recall": choice.recall,
    }


def search(folder: Path) -> dict[str, float]:
    opened = []
    for _ in range(9):
        began = time.perf_counter()
        memory = Memory.open(folder)
        opened.append(time.perf_counter() - began)
    rows = np.random.default_rng(1).permutation(memory.num_rows)[:60]
    queries = memory.keys(rows)
    with one_thread():
        times = {name: [] for name in ("exact_ms", "index_ms")}
        for name, exact in (("exact_ms", True), ("index_ms", False)):
            for query in queries:
                began = time.perf_counter()
                found = memory.search(query[None], 10, exact=exact)
                times[name].append(time.perf_counter() - began)
                assert len(set(found.rows[0])) == 10
    return {"open_ms": 1000 * statistics.median(opened)} | {
        name: 1000 * statistics.median(item[10:]) for name, item in times.items()
    }


def in_process(*arguments: object) -> dict[str, float | str]:
    command = [sys.executable, __file__, "--step", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measure(count: int, encoder: str, folder: Path, recall: float) -> dict[str, object]:
    source, memory = folder / "records.jsonl", folder / "memory"
    write_records(source, count)
    expected = in_process("plan", source, encoder, recall)
    actual = in_process("build", source, encoder, memory, recall) | in_process("search", memory)
    ratios = {
        name: round(expected[name] / actual[name], 3) for name in expected if isinstance(actual[name], float | int)
    }
    return {"entries": count, "plan": expected, "actual": actual, "plan_over_actual": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--recall", type=float, default=0.98)
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        step, *given = arguments.step
        steps = {
            "plan": lambda source, encoder, recall: plan(Path(source), encoder, float(recall)),
            "build": lambda source, encoder, folder, recall: build(Path(source), encoder, Path(folder), float(recall)),
            "search": lambda folder: search(Path(folder)),
        }
        print(json.dumps(steps[step](*given)))
        return
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        encoder = Path(scratch) / "static"
        write_records(Path(scratch) / "some.jsonl", 2000)
        texts = [json.loads(line)["text"] for line in (Path(scratch) / "some.jsonl").read_text().splitlines()]
        with get_context("spawn").Pool(1) as pool:  # in a process of its own, which gives back what it took
            pool.apply(make_static_encoder, (encoder, texts))
        for count in arguments.entries:
            with tempfile.TemporaryDirectory() as folder:
                results.append(measure(count, str(encoder), Path(folder), arguments.recall))
            names = ("seconds", "index_seconds", "peak_mb", "disk_mb", "exact_ms", "index_ms", "index", "open_ms")
            print(f"{count:,} entries".ljust(24) + f"{'plan':>18}{'actual':>18}")
            for name in names:
                item = [results[-1][kind].get(name, "") for kind in ("plan", "actual")]
                shown = "".join(f"{one:>18,.2f}" if isinstance(one, float | int) else f"{one:>18}" for one in item)
                print(f"{name.replace('_', ' '):<24}{shown}", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
