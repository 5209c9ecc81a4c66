"""How much memory do answers need whose states lie on disk?

    python benchmarks/footprint.py           (3 minutes; --memory asks one that you have)

Makes a memory of a million tokens with states in the form and size of the preset, whose numbers are made up: what they
say does not matter here. Then asks it questions in a process of its own, and the same questions of the model without a memory
in another: what answering from the memory adds is the difference of their largest resident sets. Pages of mapped files
that questions touched are part of it; the system takes them back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.store import WORDS
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory, MemoryWriter, add_states
from memgpt_rag.memory.storage.states import StatesShape
from memgpt_rag.model import DEFAULT_GENERATOR, MemoryDecoder
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.model.stored import states_fingerprint
from memgpt_rag.passage import Passage
from memgpt_rag.state_codes import encode


def make(folder: Path, tokens: int, model_name: str, preset: str) -> None:
    """A memory of so many tokens, its keys and states made up."""
    encoder, model = load_encoder(), MemoryDecoder.from_pretrained(model_name, config=preset)
    rng, prompt = np.random.default_rng(0), Prompt(model.tokenizer)
    model.prefix_ids = prompt.prefix_ids
    fingerprint = states_fingerprint(model)
    passages: list[Passage] = []
    lengths: list[int] = []
    while sum(lengths) < tokens:
        text = f"{len(passages)} " + " ".join(rng.choice(WORDS, 120))
        place = len(passages) + 1
        passages.append(Passage(f"doc#{place}", text, "", "doc.txt", "", "line", place, place, 0, len(text)))
        lengths.append(len(prompt.entry_ids(passages[-1])))
    keys = rng.normal(size=(len(passages), encoder.fingerprint.dimension)).astype(np.float32)
    with MemoryWriter(folder) as writer:
        writer.add_values(passages)
        for _ in writer.value_blocks(1024):
            pass
        writer.add_keys(keys / np.linalg.norm(keys, axis=1, keepdims=True))
        splitting = {"tokenizer": model_name, "max_tokens": 160}
        writer.commit(encoder.fingerprint, splitting=splitting, job={"name": "benchmark"})
    shape = StatesShape.of(fingerprint)
    some = rng.normal(size=(max(lengths), shape.layers, 2, shape.kv_heads, shape.head_dim)).astype(np.float32)
    add_states(
        Memory.open(folder),
        fingerprint,
        lambda rows: lengths,
        lambda rows: (encode(some[: lengths[row]], shape.dtype) for row in rows),
    )


def ask(memory: Path, model: str, preset: str, questions: int, k: int, closed: bool) -> None:
    """Answer in this process, and print how much memory it took."""
    from memgpt_rag.rag import RAG

    quiet_libraries()
    opened = Memory.open(memory)
    rows = opened.rows()
    asked = [passage.text[:80] for passage in opened.passages(rows[:: max(1, len(rows) // questions)][:questions])]
    rag = RAG.open(memory, model=model, config=preset, keep_states=False)
    loaded = _resident()
    for question in asked:
        rag.answer(question, AskOptions(mode="closed_book" if closed else "memory", k=k, max_new_tokens=8))
    print(json.dumps({"loaded": loaded, "largest": _largest()}))


def _resident() -> float:
    """Megabytes that are resident now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _largest() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", type=Path, help="a memory with stored states; without it, one is made")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="tokens of the memory that is made")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("-k", type=int, default=8)
    parser.add_argument("--preset", default="compact")
    parser.add_argument("--model", default=DEFAULT_GENERATOR)
    parser.add_argument("--closed", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        ask(arguments.memory, arguments.model, arguments.preset, arguments.questions, arguments.k, arguments.closed)
        return
    quiet_libraries()
    with tempfile.TemporaryDirectory() as scratch:
        memory = arguments.memory or Path(scratch) / "memory"
        if arguments.memory is None:
            make(memory, arguments.tokens, arguments.model, arguments.preset)
        report(memory)


def report(memory: Path) -> None:
    opened = Memory.open(memory)
    stored = [segment.states for segment in opened.segments if segment.states is not None]
    tokens = sum(int(states.offsets[-1]) for states in stored)
    on_disk = sum(
        file.bytes
        for segment in opened.manifest.segments
        for name, file in segment.files.items()
        if name == segment.file("states")
    )
    figures = {}
    for what in ("closed", "memory"):
        command = [
            sys.executable,
            "-W",
            "ignore",
            *sys.argv,
            "--memory",
            str(memory),
            "--here",
            *(["--closed"] if what == "closed" else []),
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        figures[what] = json.loads(done.stdout.splitlines()[-1])
    added = figures["memory"]["largest"] - figures["closed"]["largest"]
    print(f"{'entries':<28}{len(opened):>12,}")
    print(f"{'tokens':<28}{tokens:>12,}")
    print(f"{'states on disk, MB':<28}{on_disk / 1e6:>12,.0f}{on_disk / max(1, tokens):>10,.0f} bytes a token")
    print(f"{'largest resident set, MB':<28}{figures['memory']['largest']:>12,.0f}")
    print(f"{'… without memory, MB':<28}{figures['closed']['largest']:>12,.0f}")
    print(f"{'answering adds, MB':<28}{added:>12,.0f}")
    print(json.dumps({"entries": len(opened), "tokens": tokens, "states_bytes": on_disk, "added_mb": round(added, 1)}))


if __name__ == "__main__":
    main()
