"""How fast is the memory as a store, beside FAISS alone: entries written, looked up with their texts, and opened?

    python benchmarks/store.py                          20,000 and 100,000 entries of 384 numbers (5 minutes)
    python benchmarks/store.py --peers-python PYTHON    with LangChain, LlamaIndex, LanceDB, Chroma and txtai, where that has them

Vectors are made up, in clusters as those of passages are; texts are real words. One thread for all. Each figure is the
median of several repeats in one process; what is compared is measured in turns. FAISS alone is IndexFlatIP, or the index that
was chosen, without any text; recall is against brute force.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from store_peers import PEERS

from indexing.jobs.choose_index import index_memory
from memgpt_rag.fingerprint import EncoderFingerprint
from memgpt_rag.memory import Memory, MemoryWriter
from memgpt_rag.memory.dense.faiss_index import exact_search, one_thread
from memgpt_rag.passage import Passage

DIMENSION, K, BATCH = 384, 10, 100
WORDS = [
    "river",
    "park",
    "boat",
    "kite",
    "gate",
    "dog",
    "lead",
    "tree",
    "bench",
    "pond",
    "path",
    "bridge",
    "stone",
    "light",
    "music",
    "bread",
    "tea",
    "cup",
    "book",
    "map",
]
FINGERPRINT = EncoderFingerprint("made up", DIMENSION, True, "", "", 0, 0.1, "AAA=", "AAA=")


def vectors(count: int, rng: np.random.Generator) -> np.ndarray:
    """Clusters of about thirty in a space of 64 directions, and noise in all."""
    centres, spread = rng.normal(size=(count // 30, 64)), rng.normal(size=(64, DIMENSION))
    inside = centres[rng.integers(0, len(centres), count)] + 0.8 * rng.normal(size=(count, 64))
    made = inside @ spread + 2 * rng.normal(size=(count, DIMENSION))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def passages(count: int, rng: np.random.Generator) -> list[Passage]:
    texts = (" ".join(rng.choice(WORDS, 60)) for _ in range(count))
    return [
        Passage(f"doc#{number}", f"{text} {number}", "A title", "doc.txt", "", "line", number + 1, number + 1, 0, 300)
        for number, text in enumerate(texts)
    ]


def write(folder: Path, values: list[Passage], keys: np.ndarray) -> float:
    """Seconds of processor time."""
    began = time.process_time()
    with MemoryWriter(folder) as writer:
        for start in range(0, len(values), 1024):
            writer.add_values(values[start : start + 1024])
        for _ in writer.value_blocks(4096):
            pass
        for start in range(0, len(keys), 4096):
            writer.add_keys(keys[start : start + 4096])
        writer.commit(FINGERPRINT, splitting={"tokenizer": "none", "max_tokens": 60}, job={"name": "benchmark"})
    return time.process_time() - began


def in_turns(repeats: int, **jobs: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of each job, again and again."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
    for _ in range(repeats):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - began)
    return times


def peers(
    scratch: Path,
    keys: np.ndarray,
    values: list[Passage],
    queries: np.ndarray,
    truth: np.ndarray,
    repeats: int,
    python: str,
    faiss_seconds: float,
) -> dict[str, dict[str, float | str]]:
    """Other stores, each in a process of its own; the reason where one cannot be run."""
    np.save(scratch / "keys.npy", keys)
    np.save(scratch / "queries.npy", queries)
    (scratch / "texts.txt").write_text("".join(f"{passage.text}\n" for passage in values))
    results: dict[str, dict[str, float | str]] = {}
    for name in PEERS:
        command = [python, str(Path(__file__).with_name("store_peers.py")), name, str(scratch), str(K), str(repeats)]
        threads = dict.fromkeys(
            ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "LANCE_CPU_THREADS", "TOKIO_WORKER_THREADS"), "1"
        )
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=900, env={**os.environ, **threads})
            shown = json.loads(done.stdout.splitlines()[-1])
        except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
            lines = done.stderr.strip().splitlines() if not isinstance(error, subprocess.TimeoutExpired) else []
            results[name] = {"skipped": (lines or [str(error)])[-1]}
            continue
        right = [len(set(found) & set(true)) / K for found, true in zip(shown["rows"], truth.tolist(), strict=True)]
        results[name] = {
            "written_per_core_second": round(len(keys) / shown["written"]),
            "queries_per_core_second": round(len(queries) / shown["searched"]),
            "against_faiss": round(faiss_seconds / shown["searched"], 3),
            "recall": round(statistics.fmean(right), 4),
            "resident_mb": round(shown["resident_mb"], 1),
            "bytes_per_entry": round(shown["bytes"] / len(keys)),
            "pairs": "right" if shown["pairs"] else "WRONG",
        }
    return results


def _core_seconds(job: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.process_time()
        job()
        times.append(time.process_time() - began)
    return statistics.median(times)


def measure(count: int, repeats: int, recall: float, peers_python: str | None) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    keys, values = vectors(count, rng), passages(count, rng)
    queries = keys[rng.permutation(count)[: 10 * BATCH]] + 0.02 * rng.normal(size=(10 * BATCH, DIMENSION))
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    with tempfile.TemporaryDirectory() as scratch, one_thread():
        folder, base = Path(scratch) / "memory", _resident()
        seconds = write(folder, values, keys)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        opened = statistics.median(in_turns(repeats, open=lambda: Memory.open(folder))["open"])
        memory, batch = Memory.open(folder), queries[:BATCH]
        exact = in_turns(
            repeats,
            ours=lambda: memory.search(batch, K, exact=True),
            faiss=lambda: exact_search(keys, batch, K, "cosine"),
        )
        chosen = index_memory(folder, recall=recall, queries=queries[BATCH:])
        memory, (choice,) = Memory.open(folder), chosen.values()
        index = choice.index
        search = (
            (lambda: exact_search(keys, batch, K, "cosine"))
            if index is None
            else (lambda: index.search(keys, batch, K))
        )
        auto = in_turns(repeats, ours=lambda: memory.search(batch, K), faiss=search)
        truth = exact_search(keys, batch, K, "cosine")[0]
        cores = _core_seconds(lambda: exact_search(keys, batch, K, "cosine"), repeats)
        others = peers(Path(scratch), keys, values, batch, truth, repeats, peers_python, cores) if peers_python else {}
        found = memory.search(batch, K)
        right = [len(set(mine) & set(true)) / K for mine, true in zip(found.rows, truth, strict=True)]
        pairs = all(
            one.id == f"doc#{row}" for item, rows in zip(found.passages, found.rows) for one, row in zip(item, rows)
        )
    if not pairs:
        raise SystemExit("A row met another entry's text.")
    return {
        "entries": count,
        "written_per_core_second": round(count / seconds),
        "bytes_per_entry": round(size / count),
        "open_ms": round(1000 * opened, 2),
        "resident_mb": round(_resident() - base, 1),
        "exact_queries_per_second": round(BATCH / statistics.median(exact["ours"])),
        "exact_against_faiss": _ratio(exact),
        "index": "exact" if index is None else f"{index.settings.factory}, {index.settings.parameters}",
        "auto_queries_per_second": round(BATCH / statistics.median(auto["ours"])),
        "auto_against_faiss": _ratio(auto),
        "recall": round(statistics.fmean(right), 4),
        "peers": others,
    }


def _ratio(times: dict[str, list[float]]) -> float:
    return round(
        statistics.median(theirs / mine for mine, theirs in zip(times["ours"], times["faiss"], strict=True)), 3
    )


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--recall", type=float, default=0.99)
    parser.add_argument("--peers-python", help="a Python whose environment has the other stores")
    arguments = parser.parse_args()
    results = [
        measure(count, arguments.repeats, arguments.recall, arguments.peers_python) for count in arguments.entries
    ]
    for name in (name for name in results[0] if name != "peers"):
        print(f"{name.replace('_', ' '):<28}" + "".join(f"{result[name]:>28}" for result in results))
    for result in results:
        for name, figures in result["peers"].items():
            print(
                f"{result['entries']:>8,} {name:<12}"
                + "  ".join(f"{what.replace('_', ' ')} {item}" for what, item in figures.items())
            )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
