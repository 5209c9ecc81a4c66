"""How much sooner does the first token come, and what does decoding cost, when passages sit in attention?

    python benchmarks/latency.py             (20 minutes)
    python benchmarks/latency.py --readers   with the reader that ships against without, k = 4 and 8 (5 minutes)

Passages of 128 to 160 tokens from XQuAD, their states on disk in int8 and in the page cache. The first token counts from where
passages are found: a prompt reads them ("prompt"), or has them in a cache in the right order and reads the question alone ("cached");
memory maps their states, stacks them and reads the question. The shared prefix is cached in every mode. A further token is the mean
of --tokens, without drafts. With the package xllamacpp, llama.cpp reads the same prompts with weights in 4 bits (Q4_K_M). Modes take
turns; each figure is a median, with the 10th and 90th percentile of the paired ratios. Weights are as loaded, or int8 for few rows at
once, in all modes alike. Prints tables and one JSON line.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.llama_cpp import LlamaCpp
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
from memgpt_rag.model.drafts import LookupDrafts, decode
from memgpt_rag.model.int8_weights import add_int8_weights
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retrieved

KS = (4, 8, 20)
LENGTHS = range(128, 161)
QUESTION = "What was the name of the architect who designed the old observatory on the hill?"
OTHER_QUESTION = "When did the town get its first railway station?"
PRESETS = ("quality", "compact")
LLAMA_CPP = ("llama.cpp", "llama.cpp, cached")
Row = dict[str, float]


def build(folder: Path, data: Path, encoder: Encoder, models: dict[str, MemoryDecoder]) -> dict[str, Memory]:
    """A memory of passages of the right length, with the states of each preset."""
    folder.mkdir(parents=True, exist_ok=True)
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


def first_token(rags: dict[str, RAG], found: list[Retrieved], llama: LlamaCpp | None, repeats: int) -> list[Row]:
    """Seconds of each mode, in turn, so that what is compared is measured side by side."""
    modes: dict[str, Callable[[], float]] = {
        "nothing": lambda: _first_token(rags["quality"], [], []),
        "prompt": lambda: _first_token(rags["quality"], found, []),
        "cached": _reads_question(rags["quality"], found),
        **{preset: partial(_first_token, rags[preset], [], found) for preset in PRESETS},
    }
    if llama is not None:
        modes |= {name: partial(_llama_reads, llama, rags["quality"], found, name) for name in LLAMA_CPP}
    return _in_turns(modes, repeats)


def decoding(
    rags: dict[str, RAG], found: list[Retrieved], llama: LlamaCpp | None, repeats: int, tokens: int
) -> list[Row]:
    """Seconds per further token of each mode, in turn."""
    read = {"nothing": (rags["quality"], [], []), "prompt": (rags["quality"], found, [])}
    read |= {preset: (rags[preset], [], found) for preset in PRESETS}
    modes = {mode: partial(_further_token, *given, tokens) for mode, given in read.items()}
    if llama is not None:
        row = _prompt(rags["quality"], QUESTION, found)
        modes["llama.cpp"] = lambda: llama.complete(row, tokens + 1).token_ms / 1000
    return _in_turns(modes, repeats)


def _in_turns(modes: dict[str, Callable[[], float]], repeats: int) -> list[Row]:
    """Seconds of each mode, one row a turn; the first turn warms up."""
    return [{mode: measured() for mode, measured in modes.items()} for _ in range(repeats + 1)][1:]


def _first_token(rag: RAG, pasted: list[Retrieved], attended: list[Retrieved]) -> float:
    """Seconds to the first token once entries are found: states are mapped, and the question is read."""
    return rag.generator.generate_batch([QUESTION], [pasted], [attended], max_new_tokens=1).clock.first_token


def _reads_question(rag: RAG, found: list[Retrieved]) -> Callable[[], float]:
    """Return what measures the first token where a cache holds prefix and passages in the order of the prompt."""
    prepared = rag.generator.prepare([QUESTION], [found], [[]])
    cache = rag.generator.read(prepared).take_cache()
    asked = rag.prompt.question_ids(QUESTION)
    cache.crop(-len(asked))
    ids = prepared.ids[:, -len(asked) :]

    @torch.inference_mode()
    def read() -> float:
        own = copy.deepcopy(cache)
        began = time.perf_counter()
        output = rag.model(ids, memory=prepared.memory, past_key_values=own, use_cache=True, logits_to_keep=1)
        output.logits[0, -1].argmax().item()
        return time.perf_counter() - began

    return read


@torch.inference_mode()
def _further_token(rag: RAG, pasted: list[Retrieved], attended: list[Retrieved], tokens: int) -> float:
    """Seconds of a further token, without drafts."""
    settings = {"max_new_tokens": tokens + 1, "eos_token_id": -1, "stopping_criteria": []}
    row = rag.generator.read(rag.generator.prepare([QUESTION], [pasted], [attended], **settings))
    return seconds(lambda: decode(rag.model, row, LookupDrafts([]))) / tokens


def _prompt(rag: RAG, question: str, found: list[Retrieved]) -> list[int]:
    """Return the tokens of a prompt with passages, as another program reads it."""
    return [*rag.prompt.prefix_ids, *rag.prompt.question_row(question, [entry.passage for entry in found])]


def _llama_reads(llama: LlamaCpp, rag: RAG, found: list[Retrieved], mode: str) -> float:
    """Seconds to llama.cpp's first token: it has read the prefix before, or passages and prefix."""
    before = list(rag.prompt.prefix_ids) if mode == "llama.cpp" else _prompt(rag, OTHER_QUESTION, found)
    llama.complete(before, 1)
    return llama.complete(_prompt(rag, QUESTION, found), 1).read_ms / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=24, help="tokens to decode")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--readers", action="store_true", help="compare the reader that ships with none")
    arguments = parser.parse_args()
    if not (arguments.data / "xquad").is_dir():
        sys.exit(f"There is no folder xquad in {arguments.data}; name the folder that holds it with --data.")
    quiet_libraries()
    if arguments.readers:
        print(json.dumps(measure_readers(arguments.data, load_encoder(), arguments.repeats, arguments.tokens)))
        return
    encoder, decoder = load_encoder(), MemoryDecoder.from_pretrained(config="quality")
    models = {preset: MemoryDecoder(decoder.decoder, decoder.tokenizer, config=preset) for preset in PRESETS}
    results: dict[str, Any] = {"threads": torch.get_num_threads(), "dtype": str(decoder.decoder.dtype)}
    with tempfile.TemporaryDirectory() as scratch:
        memories = build(Path(scratch), arguments.data, encoder, models)
        rags = {preset: RAG(memories[preset], encoder, models[preset]) for preset in PRESETS}
        every = rags["quality"].retriever.retrieve([QUESTION], max(KS))[0]
        results["bytes per token"] = {
            preset: StatesShape.of(memory.manifest.states).bytes_per_token
            for preset, memory in memories.items()
            if memory.manifest.states
        }
        try:
            llama = LlamaCpp(Path(scratch), torch.get_num_threads())
        except ImportError as error:
            llama, results["llama.cpp"] = None, f"skipped: {error}"
        for weights in (str(decoder.decoder.dtype).removeprefix("torch."), "int8"):
            if weights == "int8":
                add_int8_weights(decoder.decoder)
            results[weights] = measured(weights, rags, every, llama, arguments.repeats, arguments.tokens)
    print(json.dumps(results))


