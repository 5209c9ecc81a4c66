"""A real corpus at size: how fast is it built in one process and on Ray, and is it the same memory, also after two kills?

    python benchmarks/corpus.py --data FOLDER               40,000 news articles, static vectors (15 minutes)
    python benchmarks/corpus.py --encoder multilingual-e5-small-4bit --articles 400

`memgpt-index build` runs four times: here, on Ray's workers on this machine, and again each way, killed with SIGKILL when a
third and two thirds of the keys are in its journal. All four folders have to be equal, byte by byte.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from static_encoder import make_static_encoder

from memgpt_rag.memory import Memory
from memgpt_rag.memory.storage import layout


def command(source: Path, memory: Path, encoder: str, engine: str) -> list[str]:
    build = "from indexing.cli.main import main; main()"
    options = ["--memory", str(memory), "--encoder", encoder, "--engine", engine, "--index", "exact"]
    return [sys.executable, "-c", build, "build", str(source), *options, "--text-field", "text"]


def run(arguments: list[str]) -> tuple[float, float]:
    """Seconds, and the largest resident set of the process itself in megabytes."""
    began = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} exited with {process.returncode}")
    return time.perf_counter() - began, usage.ru_maxrss / 1000


def kill_at(arguments: list[str], memory: Path, journal_bytes: float) -> float:
    """Start a job in a group of its own, and kill all of it when its journal has grown so far; seconds until then."""
    began, journal = time.perf_counter(), memory / layout.JOURNAL
    process = subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, start_new_session=True
    )
    while not journal.exists() or journal.stat().st_size < journal_bytes:
        if process.poll() is not None:
            raise SystemExit("The job was done before it could be killed; take more articles.")
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return time.perf_counter() - began


def same(one: Path, other: Path) -> bool:
    """Whether two memories hold the same files, byte by byte."""
    files = [
        sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != layout.LOCK)
        for folder in (one, other)
    ]
    return files[0] == files[1] and all(filecmp.cmp(one / name, other / name, shallow=False) for name in files[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--encoder", help="without it, static vectors that are made here")
    parser.add_argument("--articles", type=int, default=40_000)
    arguments = parser.parse_args()
    table = pq.read_table(arguments.data / "crud_news" / "docs.parquet").slice(0, arguments.articles)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = folder / "news.parquet"
        pq.write_table(table, source)
        encoder = arguments.encoder or str(folder / "static")
        if not arguments.encoder:
            # In a process of its own: what this one takes would count as its children's.
            texts = table["text"].slice(0, 2000).to_pylist()
            with get_context("spawn").Pool(1) as pool:
                pool.apply(make_static_encoder, (folder / "static", texts))
        results, keys_bytes = {}, 0
        for engine in ("local", "ray"):
            seconds, resident = run(command(source, folder / engine, encoder, engine))
            memory = Memory.open(folder / engine)
            keys_bytes = 4 * len(memory) * memory.manifest.encoder.dimension
            results[engine] = {"entries": len(memory), "seconds": round(seconds, 1), "largest_mb": round(resident)}
            results[engine]["entries_per_second"] = round(len(memory) / seconds, 1)
        for engine in ("local", "ray"):
            killed = folder / f"{engine}-killed"
            job = command(source, killed, encoder, engine)
            lost = [round(kill_at(job, killed, keys_bytes * share), 1) for share in (1 / 3, 2 / 3)]
            results[engine] |= {"killed_after_seconds": lost, "then_seconds": round(run(job)[0], 1)}
        equal = all(same(folder / "local", folder / other) for other in ("ray", "local-killed", "ray-killed"))
    for name in results["local"]:
        print(f"{name.replace('_', ' '):<24}" + "".join(f"{result[name]!s:>20}" for result in results.values()))
    print("all four are equal, byte by byte" if equal else "THEY DIFFER")
    print(json.dumps({"articles": arguments.articles, "cores": os.cpu_count(), "equal": equal, **results}))


if __name__ == "__main__":
    main()
