"""How fast do passages become a memory, beside plain encoding and other libraries, and what does rounding cost?

    python benchmarks/embedding.py build --documents FILE.jsonl      2,000 real passages (10 minutes on one core)
    python benchmarks/embedding.py build … --peers-python PYTHON     with LangChain, LlamaIndex, Haystack and txtai
    python benchmarks/embedding.py quality                           nDCG@10 on three collections, keys rounded, questions not
    python benchmarks/embedding.py query                             one question, cold and warm

all-MiniLM-L6-v2 unless --encoder says otherwise, on one thread. Seconds are those of one core, so that other work on the
machine counts little; what is compared takes turns, and ratios are medians of the turns. Our builds read, cut, drop copies,
embed and write to disk; plain encoding gets the cut passages and keeps vectors in memory, as do the others. Models are loaded
before the clock starts. A table for people, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.embedding_peers import PEERS
from benchmarks.judged_sets import DATA, load
from benchmarks.retrieval import ranking_figures, titled
from indexing.engines.base import SplitterRecipe
from indexing.engines.local import LocalEngine
from indexing.jobs.build_memory import PassageStream, build_memory
from indexing.sources.find_files import find_files
from indexing.sources.read_options import ReadOptions
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.hub.bundled import E5_ENCODER, MINILM_ENCODER, encoder_folder

Way = tuple[str, str]
WAYS: list[Way] = [
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("torch", "int8"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnx", "int8"),
]
EXACT: Way = ("torch", "fp32")
JUDGED = ("cranfield", "cisi", "xquad-en")
MAX_TOKENS = 160


def core_seconds(job: Callable[[], object]) -> float:
    began = time.process_time()
    job()
    return time.process_time() - began


def make_engine(encoder: Encoder, kept: Path | None = None) -> LocalEngine:
    """Keeps cuts in a folder, as the command does."""
    return LocalEngine(encoder, SplitterRecipe(None, MAX_TOKENS, kept)(lambda: encoder))


def measure_builds(
    documents: Path, name: str, ways: Sequence[Way], count: int, repeats: int, peers_python: str | None
) -> dict[str, Any]:
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(encoder_folder(name) or name), device="cpu", trust_remote_code=False)
    loaded = {way: load_encoder(EncoderConfig(name, backend=way[0], precision=way[1])) for way in ways}
    with tempfile.TemporaryDirectory() as scratch:
        first = loaded[EXACT]
        records, file = _documents(documents, first, count), Path(scratch) / "documents.jsonl"
        _write(file, records)
        files = find_files((file,), ())
        texts = [p.titled_text for block in PassageStream(files, make_engine(first), ReadOptions()) for p in block]
        for encoder in loaded.values():
            _ = encoder.fingerprint
        plain.encode(texts[:64])

        def build(encoder: Encoder, folder: str) -> None:
            kept = Path(scratch) / f"cache of {folder}"  # of its own, so that no first build profits from another
            build_memory(files, Path(scratch) / folder, make_engine(encoder, kept), tokenizer_name=name)

        times: dict[str, list[float]] = {"plain": [], **{" ".join(way): [] for way in ways}, "again, 1 % changed": []}
        for turn in range(repeats):
            times["plain"].append(core_seconds(lambda: plain.encode(texts, normalize_embeddings=True)))
            for way, encoder in loaded.items():
                folder = f"{' '.join(way)} {turn}"
                times[" ".join(way)].append(core_seconds(lambda e=encoder, f=folder: build(e, f)))  # type: ignore[misc]
            _write(file, _changed(records))
            folder = f"{' '.join(EXACT)} {turn}"
            times["again, 1 % changed"].append(core_seconds(lambda f=folder: build(first, f)))  # type: ignore[misc]
            _write(file, records)
        against = {
            what: round(statistics.median(p / own for p, own in zip(times["plain"], item, strict=True)), 3)
            for what, item in times.items()
        }
        fp32, again = times["torch fp32"], times["again, 1 % changed"]
        return {
            "passages": len(texts),
            "core_seconds": {what: round(statistics.median(item), 2) for what, item in times.items()},
            "against_plain": against,
            "second_build": round(statistics.median(a / b for a, b in zip(fp32, again, strict=True)), 1),
            "peers": _peers(Path(scratch), texts, name, peers_python) if peers_python else {},
        }


def measure_quality(name: str, ways: Sequence[Way], data: Path) -> dict[str, Any]:
    """nDCG@10 with questions in fp32, as memories are asked; the loss is that against keys in fp32."""
    sets = {item: load(item, data) for item in JUDGED}
    exact = load_encoder(name)
    asked = {item: exact.encode_queries(list(one.judged.values())) for item, one in sets.items()}
    results: dict[str, Any] = {}
    for way in ways:
        encoder = exact if way == EXACT else load_encoder(EncoderConfig(name, backend=way[0], precision=way[1]))
        per_way = {
            item: ranking_figures(one, asked[item] @ encoder.encode_passages(titled(one)).T)["nDCG@10"]
            for item, one in sets.items()
        }
        results[" ".join(way)] = {item: round(value, 4) for item, value in per_way.items()}
        losses = [results[" ".join(EXACT)][item] - value for item, value in per_way.items()]
        results[" ".join(way)]["worst loss"] = round(max(losses), 4)
    return results


def measure_queries(names: list[str], ways: Sequence[Way], count: int = 100) -> dict[str, Any]:
    """Milliseconds of wall time: loading, the first question, and the questions after it."""
    results = {}
    for name in names:
        for way in ways:
            began = time.perf_counter()
            encoder = load_encoder(EncoderConfig(name, backend=way[0], precision=way[1]))
            times = [time.perf_counter() - began]
            for number in range(count + 1):
                question = f"How many visitors came to the park in {1900 + number}, and where did they go?"
                began = time.perf_counter()
                encoder.encode_queries([question])
                times.append(time.perf_counter() - began)
            loading, cold, *warm = (1000 * one for one in times)
            p50, p95 = np.percentile(warm, [50, 95])
            results[f"{name} {' '.join(way)}"] = {
                "loading": round(loading),
                "first": round(cold, 1),
                "p50": round(float(p50), 1),
                "p95": round(float(p95), 1),
            }
    return results


def _documents(file: Path, encoder: Encoder, count: int) -> list[dict[str, str]]:
    """Passages of a file's documents as records of their own, so that one of them can change: a hundredth is then a few."""
    records: list[dict[str, str]] = []
    for block in PassageStream(find_files((file,), ()), make_engine(encoder), ReadOptions()):
        records += [{"id": str(len(records) + n), "title": p.title, "text": p.text} for n, p in enumerate(block)]
        if len(records) >= count:
            break
    return records[:count]


