"""How much memory do answers need whose states lie on disk?

    memgpt-index build DOCUMENTS --memory big --generator gemma-3-270m-4bit --states compact
    python benchmarks/footprint.py big

Asks questions of a memory with stored states, in a process of its own, and the same questions of the model without a
memory, in another: what answering from the memory adds is the difference of their largest resident sets. Pages of
mapped files that questions touched are part of it; the system takes them back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from memgpt_rag.command_line import quiet_libraries
from memgpt_rag.memory import Memory
from memgpt_rag.model import DEFAULT_GENERATOR


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
        rag.answer(question, mode="closed" if closed else "memory", k=k, max_new_tokens=8)
    print(json.dumps({"loaded": loaded, "largest": _largest()}))


def _resident() -> float:
    """Megabytes that are resident now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _largest() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("memory", type=Path)
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
    opened = Memory.open(arguments.memory)
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
        command = [sys.executable, "-W", "ignore", *sys.argv, "--here", *(["--closed"] if what == "closed" else [])]
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
