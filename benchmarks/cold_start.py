"""How long does a question take from the command line, where the process has just begun, and what takes the time?

    python benchmarks/cold_start.py --against ../earlier-checkout      (5 minutes)

Builds a memory of examples/knowledge, and answers one question in a new process of each checkout in turn, as `memgpt-rag ask QUESTION`
does, with files in the page cache. Of each stage: seconds of the processor, the median of --turns processes; and the most main
memory that the process held. Prints a table and one JSON line.
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
QUESTION = "How much does it cost to rent a rowing boat?"

_ASK = """
import json, resource, sys, time
stages, before = {}, 0.0

def end(stage):
    global before
    now = time.process_time()
    stages[stage], before = now - before, now

import torch
end("import torch")
import transformers, transformers.modeling_utils
end("import transformers")
import sentence_transformers
end("import sentence-transformers")
from memgpt_rag.rag import RAG
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.retrieval.retriever import open_memories
end("import memgpt_rag")
quiet_libraries()
memory, encoder = open_memories(sys.argv[1], None)
end("memory and encoder")
model = MemoryDecoder.from_pretrained(config="quality")
end("language model")
rag = RAG(memory, encoder, model)
rag.answer(sys.argv[2])
end("answer")
rag.answer(sys.argv[2])
end("answer once more")
stages["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
print(json.dumps(stages))
"""


def asked(checkout: Path, memory: Path) -> dict[str, float]:
    """Return the seconds of each stage of a question in a new process of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _ASK, str(memory), QUESTION]
    done = subprocess.run(command, env=environment, cwd=checkout, check=True, capture_output=True, text=True)
    stages: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return stages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="folder of another checkout")
    parser.add_argument(
        "--turns", type=int, default=3, help="processes of each checkout, behind one that warms the page cache"
    )
    options = parser.parse_args()
    checkouts = {"this": ROOT} | ({} if options.against is None else {"other": options.against.resolve()})
    found: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        memory = Path(folder) / "memory"
        build = ["-m", "indexing", "build", str(ROOT / "examples/knowledge"), "--memory", str(memory)]
        subprocess.run(
            [sys.executable, *build, "--generator", "gemma-3-270m-4bit"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
        )
        for turn in range(options.turns + 1):
            for name, checkout in checkouts.items():
                stages = asked(checkout, memory)
                found[name] += [stages] if turn else []
    medians = {
        name: {stage: statistics.median(one[stage] for one in rows) for stage in rows[0]}
        for name, rows in found.items()
    }
    print(f"{'seconds of the processor':<30}" + "".join(f"{name:>9}" for name in medians))
    for stage in medians["this"]:
        if stage != "megabytes":
            print(f"{stage:<30}" + "".join(f"{one[stage]:>9.2f}" for one in medians.values()))
    totals = {
        name: sum(s for stage, s in one.items() if stage not in ("megabytes", "answer once more"))
        for name, one in medians.items()
    }
    print(f"{'until the first answer':<30}" + "".join(f"{total:>9.2f}" for total in totals.values()))
    print(f"{'megabytes at the most':<30}" + "".join(f"{one['megabytes']:>9,.0f}" for one in medians.values()))
    print(json.dumps({**medians, "until the first answer": totals}))


if __name__ == "__main__":
    main()