def _changed(records: list[dict[str, str]]) -> list[dict[str, str]]:
    """One in a hundred says something else."""
    return [
        {**record, "text": f"Corrected: {record['text']}"} if number % 100 == 50 else record
        for number, record in enumerate(records)
    ]


def _write(file: Path, records: list[dict[str, str]]) -> None:
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def _peers(scratch: Path, texts: list[str], name: str, python: str) -> dict[str, Any]:
    """Core seconds of each other library, and how many of its passages plain encoding in the same Python does meanwhile."""
    passages, results = scratch / "passages.json", {}
    passages.write_text(json.dumps(texts), encoding="utf-8")
    script, model = str(Path(__file__).with_name("embedding_peers.py")), str(encoder_folder(name) or name)
    for peer in PEERS:
        done = subprocess.run(
            [python, script, peer, model, str(passages)],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
        try:
            results[peer] = {"core_seconds": round(json.loads(done.stdout.splitlines()[-1])["core"], 2)}
        except (IndexError, ValueError, KeyError):
            results[peer] = {"skipped": (done.stderr.strip().splitlines() or ["it said nothing"])[-1]}
    return results


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["build", "quality", "query"])
    parser.add_argument("--documents", type=Path, help="JSON Lines of documents to build from")
    parser.add_argument("--encoder", default=MINILM_ENCODER)
    parser.add_argument(
        "--ways",
        nargs="+",
        default=WAYS,
        type=lambda way: tuple(way.split("-")),
        metavar="BACKEND-PRECISION",
        help="beside torch-fp32, such as openvino-int8",
    )
    parser.add_argument("--passages", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--peers-python", help="a Python whose environment has the other libraries")
    given = parser.parse_args()
    torch.set_num_threads(1)
    ways = [EXACT, *(way for way in given.ways if way != EXACT)]
    if given.what == "build" and given.documents is None:
        parser.error("build needs --documents")
    result = {
        "build": lambda: measure_builds(
            given.documents, given.encoder, ways, given.passages, given.repeats, given.peers_python
        ),
        "quality": lambda: measure_quality(given.encoder, ways, given.data),
        "query": lambda: measure_queries([given.encoder, E5_ENCODER], ways),
    }[given.what]()
    for what, figures in result.items():
        shown = (
            "  ".join(f"{item} {value}" for item, value in figures.items()) if isinstance(figures, dict) else figures
        )
        print(f"{what:<42}{shown}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
