"""Memory attention on a GPU: the same answers as on the CPU, and how soon they begin.

    python benchmarks/gpu.py                 (two minutes on a GPU)

Questions and passages are those of XQuAD in English and Chinese, passages of 128 to 160 tokens for the timings. Answers and
probabilities in fp32 are compared with those of the CPU. In bf16, each time is the median of several calls: to the first token,
with states at hand on the GPU against a prompt that is read (its prefix is cached), and per further token. Last, k is doubled
until memory of the GPU, or `--most`, is reached; states are of passages that repeat.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from memgpt_rag.model import DEFAULT_GENERATOR, AttendedMemory, EntryStates, MemoryDecoder
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.passage import Passage

KS = (4, 8, 20, 60)
BATCHES = (1, 8, 32)
LENGTHS = range(128, 161)
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TOKENS = 24  # to decode

Ids = tuple[int, ...]


def passage(text: str) -> Passage:
    return Passage("", text, "", "", "", "line", 1, 1, 0, len(text))


def read(data: Path, language: str) -> tuple[list[str], list[tuple[str, int]]]:
    """Paragraphs, and questions with the number of their paragraph."""
    articles = json.loads((data / "xquad" / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    asked = [(qa["question"], number) for number, paragraph in enumerate(paragraphs) for qa in paragraph["qas"]]
    return [paragraph["context"] for paragraph in paragraphs], asked


def timed(item: Callable[[], Any], repeats: int) -> float:
    """Median milliseconds; the first call is not counted."""
    times = []
    for _ in range(repeats + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        item()
        torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[1:])


def equality(cpu: MemoryDecoder, gpu: MemoryDecoder, prompt: Prompt, data: Path, count: int) -> dict[str, Any]:
    """Greedy answers in fp32 of both, question by question, and the largest difference of a probability."""
    same, worst, total = 0, 0.0, 0
    for language in ("en", "zh"):
        paragraphs, asked = read(data, language)
        for question, number in asked[:: len(asked) // count][:count]:
            entries = [
                prompt.entry_ids(passage(paragraphs[(number + 3 * step) % len(paragraphs)])) for step in range(4)
            ]
            ids, found = torch.tensor([prompt.question_ids(question)]), []
            for model in (cpu, gpu):
                at = model.decoder.device
                scores = [[0.0, -1.0, -1.2, -1.5]]
                with torch.no_grad():
                    logits = model(ids.to(at), memory=model.make_memory([entries], scores), logits_to_keep=1).logits
                written = model.generate(
                    ids.to(at), memory=model.make_memory([entries], scores), max_new_tokens=32, do_sample=False
                )
                found.append((logits[0, -1].float().softmax(-1).cpu(), written.cpu().tolist()))
            worst = max(worst, float((found[0][0] - found[1][0]).abs().max()))
            same += found[0][1] == found[1][1]
            total += 1
    return {"answers": total, "same": same, "largest difference of a probability": worst}


def both(model: MemoryDecoder, ids: torch.Tensor, attend: Callable[[], AttendedMemory], repeats: int) -> dict[str, Any]:
    """Milliseconds to the first token, and per further one."""

    def first() -> None:
        with torch.inference_mode():
            model(ids, memory=attend(), logits_to_keep=1)

    def write(count: int) -> None:
        model.generate(ids, memory=attend(), min_new_tokens=count, max_new_tokens=count, do_sample=False)

    try:
        one, many = timed(partial(write, 1), 3), timed(partial(write, TOKENS + 1), 3)
        return {"first": round(timed(first, repeats), 1), "next": round((many - one) / TOKENS, 2)}
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return {"first": "does not fit"}


def timings(model: MemoryDecoder, entries: Sequence[Ids], question: Ids, repeats: int) -> list[dict[str, Any]]:
    """Memory against a prompt, by k and batch."""
    rows = []
    for k, batch in product(KS, BATCHES):
        own = list(entries[:k])
        pasted = [token for entry in own for token in entry]
        asked, prompted = (
            torch.tensor([row] * batch, device=model.decoder.device) for row in (question, (*pasted, *question))
        )
        row = {
            "k": k,
            "batch": batch,
            "memory": both(model, asked, partial(model.attend, [own] * batch), repeats),
            "prompt": both(model, prompted, partial(model.attend, [[]] * batch), repeats),
        }
        rows.append(row)
        print(row, flush=True)
    return rows


def largest(model: MemoryDecoder, entries: Sequence[Ids], question: Ids, most: int) -> dict[str, Any]:
    """k at batch 1, doubled until the GPU is full."""
    ids, found = torch.tensor([question], device=model.decoder.device), {"k": 0}
    states = model.entry_states(entries)
    for k in (2**power for power in range(6, 32)):
        if k > most or not (measured := _at(model, ids, states, k)):
            break
        found = measured
        print(found, flush=True)
    return found


def _at(model: MemoryDecoder, ids: torch.Tensor, states: Sequence[EntryStates], k: int) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        with torch.inference_mode():
            memory = model.memory_from_states([[states[number % len(states)] for number in range(k)]], [[0.0] * k])
            model(ids, memory=memory, logits_to_keep=1)
            torch.cuda.synchronize()
    except torch.OutOfMemoryError:
        return {}
    finally:
        torch.cuda.empty_cache()
    return {
        "k": k,
        "tokens": int(memory.present.sum()),
        "first": round(1000 * (time.perf_counter() - began), 1),
        "GiB": round(torch.cuda.max_memory_allocated() / 2**30, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_GENERATOR)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--answers", type=int, default=10, help="questions of each language to compare with the CPU")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--most", type=int, default=2**15, help="largest k to try")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("There is no GPU that torch can use.")
    results: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    cpu, gpu = (
        MemoryDecoder.from_pretrained(arguments.model, dtype=torch.float32, device=device) for device in ("cpu", "cuda")
    )
    prompt = Prompt(gpu.tokenizer)
    cpu.prefix_ids = gpu.prefix_ids = prompt.prefix_ids
    results["equality"] = equality(cpu, gpu, prompt, arguments.data, arguments.answers)
    print(results, flush=True)
    del cpu, gpu
    model = MemoryDecoder.from_pretrained(arguments.model, dtype=torch.bfloat16, states_cache_bytes=2**34)
    model.prefix_ids = prompt.prefix_ids
    every = [prompt.entry_ids(passage(text)) for text in read(arguments.data, "en")[0]]
    entries = [entry for entry in every if len(entry) in LENGTHS]
    entries = [(*entry[:-1], 10 + number, entry[-1]) for number in range(4) for entry in entries][: max(KS)]
    question = prompt.question_ids("What was the name of the architect who designed the old observatory on the hill?")
    results["timings"] = timings(model, entries, question, arguments.repeats)
    results["largest"] = largest(model, entries, question, arguments.most)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