def measured(
    weights: str, rags: dict[str, RAG], every: list[Retrieved], llama: LlamaCpp | None, repeats: int, tokens: int
) -> dict[str, Any]:
    """Return and print the figures of one form of the weights."""
    figures: dict[str, Any] = {}
    for k in KS:
        rows = first_token(rags, every[:k], llama, repeats)
        print(
            f"\nweights {weights}, k = {k}: first token; how many times later than quality, and than compact (10 %–90 %)"
        )
        figures[f"k={k}"] = compared(rows, lambda row, mode, preset: row[mode] / row[preset])
    rows = decoding(rags, every[:8], llama, repeats, tokens)
    print(f"\nweights {weights}, k = 8: a further token; share of its time that quality takes, and compact (10 %–90 %)")
    figures["decoding"] = compared(rows, lambda row, mode, preset: row[preset] / row[mode])
    return figures


def measure_readers(data: Path, encoder: Encoder, repeats: int, tokens: int) -> dict[str, Any]:
    """Return and print the first token and a further one with the reader that ships and without, in turns."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        rags = {}
        for reader in ("none", "auto"):
            model = MemoryDecoder.from_pretrained(config="quality", reader=reader)
            memories = build(Path(scratch) / reader, data, encoder, {"quality": model})
            rags[reader] = RAG(memories["quality"], encoder, model)
        for k in (4, 8):
            found = rags["none"].retriever.retrieve([QUESTION], k)[0]
            modes = {
                "first token": {reader: partial(_first_token, rag, [], found) for reader, rag in rags.items()},
                "further token": {
                    reader: partial(_further_token, rag, [], found, tokens) for reader, rag in rags.items()
                },
            }
            for what, by_reader in modes.items():
                rows = _in_turns(by_reader, repeats)
                ratios = sorted(row["auto"] / row["none"] for row in rows)
                ratio = [round(ratios[int(len(ratios) * part)], 3) for part in (0.5, 0.1, 0.9)]
                medians = {reader: statistics.median(row[reader] for row in rows) * 1000 for reader in by_reader}
                figures[f"{what}, k={k}"] = {"ms": medians, "with / without": ratio}
                print(
                    f"{what:<14} k = {k}: without a reader {medians['none']:.1f} ms, with {medians['auto']:.1f} ms; "
                    "{:.3f} [{:.3f}, {:.3f}]".format(*ratio),
                    flush=True,
                )
    return figures


def compared(rows: Sequence[Row], ratio: Callable[[Row, str, str], float]) -> dict[str, Any]:
    """Return the milliseconds of each mode and its paired ratios to each preset, and print them."""
    figures: dict[str, Any] = {}
    for mode in rows[0]:
        figures[mode] = {"ms": round(statistics.median(row[mode] for row in rows) * 1000, 1)}
        line = f"  {mode:<18}{figures[mode]['ms']:>9.1f} ms"
        for preset in PRESETS:
            found = sorted(ratio(row, mode, preset) for row in rows)
            median, low, high = (round(found[int(len(found) * part)], 3) for part in (0.5, 0.1, 0.9))
            figures[mode][preset] = [median, low, high]
            line += f"   {median:.2f} [{low:.2f}, {high:.2f}]"
        print(line, flush=True)
    return figures


if __name__ == "__main__":
    main()
